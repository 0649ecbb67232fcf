"""Runs are made whole and grow without touching what they hold."""

from __future__ import annotations

import pytest
from PIL import Image

from jobs.common.errors import UserError
from jobs.common.records import read_record
from jobs.grid.config import load_config
from jobs.run.create import make_run
from jobs.run.index import parse_indices, read_run
from jobs.run.paths import RunPaths
from tests.conftest import TINY


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
    assert paths.data.is_file() and not list(paths.root.glob(".*tmp*"))


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
    first = sorted((tmp_path / "data" / "images").iterdir())[0]
    Image.open(first).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(first)
    with pytest.raises(UserError, match="expected the same data"):
        make_run(load_config(write_grid()), tmp_path / "run", say=lambda text: None)


@pytest.mark.parametrize("stranger", ["grid.yaml", "thesis.tex", "exp_01_UNet_lr0.001_bs8"])
def test_a_folder_that_holds_something_else_is_left_alone(write_grid, tmp_path, tiny_run, stranger):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / stranger).write_text("my own")
    with pytest.raises(UserError, match=f"holds {stranger} but no index.csv"):
        make_run(load_config(write_grid()), tmp_path / "mine", say=lambda text: None)
    assert (tmp_path / "mine" / stranger).read_text() == "my own"


def test_a_run_whose_making_was_cut_off_is_finished(write_grid, tmp_path, tiny_run):
    before = tiny_run.paths.index.read_bytes()
    tiny_run.paths.index.unlink()
    assert make_run(load_config(write_grid()), tmp_path / "run", say=lambda text: None).added == 2
    assert tiny_run.paths.index.read_bytes() == before


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


@pytest.mark.parametrize("missing", ["grid.yaml", "index.csv", "provenance.json"])
def test_a_half_made_run_is_refused_with_what_to_do(tiny_run, missing):
    (tiny_run.paths.root / missing).unlink()
    with pytest.raises(UserError, match=f"{missing} missing.*make_grid.py --run-dir"):
        read_run(tiny_run.paths.root)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("UNet,0.005,8,1", "UNet,0.05,8,1", "give the key .* was edited"),
        ("UNet,0.005,8,1", "UNet,x,8,1", "line 3: .*expected a positive number"),
        ("UNet,0.005,8,1", "UNet,0.005,8", "line 3: .*expected 7 cells"),
        ("exp_02_UNet", "exp_02_../../UNet", "line 3"),
        ("exp_02_UNet", "exp_03_UNet", "line 3"),
        ("index,name", "number,name", "not an index of this version"),
        ("2,exp_02", "1,exp_01", "one index twice"),
    ],
)
def test_an_edited_index_is_refused(tiny_run, old, new, words):
    path = tiny_run.paths.index
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(UserError, match=words):
        read_run(tiny_run.paths.root)


def test_an_edited_recipe_of_a_made_run_is_refused(tiny_run):
    path = tiny_run.paths.grid
    path.write_text(path.read_text().replace("epochs: 2", "epochs: 3"))
    with pytest.raises(UserError, match="was edited after it was made"):
        read_run(tiny_run.paths.root)


def test_no_run_is_refused(tmp_path):
    with pytest.raises(UserError, match="is not a folder"):
        read_run(tmp_path / "none")


def test_indices_are_numbers_and_ranges():
    assert parse_indices("3,7-9, 3") == [3, 7, 8, 9]
    for text in ("", "a", "3-", "9-7", "1,,2", "-1", "1-99999999"):
        with pytest.raises(UserError, match="--indices: received"):
            parse_indices(text)


def test_every_point_has_a_folder_of_its_own(tiny_run):
    paths = [tiny_run.point_paths(entry) for entry in tiny_run.entries]
    root = RunPaths(tiny_run.paths.root).root
    assert [path.folder.parent for path in paths] == [root, root]
    assert paths[0].results.name == "UNet_lr0.001_bs8_results.json"
    assert paths[0].model.name == "UNet_lr0.001_bs8_model.hdf5"
    assert paths[0].history.name == "UNet_lr0.001_bs8_history.csv"
    assert paths[0].log.name == "training_log.txt"
