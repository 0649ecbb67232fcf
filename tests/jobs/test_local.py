"""The local run: a process a point, no fault spreads, Ctrl-C loses nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from jobs import local as local_run
from jobs.common.errors import UserError
from jobs.common.records import write_record
from jobs.local import Slot, TimeLeft, choose, share_out
from jobs.point.status import read_status
from tests.conftest import REPOSITORY


def local(run, *arguments, variables=(), **options):
    return subprocess.Popen(
        [sys.executable, "-m", "jobs.local", str(run.paths.root), *arguments],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1", **dict(variables)},
        **options,
    )


@pytest.mark.parametrize(
    ("workers", "cores", "gpus", "slots"),
    [
        (None, 1, [], [Slot(1)]),
        (None, 8, [], [Slot(2)] * 4),
        (3, 8, [], [Slot(3), Slot(3), Slot(2)]),
        (4, 2, [], [Slot(1)] * 4),
        (None, 8, ["0", "1"], [Slot(4, "0"), Slot(4, "1")]),
        (3, 9, ["GPU-a", "GPU-b"], [Slot(3, "GPU-a"), Slot(3, "GPU-b"), Slot(3, "GPU-a")]),
    ],
)
def test_cores_and_gpus_are_shared_out(workers, cores, gpus, slots):
    assert share_out(workers, cores, gpus) == slots


def test_a_fork_server_that_has_died_is_one_sentence(tiny_run):
    """As where TensorFlow was built for another processor."""

    class Process:
        def start(self):
            raise EOFError("unexpected EOF")

    with pytest.raises(
        UserError, match="has ended .unexpected EOF.; what it printed is in .* -m jobs.verify"
    ):
        local_run._start(Process(), tiny_run)


def test_points_to_run_again_are_chosen_by_their_state(tiny_run):
    first = tiny_run.point_paths(tiny_run.entries[0])
    first.state.mkdir(parents=True)

    def chosen(indices=None):
        return [entry.index for entry in choose(tiny_run, indices)[0]]

    assert chosen() == [1, 2]
    for state, by_default in (("cancelled", True), ("error", True), ("oom", False), ("running", False)):
        write_record(first.status, {"state": state, "host": "elsewhere", "pid": 1})
        assert (1 in chosen()) is by_default
    write_record(first.status, {"state": "oom"})
    assert chosen("1") == [1]  # asked for by name
    write_record(first.results, {"key": tiny_run.entries[0].key, "status": "done"})
    assert chosen("1-2") == [2]


def test_a_crash_of_one_point_leaves_the_others_alone_and_finished_points_are_skipped(tiny_run):
    """Point 1's history cannot be written: it fails, its neighbour is trained; a repeat trains only point 1."""
    blocked = tiny_run.point_paths(tiny_run.entries[0]).history
    blocked.mkdir(parents=True)
    process = local(tiny_run, "--workers", "2")
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 3, output
    states = [read_status(tiny_run, entry).state for entry in tiny_run.entries]
    assert states == ["error", "done"]
    assert "IsADirectoryError" in output and "[2/2]" in output and "some points have no result" in output

    blocked.rmdir()
    process = local(tiny_run)
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    assert "skipped: 1 done" in output and "1 point to train" in output
    assert [read_status(tiny_run, entry).state for entry in tiny_run.entries] == ["done", "done"]


def test_a_gpu_that_tensorflow_does_not_see_is_reported_once_and_the_points_are_trained(tiny_run):
    """Also inside a job: a local run asks PBS for nothing."""
    process = local(tiny_run, variables={"CUDA_VISIBLE_DEVICES": "0", "PBS_JOBID": "5.x"})
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    assert "2 points to train, 1 at a time, on 1 GPU; data: " in output
    (note,) = [line for line in output.splitlines() if line.startswith("note: ")]
    assert note.startswith("note: the points train on the CPU: TensorFlow sees no GPU. ")
    assert "tensorflow-cpu" in note and "allow_cpu" not in note


def test_ctrl_c_stops_in_order_and_says_how_to_go_on(tiny_run):
    # A shell's background job, as CI may be, ignores SIGINT, and so do its children.
    process = local(
        tiny_run,
        "--workers",
        "1",
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    log = tiny_run.point_paths(tiny_run.entries[0]).log
    deadline = time.monotonic() + 120
    while not (log.exists() and "read back" in log.read_text()):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to every process of the group
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert "interrupted; nothing is lost. To continue: python -m jobs.local" in output
    first, second = (read_status(tiny_run, entry) for entry in tiny_run.entries)
    assert first.state in ("cancelled", "done"), (first, log.read_text())
    assert second.state == "waiting"
    assert [entry.index for entry in choose(tiny_run, None)[0]][-1] == 2


def test_the_time_left_follows_the_mean_rate_not_the_last_burst(monkeypatch):
    clock = iter([0.0, 20.0, 20.0])
    monkeypatch.setattr(local_run.time, "monotonic", lambda: next(clock))
    estimate = TimeLeft(6)
    assert estimate.left() == ""
    estimate.add()
    estimate.add()  # two at once
    assert estimate.left() == "about 40 s left"


def test_nothing_to_train_ends_at_once_and_tells_whether_all_have_results(tiny_run, capsys):
    for entry, status in zip(tiny_run.entries, ("done", "diverged"), strict=True):
        paths = tiny_run.point_paths(entry)
        paths.state.mkdir(parents=True)
        write_record(paths.results, {"key": entry.key, "status": status})
    assert local_run.main([str(tiny_run.paths.root)]) == 0
    assert "skipped: 1 done, 1 diverged" in capsys.readouterr().out
    paths.results.unlink()
    write_record(paths.status, {"state": "oom"})
    assert local_run.main([str(tiny_run.paths.root)]) == 3


def test_bad_arguments_are_refused(tiny_run, capsys):
    from jobs.local import main

    assert main([str(tiny_run.paths.root), "--workers", "0"]) == 2
    assert main([str(tiny_run.paths.root), "--indices", "9"]) == 2
    assert main(["/nonexistent"]) == 2
    errors = capsys.readouterr().err
    assert "--workers: received 0" in errors and "has no point 9" in errors and "is not a folder" in errors


def test_the_longest_points_begin_first(tiny_run, monkeypatch, capsys):
    begun = []
    monkeypatch.setattr(local_run, "longest_first", lambda run, entries: list(reversed(entries)))

    def not_now(run, entries, slots, display):
        begun.extend(entry.index for entry in entries)
        return True

    monkeypatch.setattr(local_run, "run_local", not_now)
    local_run.main([str(tiny_run.paths.root)])
    assert begun == [2, 1]
