"""A point's life: it publishes once, says what became of it, and harms nothing else."""

from __future__ import annotations

import csv
import os
import signal
import socket
import subprocess
import sys
import time

import keras
import pytest
from filelock import FileLock

from jobs.common.errors import UserError
from jobs.common.records import read_record, write_record
from jobs.common.states import STATES
from jobs.monitor.summary import collect
from jobs.point import attempt, termination
from jobs.point.attempt import run_point
from jobs.point.claim import BusyError
from jobs.point.endings import record_death
from jobs.point.status import read_status
from tests.conftest import REPOSITORY
from tests.unet_models.data.builders import write_first_version
from unet_models.training import training


def quiet(run, entry):
    return run_point(run, entry, echo=False, tell=lambda text: None)


def test_a_point_leaves_everything_the_guide_promises(tiny_run, capfd):
    entry = tiny_run.entries[1]
    assert run_point(tiny_run, entry) == "done"
    paths = tiny_run.point_paths(entry)
    result = read_record(paths.results)
    assert result["status"] == "done" and result["effective"]["learning_rate"] == 5e-3
    assert set(result["startup"]) == {"import", "data", "build", "first_step"} and result["gpu"] is None
    assert all(seconds >= 0 for seconds in result["startup"].values())
    assert result["metrics"]["best_val_jaccard"] == max(row["val_jaccard"] for row in result["history"])
    with paths.history.open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert [float(row["val_jaccard"]) for row in rows] == [row["val_jaccard"] for row in result["history"]]
    assert {row["learning_rate"] for row in rows} == {"0.005"}
    log = paths.log.read_text()
    assert log.count("epoch 1/2 loss") == 1 and "\r" not in log and "read back: UNet" in log
    assert "epoch 2/2 loss" in capfd.readouterr().out
    for picture in (paths.curves, paths.predictions):
        assert picture.read_bytes().startswith(b"\x89PNG")
    assert (
        keras.saving.load_model(paths.model, compile=False).count_params()
        == result["effective"]["parameters"]
    )
    assert not [path for path in paths.folder.iterdir() if "tmp" in path.name]
    assert read_status(tiny_run, entry).state == "done"

    before = paths.results.stat().st_mtime_ns
    assert quiet(tiny_run, entry) == "done"
    assert paths.results.stat().st_mtime_ns == before and paths.log.read_text() == log


def failing(monkeypatch, error):
    def train(*arguments, **options):
        print("a line of the training")
        raise error

    monkeypatch.setattr(training, "train", train)
    monkeypatch.setattr(training, "prepare_process", lambda *arguments, **options: None)


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (ValueError("odd shape"), "error"),
        (MemoryError(), "oom"),
        (RuntimeError("OOM when allocating tensor with shape[8,64]"), "oom"),
        (RuntimeError("ResourceExhaustedError: failed"), "oom"),
        (RuntimeError("ResourceExhaustedError: /x: No space left on device"), "error"),
        (termination.Cancelled("SIGTERM"), "cancelled"),
        (training.ReadBackError("learning_rate: received 0.001"), "error"),
    ],
)
def test_whatever_goes_wrong_is_classed_logged_and_kept(tiny_run, monkeypatch, error, state):
    failing(monkeypatch, error)
    entry = tiny_run.entries[0]
    assert quiet(tiny_run, entry) == state
    status = read_status(tiny_run, entry)
    assert (status.state, status.attempts, status.result) == (state, 1, None)
    log = tiny_run.point_paths(entry).log.read_text()
    assert "a line of the training" in log
    if state == "error":
        assert str(error) in status.reason and "Traceback" in log
    if state == "oom":
        assert "ResourceExhausted" in log  # what the guide's grep looks for
    assert quiet(tiny_run, entry) == state
    assert read_status(tiny_run, entry).attempts == 2


