"""index.csv is read only if every cell, name and key in it is what make_grid.py wrote."""

from __future__ import annotations

import csv

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.common.errors import UserError
from jobs.grid.config import load_config
from jobs.grid.points import KeyTemplate, Point, key_part
from jobs.grid.settings import POINT
from jobs.run.create import make_run
from jobs.run.index import parse_indices, read_run
from tests.conftest import TINY, write_images


@pytest.fixture
def varied_run(tmp_path, write_grid):
    """A run of 12 points with axes of every type: numbers, text, true and false, and null."""
    write_images(tmp_path / "data")
    text = TINY.replace(
        "batch_size: [8]", "batch_size: [8]\n  augment: [true, false]\n  clipnorm: [1.0, null, 0.5]"
    )
    return make_run(load_config(write_grid(text)), tmp_path / "run", say=lambda text: None).run


def rows_of(run):
    return list(csv.reader(run.paths.index.read_text().splitlines()))


def write_rows(run, rows):
    with run.paths.index.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


def test_the_entries_are_those_that_were_written(varied_run):
    found = read_run(varied_run.paths.root)
    assert found.axes == ("architecture", "learning_rate", "batch_size", "seed", "clipnorm", "augment")
    assert [entry.index for entry in found.entries] == list(range(1, 13))
    for read, written in zip(found.entries, varied_run.entries, strict=True):
        assert (read.name, read.key) == (written.name, written.key)
        assert read.key == Point(dict(read.point.settings)).key(found.fingerprint)
        assert list(read.point.settings) == list(POINT)
    first = found.entry(1).point.settings
    assert {key: first[key] for key in ("learning_rate", "batch_size", "seed", "epochs", "base_filters")} == {
        "learning_rate": 0.001,
        "batch_size": 8,
        "seed": 1,
        "epochs": 2,
        "base_filters": 2,
    }
    kinds = [(e.point.settings["augment"], e.point.settings["clipnorm"]) for e in found.entries[:6]]
    assert kinds == [(True, 1.0), (True, None), (True, 0.5), (False, 1.0), (False, None), (False, 0.5)]


@pytest.mark.parametrize("row", [1, 7, 12])
@pytest.mark.parametrize(
    ("axis", "value"),
    [
        ("architecture", "Attention_UNet"),
        ("learning_rate", "0.002"),
        ("batch_size", "16"),
        ("seed", "2"),
        ("clipnorm", "0.25"),
        ("augment", None),
    ],
)
def test_an_edited_cell_of_any_axis_in_any_row_is_refused(varied_run, row, axis, value):
    rows = rows_of(varied_run)
    column = rows[0].index(axis)
    rows[row][column] = value or {"true": "false", "false": "true"}[rows[row][column]]
    write_rows(varied_run, rows)
    name = rows[row][1]
    with pytest.raises(
        UserError, match=f"the settings of {name} give the key [0-9a-f]{{16}}, expected {rows[row][2]}"
    ):
        read_run(varied_run.paths.root)


def test_an_edited_key_is_refused(varied_run):
    rows = rows_of(varied_run)
    rows[12][2], was = "0" * 16, rows[12][2]
    write_rows(varied_run, rows)
    with pytest.raises(UserError, match=f"give the key {was}, expected {'0' * 16}"):
        read_run(varied_run.paths.root)


@pytest.mark.parametrize(
    ("old", "new", "accepted"),
    [
        ("UNet_lr0.001_bs8", "UNet_lr0.001_bs8_renamed", True),
        ("UNet_lr0.001_bs8", "UNet_lr0.001_bs80", False),
        ("UNet_lr0.001_bs8", "UNet_lr0.005_bs8", False),
        ("UNet_lr0.001_bs8", "UNet_lr0.001", False),
    ],
)
def test_a_name_must_begin_with_the_settings_of_its_point(tiny_run, old, new, accepted):
    rows = rows_of(tiny_run)
    rows[1][1] = rows[1][1].replace(old, new)
    write_rows(tiny_run, rows)
    if accepted:
        assert read_run(tiny_run.paths.root).entry(1).stem == new
    else:
        with pytest.raises(
            UserError, match="received the name .*, expected exp_01_UNet_lr0.001_bs8 or one that"
        ):
            read_run(tiny_run.paths.root)


def test_a_column_that_occurs_twice_is_refused(tiny_run):
    write_rows(tiny_run, [[*row, row[-1]] for row in rows_of(tiny_run)])
    with pytest.raises(UserError, match="begins with the columns .*not an index of this version"):
        read_run(tiny_run.paths.root)


def test_an_index_out_of_the_range_is_named_with_the_range_in_numbers(varied_run):
    with pytest.raises(UserError, match="has no point 13; expected an index from 1 to 12$"):
        varied_run.entry(13)


@given(
    rate=st.floats(1e-8, 10.0, exclude_min=True),
    seed=st.integers(0, 2**31 - 1),
    dropout=st.floats(0, 1, exclude_max=True),
    clipnorm=st.none() | st.floats(1e-3, 10),
    augment=st.booleans(),
    fingerprint=st.text() | st.sampled_from(("50%", "%s", '"', "\\")),
    axes=st.permutations(("learning_rate", "seed", "dropout", "clipnorm", "augment")),
    count=st.integers(0, 5),
)
@settings(deadline=None)
def test_a_key_from_the_template_is_the_key_of_the_point(
    rate, seed, dropout, clipnorm, augment, fingerprint, axes, count
):
    values = {
        "learning_rate": rate,
        "seed": seed,
        "dropout": dropout,
        "clipnorm": clipnorm,
        "augment": augment,
    }
    point = Point({key: setting.default for key, setting in POINT.items()} | values)
    chosen = axes[:count]
    common = {key: value for key, value in point.settings.items() if key not in chosen}
    found = KeyTemplate(common, chosen, fingerprint).key([key_part(key, values[key]) for key in chosen])
    assert found == point.key(fingerprint)


def test_a_key_never_changes_between_versions():
    """Runs made by older versions are read with these keys."""
    point = Point({key: setting.default for key, setting in POINT.items()})
    assert point.key("232x32x32-b07ff96a0b83eee1") == "6e2187fbcf892183"


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
