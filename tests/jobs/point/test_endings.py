"""The class of an end from outside: each exit code and signal, and evidence only of the process that ended."""

from __future__ import annotations

import signal

import pytest

from jobs.common.records import read, write
from jobs.common.schema import ClaimRecord, PointRecord
from jobs.point import endings
from jobs.point.endings import Ending, class_of_exit, record_death
from jobs.point.memory import sign_in_log
from jobs.point.status import read_status
from tests.jobs.test_submit import give_result, give_state, run  # noqa: F401 - the fixture


@pytest.fixture
def claimed_point(run):  # noqa: F811
    entry = run.entry(1)
    paths = run.point_paths(entry)
    paths.claims.mkdir(parents=True)
    write(paths.claim(1), ClaimRecord(host="here", pid=77))
    return entry, paths


@pytest.mark.parametrize(
    ("code", "before", "now", "expected"),
    [
        (-9, 4, 5, ("oom", "killed by the kernel (signal 9): the host's memory was used up")),
        (-9, 5, 5, ("lost", "killed by signal 9, and not by the kernel for memory")),
        (-9, None, 5, ("oom", "killed by signal 9, as the kernel does when the host's memory is used up")),
        (-9, 5, None, ("oom", "killed by signal 9, as the kernel does when the host's memory is used up")),
        (-15, 0, 0, ("cancelled", "stopped by SIGTERM")),
        (-11, 0, 0, ("error", "ended by signal 11 (SIGSEGV)")),
        (-200, 0, 0, ("error", "ended by signal 200 (unknown)")),
        (1, 0, 0, ("error", "the process ended with exit code 1")),
        (10, 0, 0, ("oom", "its own record could not be written")),
        (11, 0, 0, ("timeout", "its own record could not be written")),
        (14, 0, 0, ("lost", "its own record could not be written")),
    ],
)
def test_each_exit_code_has_its_class_and_reason(monkeypatch, code, before, now, expected):
    monkeypatch.setattr(endings, "oom_kills", lambda: now)
    assert class_of_exit(code, before) == expected


def test_a_sign_of_used_up_memory_counts_only_where_the_ended_process_wrote_it(claimed_point):
    _, paths = claimed_point
    paths.log.write_text(
        "exp: attempt 1, process 70 on here\nbad_alloc\nexp: attempt 2, process 77 on here\nfine\n"
    )
    assert sign_in_log(paths.log, 77) is None
    assert sign_in_log(paths.log, 70) == "bad_alloc"


@pytest.mark.parametrize(
    ("writer", "state", "reason"),
    [
        (77, "oom", "ended by signal 11 (SIGSEGV) after: std::bad_alloc"),
        (70, "error", "ended by signal 11 (SIGSEGV)"),
    ],
)
def test_a_crash_is_oom_only_after_its_own_allocator_failed(run, claimed_point, writer, state, reason):  # noqa: F811
    entry, paths = claimed_point
    rest = "" if writer == 77 else "exp: attempt 2, process 77 on here\n"
    paths.log.write_text(f"exp: attempt 1, process {writer} on here\nstd::bad_alloc\n{rest}")
    record_death(run, entry, 77, -signal.SIGSEGV)
    record = read(paths.status, PointRecord)
    assert (record.state, record.reason, record.attempts, record.pid) == (state, reason, 1, 77)
    assert ("ResourceExhausted: " in paths.log.read_text()) == (state == "oom")


def test_the_peak_of_a_dead_process_and_what_it_had_recorded_are_kept(run, claimed_point):  # noqa: F811
    entry, paths = claimed_point
    give_state(run, 1, "running", pid=77, epoch=7, accumulation=4)
    record_death(run, entry, 77, -9, ended=Ending("cancelled", "stopped"), peak_mb=123.5)
    record = read(paths.status, PointRecord)
    assert (record.state, record.reason, record.peak_memory_mb) == ("cancelled", "stopped", 123.5)
    assert (record.epoch, record.accumulation, record.host) != (7, 4, "node1") and record.epoch == 7


@pytest.mark.parametrize("code", [None, 0, 15])
def test_an_orderly_end_and_a_busy_point_change_nothing(run, claimed_point, code):  # noqa: F811
    entry, paths = claimed_point
    record_death(run, entry, 77, code)
    assert not paths.status.exists()


def test_the_claim_of_another_process_and_a_result_change_nothing(run, claimed_point):  # noqa: F811
    entry, paths = claimed_point
    record_death(run, entry, 78, 1)
    assert not paths.status.exists()
    give_result(run, 1)
    write(paths.claim(1), ClaimRecord(pid=77))
    give_state(run, 1, "timeout", pid=77)
    record_death(run, entry, 77, 1)
    assert read(paths.status, PointRecord).state == "timeout" and read_status(run, entry).state == "done"


def test_a_process_that_ended_with_an_error_is_explained_by_its_last_line(run, claimed_point):  # noqa: F811
    entry, paths = claimed_point
    paths.log.write_text("exp: attempt 1, process 77 on here\nFatal Python error: bad\n  in thread 1\n\n")
    record_death(run, entry, 77, 3)
    reason = read(paths.status, PointRecord).reason
    assert reason == "the process ended with exit code 3; the last line of training_log.txt: in thread 1"
