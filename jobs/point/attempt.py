"""One attempt at a point: claim, train, publish. ``run_point.py`` and the local run both call :func:`run_point`.

Nothing is lost on the way: each epoch ends with a checkpoint, every file that others read is replaced whole, and
nothing is written once another process has taken the point over.
"""

from __future__ import annotations

import contextlib
import textwrap
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.common.errors import UnreadableError, UserError, denied
from jobs.common.files import DiskFull, disk_full, is_full, remove, temporary_beside
from jobs.common.schema import PointRecord, ResultHead
from jobs.common.signals import answered_by
from jobs.common.states import STATES, UNREADABLE
from jobs.point.accumulation import note, parts_for
from jobs.point.checkpoints import Checkpoints
from jobs.point.circuit_breaker import session, why_not_to_start
from jobs.point.claim import INTERVAL, BusyError, Claim, TakenOver, claimed, guarded, identity
from jobs.point.deadline import OutOfTime, deadline
from jobs.point.endings import Ending
from jobs.point.gpus import GpuUse
from jobs.point.journal import Journal
from jobs.point.log import PointLog, captured
from jobs.point.memory import is_out_of_memory, peak_memory_mb
from jobs.point.preparation import prepare
from jobs.point.publication import build_result, has_result, publish_files, publish_result
from jobs.point.resumption import Resumption
from jobs.point.status import PointStatus, read_status, unreadable_points
from jobs.point.termination import Cancelled, Termination
from jobs.run.index import Entry, Run
from jobs.run.provenance import now

if TYPE_CHECKING:
    from unet_models.training.state import Trained, TrainingState


class _Epochs:
    """Follows the epochs of one process: how many are complete, and whether another one fits before the walltime."""

    def __init__(self, run: Run, total: int) -> None:
        self.deadline = deadline(run.site)
        self.total = total
        self.done = 0
        self._durations: list[float] = []
        self._since = time.monotonic()

    def begin(self, done: int) -> None:
        self.done = done
        self._durations = []
        self._since = time.monotonic()

    def completed(self, state: TrainingState) -> None:
        """Count an epoch; :class:`jobs.point.deadline.OutOfTime` where another one does not fit."""
        self.done = state.epoch
        self._durations.append(time.monotonic() - self._since)
        self._since = time.monotonic()
        if state.ended:
            return  # what is left takes less than an epoch, and the checkpoint is written
        # The first epoch of a process traces and compiles: it counts only while there is no other.
        longest = max(self._durations[1:] or self._durations)
        self.deadline.check(longest, f"{state.epoch} of {self.total} epochs are complete")

    def stopped(self) -> Ending:
        """How the point ended after a signal."""
        if self.done:
            progress = f"after epoch {self.done} of {self.total}, to be resumed there"
        else:
            progress = "before the first epoch ended"
        if self.deadline.reached():
            if not self.done:
                progress += ": the walltime is too short for one epoch; request more with --walltime"
            return Ending("timeout", f"stopped by PBS at the walltime {progress}")
        return Ending("cancelled", f"stopped by a signal {progress}")


