"""Faults on purpose: kills, fights, interruptions, a full disk, too little memory, signals, walltimes.

Short forms run in `make test`; `make test-faults` runs the long ones too.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest

from jobs.grid.config import load_config
from jobs.monitor.summary import collect
from jobs.point.status import read_result, read_status
from jobs.run.create import make_run
from jobs.run.index import Run
from tests.conftest import REPOSITORY

GRID = """
hyperparameters: {{architecture: [UNet], learning_rate: [{rates}], batch_size: [8]}}
seed: [{seeds}]
training: {{epochs: {epochs}, base_filters: 2, levels: 2, early_stopping_patience: null, deterministic: true}}
data: {{source: sample, patch_size: 32, sample_slices: 24, sample_size: 64, validation_fraction: 0.25, gap_slices: 2}}
site: {{heartbeat_seconds: 0.2}}
"""


def make(root: Path, *, rates=(0.001,), seeds=(1,), epochs=3) -> Run:
    grid = root.parent / f"{root.name}.yaml"
    text = GRID.format(
        rates=", ".join(map(repr, rates)),
        seeds=", ".join(map(str, seeds)),
        epochs=epochs,
    )
    grid.write_text(text)
    return make_run(load_config(grid), root, say=lambda text: None).run


def epoch_of(run, entry) -> int:
    """The last epoch that the point has recorded."""
    record = read_status(run, entry).record
    return 0 if record is None else record.epoch


def start(*arguments: str, **variables: str) -> subprocess.Popen:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PBS_")}
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**environment, "PYTHONUNBUFFERED": "1", **variables},
        # A shell's background job, as CI may be, ignores SIGINT, and so do its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def run_to_end(*arguments: str, timeout: float = 300, **variables: str) -> tuple[int, str]:
    process = start(*arguments, **variables)
    output, _ = process.communicate(timeout=timeout)
    return process.returncode, output


def trial(module: str, *arguments: object, timeout: float = 600) -> dict:
    answer = subprocess.run(
        [sys.executable, "-m", f"tests.faults.{module}", *map(str, arguments)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr[-3000:]
    found = json.loads(answer.stdout.splitlines()[-1])
    print(module, *arguments[1:], {key: value for key, value in found.items() if value != []})
    return found


def wait_for(process: subprocess.Popen, condition, limit: float = 120) -> None:
    deadline = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < deadline and process.poll() is None, process.communicate()[0]
        time.sleep(0.05)


# -- killed at every step of the way to disk -------------------------------------------------------------------


@pytest.mark.parametrize("trials", [30, pytest.param(600, marks=pytest.mark.faults)])
def test_a_kill_at_any_system_call_leaves_no_half_file_and_loses_no_result(tmp_path, trials):
    run = make(tmp_path / "run", seeds=range(trials + 1))
    found = trial("publish_trials", run.paths.root, trials, 7, timeout=900)
    assert found["trials"] == trials and found["killed"] >= 0.9 * trials
    assert {"open", "write", "fsync", "close", "replace", "link", "unlink"} <= set(found["kinds"])
    assert found["partial"] == [] and found["lost"] == [] and found["again"] == []
    if trials > found["calls"]:
        assert found["after_result"] > 0  # some died between their result and their end


@pytest.mark.parametrize(
    ("points", "seconds", "epochs"), [(6, 6, 15), pytest.param(20, 60, 60, marks=pytest.mark.faults)]
)
def test_of_processes_that_fight_and_are_killed_each_point_gets_exactly_one_result(
    tmp_path, points, seconds, epochs
):
    run = make(tmp_path / "run", rates=[number / 1000 for number in range(1, points + 1)], epochs=epochs)
    found = trial("fight", run.paths.root, 8, seconds, 11)
    assert found["results"] == {"done": points} and found["different_results"] == 1
    assert found["kills"] > seconds and found["failures"] == 0
    assert found["wrong"] == [] and found["quarantined"] == 0


# -- resumed exactly -------------------------------------------------------------------------------------------

PLACES = ("3", "8", "20", "33", "45", "11+9+13")  # batches; an epoch has 8


@pytest.mark.parametrize(
    ("architecture", "places"),
    [
        ("Attention_ResUNet", ("20", "11+9")),
        *(
            pytest.param(name, PLACES, marks=pytest.mark.faults)
            for name in ("UNet", "Attention_UNet", "Attention_ResUNet")
        ),
    ],
)
def test_a_resumed_training_equals_an_uninterrupted_one_to_the_bit(tmp_path, architecture, places):
    found = trial("resume_trials", tmp_path, architecture, *places)
    assert found["epochs"] >= 6 and len(found["learning_rates"]) > 1 and found["arrays"] > 30
    assert found["different"] == []
    assert found["20"] == [2] and found[places[-1]][0] == 1


def weights(run: Run, index: int) -> list[bytes]:
    model = keras.saving.load_model(run.point_paths(run.entry(index)).model, compile=False)
    return [array.tobytes() for array in model.get_weights()]


def history(run: Run, index: int) -> list[list[str]]:
    lines = run.point_paths(run.entry(index)).history.read_text().splitlines()
    return [line.rsplit(",", 1)[0] for line in lines]  # the last column is the clock's


@pytest.mark.faults
def test_a_point_killed_terminated_and_out_of_time_ends_as_one_that_was_left_alone(tmp_path):
    """Real processes, real signals, real files: the same run twice, one of them harmed four times."""
    left_alone, harmed = (make(tmp_path / name, epochs=120) for name in ("left_alone", "harmed"))
    code, output = run_to_end("run_point.py", str(left_alone.paths.root), "1")
    assert code == 0, output

    def epoch() -> int:
        return epoch_of(harmed, harmed.entry(1))

    arguments = "run_point.py", str(harmed.paths.root), "1"
    before = epoch()
    process = start(*arguments)
    wait_for(process, lambda: epoch() > before + 3)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(children[0]), signal.SIGKILL)
    process.communicate(timeout=60)
    assert process.returncode == 14 and read_status(harmed, harmed.entry(1)).state == "lost"

    before = epoch()
    process = start(*arguments)
    wait_for(process, lambda: epoch() > before + 3)
    process.terminate()
    process.communicate(timeout=10)
    assert process.returncode == 12 and read_status(harmed, harmed.entry(1)).state == "cancelled"

    process = start(*arguments)
    before = epoch()
    wait_for(process, lambda: epoch() > before + 3)
    process.kill()  # the parent alone: the kernel tells the child
    process.communicate(timeout=60)
    deadline = time.monotonic() + 30
    while read_status(harmed, harmed.entry(1)).state == "running" and time.monotonic() < deadline:
        time.sleep(0.1)
    assert read_status(harmed, harmed.entry(1)).state == "cancelled"

    started = time.time()
    code, output = run_to_end(*arguments, JOB_STARTED=str(int(started)), WALLTIME_SECONDS="16")
    assert code == 11 and time.time() - started < 16, output
    status = read_status(harmed, harmed.entry(1))
    assert status.state == "timeout" and "stopped in time, to be resumed" in status.reason

    code, output = run_to_end(*arguments)
    assert code == 0, output
    assert history(harmed, 1) == history(left_alone, 1)
    assert weights(harmed, 1) == weights(left_alone, 1)
    result = read_result(harmed, harmed.entry(1))
    assert len(result.resumed) == 4 and result.attempts == 5


# -- the walltime and signals ----------------------------------------------------------------------------------


def test_a_point_stops_in_time_before_its_walltime(tmp_path):
    run = make(tmp_path / "run", epochs=100)
    arguments = "-m", "tests.faults.one_point", str(run.paths.root), "1", "stand_in=0.05"
    began = time.time()
    code, output = run_to_end(*arguments, JOB_STARTED=str(began), WALLTIME_SECONDS="6", PBS_JOBID="7[1].x")
    assert code == 11 and time.time() - began < 6, output
    assert "an epoch takes" in read_status(run, run.entry(1)).reason
    assert collect(run).counts["timeout"] == 1


@pytest.mark.parametrize(("started", "code", "state"), [("", 12, "cancelled"), ("-60", 11, "timeout")])
def test_a_step_that_does_not_listen_to_sigterm_is_ended_and_classed_before_sigkill_comes(
    tmp_path, started, code, state
):
    run = make(tmp_path / "run", epochs=100)
    # So much is left that the point begins its second epoch on a slow machine, too.
    variables = {"JOB_STARTED": str(time.time() - 60), "WALLTIME_SECONDS": "75"} if started else {}
    arguments = (
        "-m",
        "tests.faults.one_point",
        str(run.paths.root),
        "1",
        "stand_in=0.3",
        "stuck=yes",
        "stop=2",
    )
    process = start(*arguments, **variables)
    wait_for(process, lambda: epoch_of(run, run.entry(1)))
    if started:
        time.sleep(max(0.0, float(variables["JOB_STARTED"]) + 74.5 - time.time()))
    else:
        time.sleep(1)
    began = time.monotonic()
    process.terminate()
    output, _ = process.communicate(timeout=10)
    assert time.monotonic() - began < 5
    status = read_status(run, run.entry(1))
    assert (process.returncode, status.state) == (code, state), output
    assert "in the middle of a step" in status.reason
    assert run.point_paths(run.entry(1)).checkpoint.exists()


def test_sigterm_ends_a_real_training_in_order(tmp_path):
    run = make(tmp_path / "run", epochs=500)
    process = start("run_point.py", str(run.paths.root), "1")
    wait_for(process, lambda: epoch_of(run, run.entry(1)) > 1)
    began = time.monotonic()
    process.terminate()
    output, _ = process.communicate(timeout=10)
    assert process.returncode == 12 and time.monotonic() - began < 8, output
    status = read_status(run, run.entry(1))
    assert status.state == "cancelled" and "to be resumed there" in status.reason
    assert run.point_paths(run.entry(1)).checkpoint.exists()


# -- two of them -----------------------------------------------------------------------------------------------


def test_a_second_copy_on_another_node_leaves_and_names_the_first(tmp_path):
    run = make(tmp_path / "run", epochs=100)
    first = start("-m", "tests.faults.one_point", str(run.paths.root), "1", "stand_in=0.05")
    wait_for(first, lambda: epoch_of(run, run.entry(1)))
    try:
        for other in ((), ("host=other",)):
            code, output = run_to_end(
                "-m", "tests.faults.one_point", str(run.paths.root), "1", "stand_in=0.05", *other
            )
            assert code == 15 and "is being trained by process" in output, output
    finally:
        first.terminate()
        first.communicate(timeout=20)
    assert read_status(run, run.entry(1)).state == "cancelled"


def test_a_paused_holder_that_was_taken_over_publishes_nothing(tmp_path):
    run = make(tmp_path / "run", epochs=12)
    first = start("-m", "tests.faults.one_point", str(run.paths.root), "1", "stand_in=0.05")
    wait_for(first, lambda: epoch_of(run, run.entry(1)) > 2)
    trainer = read_status(run, run.entry(1)).record.pid
    os.kill(trainer, signal.SIGSTOP)
    code, output = run_to_end(
        "-m", "tests.faults.one_point", str(run.paths.root), "1", "stand_in=0.05", "host=other"
    )
    assert code == 0 and "no heartbeat; taking over" in output, output
    published = run.point_paths(run.entry(1)).results.read_bytes()
    os.kill(trainer, signal.SIGCONT)
    output, _ = first.communicate(timeout=20)
    assert first.returncode == 15 and "was taken over by process" in output, output
    assert run.point_paths(run.entry(1)).results.read_bytes() == published
    result = read_result(run, run.entry(1))
    assert result.host == "other" and result.resumed[0].after_epoch >= 2
    log = run.point_paths(run.entry(1)).log.read_text()
    assert log.count(" epoch 12/12 ") == 1


# -- a full disk -----------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path):
    """A real file system of 2 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    answer = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)],
        capture_output=True,
        text=True,
        check=False,
    )
    if answer.returncode:
        pytest.skip(f"no file system can be mounted here: {answer.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def keep_full(place: Path, leave: int, process: subprocess.Popen) -> tuple[Path, str]:
    """Leave at most ``leave`` bytes free until the process ends; the file that fills the disk, and what was said.

    Filling once is not enough: a checkpoint that is being replaced has two files at that moment, and frees one later.
    """
    ballast = place / "ballast"
    with ballast.open("wb", buffering=0) as file:
        while process.poll() is None:
            with contextlib.suppress(OSError):
                while shutil.disk_usage(place).free > leave:
                    file.write(b"x" * 4096)
            time.sleep(0.002)
    return ballast, process.communicate(timeout=60)[0]


@pytest.mark.parametrize("leave", [0, 4096, 8192, 12288, 16384])
def test_a_full_disk_leaves_the_old_state_and_says_what_is_missing(small_disk, leave):
    run = make(small_disk / "run", rates=(0.001, 0.002), epochs=10)
    arguments = "-m", "tests.faults.one_point", str(run.paths.root)
    assert run_to_end(*arguments, "1", "stand_in=0")[0] == 0
    whole = run.point_paths(run.entry(1)).results.read_bytes()
    process = start(*arguments, "2", "stand_in=0.1")
    wait_for(process, lambda: epoch_of(run, run.entry(2)) > 2)
    ballast, output = keep_full(small_disk, leave, process)
    assert "No space left on device" in output and str(run.point_paths(run.entry(2)).folder) in output, output
    if process.returncode == 0:
        # There was room for the result and not for a picture, which withholds none.
        reason = read_result(run, run.entry(2)).reason
        assert (
            "_curves.png is missing (DiskFull" in reason or "_predictions.png is missing (DiskFull" in reason
        )
        return
    assert process.returncode == 13, output
    assert "are missing" in output or "are free" in output, output
    assert run.point_paths(run.entry(1)).results.read_bytes() == whole
    assert read_status(run, run.entry(2)).state in ("error", "lost")
    # One that begins on a full disk, too.
    code, output = run_to_end(*arguments, "2", "stand_in=0")
    assert code == 13 and "No space left on device" in output, output
    ballast.unlink()
    code, output = run_to_end(*arguments, "2", "stand_in=0")
    assert code == 0, output
    result = read_result(run, run.entry(2))
    assert result.resumed[0].after_epoch >= 2
    assert result.history == read_result(run, run.entry(1)).history


@pytest.mark.faults
def test_a_full_disk_stops_a_real_training_in_order(small_disk):
    run = make(small_disk / "run", epochs=60)
    process = start("run_point.py", str(run.paths.root), "1")
    wait_for(process, lambda: epoch_of(run, run.entry(1)) > 2)
    ballast, output = keep_full(small_disk, 8192, process)
    assert process.returncode == 13 and "No space left on device" in output, output
    ballast.unlink()
    code, output = run_to_end("run_point.py", str(run.paths.root), "1")
    assert code == 0 and "resumed after epoch" in output, output


# -- too little memory -----------------------------------------------------------------------------------------


LARGE = """
hyperparameters: {{architecture: [UNet], learning_rate: [0.001, 0.002], batch_size: [32]}}
training: {{epochs: 1, base_filters: 32, levels: 2, augment: false, validation_batch_size: 1}}
data: {{source: sample, patch_size: 128, sample_slices: 40, sample_size: 128, validation_fraction: 0.1, gap_slices: 1}}
site: {{heartbeat_seconds: 0.2, on_oom: {on_oom}}}
"""


@pytest.mark.skipif(
    not Path("/proc/self/statm").exists(), reason="no /proc here to read the memory in use from"
)
@pytest.mark.parametrize(
    ("on_oom", "megabytes"), [("skip", 1500), pytest.param("accumulate", 1500, marks=pytest.mark.faults)]
)
def test_memory_that_does_not_suffice_is_classed_or_met_with_smaller_parts(tmp_path, on_oom, megabytes):
    grid = tmp_path / "grid.yaml"
    grid.write_text(LARGE.format(on_oom=on_oom))
    run = make_run(load_config(grid), tmp_path / "run", say=lambda text: None).run
    arguments = "-m", "tests.faults.one_point", str(run.paths.root), "1", f"memory={megabytes}"
    code, output = run_to_end(*arguments)
    log = run.point_paths(run.entry(1)).log.read_text()
    assert "ResourceExhausted" in log  # the guide's grep
    collected = collect(run)
    if on_oom == "accumulate":
        assert code == 0, output
        result = read_result(run, run.entry(1))
        assert result.effective.gradient_accumulation_steps > 1
        assert result.effective.batch_shape[0] < 32
        assert "batch normalisation sees batches of" in result.reason
        return
    status = read_status(run, run.entry(1))
    assert code == 10 and status.state == "oom", output
    assert status.record.peak_memory_mb > 100
    assert collected.counts == {"oom": 1, "waiting": 1}
    row = run.paths.summary.read_text().splitlines()[1]
    assert ",oom," in row and str(status.record.peak_memory_mb) in row


def test_the_stand_in_resumes_as_the_real_training_must(tmp_path):
    """The trials rest on it: a checkpoint that is ignored or mixed up must show in its numbers."""
    from tests.faults import stand_in

    states = []
    options = {"accumulation": 1, "on_batch": int, "on_epoch": id, "say": id, "model_file": tmp_path / "m"}
    settings = {"epochs": 4, "learning_rate": 1}
    whole = stand_in.train(settings, None, resume=None, on_state=states.append, **options)
    again = stand_in.train(settings, None, resume=states[1], on_state=id, **options)
    assert again.history == whole.history and again.metrics == whole.metrics
    from dataclasses import replace

    mixed = replace(states[1], optimizer=states[0].optimizer)
    assert stand_in.train(settings, None, resume=mixed, on_state=id, **options).metrics != whole.metrics
    assert np.isfinite(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
