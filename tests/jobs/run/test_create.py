"""Runs are made whole and grow without touching what they hold."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jobs.common.errors import UserError
from jobs.common.records import read_record
from jobs.grid.config import load_config
from jobs.run.create import default_run_directory, make_run
from jobs.run.index import read_run
from tests.conftest import TINY, write_images


def grown(write_grid, tmp_path, old, new):
    return make_run(load_config(write_grid(TINY.replace(old, new))), tmp_path / "run", say=lambda text: None)


def test_a_run_holds_everything_a_point_needs(tiny_run, tmp_path):
    paths = tiny_run.paths
    assert [entry.name for entry in tiny_run.entries] == [
        "exp_01_UNet_lr0.001_bs8",
        "exp_02_UNet_lr0.005_bs8",
    ]
    assert (
        paths.index.read_text().splitlines()[0] == "index,name,key,architecture,learning_rate,batch_size,seed"
    )
    assert paths.grid.read_bytes() == (tmp_path / "grid.yaml").read_bytes()
    made = read_record(paths.provenance)
    assert made["data"]["fingerprint"] == tiny_run.fingerprint == made["made"][0]["data_fingerprint"]
    assert {"git", "packages", "command", "python", "host"} <= set(made["made"][0])
    assert {"commit", "dirty"} == set(made["made"][0]["git"]) and "numpy" in made["made"][0]["packages"]
    assert (paths.data / "pack.json").is_file() and not list(paths.root.glob(".*tmp*"))


def test_making_it_again_changes_no_point(tiny_run, write_grid, tmp_path):
    before = tiny_run.paths.index.read_bytes()
    made = make_run(load_config(write_grid()), tmp_path / "run", say=lambda text: None)
    assert (made.added, made.known, made.orphaned) == (0, 2, 0)
    assert tiny_run.paths.index.read_bytes() == before


def test_a_larger_grid_appends_and_leaves_known_points_alone(tiny_run, write_grid, tmp_path):
    before = tiny_run.paths.index.read_text().splitlines()
    made = grown(write_grid, tmp_path, "[1e-3, 5e-3]", "[1e-4, 1e-3, 5e-3]")
    after = tiny_run.paths.index.read_text().splitlines()
    assert (made.added, made.known) == (1, 2)
    assert after[:3] == before and after[3].startswith("3,exp_03_UNet_lr0.0001_bs8,")
    assert len(read_record(tiny_run.paths.provenance)["made"]) == 2


def test_more_seeds_keep_the_points_of_the_first(tiny_run, write_grid, tmp_path):
    made = grown(write_grid, tmp_path, "training:", "seed: [1, 2]\ntraining:")
    assert (made.added, made.known) == (2, 2)
    assert [entry.name for entry in made.run.entries][2:] == [
        "exp_03_UNet_lr0.001_bs8_seed2",
        "exp_04_UNet_lr0.005_bs8_seed2",
    ]


def test_a_fixed_setting_can_become_an_axis_that_holds_its_value(tiny_run, write_grid, tmp_path):
    text = TINY.replace("  base_filters: 2\n", "").replace(
        "batch_size: [8]", "batch_size: [8]\n  base_filters: [2, 4]"
    )
    made = make_run(load_config(write_grid(text)), tmp_path / "run", say=lambda text: None)
    assert (made.added, made.known) == (2, 2)
    assert [entry.key for entry in made.run.entries][:2] == [entry.key for entry in tiny_run.entries]
    assert made.run.axes[-1] == "base_filters"
    assert read_run(tmp_path / "run") == made.run


def test_an_index_is_never_used_again(tiny_run, write_grid, tmp_path):
    made = grown(write_grid, tmp_path, "[1e-3, 5e-3]", "[1e-3, 2e-3]")
    assert (made.added, made.known, made.orphaned) == (1, 1, 1)
    assert [entry.index for entry in made.run.entries] == [1, 2, 3]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("epochs: 2", "epochs: 3", r"training\.epochs: received \[3\].*made with 2"),
        ("gap_slices: 1", "gap_slices: 0", "expected the same data"),
        ("patch_size: 32", "patch_size: 16", "expected the same data"),
    ],
)
def test_a_run_is_not_grown_into_something_else(tiny_run, write_grid, tmp_path, old, new, words):
    before = tiny_run.paths.index.read_bytes(), tiny_run.paths.grid.read_bytes()
    with pytest.raises(UserError, match=words):
        grown(write_grid, tmp_path, old, new)
    assert (tiny_run.paths.index.read_bytes(), tiny_run.paths.grid.read_bytes()) == before


def test_changed_data_are_refused(tiny_run, write_grid, tmp_path):
    first = min((tmp_path / "data" / "images").iterdir())
    Image.open(first).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(first)
    with pytest.raises(UserError, match="expected the same data"):
        make_run(load_config(write_grid()), tmp_path / "run", say=lambda text: None)


@pytest.mark.parametrize("stranger", ["grid.yaml", "thesis.tex", "exp_01_UNet_lr0.001_bs8"])
def test_a_folder_that_holds_something_else_is_left_alone(write_grid, tmp_path, tiny_run, stranger):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / stranger).write_text("my own")
    with pytest.raises(UserError, match=f"contains {stranger} but no index.csv"):
        make_run(load_config(write_grid()), tmp_path / "mine", say=lambda text: None)
    assert (tmp_path / "mine" / stranger).read_text() == "my own"


def test_a_run_whose_making_was_cut_off_is_finished(write_grid, tmp_path, tiny_run):
    before = tiny_run.paths.index.read_bytes()
    tiny_run.paths.index.unlink()
    assert make_run(load_config(write_grid()), tmp_path / "run", say=lambda text: None).added == 2
    assert tiny_run.paths.index.read_bytes() == before


def test_data_that_a_killed_process_was_packing_are_removed(write_grid, tmp_path, tiny_run):
    """Nobody sees them, and they may be many gigabytes."""
    leftover = tiny_run.paths.root / ".data.node7.4711.0123abcd.tmp"
    leftover.mkdir()
    (leftover / "train_images.npy").write_bytes(bytes(100))
    make_run(load_config(write_grid()), tmp_path / "run", say=lambda text: None)
    assert not leftover.exists() and not list(tiny_run.paths.root.glob(".*tmp*"))
    assert read_run(tmp_path / "run").fingerprint == tiny_run.fingerprint


def test_a_batch_larger_than_the_data_is_refused(write_grid, tmp_path, tiny_run):
    with pytest.raises(UserError, match="batch_size 64 is larger than the 20 training patches"):
        make_run(
            load_config(write_grid(TINY.replace("[8]", "[8, 64]"))), tmp_path / "new", say=lambda text: None
        )
    assert not (tmp_path / "new").exists()


def test_a_bad_data_folder_is_named_and_nothing_is_made(write_grid, tmp_path):
    with pytest.raises(UserError, match=r"grid.yaml: data: data\.path .*data is not a folder"):
        make_run(load_config(write_grid()), tmp_path / "run", say=lambda text: None)
    assert not (tmp_path / "run").exists()


def test_runs_made_within_one_second_are_different_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    now = datetime(2026, 11, 26, 21, 30, 5, tzinfo=timezone.utc)
    with ThreadPoolExecutor(10) as threads:
        made = list(threads.map(lambda _: default_run_directory(now), range(10)))
    name = "hyperparameter_optimization_20261126_213005"
    assert sorted(map(str, made)) == sorted([name, *(f"{name}_{number}" for number in range(2, 11))])
    assert all(Path(one).is_dir() for one in made)


def test_a_folder_that_is_there_is_not_taken(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    now = datetime(2026, 11, 26, 21, 30, 5, tzinfo=timezone.utc)
    (tmp_path / "hyperparameter_optimization_20261126_213005").write_text("a file")
    assert str(default_run_directory(now)).endswith("_213005_2")


def test_data_that_cannot_be_used_leave_nothing(write_grid, tmp_path):
    from tests.conftest import write_images

    write_images(tmp_path / "data")
    (tmp_path / "data" / "masks" / "z003.png").unlink()
    with pytest.raises(UserError, match="z003.png has no mask"):
        make_run(load_config(write_grid()), tmp_path / "new" / "run", say=lambda text: None)
    assert not (tmp_path / "new" / "run").exists()


def test_a_run_of_the_first_version_is_trained_and_grows(tiny_run, write_grid, tmp_path):
    """Its pixels are in one file, with 8 bits each."""
    import shutil

    from jobs.point.attempt import run_point
    from tests.unet_models.data.builders import write_first_version
    from unet_models.data.packing import read_packed

    write_first_version(tiny_run.paths.root / "data.npz", read_packed(tiny_run.paths.data))
    shutil.rmtree(tiny_run.paths.root / "data")
    assert tiny_run.paths.data.name == "data.npz"
    made = grown(write_grid, tmp_path, "[1e-3, 5e-3]", "[1e-4, 1e-3, 5e-3]")
    assert (made.added, made.known) == (1, 2) and not (tiny_run.paths.root / "data").exists()
    assert run_point(made.run, made.run.entry(3), echo=False, tell=lambda text: None) == "done"


@pytest.mark.parametrize("white", [65535, 4095])
def test_a_run_of_the_first_version_on_16_bits_grows_with_the_same_pixels(write_grid, tmp_path, white):
    """The first version kept 8 of the 16 bits."""
    import shutil

    import numpy as np

    from tests.unet_models.data.builders import block, build, write_first_version

    generator = np.random.default_rng(0)
    for kind, top in (("images", white), ("masks", 1)):
        (tmp_path / "data" / kind).mkdir(parents=True)
        for z in range(8):
            page = generator.integers(0, top + 1, (64, 64)).astype(np.uint16)
            Image.fromarray(page).save(tmp_path / "data" / kind / f"z{z}.tif")
    text = TINY + f"  intensity_max: {white}\n"
    run = make_run(load_config(write_grid(text)), tmp_path / "run", say=lambda text: None).run
    assert build(block(path=str(tmp_path / "data"), intensity_max=float(white))).dtype == np.uint16
    eight = build(block(path=str(tmp_path / "data"), intensity_max=float(white)), depth=8)
    stated = block(
        path=str(tmp_path / "data"), intensity_max=float(white), expected_fingerprint=eight.fingerprint
    )
    assert build(stated).dtype == np.uint8  # what names the data of the first version still does
    shutil.rmtree(tmp_path / "run")
    (tmp_path / "run").mkdir()
    del run
    make_run(
        load_config(write_grid(text + f"  expected_fingerprint: {eight.fingerprint}\n")), tmp_path / "run"
    )
    write_first_version(tmp_path / "run" / "data.npz", eight)
    shutil.rmtree(tmp_path / "run" / "data")
    made = make_run(load_config(write_grid(text.replace("[1e-3, 5e-3]", "[1e-3, 2e-3]"))), tmp_path / "run")
    assert (made.added, made.known, made.run.fingerprint) == (1, 1, eight.fingerprint)


@pytest.mark.parametrize(
    "places",
    [
        "path: $FOLDER/data",
        "path: ${FOLDER}/data",
        "path: $ABOVE/hunter2/data",
        "path: $NAME/data",
        "images: $FOLDER/data/images\n  masks: ${FOLDER}/data/masks",
        "images: $FOLDER/stack.npy\n  masks: $FOLDER/stack_mask.npy",
        "path: $ALL",
    ],
)
def test_values_of_variables_in_paths_are_not_in_the_files_of_the_run(
    write_grid, tmp_path, monkeypatch, places
):
    folder = tmp_path / "hunter2"
    write_images(folder / "data")
    write_images(folder / "data" / "test", seed=1)
    for name, kind in (("stack.npy", "images"), ("stack_mask.npy", "masks")):
        pages = [np.asarray(Image.open(path)) for path in sorted((folder / "data" / kind).iterdir())]
        np.save(folder / name, np.stack(pages))
    for name, value in {
        "FOLDER": folder,
        "ABOVE": tmp_path,
        "NAME": "hunter2",
        "ALL": folder / "data",
    }.items():
        monkeypatch.setenv(name, str(value))
    run = make_run(
        load_config(write_grid(TINY.replace("path: data", places))), tmp_path / "run", say=lambda _: None
    ).run
    secret = str(tmp_path / "hunter2") if "ABOVE" not in places else str(tmp_path)
    for path in run.paths.root.rglob("*"):
        assert not path.is_file() or secret.encode() not in path.read_bytes(), path
    variable = r"\$\{?[A-Z]+\}?"
    assert re.search(variable, run.source)
    assert re.search(variable, (run.paths.data / "files.csv").read_text())
