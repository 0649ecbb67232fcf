"""One holder at a time: the living are left alone, the dead are taken over, the paused find out."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

import msgspec
import pytest
from filelock import FileLock

from jobs.common.records import write_record
from jobs.point import claim
from jobs.point.claim import BusyError, TakenOver, claimed, guarded, identity, newest_number, read_holder
from jobs.run.paths import PointPaths

INTERVAL = 0.05


@pytest.fixture
def paths(tmp_path, monkeypatch):
    monkeypatch.delenv("PBS_JOBID", raising=False)
    found = PointPaths(tmp_path / "exp_01_point", "point")
    found.claims.mkdir(parents=True)
    return found


@pytest.fixture
def no_locks(monkeypatch):
    """A file system without locks, as `flock` between NFS clients may be."""

    def refuse(self, *arguments, **options):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(FileLock, "acquire", refuse)


def write_claim(paths, number=1, **changes):
    record = {**identity().fields(), "started": "2026-01-01T00:00:00+00:00", "token": "x", **changes}
    write_record(paths.claim(number), record)


def hold(paths, **options):
    said = []
    with claimed(paths, interval=INTERVAL, say=said.append, **options) as held:
        return held.number, " ".join(said)


def dead_process() -> dict:
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    ticks = claim.process_ticks(process.pid)
    process.wait()
    return {"pid": process.pid, "ticks": ticks}


def test_attempts_are_numbered_and_go_on_where_an_older_version_counted(paths):
    assert hold(paths)[0] == 1
    write_record(paths.status, {"attempts": 1, "state": "cancelled"})
    assert hold(paths)[0] == 2
    write_record(paths.status, {"attempts": 7, "state": "cancelled"})
    assert hold(paths, attempts=7)[0] == 8


def test_a_second_process_on_this_host_leaves_at_once_and_names_the_first(paths):
    code = (
        "import sys; from pathlib import Path; from jobs.point.claim import claimed; from jobs.run.paths import PointPaths\n"
        "with claimed(PointPaths(Path(sys.argv[1]), 'point')):\n    print('held', flush=True); sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(paths.folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as first:
        assert first.stdout.readline() == b"held\n"
        began = time.monotonic()
        with pytest.raises(
            BusyError, match=f"is being trained by process {first.pid} on {claim.host_name()}"
        ):
            hold(paths)
        assert time.monotonic() - began < 1
        first.kill()
    # The kernel has freed its lock, and its process is gone.
    assert hold(paths) == (2, f"exp_01_point: {read_holder(paths, 1)} no longer exists; taking over")


def test_a_living_process_on_a_file_system_without_locks_is_left_alone(paths, no_locks):
    write_claim(paths, pid=os.getppid(), ticks=claim.process_ticks(os.getppid()))
    with pytest.raises(BusyError):
        hold(paths)


@pytest.mark.parametrize(
    "gone",
    [
        dead_process,
        lambda: {"pid": os.getppid(), "ticks": 1},
        lambda: {"boot": "before", "pid": os.getppid()},
    ],
    ids=["no such process", "its number is another's now", "the node was started anew"],
)
def test_a_dead_holder_of_this_host_is_taken_over_at_once(paths, no_locks, gone):
    write_claim(paths, **gone())
    began = time.monotonic()
    number, said = hold(paths)
    assert number == 2 and "no longer exists; taking over" in said and time.monotonic() - began < 1


def test_a_silent_holder_on_another_host_is_taken_over_after_it_was_watched(paths):
    write_claim(paths, host="node7", pid=4711)
    began = time.monotonic()
    number, said = hold(paths)
    assert number == 2 and "process 4711 on node7" in said and "no heartbeat" in said
    assert time.monotonic() - began >= claim.DEAD_AFTER * INTERVAL


@pytest.mark.parametrize("skew", [-3600, 0, 3600])
def test_a_living_holder_on_another_host_is_left_alone_whatever_its_clock_says(paths, no_locks, skew):
    write_claim(paths, host="node7", pid=4711)
    path, stop = paths.claim(1), threading.Event()

    def live():
        while not stop.wait(INTERVAL):
            now = time.time() + skew
            os.utime(path, (now, now))

    thread = threading.Thread(target=live)
    thread.start()
    try:
        with pytest.raises(BusyError, match="process 4711 on node7"):
            hold(paths)
    finally:
        stop.set()
        thread.join()
    assert newest_number(paths) == 1


def test_where_locks_work_a_living_holder_elsewhere_is_told_at_once(paths):
    write_claim(paths, host="node7", pid=4711)
    with FileLock(paths.lock), pytest.raises(BusyError):
        began = time.monotonic()
        hold(paths)
    assert time.monotonic() - began < INTERVAL * claim.DEAD_AFTER


def test_a_lock_that_a_dead_node_left_behind_does_not_keep_the_point(paths):
    """NFS frees the lock of a client that went down late or never."""
    write_claim(paths, host="node7", pid=4711)
    os.utime(paths.claim(1), (1, 1))
    with FileLock(paths.lock):
        assert hold(paths)[0] == 2


def test_a_sub_job_that_pbs_runs_again_takes_its_own_point_over_at_once(paths, monkeypatch):
    write_claim(paths, host="node7", pid=4711, job_id="12[3].pbs")
    monkeypatch.setenv("PBS_JOBID", "12[3].pbs")
    began = time.monotonic()
    with FileLock(paths.lock):  # the old one may even be there still
        number, said = hold(paths)
    assert number == 2 and "PBS has started 12[3].pbs again" in said and time.monotonic() - began < 1


def test_an_attempt_that_said_how_it_ended_needs_nobody_alive(paths):
    write_claim(paths, host="node7", pid=4711)
    write_record(paths.status, {"attempts": 1, "state": "timeout"})
    assert hold(paths) == (2, "")


def test_a_damaged_claim_counts_as_one_of_nobody_known(paths):
    paths.claim(1).write_text("{")
    with pytest.raises(BusyError, match="another process that has just started"), FileLock(paths.lock):
        hold(paths)
    number, said = hold(paths)
    assert number == 2 and "watching" in said


def test_a_holder_that_was_taken_over_finds_out_before_it_writes_and_soon_by_itself(paths):
    with claimed(paths, interval=INTERVAL) as held:
        held.check()
        write_claim(paths, 2, host="node8", pid=99)
        with pytest.raises(TakenOver, match="taken over by process 99 on node8"):
            held.check()
    with claimed(paths, interval=INTERVAL, attempts=5) as held:
        write_claim(paths, held.number + 1, host="node8", pid=99)
        deadline = time.monotonic() + 5
        with pytest.raises(TakenOver):
            while time.monotonic() < deadline:
                held.look()
                time.sleep(0.01)


def test_of_many_that_want_a_point_without_locks_exactly_one_gets_it(paths, no_locks):
    barrier = threading.Barrier(8)
    got = []

    def want():
        barrier.wait()
        try:
            with claimed(paths, interval=INTERVAL, say=lambda text: None) as held:
                got.append(held.number)
                time.sleep(0.3)
        except BusyError:
            pass

    threads = [threading.Thread(target=want) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 1


def test_a_holder_shows_that_it_lives(paths):
    with claimed(paths, interval=INTERVAL) as held:
        before = claim.heartbeat(paths.claim(held.number))
        time.sleep(6 * INTERVAL)
        assert claim.heartbeat(paths.claim(held.number)) != before
        assert claim.silent_seconds(paths, held.number) < 2


def test_old_claims_and_what_a_kill_left_are_removed(paths):
    process = dead_process()
    leftover = paths.claims / f".0001.{claim.host_name()}.{process['pid']}.0123abcd.tmp.json"
    others = paths.claims / f".0001.{claim.host_name()}.{os.getppid()}.0123abcd.tmp.json"
    for path in (leftover, others):
        path.write_text("{")
    for number in range(1, 9):
        write_claim(paths, number)
    write_record(paths.status, {"attempts": 8, "state": "cancelled"})
    assert hold(paths)[0] == 9
    assert min(path.name for path in paths.claims.iterdir()) == others.name
    assert newest_number(paths) == 9 and not paths.claim(4).exists() and paths.claim(5).exists()


def test_a_folder_that_cannot_be_written_is_an_error_and_no_missing_lock(tmp_path):
    (tmp_path / "exp_01_point").write_text("a file where the folder belongs")
    with pytest.raises(OSError), guarded(PointPaths(tmp_path / "exp_01_point", "point")):
        pass


def test_the_end_of_an_earlier_attempt_does_not_free_the_claim_of_a_later_one(paths, no_locks):
    write_record(paths.status, {"attempts": 1, "state": "error"})
    write_claim(paths, 2)  # this process, which is alive
    with pytest.raises(BusyError, match=f"is being trained by process {os.getpid()}"):
        hold(paths)
    write_record(paths.status, {"attempts": 2, "state": "error"})
    assert hold(paths)[0] == 3


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, True),
        ({"ticks": None}, True),
        ({"ticks": 1}, False),
        ({"boot": "another"}, False),
        ({"boot": None}, True),
        ({"host": "node7"}, None),
        ({"pid": None}, None),
        ({"pid": 0}, False),
        ({"pid": 2**31}, False),
    ],
)
def test_only_this_host_knows_its_processes_and_only_with_start_time_and_boot(changes, expected):
    process = msgspec.structs.replace(identity(), **changes)
    assert claim.is_alive(process) is expected


def test_numbers_of_claims_are_compared_as_numbers(paths):
    for number in (9, 10, 9999, 10000):
        write_claim(paths, number)
        assert newest_number(paths) == number
    (paths.claims / "99999x.json").write_text("")
    (paths.claims / ".0099999.tmp.json").write_text("")
    assert newest_number(paths) == 10000


def test_a_claim_names_process_host_job_and_time(paths):
    write_claim(paths, 3, host="node7", pid=4711, job_id="12[3].pbs")
    started = "2026-01-01T00:00:00+00:00"
    assert str(read_holder(paths, 3)) == f"process 4711 on node7 (job 12[3].pbs), since {started}"
    write_claim(paths, 3, host="node7", pid=4711, job_id=None)
    assert str(read_holder(paths, 3)) == f"process 4711 on node7, since {started}"
    assert str(read_holder(paths, 4)) == "another process that has just started"


def test_the_last_five_claims_are_kept(paths):
    for number in range(1, 8):
        assert hold(paths)[0] == number
        write_record(paths.status, {"attempts": number, "state": "error"})
    assert sorted(path.name for path in paths.claims.iterdir()) == [f"{n:04d}.json" for n in range(3, 8)]


def test_the_start_of_a_process_is_found_whatever_its_name(tmp_path):
    program = tmp_path / "a) S (b) c"  # parentheses and spaces, as any program may have
    program.symlink_to("/bin/sleep")
    ticks_per_second = os.sysconf("SC_CLK_TCK")
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    process = subprocess.Popen([program, "60"])
    try:
        ticks = claim.process_ticks(process.pid)
        after = time.clock_gettime(time.CLOCK_BOOTTIME)
        assert before - 1 <= ticks / ticks_per_second <= after + 1
    finally:
        process.kill()
        process.wait()


def test_a_process_that_has_ended_has_no_start_even_before_its_parent_looks():
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # leaves it as a zombie
    assert claim.process_ticks(process.pid) is None
    process.wait()
    assert claim.process_ticks(process.pid) is None


def test_the_age_of_a_process_is_the_uptime_less_its_start(monkeypatch):
    monkeypatch.setattr(claim, "process_ticks", lambda pid: 250 * os.sysconf("SC_CLK_TCK"))
    monkeypatch.setattr(time, "clock_gettime", lambda clock: 1000.0)
    assert claim.process_age() == 750.0
    monkeypatch.setattr(claim, "process_ticks", lambda pid: None)
    assert claim.process_age() is None


def test_a_process_is_identified_by_host_boot_pid_start_and_sub_job(monkeypatch):
    monkeypatch.setenv("PBS_JOBID", "7[2].server")
    monkeypatch.setattr(claim, "host_name", lambda: "node3")
    monkeypatch.setattr(claim, "boot_id", lambda: "boot")
    monkeypatch.setattr(claim, "process_ticks", lambda pid: 5 if pid == os.getpid() else None)
    assert identity().fields() == {
        "host": "node3",
        "boot": "boot",
        "pid": os.getpid(),
        "ticks": 5,
        "job_id": "7[2].server",
    }


def test_silence_is_the_time_since_the_last_heartbeat_and_never_below_zero(paths, monkeypatch):
    assert claim.silent_seconds(paths, 1) is None
    write_claim(paths)
    os.utime(paths.claim(1), (10**9, 10**9))
    for present, silent in ((10**9 + 12.5, 12.5), (10**9 + 0.5, 0.5), (10**9 - 300, 0.0)):
        monkeypatch.setattr(time, "time", lambda present=present: present)
        assert claim.silent_seconds(paths, 1) == silent


def test_silence_by_the_servers_clock_is_zero_where_it_is_not_known(paths):
    write_claim(paths)
    assert claim._silent_on_server(paths, 1) == 0.0  # no lock to compare with
    paths.lock.touch()
    assert claim._silent_on_server(paths, 2) == 0.0  # no claim
    os.utime(paths.claim(1), ns=(0, paths.lock.stat().st_mtime_ns - 3_000_000_000))
    assert claim._silent_on_server(paths, 1) >= 3.0


@pytest.mark.parametrize(("silent", "busy"), [(1.99, True), (2.0, False), (2.01, False)])
def test_a_locked_point_is_watched_only_after_two_intervals_of_silence(paths, monkeypatch, silent, busy):
    write_claim(paths, host="node7")
    monkeypatch.setattr(claim, "_silent_on_server", lambda *arguments: silent)
    monkeypatch.setattr(claim, "_watch", lambda *arguments: False)
    holder, said = read_holder(paths, 1), []
    options = {"locked": False, "interval": 1.0, "say": said.append}
    if busy:
        with pytest.raises(BusyError, match="is being trained by process"):
            claim._check_holder(paths, holder, **options)
        assert said == []
    else:
        claim._check_holder(paths, holder, **options)
        assert "watching for 6 s" in said[0] and said[1] == "exp_01_point: no heartbeat; taking over"


@pytest.mark.parametrize(
    ("record", "ended"),
    [
        (None, False),
        ({"attempts": 2, "state": "running"}, False),
        ({"attempts": 1, "state": "error"}, False),
        ({"attempts": 2, "state": "error"}, True),
        ({"attempts": 3, "state": "cancelled"}, True),
    ],
)
def test_an_attempt_has_ended_if_its_record_or_a_later_one_says_so(paths, record, ended):
    if record:
        write_record(paths.status, record)
    assert claim._has_ended(paths, 2) is ended


def test_a_damaged_record_does_not_end_an_attempt(paths):
    paths.status.write_text("{")
    assert claim._has_ended(paths, 1) is False


def test_the_heartbeat_does_not_keep_a_process_from_ending(paths):
    with claimed(paths, interval=INTERVAL) as held:
        assert held._thread.daemon is True


def test_another_users_process_is_not_dead_because_it_is_hidden(paths, monkeypatch):
    """/proc mounted with hidepid shows nobody the processes of others."""
    process = msgspec.structs.replace(identity(), pid=os.getppid(), ticks=1)
    monkeypatch.setattr(claim, "process_ticks", lambda pid: None)
    monkeypatch.setattr(claim.os.path, "lexists", lambda path: False)

    def not_yours(pid, number):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(claim.os, "kill", not_yours)
    assert claim.is_alive(process) is None  # its heartbeat decides
    monkeypatch.setattr(claim.os, "kill", lambda pid, number: None)
    assert claim.is_alive(process) is False  # this user would see it


def test_a_claim_that_cannot_be_read_has_a_heartbeat_nevertheless(paths, monkeypatch):
    write_claim(paths)

    def refuse(path, flags, *more):
        raise PermissionError(13, "Permission denied", str(path))

    seen = paths.claim(1).stat().st_mtime_ns
    monkeypatch.setattr(claim.os, "open", refuse)
    assert claim.heartbeat(paths.claim(1)) == seen
    assert claim.heartbeat(paths.claim(2)) is None


def test_nobody_takes_claims_that_he_may_not_see_for_none(paths, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(claim.os, "listdir", refuse)
    with pytest.raises(PermissionError):
        newest_number(paths)
    with pytest.raises(PermissionError), claimed(paths, interval=INTERVAL):
        pass
