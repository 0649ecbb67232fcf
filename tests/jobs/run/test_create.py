"""Runs are made whole and grow without touching what they hold."""

from __future__ import annotations

import pytest
from PIL import Image

from jobs.common.errors import UserError
from jobs.common.records import read_record
from jobs.grid.config import load_config
from jobs.run.create import make_run
from jobs.run.index import read_run
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
