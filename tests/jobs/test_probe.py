"""The command that probes a run: which kinds it measures, what it prints, and its exit codes."""

from __future__ import annotations

import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from filelock import FileLock

from jobs import probe as command
from jobs.common.errors import UserError
from jobs.cost.measurements import read_probe
from jobs.grid.config import load_config
from jobs.probe import probe
from jobs.run.create import make_run
from tests.conftest import REPOSITORY, TINY, write_images
from tests.jobs.cost.builders import GPU, measurement, write_probe


def two_kinds(tmp_path, write_grid):
    """A run whose points 1 and 2 differ in batch size."""
    write_images(tmp_path / "data")
    config = load_config(write_grid(TINY.replace("[8]", "[4, 8]")))
    return make_run(config, tmp_path / "r", say=lambda text: None).run


def contents(path):
    return {file.name: file.read_bytes() for file in path.iterdir() if file.is_file()}


def test_a_probe_measures_through_the_code_that_trains_and_leaves_only_its_record(tiny_run):
    before = contents(tiny_run.paths.root)
    answer = subprocess.run(
        [sys.executable, "-m", "jobs.probe", str(tiny_run.paths.root), "--steps", "4", "--threads", "1"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "UNet, batch 8" in answer.stdout and "1 of 1 combinations measured" in answer.stdout
    (measured,) = read_probe(tiny_run).values()
    assert measured.status == "measured" and measured.device == "CPU" and measured.reason == ""
    assert measured.step_seconds > 0 and measured.validation_seconds > 0 and measured.epoch_end_seconds > 0
    assert measured.finish_seconds > 0 and measured.finish_batches >= 2
    assert set(measured.startup) == {"import", "data", "build", "first_step"}
    assert measured.peak_host_memory_mb > 50 and measured.peak_memory_mb is None
    after = contents(tiny_run.paths.root)
    assert {name: after[name] for name in before} == before
    assert {p.name for p in tiny_run.paths.root.iterdir() if p.is_dir()} == {"data", "logs"}
    assert measured.packages["keras"] and measured.host and measured.made
    assert (measured.point, measured.steps, measured.threads) == (tiny_run.entries[0].name, 1, 1)
    assert measured.step_seconds_range == (measured.step_seconds, measured.step_seconds)
    assert "read back: UNet" in tiny_run.paths.probe_log.read_text()


def test_what_was_measured_before_stays_until_it_is_measured_again(tmp_path, write_grid, monkeypatch):
    run = two_kinds(tmp_path, write_grid)
    asked = []

    def fake(run, entry, **options):
        asked.append(entry.name)
        if len(asked) == 4:
            raise KeyboardInterrupt
        return measurement(run, entry.index - 1, step_seconds=float(len(asked)))

    monkeypatch.setattr(command, "measure", fake)
    assert list(probe(run, say=lambda text: None).values()) == ["measured", "measured"]
    with pytest.raises(KeyboardInterrupt):
        probe(run, say=lambda text: None)
    assert [one.step_seconds for one in read_probe(run).values()] == [3.0, 2.0]
    assert list(probe(run, missing=True, say=lambda text: None).values()) == ["measured", "measured"]
    assert len(asked) == 4


def test_in_a_job_whose_gpu_is_missing_the_probe_stops_and_keeps_what_was_measured(
    tmp_path, write_grid, monkeypatch, capsys
):
    run = two_kinds(tmp_path, write_grid)
    write_probe(run, measurement(run, 0, **GPU))
    before = run.paths.probe.read_bytes()
    monkeypatch.setenv("PBS_JOBID", "9.x")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert command.main([str(run.paths.root), "--steps", "4", "--threads", "1"]) == 3
    shown = capsys.readouterr()
    assert shown.err.startswith(
        "jobs.probe: TensorFlow sees no GPU, although the job asked for 1 GPU. Found here: "
    )
    assert run.paths.probe.read_bytes() == before and "[1/2]" not in shown.out


def test_in_a_job_nothing_is_started_that_may_not_fit_into_its_walltime(tiny_run, monkeypatch, capsys):
    monkeypatch.setenv("JOB_STARTED", str(time.time() - 100))
    monkeypatch.setenv("WALLTIME_SECONDS", "150")
    assert command.main([str(tiny_run.paths.root)]) == 3
    said = capsys.readouterr().out
    assert "not started: it may not fit into the walltime" in said and "--missing" in said
    assert not tiny_run.paths.probe.exists()


def test_a_second_probe_of_a_run_leaves(tiny_run, capsys):
    with FileLock(tiny_run.paths.probe_lock):
        assert command.main([str(tiny_run.paths.root)]) == 6
    assert "being probed by another process" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--steps", "0"],
        ["--steps", "10001"],
        ["--threads", "0"],
        ["--threads", "4097"],
        ["--limit", "nan"],
        ["--limit", "0.9"],
        ["--limit", "86401"],
    ],
)
def test_bad_arguments_are_refused(tiny_run, arguments, capsys):
    assert command.main([str(tiny_run.paths.root), *arguments]) == 2
    assert f"{arguments[0]}: received" in capsys.readouterr().err


