"""Only plain files inside the run are read, whatever the summary and the links contain."""

from __future__ import annotations

import os

import pytest

from analysis.figures import run_files
from analysis.figures.best_predictions import best_predictions
from analysis.figures.run_files import read_histories
from tests.analysis.figures.samples import loaded, lone, make_run, named
from tests.analysis.report.test_report import frame


def test_histories_are_found_by_name_and_odd_ones_left_out(tmp_path):
    content = named(frame())
    run = make_run(tmp_path, content)
    names = list(content["name"])
    files = [next((run / name).glob("*_history.csv")) for name in names]
    files[0].unlink()
    files[1].write_bytes(b"\x00\xffnonsense")
    files[2].write_text("")
    files[3].unlink()
    files[3].mkdir()
    files[4].unlink()
    files[4].symlink_to(files[4].name)  # a circle
    files[5].unlink()
    os.mkfifo(files[5])  # reading it would never end
    found = read_histories(run, loaded(tmp_path, content))
    assert set(found) == set(names[6:]) and len(found[names[7]]) == 6


@pytest.mark.parametrize(
    "name",
    [
        "exp_01_../../outside",
        "../outside",
        "/etc/exp_01_x",
        "exp_01_a/b",
        "exp_01_" + "x" * 5000,
        "exp_01_ä",
        "exp_1",
        "exp_01_x\\y",
    ],
)
def test_a_name_never_leads_out_of_the_run(tmp_path, name):
    run = make_run(tmp_path, named(lone()))
    rows = loaded(tmp_path, lone(name=name))
    assert read_histories(run, rows) == {} and best_predictions(rows, run) is None


def test_a_link_never_leads_out_of_the_run(tmp_path):
    content = named(lone())
    run = make_run(tmp_path, content)
    (run / content["name"][0]).rename(tmp_path / "elsewhere")
    (run / content["name"][0]).symlink_to(tmp_path / "elsewhere")
    assert read_histories(run, loaded(tmp_path, content)) == {}


def test_of_many_histories_those_of_the_best_points_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(run_files, "MOST_HISTORIES", 2)
    content = named(frame())
    rows = loaded(tmp_path, content)
    found = read_histories(make_run(tmp_path, content), rows)
    assert list(found) == list(rows.nlargest(2, "best_val_jaccard")["name"])