def test_sigterm_ends_a_training_as_cancelled(tiny_run, monkeypatch):
    failing(monkeypatch, None)
    monkeypatch.setattr(training, "train", lambda *a, **o: os.kill(os.getpid(), signal.SIGTERM))
    before = signal.getsignal(signal.SIGTERM)
    assert quiet(tiny_run, tiny_run.entries[0]) == "cancelled"
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(
    ("ago", "limit", "state"),
    [(3601, "3600", "timeout"), (60, "3600", "cancelled"), (14401, "", "timeout"), (60, "", "cancelled")],
)
def test_sigterm_at_the_walltime_is_a_timeout(tiny_run, monkeypatch, ago, limit, state):
    monkeypatch.setenv("JOB_STARTED", str(int(time.time()) - ago))
    monkeypatch.setenv("WALLTIME_SECONDS", limit)  # empty: the site block's four hours
    monkeypatch.setattr(training, "train", lambda *a, **o: os.kill(os.getpid(), signal.SIGTERM))
    assert run_point(tiny_run, tiny_run.entry(1), echo=False) == state
    assert read_status(tiny_run, tiny_run.entry(1)).state == state


def test_a_finished_point_is_trained_again_only_if_told_and_keeps_its_result_until_then(
    tiny_run, monkeypatch
):
    entry = tiny_run.entry(1)
    paths = tiny_run.point_paths(entry)
    paths.state.mkdir(parents=True)
    write_record(paths.results, {"key": entry.key, "status": "done", "metrics": {}})
    before = paths.results.read_bytes()
    calls = []

    def fail(*arguments, **options):
        calls.append(1)
        raise ValueError("this time it fails")

    monkeypatch.setattr(training, "train", fail)
    assert run_point(tiny_run, entry, echo=False, tell=lambda text: None) == "done" and not calls
    assert run_point(tiny_run, entry, echo=False, again=True) == "error" and calls
    assert paths.results.read_bytes() == before
    assert read_status(tiny_run, entry).state == "done"


def test_divergence_is_a_result_with_its_history(tiny_run, monkeypatch):
    monkeypatch.setattr(
        "unet_models.training.model.build_loss",
        lambda settings: lambda truth, found: keras.ops.log(-1.0 - found),
    )
    entry = tiny_run.entries[0]
    assert quiet(tiny_run, entry) == "diverged"
    status = read_status(tiny_run, entry)
    assert status.result is not None and "nan" in status.reason
    assert not tiny_run.point_paths(entry).model.exists()
    assert STATES["diverged"].exit_code == 0


def test_a_second_copy_leaves_at_once_and_names_the_first(tiny_run, monkeypatch):
    failing(monkeypatch, ValueError("must not be reached"))
    entry = tiny_run.entries[0]
    paths = tiny_run.point_paths(entry)
    paths.claims.mkdir(parents=True)
    write_record(paths.claim(1), {"pid": 4711, "host": "node7", "started": "now"})
    with (
        FileLock(paths.lock),
        pytest.raises(BusyError, match="exp_01_.* is being trained by process 4711 on node7"),
    ):
        quiet(tiny_run, entry)
    assert read_status(tiny_run, entry).state == "running"


def test_other_data_in_the_packed_file_stop_the_point(tiny_run, tmp_path):
    from unet_models.data.packing import read_packed

    packed = read_packed(tiny_run.paths.data)
    write_first_version(tiny_run.paths.root / "data.npz", packed, masks=~packed.masks)
    assert quiet(tiny_run, tiny_run.entries[0]) == "error"
    assert "expected " + tiny_run.fingerprint in read_status(tiny_run, tiny_run.entries[0]).reason


def test_a_damaged_file_of_the_pack_stops_the_point_before_it_has_a_result(tiny_run):
    path = tiny_run.paths.data / "validation_images.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    entry = tiny_run.entries[0]
    assert quiet(tiny_run, entry) == "error"
    assert "validation_images.npy is damaged in chunk 0 of 1" in read_status(tiny_run, entry).reason
    paths = tiny_run.point_paths(entry)
    assert not paths.results.exists() and not paths.model.exists()


def test_a_dead_process_makes_its_point_lost(tiny_run):
    entry = tiny_run.entries[0]
    paths = tiny_run.point_paths(entry)
    paths.state.mkdir(parents=True)
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    process.wait()
    record = {"state": "running", "pid": process.pid, "host": socket.gethostname(), "attempts": 1}
    write_record(paths.status, record)
    assert read_status(tiny_run, entry).state == "lost"
    write_record(paths.status, {**record, "host": "elsewhere"})
    assert read_status(tiny_run, entry).state == "running"


