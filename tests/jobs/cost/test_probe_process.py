"""The process of a probe: every way in which it ends has a status, and nothing of it is left."""

from __future__ import annotations

import os
import signal
import time

import pytest

from jobs.cost import probe_process, probe_training
from jobs.cost.measurements import read_probe
from jobs.cost.probe_process import gpu_memory_mb, measure
from jobs.point.gpu_check import NoGpuError
from jobs.run.index import read_run
from tests.jobs.cost.builders import write_probe


def _reporter(order, connection):
    return probe_training.Reporter(read_run(order.root).entry(order.index), connection)


def _stuck(order, connection):
    _reporter(order, connection).update(device="GPU of a test", startup={"import": 1.0})
    time.sleep(600)


def _killed(order, connection):
    _reporter(order, connection).update(peak_host_memory_mb=12.0)
    os.kill(os.getpid(), signal.SIGKILL)


def _no_memory(order, connection):
    def run_out(run, entry, order, reporter):
        reporter.update(startup={"import": 1.0})
        raise MemoryError("OOM when allocating tensor")

    probe_training.train_shortly = run_out
    probe_training.work(order, connection)


@pytest.mark.parametrize(
    ("target", "limit", "statuses", "words"),
    [
        (_stuck, 1.0, {"timeout"}, "took more than 1 s"),
        (_killed, 60.0, {"oom", "lost"}, "signal 9"),
        (_no_memory, 60.0, {"oom"}, "MemoryError"),
    ],
)
def test_each_way_to_fail_has_its_status_and_leaves_nothing_behind(tiny_run, target, limit, statuses, words):
    tiny_run.paths.logs.mkdir(exist_ok=True)
    found = measure(tiny_run, tiny_run.entries[0], limit=limit, target=target)
    assert found.status in statuses and words in found.reason
    assert not tiny_run.paths.probe_scratch.exists()
    write_probe(tiny_run, found)
    (measured,) = read_probe(tiny_run).values()
    assert measured.status == found.status and measured.step_seconds is None


def _finished(order, connection):
    reporter = _reporter(order, connection)
    reporter.update(device="CPU", step_seconds=0.5, validation_seconds=0.25)
    reporter.end(status="measured")


def _unfinished(order, connection):
    _reporter(order, connection).update(step_seconds=0.5, validation_seconds=0.25)
    os._exit(7)


def test_what_the_process_sent_last_is_recorded_with_where_and_when(tiny_run, monkeypatch):
    monkeypatch.setenv("PBS_JOBID", "7.server")
    found = measure(tiny_run, tiny_run.entries[0], threads=2, target=_finished)
    assert (found.status, found.step_seconds, found.validation_seconds) == ("measured", 0.5, 0.25)
    assert (found.threads, found.job_id, found.device, found.gpu_memory_mb) == (2, "7.server", "CPU", None)
    assert found.host == probe_process.host_name() and found.packages["msgspec"] and found.made
    assert found.point == tiny_run.entries[0].name


def test_a_process_that_ends_without_its_last_word_is_an_error_whatever_it_sent(tiny_run):
    found = measure(tiny_run, tiny_run.entries[0], target=_unfinished)
    assert (found.status, found.step_seconds) == ("error", 0.5)
    assert found.reason == f"the process ended with exit code 7; see {tiny_run.paths.probe_log}"


def _without_gpu(order, connection):
    def refuse(run, entry, order, reporter):
        reporter.update(startup={"import": 1.0})
        raise NoGpuError("TensorFlow sees no GPU, although the job asked for 1")

    probe_training.train_shortly = refuse
    probe_training.work(order, connection)


def test_where_the_gpu_of_the_job_is_missing_nothing_is_measured(tiny_run):
    tiny_run.paths.logs.mkdir(exist_ok=True)
    with pytest.raises(NoGpuError, match="^TensorFlow sees no GPU") as caught:
        measure(tiny_run, tiny_run.entries[0], target=_without_gpu)
    assert caught.value.exit_code == 3
    assert "TensorFlow sees no GPU" in tiny_run.paths.probe_log.read_text()


def _interrupting(order, connection):
    (order.root / "pid").write_text(str(os.getpid()))
    time.sleep(0.5)  # the parent is waiting for an answer by then
    os.kill(order.parent, signal.SIGUSR1)
    time.sleep(600)


def test_an_interruption_ends_the_process_of_the_probe(tiny_run):
    def interrupt(number, frame):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            measure(tiny_run, tiny_run.entries[0], target=_interrupting)
    finally:
        signal.signal(signal.SIGUSR1, before)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tiny_run.paths.root / "pid").read_text()), 0)
    assert not tiny_run.paths.probe_scratch.exists()


def test_the_memory_of_the_gpu_in_use_is_that_of_the_driver(tmp_path, monkeypatch):
    smi = tmp_path / "nvidia-smi"
    smi.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\necho 46068\necho 81559\n')
    smi.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a")
    assert gpu_memory_mb("NVIDIA A40") == 46068.0
    assert "-i GPU-a --query-gpu=memory.total" in (tmp_path / "asked").read_text()
    assert gpu_memory_mb("CPU") is None
    smi.write_text("#!/bin/sh\necho '[N/A]'\n")
    assert gpu_memory_mb("NVIDIA A40") is None
    assert gpu_memory_mb("") is None
