"""The four commands from end to end, as a user types them."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
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
from jobs.run.index import read_run
from tests.conftest import REPOSITORY, TINY, write_images
from tests.jobs.test_submit import without_token


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


def test_a_run_whose_jobs_pbs_could_not_run_is_noted_first_and_made_where_there_is_no_pbs(
    place, monkeypatch, capsys
):
    monkeypatch.setenv("HOME", str(place))
    assert make_grid.main(["--run-dir=~/a\\b"]) == 0
    first, *rest = capsys.readouterr().out.splitlines()
    assert (
        first.startswith("note: it cannot be submitted to PBS: the path of the run, ")
        and "backslash" in first
    )
    assert any("jobs.local" in line for line in rest) and not any("jobs.submit" in line for line in rest)


def test_on_a_machine_with_pbs_such_a_run_is_refused_before_anything_is_made(place, pbs, monkeypatch, capsys):
    before = sorted(place.rglob("*"))
    assert make_grid.main(["--run-dir", "a\\b"]) == 2
    (place / "c\\d").mkdir()
    monkeypatch.chdir(place / "c\\d")
    assert make_grid.main([str(place / "grid.yaml")]) == 2
    assert capsys.readouterr().err.count("contains a backslash") == 2
    (place / "c\\d").rmdir()
    assert sorted(place.rglob("*")) == before


def test_every_command_that_make_grid_prints_works_where_it_is_pasted(place, pbs, monkeypatch, capsys):
    """Made in another folder than the repository's, with names that no shell takes as they are."""
    shim = place / "bin" / "python"
    shim.parent.mkdir()
    shim.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
    shim.chmod(0o755)
    monkeypatch.setenv("PATH", f"{shim.parent}{os.pathsep}{os.environ['PATH']}")
    here = place / "l\u00e4ufe, it's $HOME"
    here.mkdir()
    monkeypatch.chdir(here)
    assert make_grid.main(["../grid.yaml", "--run-dir", 'a "run"']) == 0
    printed = capsys.readouterr().out
    local, submit, *by_hand = [line[2:] for line in printed.splitlines() if line.startswith("  ")]

    def paste(*lines):
        done = subprocess.run(["bash", "-ec", "\n".join(lines)], capture_output=True, text=True, cwd=here)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    paste(*by_hand)
    job, collected = pbs.calls("qsub")
    assert "depend=afterany:1[].pbshost" in collected
    assert "2 points submitted as 3[].pbshost" in paste(f"{submit} --force")
    assert without_token(pbs.calls("qsub")[2]) == job
    output = paste(local)
    assert f'{here}/a "run": 2 done' in output
    assert collect.main(['a "run"']) == 0 and analyze.main(['a "run"']) == 0
    report = (here / 'a "run"' / "analysis" / "comprehensive_analysis_report.txt").read_text()
    steps = report.partition("READ THIS FIRST")[0]
    commands = [line.strip() for line in steps.splitlines() if line.startswith("    ")]
    assert commands[0] == f"cd {REPOSITORY}"
    paste(*(line for line in commands if line.startswith(("cd ", "python make_grid.py"))))
    assert len(read_run(here / 'a "run"').entries) > 2


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
