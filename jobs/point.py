"""The life of one point: claim, train, publish. What ``run_point.py`` and the local run both call."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import textwrap
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from filelock import FileLock, Timeout

from jobs.errors import UserError
from jobs.index import Entry, Run
from jobs.output import PointLog, captured
from jobs.paths import PointPaths
from jobs.provenance import git_state, now, package_versions
from jobs.records import (
    DamagedRecord,
    publish,
    read_record,
    temporary_beside,
    write_bytes_atomically,
    write_record,
)
from jobs.sites import seconds
from jobs.states import STATES


class Busy(Exception):
    """The point is being trained by another process, which the message names."""


class Cancelled(BaseException):
    """SIGTERM arrived. Not an ``Exception``: no handler for errors may swallow it."""


@dataclass(frozen=True)
class PointStatus:
    """What is known of a point from its files; see :func:`read_status`."""

    state: str
    reason: str = ""
    attempts: int = 0
    record: dict[str, Any] | None = None
    result: dict[str, Any] | None = None


def _alive(record: dict[str, Any]) -> bool:
    """Whether the process that wrote ``record`` may still be there; another host's process may."""
    if record.get("host") != socket.gethostname():
        return True
    try:
        os.kill(int(record["pid"]), 0)
    except (ProcessLookupError, KeyError, TypeError, ValueError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def read_result(run: Run, entry: Entry, *, verify: bool = True) -> dict[str, Any] | None:
    """The published result of ``entry``, or ``None``. A result for another key is a damaged one.

    Raises :class:`jobs.records.DamagedRecord`.
    """
    path = run.point_paths(entry).results
    try:
        result = read_record(path, verify=verify)
        if not verify:
            result.pop("history", None)  # most of its size, times ten thousand
    except FileNotFoundError:
        return None
    if result.get("key") != entry.key:
        raise DamagedRecord(f"{path} belongs to the key {result.get('key')!r}, expected {entry.key}")
    if str(result.get("status")) not in STATES or not STATES[str(result["status"])].ended:
        raise DamagedRecord(f"{path} has the status {result.get('status')!r}, expected done or diverged")
    return result


def read_status(run: Run, entry: Entry, *, verify: bool = True) -> PointStatus:
    """The state of a point, from its result first, then from its status record.

    ``verify=False`` believes a whole result without its checksum and leaves its history out: for a look at thousands, not for a summary.

    A damaged file is named in ``reason`` and the point counts as ``lost``; this never raises for it.
    """
    if not verify:
        with contextlib.suppress(DamagedRecord):  # told below, with the attempts
            result = read_result(run, entry, verify=False)
            if result is not None:
                attempts = result.get("attempts")
                return PointStatus(
                    result["status"],
                    str(result.get("reason", "")),
                    attempts if isinstance(attempts, int) else 1,
                    None,
                    result,
                )
    paths = run.point_paths(entry)
    damaged = ""
    record = None
    try:
        record = read_record(paths.status)
    except FileNotFoundError:
        pass
    except DamagedRecord as error:
        damaged = str(error)
    attempts = record.get("attempts", 0) if record else 0
    attempts = attempts if isinstance(attempts, int) else 0
    try:
        result = read_result(run, entry, verify=verify)
    except DamagedRecord as error:
        return PointStatus("lost", str(error), attempts, record)
    if result is not None:
        return PointStatus(result["status"], str(result.get("reason", "")), attempts or 1, record, result)
    if damaged:
        return PointStatus("lost", damaged, attempts)
    if record is None:
        return PointStatus("waiting")
    state, reason = str(record.get("state")), str(record.get("reason", ""))
    if state == "running" and not _alive(record):
        return PointStatus(
            "lost",
            f"process {record.get('pid')} on {record.get('host')} ended without a word",
            attempts,
            record,
        )
    if state not in STATES or STATES[state].ended:
        return PointStatus(
            "lost", f"{paths.status} tells of {state!r} but there is no result", attempts, record
        )
    return PointStatus(state, reason, attempts, record)


@contextmanager
def _claim(paths: PointPaths) -> Iterator[None]:
    """Hold the point for this process; :class:`Busy` says who has it."""
    paths.state.mkdir(parents=True, exist_ok=True)
    lock = FileLock(paths.lock)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        try:
            holder = read_record(paths.status)
            who = f"process {holder.get('pid')} on {holder.get('host')}, since {holder.get('started')}"
        except (FileNotFoundError, DamagedRecord):
            who = "another process that has just begun"
        raise Busy(f"{paths.folder.name} is being trained by {who}") from None
    try:
        yield
    finally:
        lock.release()


class _Termination:
    """Turns SIGTERM into :class:`Cancelled` and remembers it.

    The exception alone is not enough: raised inside a callback of TensorFlow's it may be swallowed, or come
    out as another one.
    """

    def __init__(self) -> None:
        self.arrived = False

    def __enter__(self) -> _Termination:
        self._before = signal.signal(signal.SIGTERM, self._cancel)
        return self

    def __exit__(self, *error: object) -> None:
        signal.signal(signal.SIGTERM, self._before)

    def _cancel(self, number: int, frame: object) -> None:
        self.arrived = True
        self.check()

    def check(self) -> None:
        """Raise :class:`Cancelled` if the signal has come."""
        if self.arrived:
            raise Cancelled("SIGTERM")


def _peak_memory_mb() -> float:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)  # kB on Linux