class _Attempt:
    """One attempt at a point, with the parts that it needs; :meth:`live` is its whole life."""

    def __init__(
        self,
        run: Run,
        entry: Entry,
        log: PointLog,
        claim: Claim,
        before: PointStatus,
        termination: Termination,
        *,
        again: bool,
    ) -> None:
        settings = entry.point.settings
        self.run, self.entry, self.log, self.claim = run, entry, log, claim
        self.settings, self.paths = settings, run.point_paths(entry)
        self.replaced: ResultHead | None = before.result if again else None
        self.parts = parts_for(run, entry, before.record)
        self.termination = termination
        self.epochs = _Epochs(run, settings["epochs"])
        process = identity()
        self.record = PointRecord(
            **process.fields(),
            name=entry.name,
            key=entry.key,
            started=now(),
            attempts=claim.number,
            session=session(run),
            accumulation=self.parts,
            epochs=settings["epochs"],
        )
        self.journal = Journal(self.paths, claim, log, self.record)
        self.resumption = Resumption(
            Checkpoints(self.paths, entry.key, claim.number),
            before,
            parts=self.parts,
            epochs=settings["epochs"],
            process=process,
            log=log,
        )
        self.hardware: Callable[[], dict[str, Any]] = dict

    def live(self, threads: int | None) -> str:
        """Train, publish, and record how it ended; returns the state."""
        entry, record, log = self.entry, self.record, self.log
        log.begin(entry.name, record.attempts, record.pid or 0, record.host or "")
        more: dict[str, Any] = {}
        try:
            reason = why_not_to_start(self.run, record.session)
            if reason:
                ending, more = Ending("error", reason), {"not_started": True}
            else:
                self._remove_leftovers()
                self.journal.write("running")
                ending = self._guarded(threads)
                more = self._ended(ending)
        except OSError as error:
            log.line(f"{entry.name}: error: {error}")
            raise
        except Cancelled:
            ending = self.epochs.stopped()
        line = f"{entry.name}: {ending.state}" + (f": {ending.reason}" if ending.reason else "")
        try:
            self.journal.write(ending.state, ending.reason, **more)
        except OSError as error:
            # Readers will find that the process does not exist any more, and call the point lost: to be run again.
            line += f" (which could not be recorded: {error})"
        log.line(line)
        return ending.state

    def _ended(self, ending: Ending) -> dict[str, Any]:
        """Remove the checkpoint of a point with a result; of any other, return how much memory it used."""
        if STATES[ending.state].ended:
            self.resumption.checkpoints.discard()
            return {}
        peak = peak_memory_mb()
        try:
            gpu = self.hardware().get("gpu_peak_memory_mb")
        except Exception:  # noqa: BLE001 - after a fault the driver may raise anything; the class is known already
            gpu = None
        return {"peak_memory_mb": peak if gpu is None else gpu, "peak_host_memory_mb": peak}

    def _guarded(self, threads: int | None) -> Ending:
        """Train; how it ended, whatever was raised. Raises only :class:`jobs.point.claim.TakenOver`."""
        try:
            try:
                return Ending(self._train(threads))
            finally:
                self.termination.settle()
        except Cancelled:
            return self.epochs.stopped()
        except OutOfTime as error:
            return Ending("timeout", str(error))
        except Exception as error:  # noqa: BLE001 - the one place where an exception becomes a class of failure
            if self.termination.arrived is not None:
                return self.epochs.stopped()
            if isinstance(error, UserError):
                return Ending("error", textwrap.shorten(str(error), 1500))
            traceback.print_exc()
            summary = textwrap.shorten(f"{type(error).__name__}: {error}", 900)
            if is_out_of_memory(error, self.paths.log):
                # The word that the guide's `grep "ResourceExhausted"` looks for, whichever allocator failed.
                self.log.line("ResourceExhausted: not enough memory for this point")
                return Ending("oom", summary)
            return Ending("error", summary)

    def _train(self, threads: int | None) -> str:
        """Train and publish; the state that the point ended in."""
        from unet_models.training import training

        self.hardware = training.hardware
        prepared = prepare(self.run, self.settings, threads=threads)
        data = prepared.data
        self.journal.note(device=prepared.device)
        self.log.line(f"data: {data.describe()}; device: {prepared.device}")
        if prepared.remark:
            self.log.line(f"note: {prepared.remark}")
        remark = note(self.settings["batch_size"], self.parts) if self.parts > 1 else ""
        if remark:
            self.log.line(f"not enough memory before: {remark}")
        model_file = temporary_beside(self.paths.model)
        try:
            with GpuUse() as gpu:
                trained = self._fit(lambda resume: training.train(
                    self.settings,
                    data,
                    model_file=model_file,
                    accumulation=self.parts,
                    resume=resume,
                    on_batch=self._on_batch,
                    on_epoch=self.journal.epoch,
                    on_state=self._on_state,
                    say=self.log.line,
                ))  # fmt: skip
            check = self.claim.check
            title = f"{self.entry.name}\n{data.source}"
            lacking = publish_files(self.paths, trained, data, model_file, title=title, check=check)
            for one in lacking:
                self.log.line(one)
            result = build_result(
                self.entry,
                trained,
                data,
                self.record,
                note="; ".join(filter(None, [remark, prepared.remark, *lacking])),
                lineage=self.resumption.lineage,
                resumed=self.resumption.resumed,
                startup=prepared.startup,
                hardware=training.hardware(),
                gpu=gpu.summary(),
            )
            return publish_result(
                self.run, self.entry, result, replaced=self.replaced, check=check, say=self.log.line
            )
        finally:
            remove(model_file)

    def _fit(self, train: Callable[[TrainingState | None], Trained]) -> Trained:
        """Train from the checkpoint where it fits the network, else from the first epoch."""
        from unet_models.training import training

        def start(resume: TrainingState | None) -> Trained:
            rows = resume.rows if resume else []
            self.epochs.begin(len(rows))
            self.journal.begin(rows)
            return train(resume)

        resume = self.resumption.take_up()
        try:
            try:
                return start(resume)
            except training.ResumeError as error:
                self.resumption.start_anew(error)
                training.prepare_process(self.settings)
                return start(None)
        except OSError as error:
            if is_full(error) and not isinstance(error, DiskFull):
                # HDF5's own message names neither the path nor what is missing.
                raise disk_full(error, self.paths.model, None) from error
            raise

    def _on_batch(self) -> None:
        self.termination.check()
        self.claim.look()

    def _on_state(self, state: TrainingState) -> None:
        self.resumption.save(state, self.claim.check)
        self.epochs.completed(state)

    def _remove_leftovers(self) -> None:
        """Remove what a killed attempt was writing; a holder that was only paused must not write any more."""
        for folder in (self.paths.folder, self.paths.state):
            for leftover in folder.glob(".*.tmp*"):
                with contextlib.suppress(OSError):
                    remove(leftover)


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

    A point that has a result is left alone and its state returned, unless ``again``: then the new result replaces
    the old one when it is complete, and not before. An interrupted point continues after its last whole epoch.
    ``echo`` sends the lines of the log to standard output, too; ``threads`` limits the cores. Whatever goes wrong
    while training is classed, written to ``training_log.txt`` and to the status record, and returned, not raised.

    Raises :class:`jobs.point.claim.BusyError` where another process is training the point or has taken it over, and
    :class:`jobs.common.errors.UserError` where the point's folder cannot be written.
    """
    paths = run.point_paths(entry)
    status = read_status(run, entry)
    _refuse_unreadable(run, entry, status)
    if has_result(status, again=again):
        tell(f"{entry.name}: already has a result ({status.state}); nothing to do")
        _discard_leftover(run, entry, status.result)
        return status.state
    interval = float(run.site.get("heartbeat_seconds", INTERVAL))
    try:
        with claimed(paths, interval=interval, attempts=status.attempts, say=tell) as claim:
            status = read_status(run, entry, before=claim.number, aside=True)
            if has_result(status, again=again):
                tell(f"{entry.name}: has a result by now ({status.state}); nothing to do")
                return status.state
            termination = Termination()
            with captured(paths.log, echo=echo) as log, answered_by(termination.cancel):
                attempt = _Attempt(run, entry, log, claim, status, termination, again=again)
                return attempt.live(threads)
    except TakenOver as error:
        raise BusyError(str(error)) from None
    except PermissionError as error:
        place = Path(error.filename or paths.folder)
        raise UserError(
            f"{denied(error, place, whole=run.paths.root)}. Nothing was trained; then run the point again",
            exit_code=STATES["error"].exit_code,
        ) from error
    except OSError as error:
        raise UserError(
            f"{paths.folder} cannot be used ({error}); expected a folder that this user may write, on a file system with "
            "free space. Nothing was trained; fix that, then run the point again",
            exit_code=STATES["error"].exit_code,
        ) from error


def _refuse_unreadable(run: Run, entry: Entry, status: PointStatus) -> None:
    """What exists and cannot be read now may be a good result: training again could spoil the files that belong to it."""
    sentence = unreadable_points(run, [(entry, status.reason)]) if status.state == UNREADABLE else ""
    if sentence:
        raise UnreadableError(
            f"{sentence}; nothing was trained. If the file system was away, run the point again",
            exit_code=STATES["error"].exit_code,
        )


def _discard_leftover(run: Run, entry: Entry, result: ResultHead | None) -> None:
    """Remove the checkpoint of an attempt that was killed after it had published its result."""
    paths = run.point_paths(entry)
    checkpoints = Checkpoints(paths, entry.key)
    # A checkpoint of another lineage belongs to an interrupted --again, or to one that is running.
    lineage = checkpoints.lineage()
    if lineage is not None and result is not None and lineage == result.lineage:
        with contextlib.suppress(OSError), guarded(paths) as locked:
            if locked is not False:
                checkpoints.discard()
