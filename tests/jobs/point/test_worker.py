"""The parent of a point's process classes what the process could not, and repeats what needs less memory."""

from __future__ import annotations

import faulthandler
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from jobs.common.records import write_record
from jobs.point import endings
from jobs.point.accumulation import may_accumulate, next_accumulation
from jobs.point.claim import claimed
from jobs.point.endings import class_of_exit, record_death
from jobs.point.memory import is_out_of_memory
from jobs.point.status import read_status
from jobs.point.worker import train_in_process
from tests.conftest import REPOSITORY
from tests.jobs.test_submit import give_result, give_state, run  # noqa: F401 - the fixture

# Python 3.12 warns of a fork where threads run: the other tests of this process have started TensorFlow's. In the
# product, the parent has none.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")


def dies(how):
    """The body of a point's process: claims the point, says that it runs, and does ``how``."""

    def body(root, index, parent, options):
        from pathlib import Path

        from jobs.run.index import read_run

        faulthandler.disable()  # the crash is meant
        one = read_run(Path(root))
        paths = one.point_paths(one.entry(index))
        with claimed(paths, say=lambda text: None) as held:
            write_record(paths.status, {"state": "running", "attempts": held.number, "pid": os.getpid()})
            paths.log.write_text(
                f"attempt {held.number}, process {os.getpid()} on here\nRESOURCE_EXHAUSTED: no\n"
            )
            how(held, paths)

    return body


def oom(held, paths):
    write_record(
        paths.status,
        {"state": "oom", "attempts": held.number, "pid": os.getpid(), "accumulation": 2 ** (held.number - 1)},
    )
    os._exit(10)


def train(run, how, index=1):  # noqa: F811
    code = train_in_process(run, run.entry(index), target=dies(how), tell=lambda text: None, method="fork")
    return code, read_status(run, run.entry(index))


def test_kill_9_is_lost_to_be_run_again_unless_the_kernel_did_it_for_memory(run, monkeypatch):  # noqa: F811
    def kill(held, paths):
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr("jobs.point.worker.oom_kills", lambda: 5)
    monkeypatch.setattr(endings, "oom_kills", lambda: 5)
    assert class_of_exit(-9, 5)[0] == "lost" and class_of_exit(-9, 4)[0] == "oom"
    assert class_of_exit(-9, None)[0] == "oom"  # where the kernel does not tell, as it used to be called
    code, status = train(run, kill)
    assert (code, status.state, status.attempts) == (14, "lost", 1) and "signal 9" in status.reason


def test_a_kernel_that_kills_for_memory_is_seen_from_outside(run, monkeypatch):  # noqa: F811
    counts = iter([5, 6])
    monkeypatch.setattr("jobs.point.worker.oom_kills", lambda: next(counts))
    monkeypatch.setattr(endings, "oom_kills", lambda: next(counts))
    code, status = train(run, lambda held, paths: os.kill(os.getpid(), signal.SIGKILL))
    assert (code, status.state) == (10, "oom") and "killed by the kernel" in status.reason
    assert "ResourceExhausted" in run.point_paths(run.entry(1)).log.read_text()  # the guide's grep


def test_a_crash_after_the_allocator_gave_up_is_out_of_memory(run):  # noqa: F811
    code, status = train(run, lambda held, paths: os.kill(os.getpid(), signal.SIGSEGV))
    assert (code, status.state) == (10, "oom") and "RESOURCE_EXHAUSTED" in status.reason

    def crash(held, paths):
        paths.log.write_text("nothing of memory\n")
        os.kill(os.getpid(), signal.SIGSEGV)

    code, status = train(run, crash)
    assert (code, status.state, status.attempts) == (13, "error", 2) and "SIGSEGV" in status.reason


def test_another_process_is_never_classed_by_the_end_of_this_one(run):  # noqa: F811
    entry = run.entry(1)
    paths = run.point_paths(entry)
    with claimed(paths):
        record_death(run, entry, 99, -9)
        assert not paths.status.exists()
    give_result(run, 1)
    record_death(run, entry, os.getpid(), -9)
    assert read_status(run, entry).state == "done"


def test_memory_that_does_not_suffice_is_skipped_by_default(run):  # noqa: F811
    code, status = train(run, oom)
    assert (code, status.state, status.attempts) == (10, "oom", 1)


def test_with_accumulation_fresh_processes_follow_until_a_part_is_one_sample(run):  # noqa: F811
    run = replace(run, site={**run.site, "on_oom": "accumulate"})
    code, status = train(run, oom, index=3)
    assert (code, status.state, status.attempts) == (10, "oom", 4)  # batches of 8: 1, 2, 4, 8 parts
    assert status.record.accumulation == 8
    assert not may_accumulate(run, run.entry(3), status)


@pytest.mark.parametrize(
    ("batch", "parts", "following"), [(8, 1, 2), (12, 2, 3), (7, 1, 7), (8, 8, None), (1, 1, None)]
)
def test_a_batch_is_cut_into_equal_parts(batch, parts, following):
    assert next_accumulation(batch, parts) == following


def test_a_full_disk_is_no_lack_of_memory():
    full = OSError(28, "No space left on device")
    assert not is_out_of_memory(full)
    assert not is_out_of_memory(RuntimeError("ResourceExhausted: /x: No space left on device"))
    assert is_out_of_memory(MemoryError())


def test_a_signal_to_the_parent_reaches_the_child_and_is_never_lost(run):  # noqa: F811
    code = (
        "import sys; from pathlib import Path; from jobs.run.index import read_run; from jobs.point.worker import train_in_process\n"
        "from tests.jobs.point.test_worker import dies; import time\n"
        "def wait(held, paths):\n    paths.log.write_text('ready'); time.sleep(60)\n"
        "run = read_run(Path(sys.argv[1]))\n"
        "sys.exit(train_in_process(run, run.entry(1), target=dies(wait)))"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(run.paths.root)], cwd=REPOSITORY)
    log = run.point_paths(run.entry(1)).log
    deadline = time.monotonic() + 30
    while not (log.exists() and log.read_text() == "ready"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.terminate()
    assert process.wait(timeout=20) == 12
    assert read_status(run, run.entry(1)).state == "cancelled"


def test_what_another_attempt_said_of_its_end_stands(run):  # noqa: F811
    give_state(run, 1, "timeout", pid=99)
    record_death(run, run.entry(1), 99, 11)
    assert read_status(run, run.entry(1)).state == "timeout"


@pytest.mark.parametrize("index", [3])
def test_training_again_accumulates_and_is_classed_as_any_other_attempt(run, index):  # noqa: F811
    run = replace(run, site={**run.site, "on_oom": "accumulate"})
    give_result(run, index)
    code, status = train(run, oom, index=index)
    assert code == 10 and status.state == "done"  # the old result stands
    assert status.record.accumulation == 8 and status.record.state == "oom"
    code, status = train(run, lambda held, paths: os.kill(os.getpid(), signal.SIGSEGV), index=index)
    assert status.state == "done" and status.record.attempts == 5
    assert "SIGSEGV" in status.record.reason


@pytest.mark.parametrize(
    ("code", "state"), [(10, "oom"), (11, "timeout"), (12, "cancelled"), (14, "lost"), (7, "error")]
)
def test_an_end_that_could_not_be_recorded_keeps_its_class(code, state):
    assert class_of_exit(code, None)[0] == state