@pytest.mark.parametrize(("steps", "threads", "limit"), [("1", "1", "1"), ("10000", "4096", "86400")])
def test_the_arguments_reach_the_measurement(tiny_run, monkeypatch, steps, threads, limit):
    received = []

    def fake(run, entry, **options):
        received.append(options)
        return measurement(run)

    monkeypatch.setattr(command, "measure", fake)
    arguments = ["--steps", steps, "--threads", threads, "--limit", limit]
    assert command.main([str(tiny_run.paths.root), *arguments]) == 0
    assert received == [{"steps": int(steps), "threads": int(threads), "limit": float(limit)}]


def test_a_damaged_record_is_not_replaced(tiny_run):
    tiny_run.paths.probe.write_text("{")
    with pytest.raises(UserError, match="not whole JSON"):
        probe(tiny_run, say=lambda text: None)
    assert tiny_run.paths.probe.read_text() == "{"


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({}, "500 ms per step, 250 ms per validation batch, host memory 1.0 GB (CPU)"),
        (
            GPU,
            "500 ms per step, 250 ms per validation batch, host memory 1.0 GB, GPU memory 8.8 GB (NVIDIA A40)",
        ),
        (
            {"status": "oom", "step_seconds": None, "reason": "no memory"},
            "oom: no memory",
        ),
        ({"status": "timeout", "reason": "took more than 5 s"}, "timeout: took more than 5 s"),
    ],
)
def test_the_outcome_of_a_probe_in_words(tiny_run, more, text):
    assert command.outcome(measurement(tiny_run, **{"peak_host_memory_mb": 1024.0, **more})) == text


@pytest.mark.parametrize(("left", "started"), [(71.0, False), (75.0, True)])
def test_a_kind_is_started_where_it_fits_into_the_walltime(tiny_run, monkeypatch, left, started):
    """Before one was measured, 60 s are assumed, and a fifth more."""
    monkeypatch.setattr(command, "measure", lambda run, entry, **options: measurement(run))
    now = 1_000_000.0
    monkeypatch.setattr(command.time, "time", lambda: now)
    monkeypatch.setattr(command, "deadline", lambda site: SimpleNamespace(ends=now + left))
    expected = "measured" if started else "not started"
    assert list(probe(tiny_run, say=lambda text: None).values()) == [expected]


@pytest.mark.parametrize(
    ("statuses", "again"),
    [(["measured", "oom"], []), (["timeout", "lost"], [0, 1]), (["error", "measured"], [0])],
)
def test_missing_repeats_those_without_an_answer(tmp_path, write_grid, monkeypatch, statuses, again):
    run = two_kinds(tmp_path, write_grid)
    write_probe(run, *(measurement(run, place, status=status) for place, status in enumerate(statuses)))
    asked = []

    def fake(run, entry, **options):
        asked.append(entry.index - 1)
        return measurement(run, entry.index - 1)

    monkeypatch.setattr(command, "measure", fake)
    probe(run, missing=True, say=lambda text: None)
    assert asked == again


def test_the_exit_code_is_3_unless_every_kind_was_measured_or_ran_out_of_memory(
    tmp_path, write_grid, monkeypatch, capsys
):
    run = two_kinds(tmp_path, write_grid)
    status = {"4": "oom", "8": "measured"}

    def fake(run, entry, **options):
        return measurement(run, entry.index - 1, status=status[str(entry.point.settings["batch_size"])])

    monkeypatch.setattr(command, "measure", fake)
    assert command.main([str(run.paths.root)]) == 0
    assert f"{run.paths.probe}: 2 of 2 combinations measured" in capsys.readouterr().out
    status["4"] = "lost"
    assert command.main([str(run.paths.root)]) == 3
    shown = capsys.readouterr().out
    assert f"{run.paths.probe}: 1 of 2 combinations measured" in shown
    assert f"to measure them again: python -m jobs.probe --missing {run.paths.root}" in shown
