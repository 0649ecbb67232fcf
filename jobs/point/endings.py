"""What a point's end is called: from the exception, from the signal, or from outside, by the exit code."""

from __future__ import annotations

import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any

from jobs.common.errors import one_line
from jobs.common.records import is_full, write_record
from jobs.common.states import STATES
from jobs.point.claim import guarded, identity, newest_number, read_holder
from jobs.point.status import read_status
from jobs.run.index import Entry, Run
from jobs.run.provenance import now

_MEMORY = (
    "OOM when allocating",
    "out of memory",
    "Out of memory",
    "CUDNN_STATUS_ALLOC_FAILED",
    "Failed to allocate",
    "exception:Status: 1,",  # oneDNN's number for it
)
# What the allocators write before the fault shows as something else: a crash, an aborted step.
_IN_LOG = (
    "RESOURCE_EXHAUSTED",
    "OOM when allocating",
    "bad_alloc",
    "annot allocate memory",
    "Resource temporarily unavailable",  # no thread could be started: its stack is memory, too
)
_LOG_BYTES = 2**20
_CRASHES = (signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS)


def _log_of(path: Path, pid: int) -> str:
    """What process ``pid`` has written to the log at ``path``, its last megabyte."""
    try:
        with path.open("rb") as log:
            log.seek(0, 2)
            log.seek(max(0, log.tell() - _LOG_BYTES))
            text = log.read().decode("utf-8", errors="replace")
    except OSError:
        return ""
    return text[max(0, text.rfind(f", process {pid} on ")) :]


def is_out_of_memory(error: BaseException, log: Path | None = None) -> bool:
    """Whether ``error`` says that device or host memory did not suffice (a full disk says the same type).

    Where TensorFlow raised it, what its allocators have written to ``log`` counts, too: an operation that ran
    out of memory often ends another one.
    """
    if isinstance(error, MemoryError):
        return True
    text = f"{type(error).__name__}: {error}"
    if is_full(error) or "No space left on device" in text or "quota" in text.lower():
        return False
    if any(sign in text for sign in _MEMORY) or "ResourceExhausted" in text:
        return True
    if log is None or not type(error).__module__.startswith("tensorflow"):
        return False
    written = _log_of(log, os.getpid())
    return any(sign in written for sign in _IN_LOG)


def peak_memory_mb() -> float:
    """The most host memory (MB) that this process has used."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)  # kB on Linux


def oom_kills() -> int | None:
    """How many processes this node's kernel has killed for memory; ``None`` where it does not tell."""
    try:
        text = Path("/proc/vmstat").read_text()
    except OSError:
        return None
    for line in text.splitlines():
        if line.startswith("oom_kill "):
            return int(line.split()[1])
    return None


def class_of_exit(exit_code: int, kills_before: int | None) -> tuple[str, str]:
    """The class and the reason of a process that ended without a word; negative codes are signals.

    ``kills_before`` is :func:`oom_kills` from before the process began: signal 9 is the kernel's answer to used up
    memory, and it is anybody's ``kill -9``.
    """
    if exit_code == -signal.SIGKILL:
        kills = oom_kills()
        if kills is None or kills_before is None:
            return "oom", "killed by signal 9, as the kernel does when the host's memory is used up"
        if kills > kills_before:
            return "oom", "killed by the kernel (signal 9): the host's memory was used up"
        return "lost", "killed by signal 9; the kernel did not do it for memory"
    if exit_code == -signal.SIGTERM:
        return "cancelled", "stopped by SIGTERM"
    for state in STATES.values():
        if exit_code == state.exit_code and not state.ended and state.name not in ("waiting", "running"):
            return state.name, "its own record could not be written; training_log.txt has the rest"
    if exit_code < 0:
        try:
            name = signal.Signals(-exit_code).name
        except ValueError:
            name = "unknown"
        return "error", f"ended by signal {-exit_code} ({name})"
    return "error", f"the process ended with exit code {exit_code}; training_log.txt has the rest"


def record_death(
    run: Run,
    entry: Entry,
    pid: int,
    exit_code: int | None,
    *,
    kills_before: int | None = None,
    ended: tuple[str, str] | None = None,
    peak_mb: float | None = None,
) -> None:
    """Write down how process ``pid`` ended, where it could not do so itself.

    ``ended`` is the class and the reason where the caller knows: it ended the process. Does nothing where the
    point has a result, or the newest attempt is of another process or has said how it ended.
    """
    if exit_code in (None, 0, STATES["running"].exit_code):
        return
    try:
        _record_death(run, entry, pid, exit_code, kills_before, ended, peak_mb)
    except OSError as error:
        # Whoever reads the point's files finds a process that is gone, and calls it lost: to be run again.
        print(f"{entry.name}: how it ended could not be recorded: {error}", file=sys.stderr)


def _attempts(record: dict[str, Any] | None) -> int:
    value = (record or {}).get("attempts")
    return value if type(value) is int else 0


def _record_death(
    run: Run,
    entry: Entry,
    pid: int,
    exit_code: int,
    kills_before: int | None,
    ended: tuple[str, str] | None,
    peak_mb: float | None,
) -> None:
    paths = run.point_paths(entry)
    state, reason = ended or class_of_exit(exit_code, kills_before)
    if ended is None and -exit_code in _CRASHES:
        written = _log_of(paths.log, pid)
        sign = next((sign for sign in _IN_LOG if sign in written), None)
        if sign is not None:
            line = next(line for line in written.splitlines() if sign in line)
            state, reason = "oom", one_line(f"{reason} after: {line}", 400)
    with guarded(paths) as locked:
        status = read_status(run, entry)
        number = newest_number(paths)
        record: dict[str, Any] = status.record or {}
        published = _attempts(status.result)
        if locked is False or (status.result is not None and published >= number):
            return
        if _attempts(record) >= max(1, number) and record.get("state") != "running":
            return  # it has said how it ended
        if number and read_holder(paths, number).pid != pid:
            return
        if state == "oom":
            with paths.log.open("a") as log:
                # The words that the guide's `grep "ResourceExhausted"` looks for.
                log.write(f"{now()} ResourceExhausted: {reason}\n")
        write_record(
            paths.status,
            {
                **record,
                "name": entry.name,
                "key": entry.key,
                "host": identity()["host"],
                "pid": pid,
                "attempts": max(1, number, status.attempts),
                "state": state,
                "reason": reason,
                "updated": now(),
                **({} if peak_mb is None else {"peak_memory_mb": peak_mb}),
            },
        )