class _Attempt:
    """One try at a point: its status record and how it ends."""

    def __init__(self, run: Run, entry: Entry, paths: PointPaths, log: PointLog, attempts: int) -> None:
        self.run, self.entry, self.paths, self.log = run, entry, paths, log
        self.base = {
            "name": entry.name,
            "key": entry.key,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "job_id": os.environ.get("PBS_JOBID"),
            "started": now(),
            "attempts": attempts,
        }

    def record(self, state: str, reason: str = "", **more: Any) -> None:
        write_record(
            self.paths.status, {**self.base, "state": state, "reason": reason, "updated": now(), **more}
        )

    def train(self, threads: int | None, termination: _Termination) -> str:
        """Train and publish; the state that the point ended in."""
        from unet_models import training
        from unet_models.dataset import read_packed
        from unet_models.history import HistoryFile

        settings = self.entry.point.settings
        training.prepare_process(settings, threads=threads)
        data = read_packed(self.run.paths.data)
        if data.fingerprint != self.run.fingerprint:
            raise UserError(
                f"{self.run.paths.data} holds the data {data.fingerprint}, expected {self.run.fingerprint}"
            )
        self.log.line(f"data: {data.describe()}")
        history = HistoryFile(self.paths.history)
        total = settings["epochs"]
        best: tuple[float, int] = (-1.0, 0)

        def on_epoch(row: dict[str, Any]) -> None:
            nonlocal best
            termination.check()
            if row["val_jaccard"] > best[0]:
                best = row["val_jaccard"], row["epoch"]
            history.append(row)
            self.log.line(
                f"epoch {row['epoch']}/{total} loss {row['loss']:.4f} jaccard {row['jaccard']:.4f} "
                f"val_loss {row['val_loss']:.4f} val_jaccard {row['val_jaccard']:.4f} "
                f"learning_rate {row['learning_rate']:.3g} {row['seconds']:.1f} s"
            )
            self.record(
                "running",
                epoch=row["epoch"],
                epochs=total,
                val_jaccard=row["val_jaccard"],
                best_val_jaccard=best[0] if best[1] else None,
                best_epoch=best[1] or None,
                epoch_seconds=row["seconds"],
            )

        model_file = temporary_beside(self.paths.model)
        try:
            trained = training.train(
                settings, data, model_file=model_file, on_epoch=on_epoch, say=self.log.line
            )
            self._publish(trained, data, model_file, training.hardware())
        finally:
            history.close()
            model_file.unlink(missing_ok=True)
        return trained.outcome

    def _publish(self, trained: Any, data: Any, model_file: Any, hardware: dict[str, Any]) -> None:
        """Model and pictures first, the result last: where there is a result, everything is there."""
        from unet_models import pictures

        title = f"{self.entry.name}\n{data.source}"
        chance, best = trained.metrics["chance_jaccard"], trained.metrics["best_epoch"]
        if trained.outcome == "done":
            publish(model_file, self.paths.model)
            images, masks = data.select("validation")
            picture = pictures.predictions(
                images[trained.shown], masks[trained.shown], trained.probabilities, title=title
            )
            write_bytes_atomically(self.paths.predictions, picture)
        write_bytes_atomically(
            self.paths.curves, pictures.curves(trained.history, title=title, chance=chance, best_epoch=best)
        )
        gpu_peak = hardware.pop("gpu_peak_memory_mb")
        write_record(
            self.paths.results,
            {
                "index": self.entry.index,
                "name": self.entry.name,
                "key": self.entry.key,
                "status": trained.outcome,
                "reason": trained.reason,
                "settings": dict(self.entry.point.settings),
                "effective": trained.effective,
                "metrics": trained.metrics,
                "history": trained.history,
                "data": {"fingerprint": data.fingerprint, "source": data.source, "split": data.split},
                "attempts": self.base["attempts"],
                "started": self.base["started"],
                "ended": now(),
                "host": self.base["host"],
                "job_id": self.base["job_id"],
                "peak_memory_mb": gpu_peak if gpu_peak is not None else _peak_memory_mb(),
                "packages": package_versions(),
                "git": git_state(),
                **hardware,
            },
        )


