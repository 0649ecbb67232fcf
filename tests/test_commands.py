"""The four commands from end to end, as a user types them."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
import time
from datetime import datetime

import pytest

import analyze
import collect
import make_grid
import run_point
from analysis.report.report import Report
from analysis.schema import Configuration, Point
from tests.conftest import REPOSITORY, TINY, write_images


@pytest.fixture
def place(tmp_path, monkeypatch, write_grid):
    write_images(tmp_path / "data")
    write_grid()
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PBS_ARRAY_INDEX", raising=False)
    return tmp_path


def test_from_grid_to_report(place, monkeypatch, capsys):
    assert make_grid.main(["--run-dir", "run"]) == 0
    assert "2 points, 2 new" in capsys.readouterr().out
    assert collect.main(["run"]) == 4
    assert analyze.main(["run"]) == 4
    assert run_point.main(["run", "1"]) == 0
    assert collect.main(["run"]) == 3
    assert "no result: 2 exp_02_UNet_lr0.005_bs8: waiting" in capsys.readouterr().out
    monkeypatch.setenv("PBS_ARRAY_INDEX", "2")
    assert run_point.main(["run"]) == 0
    assert collect.main(["run"]) == 0
    capsys.readouterr()
    assert analyze.main(["run"]) == 0
    assert "chance level" in capsys.readouterr().out
    summary = json.loads((place / "run" / "analysis" / "analysis_summary.json").read_text())
    assert summary["successful"] == 2 and summary["best_overall"]["name"].startswith("exp_0")
    assert (
        analyze.main(["--summary_file", "run/hyperparameter_summary.csv", "--output_dir", "elsewhere"]) == 0
    )
    assert (place / "elsewhere" / "detailed_heatmaps.png").is_file()


def test_a_run_that_qsub_cannot_name_is_made_nevertheless(place, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(place))
    assert make_grid.main(["--run-dir=~/it's a run"]) == 0
    output = capsys.readouterr().out
    line = next(line for line in output.splitlines() if "jobs.local" in line)
    assert shlex.split(line)[-4:] == ["python", "-m", "jobs.local", f"{place}/it's a run"]
    assert "note: it cannot be submitted to PBS: the path" in output and "by hand" not in output


def test_a_run_whose_name_is_no_text_can_be_read(place, capsys):
    name = os.fsdecode(b"r\xff")
    argv = ["--run-dir", name]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["make_grid.py", *argv])
        assert make_grid.main(argv) == 0
    assert collect.main([name]) == 4


def test_explain_makes_nothing(place, capsys):
    before = sorted(place.iterdir())
    assert make_grid.main(["--explain"]) == 0
    output = capsys.readouterr().out
    assert "exp_02_UNet_lr0.005_bs8" in output and "2 points" in output
    assert sorted(place.iterdir()) == before


def test_the_default_run_directory_has_the_guides_name(place):
    assert make_grid.main([]) == 0
    (run,) = place.glob("hyperparameter_optimization_????????_??????")
    assert (run / "index.csv").is_file()


def test_a_run_is_made_in_a_later_second_than_it_was_begun_in(place):
    """PBS notes to the second when a job was submitted: the newest run of that time must not be in doubt."""
    for _ in range(2):
        begun = int(time.time())
        assert make_grid.main([]) == 0
        (run,) = place.glob("hyperparameter_optimization_*")
        made = json.loads((run / "provenance.json").read_text())["made"][0]["made"]
        assert datetime.fromisoformat(made).timestamp() > begun
        shutil.rmtree(run)


@pytest.mark.parametrize(
    ("main", "arguments", "words"),
    [
        (make_grid.main, ["none.yaml"], "none.yaml does not exist"),
        (make_grid.main, ["bad.yaml"], "did you mean 'epochs'"),
        (run_point.main, ["none", "1"], "is not a folder"),
        (run_point.main, ["run"], "no index"),
        (run_point.main, ["run", "7"], "has no point 7"),
        (run_point.main, ["run", "1", "--threads", "0"], "--threads: received 0"),
        (collect.main, ["none"], "is not a folder"),
        (analyze.main, ["none"], f"{REPOSITORY}/collect.py"),
        (analyze.main, [], "expected either a run directory or --summary_file FILE"),
        (analyze.main, ["--summary_file", "a.csv", "b.csv"], "received 2 paths"),
    ],
)
def test_what_the_user_can_mend_ends_with_two_and_says_how(place, capsys, main, arguments, words):
    make_grid.main(["--run-dir", "run"])
    (place / "bad.yaml").write_text(TINY.replace("epochs", "epoch"))
    assert main(arguments) == 2
    assert words in capsys.readouterr().err


def test_an_array_index_that_is_no_number_is_refused(place, monkeypatch, capsys):
    make_grid.main(["--run-dir", "run"])
    monkeypatch.setenv("PBS_ARRAY_INDEX", "x")
    assert run_point.main(["run"]) == 2
    assert "PBS_ARRAY_INDEX: received 'x'" in capsys.readouterr().err


def test_the_best_of_several_seeds_is_a_configuration():
    """Its example may have a low score, which "the best of 4 points" would contradict."""
    example = Point(
        name="exp_02", architecture="UNet", learning_rate=1e-3, batch_size=8, best_val_jaccard=0.002
    )
    first = Configuration(
        settings="UNet lr 0.001 bs 8", names=("exp_02", "exp_04"), architecture="UNet", learning_rate=1e-3, batch_size=8,
        axes={}, seeds=2, diverged=0, failed=0, mean=0.12,
    )  # fmt: skip
    assert analyze._answer(Report((), 4, 4, example, first)) == (
        "best configuration of 4 points: UNet lr 0.001 bs 8: mean val_jaccard 0.120 over 2 runs, for example exp_02: 0.002"
    )
