"""``submissions.json``: which jobs a run was submitted as, and the lock that only one submission at a time holds."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from msgspec.structs import replace

from jobs.common.errors import ACTIVE, UserError, denied
from jobs.common.files import DiskFull, lock_file, remove, touch
from jobs.common.hints import hint
from jobs.common.permissions import cannot_read
from jobs.common.records import DamagedRecord, encoded, read, write
from jobs.common.reserved import Reserved
from jobs.common.schema import Change, Intent, Requested, Submission, Submissions, SubmittedJob
from jobs.pbs.commands import Scheduler
from jobs.pbs.index_ranges import indices_of
from jobs.pbs.intents import SETTLE_SECONDS, recorded, settled, without
from jobs.pbs.job_ids import job_number
from jobs.run.index import Run
from jobs.run.sharing import configuration_mode

LOCK = ".submit.lock"
LOCK_SECONDS = 120.0  # how long a submission waits for another one of the same run

_WALLTIME = re.compile(r"\d{1,4}:[0-5]\d:[0-5]\d")
_MEM = re.compile(r"[1-9]\d{0,9}(?:kb|mb|gb|tb)", re.IGNORECASE)


def read_submissions(run: Run) -> tuple[Submission, ...]:
    """The submissions on record, oldest first; :class:`UserError` where the record is damaged."""
    return read_all(run).submissions


def read_all(run: Run) -> Submissions:
    """The whole record; :class:`UserError` where it is damaged."""
    try:
        return read(run.paths.submissions, Submissions)
    except FileNotFoundError:
        return Submissions()
    except DamagedRecord as error:
        if not error.content:
            raise cannot_read(error, run.paths.submissions, whole=run.paths.root) from error
        raise UserError(
            f"{error}. It lists the jobs of this run: check  qstat -u $USER , then move the file away"
        ) from error


def jobs_of(submissions: Iterable[Submission]) -> list[tuple[str, tuple[int, ...]]]:
    """``(id, indices)`` of every job that trains points, oldest first; jobs whose id or indices make no sense are left out."""
    return [
        (job.id, indices)
        for submission in submissions
        for job in submission.jobs
        if (indices := indices_of_job(job)) and job_number(job.id) is not None
    ]


def indices_of_job(job: SubmittedJob) -> tuple[int, ...]:
    """The indices that ``job`` trains; none where what is on record makes no sense, because it was edited by hand."""
    try:
        return tuple(indices_of(job.indices))
    except ValueError:
        return ()


def requested(job: SubmittedJob) -> Requested:
    """What ``job`` requested, as far as it is known.

    Older versions did not record it; then walltime and mem are taken from the job's ``qsub`` line. A walltime that is
    not HH:MM:SS and a mem that is not a number with a unit are treated as not recorded.
    """
    line = " ".join(job.command)

    def checked(key: str, value: str | None, pattern: re.Pattern[str]) -> str | None:
        if value is not None and pattern.fullmatch(value):
            return value
        match = re.search(rf"\b{key}=({pattern.pattern})(?![\w:])", line, re.IGNORECASE)
        return match[1] if match else None

    return Requested(
        walltime=checked("walltime", job.asked.walltime, _WALLTIME),
        mem=checked("mem", job.asked.mem, _MEM),
        ncpus=job.asked.ncpus,
        ngpus=job.asked.ngpus,
    )


class LockedSubmissions:
    """The record of a run's submissions, while this process alone may change it.

    ``earlier``: the submissions before the one that is being made. ``current``: the latter as last saved, ``None``
    before the first :meth:`save`.
    """

    def __init__(self, path: Path, record: Submissions) -> None:
        self.path = path
        self.record = record
        self.earlier = record.submissions
        self.current: Submission | None = None
        self._reserved: Reserved | None = None

    @property
    def number(self) -> int:
        """The number of the submission that is being made, from 1."""
        return len(self.earlier) + 1

    def settle(self, scheduler: Scheduler, say: Callable[[str], None] = print) -> None:
        """Find out which announced jobs PBS has accepted, where a process was stopped in between; before anything else.

        Where a ``qsub`` was stopped a moment ago, it is waited for. What stays unknown stays on record, and
        :func:`jobs.monitor.scheduler_view.look` says so.
        """
        said = False
        while self.record.intents:
            age = self._age()
            found, problem = settled(self.record, scheduler, age=age)
            if found != self.record:
                self._write(found)
                self.earlier = self.record.submissions
            if not found.intents or age >= SETTLE_SECONDS:
                return
            if not said:
                say(f"waiting for at most {SETTLE_SECONDS - age:.0f} s: {problem}")
                said = True
            time.sleep(min(2.0, SETTLE_SECONDS / 4))

    def _age(self) -> float:
        """Seconds since the record was written, by the clock of the file server."""
        clock = self.path.with_name(LOCK)  # this process has it
        touch(clock)
        return clock.stat().st_mtime - self.path.stat().st_mtime

    def announce(self, intent: Intent) -> None:
        """Write that a job is about to be submitted, and take the space that its id will need."""
        following = replace(self.record, intents=(*self.record.intents, intent))
        self._reserve(len(encoded(following)))
        try:
            write(self.path, following, configuration_mode(self.path.parent))
        except OSError as error:
            self.release()
            raise self._not_written(error) from error
        self.record = following

    def prepare_change(self) -> None:
        """Take the space for a change of jobs before PBS is told, so that what was done is on record in any case."""
        self._reserve(2 * len(encoded(self.record)))

    def accept(self, intent: Intent, job_id: str) -> None:
        """Write the id that PBS has given to an announced job."""
        self._write(recorded(self.record, intent, job_id))
        self.current = next((one for one in self.record.submissions if one.number == self.number), None)

    def refuse(self, intent: Intent) -> None:
        """Write that PBS has refused an announced job."""
        self._write(without(self.record, intent))

    def unsure(self) -> None:
        """PBS has not answered: whether it has accepted the job is looked for by the next command."""
        with contextlib.suppress(OSError):
            touch(self.path)

    def _reserve(self, size: int) -> None:
        """Take ``size`` bytes on the disk for the next time that the record is written."""
        self.release()
        try:
            self._reserved = Reserved(self.path, size, configuration_mode(self.path.parent))
        except OSError as error:
            raise self._not_written(error) from error

    def release(self) -> None:
        """Give back what was taken on the disk, if anything."""
        if self._reserved is not None:
            self._reserved.release()
        self._reserved = None

    def save(self, submission: Submission) -> None:
        """Write ``submission`` as the newest; :class:`UserError` where the file cannot be written."""
        self._write(replace(self.record, submissions=(*self.earlier, submission)))
        self.current = submission

    def withdraw(self) -> None:
        """Remove the submission that is being made from the file."""
        self._write(replace(self.record, submissions=self.earlier))
        self.current = None

    def begin_next(self) -> None:
        """Another submission follows the one that was saved."""
        self.earlier = self.record.submissions
        self.current = None

    def add_change(self, change: Change, requested: Mapping[str, Requested] | None = None) -> None:
        """Write ``change``; ``requested`` is what jobs request now, by id, where that has changed."""
        new = requested or {}
        submissions = tuple(
            replace(
                one,
                jobs=tuple(replace(job, asked=new[job.id]) if job.id in new else job for job in one.jobs),
            )
            for one in self.earlier
        )
        self._write(replace(self.record, submissions=submissions, changes=(*self.record.changes, change)))

    def _write(self, record: Submissions) -> None:
        reserved, self._reserved = self._reserved, None
        try:
            if reserved is not None:
                reserved.publish(encoded(record))
            else:
                write(self.path, record, configuration_mode(self.path.parent))
        except OSError as error:
            raise self._not_written(error) from error
        self.record = record

    def _not_written(self, error: OSError) -> UserError:
        if isinstance(error, PermissionError):
            return UserError(denied(error, Path(error.filename or self.path), whole=self.path.parent))
        if isinstance(error, DiskFull):
            return UserError(str(error))
        return UserError(f"{self.path} cannot be written ({_reason(error)})")


def _reason(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno else str(error)


@contextmanager
def locked_submissions(
    run: Run, *, seconds: float | None = None, say: Callable[[str], None] = print
) -> Iterator[LockedSubmissions]:
    """The record of ``run``'s submissions under its lock: look, number, submit and save inside the ``with`` block.

    Another process that submits the same run, on any node, waits here for at most ``seconds`` (default:
    :data:`LOCK_SECONDS`), and reads the record when it is its turn.

    Raises :class:`UserError`: with exit code 6 if the other process takes longer, with exit code 2 where the record is
    damaged or the run directory cannot be written.
    """
    limit = LOCK_SECONDS if seconds is None else seconds
    from filelock import Timeout  # here, because a look at a run does without it and its import

    try:
        lock = lock_file(run.paths.root / LOCK)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            say(f"another process is submitting {run.paths.root}: waiting for it, at most {limit:g} s")
            lock.acquire(timeout=limit)
    except Timeout:
        raise UserError(
            f"another process is still submitting {run.paths.root} after {limit:g} s; expected one at a time. "
            f"To see what it has submitted: {hint('jobs.status', run.paths.root, '--live')}",
            exit_code=ACTIVE,
        ) from None
    except PermissionError as error:
        raise UserError(
            denied(error, Path(error.filename or run.paths.root), whole=run.paths.root)
        ) from error
    except OSError as error:
        raise UserError(
            f"{run.paths.root} cannot be locked ({_reason(error)}); expected a run directory that you may write to"
        ) from error
    try:
        for leftover in run.paths.root.glob(f".{run.paths.submissions.stem}.*.tmp*"):
            with contextlib.suppress(OSError):  # of a process that was killed; who has the lock writes alone
                remove(leftover)
        record = LockedSubmissions(run.paths.submissions, read_all(run))
        try:
            yield record
        finally:
            record.release()
    finally:
        lock.release()