@pytest.mark.parametrize(
    ("code", "state", "words"),
    [
        (-9, "oom", "signal 9"),
        (-11, "error", "SIGSEGV"),
        (-15, "cancelled", "SIGTERM"),
        (7, "error", "exit code 7"),
    ],
)
def test_a_death_without_a_word_is_classed_from_outside(tiny_run, code, state, words):
    entry = tiny_run.entries[0]
    record_death(tiny_run, entry, 99, code)
    status = read_status(tiny_run, entry)
    assert status.state == "waiting" if code == 0 else status.state == state and words in status.reason


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b"\xff\xfe", b'{"schema": 1, "state": "done"}'])
def test_damaged_files_never_crash_a_reader(tiny_run, content):
    entry = tiny_run.entries[0]
    paths = tiny_run.point_paths(entry)
    paths.state.mkdir(parents=True)
    paths.status.write_bytes(content)
    assert read_status(tiny_run, entry).state == "lost"
    paths.results.write_bytes(content)
    assert read_status(tiny_run, entry).state == "lost"
    assert collect(tiny_run).counts == {"lost": 1, "waiting": 1}


@pytest.mark.parametrize("odd", [None, 3, [], {}, "finished", "waiting"])
def test_records_of_unexpected_types_never_crash_a_reader(tiny_run, odd):
    entry = tiny_run.entries[0]
    paths = tiny_run.point_paths(entry)
    paths.state.mkdir(parents=True)
    write_record(paths.status, {"state": odd, "reason": odd, "attempts": odd, "host": odd, "pid": odd})
    assert read_status(tiny_run, entry).state in ("lost", "waiting")
    write_record(paths.results, {"key": entry.key, "status": odd})
    assert read_status(tiny_run, entry).state == "lost"
    assert collect(tiny_run).total == 2


def test_a_result_of_another_point_is_not_taken(tiny_run):
    entry = tiny_run.entries[0]
    paths = tiny_run.point_paths(entry)
    paths.state.mkdir(parents=True)
    write_record(paths.results, {"key": tiny_run.entries[1].key, "status": "done", "metrics": {}})
    status = read_status(tiny_run, entry)
    assert status.state == "lost" and "expected " + entry.key in status.reason


def test_an_index_beyond_the_grid_names_the_range(tiny_run):
    with pytest.raises(UserError, match="has no point 3; expected an index from 1 to 2"):
        tiny_run.entry(3)


def test_nothing_at_the_prompt_imports_tensorflow():
    code = "import sys, make_grid, collect, run_point, jobs.local; print('tensorflow' in sys.modules)"
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "False"


def test_a_signal_before_the_training_begins_is_no_error(tiny_run, monkeypatch):
    def signalled(*arguments):
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(attempt, "why_not_to_start", signalled)
    assert quiet(tiny_run, tiny_run.entry(1)) == "cancelled"
    assert read_status(tiny_run, tiny_run.entry(1)).state == "cancelled"


def test_a_result_that_cannot_be_read_now_is_not_trained_over(tiny_run, monkeypatch):
    failing(monkeypatch, ValueError("must not be reached"))
    paths = tiny_run.point_paths(tiny_run.entry(1))
    paths.results.mkdir(parents=True)
    with pytest.raises(UserError, match="cannot be read.*nothing was trained"):
        quiet(tiny_run, tiny_run.entry(1))
    assert paths.results.is_dir() and not paths.status.exists()


def test_only_the_checkpoint_of_the_published_training_is_discarded(tiny_run):
    entry = tiny_run.entry(1)
    paths = tiny_run.point_paths(entry)
    paths.state.mkdir(parents=True)
    write_record(paths.results, {"key": entry.key, "status": "done", "metrics": {}, "lineage": "one"})
    for lineage, kept in (("another", True), ("one", False)):
        write_record(paths.checkpoint, {"key": entry.key, "lineage": lineage})
        assert quiet(tiny_run, entry) == "done"
        assert paths.checkpoint.exists() is kept


def test_a_driver_that_fails_after_memory_did_not_suffice_changes_nothing(tiny_run, monkeypatch):
    failing(monkeypatch, MemoryError())

    def gone():
        raise KeyError("the driver is gone")

    monkeypatch.setattr(training, "hardware", gone)
    assert quiet(tiny_run, tiny_run.entry(1)) == "oom"