def _is_out_of_memory(error: BaseException) -> bool:
    """Whether ``error`` says that device or host memory did not suffice (a full disk says the same type)."""
    if isinstance(error, MemoryError):
        return True
    text = f"{type(error).__name__}: {error}"
    signs = (
        "OOM when allocating",
        "out of memory",
        "Out of memory",
        "CUDNN_STATUS_ALLOC_FAILED",
        "Failed to allocate",
    )
    return any(sign in text for sign in signs) or (
        "ResourceExhausted" in text and "No space left on device" not in text and "quota" not in text.lower()
    )


def _at_walltime(site: Mapping[str, Any]) -> bool:
    """Whether this sub-job has used up its walltime, so that a SIGTERM now is the scheduler's.

    The job script says when it began (``JOB_STARTED``, seconds since the epoch) and how long it may take
    (``WALLTIME_SECONDS``; else the run's site block has it). PBS never kills early.
    """
    try:
        started = float(os.environ["JOB_STARTED"])
        limit = float(os.environ.get("WALLTIME_SECONDS") or seconds(site["walltime"]))
    except (KeyError, ValueError):
        return False
    return time.time() - started >= limit - 1


def run_point(
    run: Run,
    entry: Entry,
    *,
    echo: bool = True,
    threads: int | None = None,
    again: bool = False,
    tell: Callable[[str], None] = print,
) -> str:
    """Train ``entry`` and publish its result; returns the state it ended in (:data:`jobs.states.STATES`).

    A point that has its result is left alone and its state returned, unless ``again``: then the new result
    takes the old one's place when it is there, and not before. ``echo`` sends the log's lines to
    standard output too; ``threads`` limits the cores. Whatever goes wrong while training is classed,
    written to ``training_log.txt`` and to the point's status record, and returned, not raised; only
    :class:`Busy` is raised, when another process is at it, and ``UserError`` for a damaged result.
    """
    paths = run.point_paths(entry)
    with _claim(paths):
        status = read_status(run, entry)
        if status.result is not None and not again:
            tell(f"{entry.name}: has its result already ({status.state}); nothing to do")
            return status.state
        attempts = status.attempts + 1
        with captured(paths.log, echo=echo) as log:
            attempt = _Attempt(run, entry, paths, log, attempts)
            attempt.record("running")
            log.line(f"{entry.name}: attempt {attempts}, process {os.getpid()} on {socket.gethostname()}")
            state, reason = _guarded(attempt, threads)
            if not STATES[state].ended:
                attempt.record(state, reason)
            log.line(f"{entry.name}: {state}" + (f": {reason}" if reason else ""))
    return state


def _stopped(attempt: _Attempt) -> tuple[str, str]:
    if _at_walltime(attempt.run.site):
        return "timeout", "stopped by PBS at the walltime"
    return "cancelled", "stopped by SIGTERM"


def _guarded(attempt: _Attempt, threads: int | None) -> tuple[str, str]:
    termination = _Termination()
    try:
        with termination:
            return attempt.train(threads, termination), ""
    except Cancelled:
        return _stopped(attempt)
    except Exception as error:  # noqa: BLE001 - the one place where a point's fault becomes its class
        if termination.arrived:
            return _stopped(attempt)
        traceback.print_exc()
        summary = textwrap.shorten(f"{type(error).__name__}: {error}", 600)
        if _is_out_of_memory(error):
            # The words that the guide's `grep "ResourceExhausted"` looks for, whatever the allocator said.
            attempt.log.line("ResourceExhausted: memory did not suffice for this point")
            return "oom", summary
        return "error", summary


def record_death(run: Run, entry: Entry, pid: int, exit_code: int | None, *, stopped: bool = False) -> None:
    """Class a process that ended without classing itself, from its exit code (negative: the signal).

    ``stopped``: the caller itself ended it. Does nothing where the point has a result or the record is not of this process.
    """
    status = read_status(run, entry)
    known = status.record is not None and status.record.get("pid") == pid
    if STATES[status.state].ended or exit_code in (None, 0, STATES["running"].exit_code):
        return
    if known and status.record["state"] not in ("running",):
        return
    paths = run.point_paths(entry)
    state, reason = "error", f"the process ended with exit code {exit_code}; training_log.txt has the rest"
    if stopped:
        state, reason = "cancelled", "stopped by the local run"
    elif exit_code == -signal.SIGKILL:
        state, reason = "oom", "killed by signal 9, as the kernel does when the host's memory is used up"
    elif exit_code == -signal.SIGTERM:
        state, reason = "cancelled", "stopped by SIGTERM"
    elif exit_code < 0:
        state, reason = "error", f"ended by signal {-exit_code} ({signal.Signals(-exit_code).name})"
    try:
        with _claim(paths):
            write_record(
                paths.status,
                {
                    "name": entry.name,
                    "key": entry.key,
                    "host": socket.gethostname(),
                    "pid": pid,
                    "attempts": max(1, status.attempts),
                    "state": state,
                    "reason": reason,
                    "updated": now(),
                },
            )
    except Busy:
        return
