"""The life of one point: claim, train, publish. What ``run_point.py`` and the local run both call.

Nothing is lost on the way: each epoch ends with a checkpoint, whatever others read is replaced whole, and
nothing is written once another process has taken the point over.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import textwrap
import time
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from jobs.common.errors import UserError
from jobs.common.records import (
    DamagedRecord,
    DiskFull,
    disk_full,
    is_full,
    publish,
    remove,
    temporary_beside,
    write_bytes_atomically,
    write_record,
    write_record_once,
    write_text_atomically,
)
from jobs.common.signals import answered_by
from jobs.common.states import STATES
from jobs.point.checkpoints import Checkpoint, Checkpoints
from jobs.point.circuit_breaker import session, why_not_to_start
from jobs.point.claim import INTERVAL, Busy, Claim, TakenOver, claimed, guarded, identity
from jobs.point.deadline import Deadline, OutOfTime, deadline
from jobs.point.endings import is_out_of_memory, peak_memory_mb
from jobs.point.gpus import GpuUse
from jobs.point.log import PointLog, captured
from jobs.point.preparation import prepare
from jobs.point.status import PointStatus, read_result, read_status
from jobs.run.index import Entry, Run
from jobs.run.paths import PointPaths
from jobs.run.provenance import git_state, now, package_versions

if TYPE_CHECKING:
    from unet_models.training.state import Trained, TrainingState


class Cancelled(BaseException):
    """A signal arrived. Not an ``Exception``: no handler for errors may swallow it."""


class _Termination:
    """Turns the first SIGTERM, SIGINT or SIGHUP into :class:`Cancelled`, and remembers it.

    The exception alone is not enough: raised inside a callback of TensorFlow's it may be swallowed, or come
    out as another one. Further signals are passed over: ten seconds are enough to end in order, once.
    """

    def __init__(self) -> None:
        self.arrived: signal.Signals | None = None
        self._raising = True

    def cancel(self, number: int, frame: object) -> None:
        if self.arrived is None:
            self.arrived = signal.Signals(number)
            if self._raising:
                self.check()

    def settle(self) -> None:
        """From here on a signal is only remembered: the point is being written down as ended."""
        self._raising = False

    def check(self) -> None:
        """Raise :class:`Cancelled` if the signal has come."""
        if self.arrived is not None:
            raise Cancelled(self.arrived.name)


def next_accumulation(batch_size: int, parts: int) -> int | None:
    """The next larger number of equal parts of a batch; ``None`` where it has one sample a part already.

    >>> next_accumulation(8, 1), next_accumulation(12, 2), next_accumulation(8, 8)
    (2, 3, None)
    """
    return next((count for count in range(parts + 1, batch_size + 1) if batch_size % count == 0), None)


def accumulates(run: Run) -> bool:
    """Whether a point whose memory does not suffice is repeated with smaller parts of its batches."""
    return run.site.get("on_oom") == "accumulate"


def _parts(run: Run, entry: Entry, record: dict[str, Any] | None) -> int:
    """Into how many parts this attempt cuts its batches, from what the attempt before has left."""
    if not accumulates(run) or record is None:
        return 1
    batch_size = entry.point.settings["batch_size"]
    before = record.get("accumulation")
    if type(before) is not int or before < 1 or batch_size % before:
        before = 1
    if record.get("state") == "oom":
        return next_accumulation(batch_size, before) or before
    return before


def may_accumulate(run: Run, entry: Entry, status: PointStatus) -> bool:
    """Whether a further attempt at this point would need less memory, and is wanted."""
    record = status.record or {}
    published = (status.result or {}).get("attempts", 0)
    if record.get("state") != "oom" or not accumulates(run) or record.get("attempts", 0) <= published:
        return False
    before = record.get("accumulation")
    # One that does not tell how it was parted could be repeated for ever.
    return type(before) is int and _parts(run, entry, record) != before


class _Attempt:
    """One try at a point: its status record and how it ends."""

    def __init__(
        self,
        run: Run,
        entry: Entry,
        paths: PointPaths,
        log: PointLog,
        claim: Claim,
        before: PointStatus,
        *,
        again: bool,
    ) -> None:
        self.run, self.entry, self.paths, self.log, self.claim = run, entry, paths, log, claim
        self.before, self.again = before, again
        self.deadline: Deadline = deadline(run.site)
        self.checkpoints = Checkpoints(paths, entry.key, claim.number)
        self.parts = _parts(run, entry, before.record)
        self.lineage = secrets.token_hex(8)
        self.resumed: list[dict[str, Any]] = []
        self.epochs_done = 0
        self.progress: dict[str, Any] = {}
        self.hardware: Callable[[], dict[str, Any]] = dict
        self.base = {
            "name": entry.name,
            "key": entry.key,
            **identity(),
            "started": now(),
            "attempts": claim.number,
            "session": session(run),
            "accumulation": self.parts,
        }

    def record(self, state: str, reason: str = "", **more: Any) -> None:
        """Write the status record; :class:`TakenOver` where another process has the point."""
        self.claim.check()
        write_record(
            self.paths.status,
            {**self.base, **self.progress, "state": state, "reason": reason, "updated": now(), **more},
        )

    def train(self, threads: int | None, termination: _Termination) -> str:
        """Train and publish; the state that the point ended in."""
        from unet_models.training import training

        settings = self.entry.point.settings
        self.hardware = training.hardware
        prepared = prepare(self.run, settings, threads=threads)
        data, self.startup = prepared.data, prepared.startup
        self.log.line(f"data: {data.describe()}")
        if self.parts > 1:
            self.log.line(f"memory did not suffice before: {self._note()}")
        model_file = temporary_beside(self.paths.model)

        def pause() -> None:
            termination.check()
            self.claim.look()

        def once(resume: TrainingState | None) -> Trained:
            self._begin(resume)
            return training.train(
                settings,
                data,
                model_file=model_file,
                accumulation=self.parts,
                resume=resume,
                on_batch=pause,
                on_epoch=self._on_epoch,
                on_state=self._on_state,
                say=self.log.line,
            )

        try:
            with GpuUse() as gpu:
                trained = self._train_once(once, settings)
            return self._publish(trained, data, model_file, {**training.hardware(), "gpu": gpu.summary()})
        finally:
            remove(model_file)

    def _train_once(
        self, once: Callable[[TrainingState | None], Trained], settings: dict[str, Any]
    ) -> Trained:
        """Train, from the checkpoint where it fits the network; else from the first epoch."""
        from unet_models.training import training

        resume = self._take_up()
        try:
            try:
                return once(resume)
            except training.ResumeError as error:
                self._begin_anew(error)
                training.prepare_process(settings)
                return once(None)
        except OSError as error:
            if is_full(error) and not isinstance(error, DiskFull):
                # HDF5's own words name neither the path nor what is missing.
                raise disk_full(error, self.paths.model, None) from error
            raise

    # -- taking up an interrupted training ---------------------------------------------------------------

    def _take_up(self) -> TrainingState | None:
        """The state to go on from, or ``None`` to begin with the first epoch."""
        try:
            found = self.checkpoints.load()
        except DamagedRecord as error:
            if not error.content:
                # Not damaged: a file system that is away, or files of a newer version. They may be good.
                raise UserError(f"the checkpoint cannot be read now: {error}; run the point again") from error
            self._begin_anew(error)
            return None
        if found is None:
            return None
        record = self.before.record or {}
        ended = str(record.get("state"))
        published = (self.before.result or {}).get("lineage") == found.lineage
        if published or (ended in STATES and not STATES[ended].resumed):
            self.checkpoints.discard()  # of a training that has its result
            return None
        if found.accumulation != self.parts:
            self.log.line(
                f"batches are cut into {self.parts} parts now, not {found.accumulation}: beginning anew, so that all "
                "epochs are alike"
            )
            self.checkpoints.discard()
            return None
        self.lineage = found.lineage
        self.resumed = [
            *found.resumed,
            {
                "after_epoch": found.state.epoch,
                "host": self.base["host"],
                "job_id": self.base["job_id"],
                "packages": package_versions(),
                "git": git_state().fields(),
            },
        ]
        self.log.line(
            f"resumed after epoch {found.state.epoch} of {self.entry.point.settings['epochs']}"
            + (", which was the last" if found.state.ended else "")
        )
        return found.state

    def _begin_anew(self, error: Exception) -> None:
        kept = self.checkpoints.set_aside()
        self.resumed = []
        self.lineage = secrets.token_hex(8)
        self.log.line(
            f"the checkpoint cannot be used: {error}. Beginning with the first epoch"
            + (f"; its files are kept in {kept[0].parent}" if kept else "")
        )
        self.checkpoints.discard()

    # -- while it trains ---------------------------------------------------------------------------------

    def _begin(self, resume: TrainingState | None) -> None:
        self.rows: list[dict[str, Any]] = list(resume.rows) if resume else []
        self.epochs_done = len(self.rows)
        self.durations: list[float] = []
        self._since = time.monotonic()
        self._write_history()

    def _write_history(self) -> None:
        from unet_models.training.history import history_csv

        self.claim.check()
        write_text_atomically(self.paths.history, history_csv(self.rows))

    def _on_epoch(self, row: dict[str, Any]) -> None:
        total = self.entry.point.settings["epochs"]
        self.rows.append(row)
        best = max(self.rows, key=lambda one: (one["val_jaccard"], -one["epoch"]))
        self._write_history()
        self.log.line(
            f"epoch {row['epoch']}/{total} loss {row['loss']:.4f} jaccard {row['jaccard']:.4f} "
            f"val_loss {row['val_loss']:.4f} val_jaccard {row['val_jaccard']:.4f} "
            f"learning_rate {row['learning_rate']:.3g} {row['seconds']:.1f} s"
        )
        self.progress = {
            "epoch": row["epoch"],
            "epochs": total,
            "val_jaccard": row["val_jaccard"],
            "best_val_jaccard": best["val_jaccard"],
            "best_epoch": best["epoch"],
            "epoch_seconds": row["seconds"],
        }
        self.record("running")

    def _on_state(self, state: TrainingState) -> None:
        self.checkpoints.save(
            Checkpoint(self.lineage, self.parts, self.resumed, state), check=self.claim.check
        )
        self.epochs_done = state.epoch
        self.durations.append(time.monotonic() - self._since)
        self._since = time.monotonic()
        if state.ended:
            return  # what is left takes less than an epoch, and this checkpoint stands
        # The first epoch of a process traces and compiles: it tells of the others only where there is no other.
        longest = max(self.durations[1:] or self.durations)
        self.deadline.check(
            longest, f"{state.epoch} of {self.entry.point.settings['epochs']} epochs are done"
        )

    # -- how it ends -------------------------------------------------------------------------------------

    def _note(self) -> str:
        batch = self.entry.point.settings["batch_size"]
        return (
            f"gradients of batches of {batch} are accumulated over {self.parts} parts of {batch // self.parts}; batch "
            f"normalisation sees batches of {batch // self.parts}"
        )

    def _publish(self, trained: Trained, data: Any, model_file: Any, hardware: dict[str, Any]) -> str:
        """Model and pictures first, the result last: where there is a result, everything is there."""
        from unet_models import pictures

        title = f"{self.entry.name}\n{data.source}"
        chance, best = trained.metrics["chance_jaccard"], trained.metrics["best_epoch"]
        if trained.outcome == "done":
            images, masks = data.select("validation")
            picture = pictures.predictions(
                images[trained.shown], masks[trained.shown], trained.probabilities, title=title
            )
            self.claim.check()
            publish(model_file, self.paths.model)
            self.claim.check()
            write_bytes_atomically(self.paths.predictions, picture)
        curves = pictures.curves(trained.history, title=title, chance=chance, best_epoch=best)
        self.claim.check()
        write_bytes_atomically(self.paths.curves, curves)
        reason = "; ".join(filter(None, [trained.reason, self._note() if self.parts > 1 else ""]))
        gpu_peak = hardware.pop("gpu_peak_memory_mb")
        result = {
            "index": self.entry.index,
            "name": self.entry.name,
            "key": self.entry.key,
            "status": trained.outcome,
            "reason": reason,
            "settings": dict(self.entry.point.settings),
            "effective": trained.effective,
            "metrics": trained.metrics,
            "history": trained.history,
            "data": {"fingerprint": data.fingerprint, "source": data.source, "split": data.split},
            "attempts": self.base["attempts"],
            "resumed": self.resumed,
            "lineage": self.lineage,
            "started": self.base["started"],
            "ended": now(),
            "host": self.base["host"],
            "job_id": self.base["job_id"],
            "peak_memory_mb": gpu_peak if gpu_peak is not None else peak_memory_mb(),
            "peak_host_memory_mb": peak_memory_mb(),
            "startup": {**self.startup, **trained.startup},
            "packages": package_versions(),
            "git": git_state().fields(),
            **hardware,
        }
        self.claim.check()
        if self.again and self.before.result is not None:
            write_record(self.paths.results, result)
        elif not write_record_once(self.paths.results, result):
            status = read_status(self.run, self.entry)
            self.log.line("another process has published this point's result; that one stands")
            if status.result is None:
                raise DamagedRecord(f"{self.paths.results} stands in the way: {status.reason}")
            return status.state
        return trained.outcome

    def clean_up(self) -> None:
        """The result is there: no checkpoint is needed any more."""
        self.checkpoints.discard()

    def remove_leftovers(self) -> None:
        """What a killed attempt was just writing; a holder that was only paused may write nothing any more."""
        for folder in (self.paths.folder, self.paths.state):
            for leftover in folder.glob(".*.tmp*"):
                with contextlib.suppress(OSError):
                    remove(leftover)

    def stopped(self) -> tuple[str, str]:
        """The class and the reason after a signal."""
        total = self.entry.point.settings["epochs"]
        if self.epochs_done:
            progress = f"after epoch {self.epochs_done} of {total}, to be resumed there"
        else:
            progress = "before the first epoch ended"
        if self.deadline.reached():
            if not self.epochs_done:
                progress += ": the walltime does not hold a single epoch, ask for more with --walltime"
            return "timeout", f"stopped by PBS at the walltime {progress}"
        return "cancelled", f"stopped by a signal {progress}"

    def guarded(self, threads: int | None, termination: _Termination) -> tuple[str, str]:
        """Train; the class and the reason of whatever became of it. Raises only :class:`TakenOver`."""
        try:
            try:
                return self.train(threads, termination), ""
            finally:
                termination.settle()
        except Cancelled:
            return self.stopped()
        except OutOfTime as error:
            return "timeout", str(error)
        except Exception as error:  # noqa: BLE001 - the one place where a point's fault becomes its class
            if termination.arrived is not None:
                return self.stopped()
            traceback.print_exc()
            summary = textwrap.shorten(f"{type(error).__name__}: {error}", 900)
            if is_out_of_memory(error, self.paths.log):
                # The words that the guide's `grep "ResourceExhausted"` looks for, whatever the allocator said.
                self.log.line("ResourceExhausted: memory did not suffice for this point")
                return "oom", summary
            return "error", summary

    def peak_memory(self) -> dict[str, Any]:
        """What a point without a result still can tell of the memory it used."""
        found = {"peak_memory_mb": peak_memory_mb(), "peak_host_memory_mb": peak_memory_mb()}
        try:
            gpu = self.hardware().get("gpu_peak_memory_mb")
        except Exception:  # noqa: BLE001 - after a fault the driver may answer with any; the class is known already
            gpu = None
        return found if gpu is None else {**found, "peak_memory_mb": gpu}


def _has_result(status: PointStatus, again: bool) -> bool:
    """Whether nothing is left to do. A sub-job that PBS runs again must not do the same once more."""
    if status.result is None:
        return False
    job = os.environ.get("PBS_JOBID")
    return not again or (job is not None and status.result.get("job_id") == job)


def run_point(
    run: Run,
    entry: Entry,
    *,
    echo: bool = True,
    threads: int | None = None,
    again: bool = False,
    tell: Callable[[str], None] = print,
) -> str:
    """Train ``entry`` and publish its result; returns the state it ended in (:data:`jobs.common.states.STATES`).

    A point that has its result is left alone and its state returned, unless ``again``: then the new result
    takes the old one's place when it is there, and not before. One that was interrupted goes on after its last
    whole epoch. ``echo`` sends the log's lines to standard output too; ``threads`` limits the cores. Whatever
    goes wrong while training is classed, written to ``training_log.txt`` and to the point's status record, and
    returned, not raised; only :class:`Busy` is raised, when another process is at it or has taken it over,
    and ``UserError`` where the point's folder cannot be written at all.
    """
    paths = run.point_paths(entry)
    _refuse_unreadable(run, entry)
    status = read_status(run, entry)
    if _has_result(status, again):
        tell(f"{entry.name}: has its result already ({status.state}); nothing to do")
        _discard_leftover(run, entry, status.result)
        return status.state
    interval = float(run.site.get("heartbeat_seconds", INTERVAL))
    try:
        with claimed(paths, interval=interval, attempts=status.attempts, say=tell) as claim:
            status = read_status(run, entry, before=claim.number)
            if _has_result(status, again):
                tell(f"{entry.name}: has its result by now ({status.state}); nothing to do")
                return status.state
            termination = _Termination()
            with captured(paths.log, echo=echo) as log, answered_by(termination.cancel):
                attempt = _Attempt(run, entry, paths, log, claim, status, again=again)
                return _live(attempt, threads, termination)
    except TakenOver as error:
        raise Busy(str(error)) from None
    except OSError as error:
        raise UserError(
            f"{paths.folder} cannot be used ({error}); expected a folder on a file system with space that this user may "
            "write. Nothing was trained; mend it, then run the point again",
            exit_code=STATES["error"].exit_code,
        ) from error


def _refuse_unreadable(run: Run, entry: Entry) -> None:
    """A result that is there and cannot be read now may be good: training anew could only spoil what belongs to it."""
    try:
        read_result(run, entry, verify=False)
    except DamagedRecord as error:
        if not error.content:
            raise UserError(
                f"{error}; nothing was trained. Where it is a file system that was away, run the point again",
                exit_code=STATES["error"].exit_code,
            ) from error


def _live(attempt: _Attempt, threads: int | None, termination: _Termination) -> str:
    entry, log = attempt.entry, attempt.log
    base = attempt.base
    log.line(f"{entry.name}: attempt {base['attempts']}, process {base['pid']} on {base['host']}")
    more: dict[str, Any] = {}
    begun = True
    try:
        reason = why_not_to_start(attempt.run, base["session"])
        if not reason:
            attempt.remove_leftovers()
            attempt.record("running")
    except OSError as error:
        log.line(f"{entry.name}: error: {error}")
        raise
    except Cancelled:
        begun, (state, reason) = False, attempt.stopped()
    if begun and reason:
        state, more = "error", {"not_started": True}
    elif begun:
        state, reason = attempt.guarded(threads, termination)
        if STATES[state].ended:
            attempt.clean_up()
        else:
            more = attempt.peak_memory()
    line = f"{entry.name}: {state}" + (f": {reason}" if reason else "")
    try:
        attempt.record(state, reason, **more)
    except OSError as error:
        # Whoever reads the record finds a process that is gone, and calls the point lost: to be run again.
        line += f" (which could not be recorded: {error})"
    log.line(line)
    return state


def _discard_leftover(run: Run, entry: Entry, result: dict[str, Any]) -> None:
    """Remove the checkpoint of an attempt that was killed between its result and its end."""
    paths = run.point_paths(entry)
    checkpoints = Checkpoints(paths, entry.key)
    # One of another lineage belongs to an interrupted --again, or to one that is at work.
    lineage = checkpoints.lineage()
    if lineage is not None and lineage == result.get("lineage"):
        with contextlib.suppress(OSError), guarded(paths) as locked:
            if locked is not False:
                checkpoints.discard()
