"""The class of a point whose process could not record it: from its exit code, the kernel's counter and the log."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import NamedTuple

import msgspec

from jobs.common.errors import one_line
from jobs.common.records import write
from jobs.common.schema import PointRecord
from jobs.common.states import STATES, UNREADABLE
from jobs.point.claim import guarded, host_name, newest_number, read_holder
from jobs.point.log import append_line, written_by
from jobs.point.memory import oom_kills, sign_in_log
from jobs.point.status import read_status
from jobs.run.index import Entry, Run
from jobs.run.provenance import now

_CRASHES = (signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS)


class Ending(NamedTuple):
    """How a point ended: a name in :data:`jobs.common.states.STATES`, and the reason."""

    state: str
    reason: str = ""


def class_of_exit(exit_code: int, kills_before: int | None) -> Ending:
    """How a process ended that recorded nothing; negative codes are signals.

    ``kills_before`` is :func:`jobs.point.memory.oom_kills` from before the process started: the kernel sends signal 9
    when memory is used up, and anybody can send it by ``kill -9``.
    """
    if exit_code == -signal.SIGKILL:
        kills = oom_kills()
        if kills is None or kills_before is None:
            return Ending("oom", "killed by signal 9, as the kernel does when the host's memory is used up")
        if kills > kills_before:
            return Ending("oom", "killed by the kernel (signal 9): the host's memory was used up")
        return Ending("lost", "killed by signal 9, and not by the kernel for memory")
    if exit_code == -signal.SIGTERM:
        return Ending("cancelled", "stopped by SIGTERM")
    for state in STATES.values():
        if exit_code == state.exit_code and not state.ended and state.name not in ("waiting", "running"):
            return Ending(state.name, "its own record could not be written")
    if exit_code < 0:
        try:
            name = signal.Signals(-exit_code).name
        except ValueError:
            name = "unknown"
        return Ending("error", f"ended by signal {-exit_code} ({name})")
    return Ending("error", f"the process ended with exit code {exit_code}")


def record_death(
    run: Run,
    entry: Entry,
    pid: int,
    exit_code: int | None,
    *,
    kills_before: int | None = None,
    ended: Ending | None = None,
    peak_mb: float | None = None,
) -> None:
    """Record how process ``pid`` ended, where it could not do so itself.

    ``ended`` is how it ended, where the caller knows because it ended the process. Does nothing where the point has
    a result, or where the newest attempt belongs to another process or has recorded its own end.
    """
    if exit_code is None or exit_code in (0, STATES["running"].exit_code):
        return
    if read_status(run, entry).state == UNREADABLE:
        return  # it was not trained
    ending = ended or class_of_exit(exit_code, kills_before)
    if ended is None and -exit_code in _CRASHES:
        line = sign_in_log(run.point_paths(entry).log, pid)
        if line is not None:
            ending = Ending("oom", one_line(f"{ending.reason} after: {line}", 400))
    if ended is None and ending.state == "error":
        ending = Ending("error", f"{ending.reason}{_last_words(run.point_paths(entry).log, pid)}")
    try:
        _record(run, entry, pid, ending, peak_mb)
    except OSError as error:
        if isinstance(error, PermissionError) and exit_code == STATES["error"].exit_code:
            return  # the process has said that, and nothing was trained
        # Readers will find that the process does not exist any more, and call the point lost: to be run again.
        print(f"{entry.name}: how it ended could not be recorded: {error}", file=sys.stderr)


def _last_words(log: Path, pid: int) -> str:
    """The last line that process ``pid`` has written, to follow a reason; a user should not have to look for it."""
    lines = [line for line in written_by(pid, log).splitlines()[1:] if line.strip()]
    return f"; the last line of {log.name}: {one_line(lines[-1], 300)}" if lines else ""


def _record(run: Run, entry: Entry, pid: int, ending: Ending, peak_mb: float | None) -> None:
    paths = run.point_paths(entry)
    with guarded(paths) as locked:
        status = read_status(run, entry)
        number = newest_number(paths)
        record = status.record or PointRecord()
        published = status.result.attempts if status.result is not None else 0
        if locked is False or (status.result is not None and published >= number):
            return
        if record.attempts >= max(1, number) and record.state != "running":
            return  # it has recorded its own end
        if number and read_holder(paths, number).process.pid != pid:
            return
        if ending.state == "oom":
            # The word that the guide's `grep "ResourceExhausted"` looks for.
            append_line(paths.log, f"ResourceExhausted: {ending.reason}")
        record = msgspec.structs.replace(
            record,
            name=entry.name,
            key=entry.key,
            host=host_name(),
            pid=pid,
            attempts=max(1, number, status.attempts),
            state=ending.state,
            reason=ending.reason,
            updated=now(),
        )
        if peak_mb is not None:
            record = msgspec.structs.replace(record, peak_memory_mb=peak_mb)
        write(paths.status, record)
