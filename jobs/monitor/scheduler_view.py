"""The points of a run: their states from files, joined with what the scheduler reports about their sub-jobs."""

from __future__ import annotations

import signal
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from jobs.common.errors import UserError
from jobs.common.schema import Submission
from jobs.common.states import STATES
from jobs.pbs.commands import Scheduler
from jobs.pbs.job_ids import array_id, job_number
from jobs.pbs.qstat_output import Answer, Job
from jobs.pbs.submissions import jobs_of, read_submissions
from jobs.point.endings import Ending
from jobs.point.status import PointStatus, read_status
from jobs.run.index import Entry, Run

# Exit statuses that PBS itself sets.
WALLTIME_EXCEEDED, MEMORY_EXCEEDED = -29, -27
QUEUED = "queued"  # not a state of the files: the scheduler has a sub-job for the point that has not started


class View(msgspec.Struct, frozen=True):
    """One point: its ``state`` (:data:`jobs.common.states.STATES` or ``queued``), the reason, and its files' status.

    ``scheduler`` is PBS's letter for the newest sub-job of the point, ``"unknown"`` where the scheduler does not know it,
    and empty where the scheduler was not asked or never had the point. ``starting``: the sub-job is running and has
    not written a record yet; a record, if any, belongs to an earlier attempt.
    """

    entry: Entry
    status: PointStatus
    state: str
    reason: str
    scheduler: str = ""
    starting: bool = False

    @property
    def ended(self) -> bool:
        """Whether the point has a result."""
        return self.state in STATES and STATES[self.state].ended

    @property
    def active(self) -> bool:
        """Whether the point is being trained, or a sub-job for it waits."""
        return self.state in (QUEUED, "running")


@dataclass(frozen=True)
class Picture:
    """A run at one moment. ``answer`` is ``None`` where the scheduler was not asked; ``problem`` is empty without one."""

    run: Run
    views: tuple[View, ...]
    submissions: tuple[Submission, ...]
    problem: str = ""
    answer: Answer | None = None


def _own_job(status: PointStatus) -> str | None:
    """The id of the job that trained the point last, as the point recorded it."""
    return status.record.job_id if status.record is not None else None


def _ids(submissions: Iterable[Submission], statuses: Iterable[PointStatus]) -> list[str]:
    """The id of every job that may belong to the run, each once: on record, or named by a point (submitted by hand)."""
    found: dict[int, str] = {}
    for submission in submissions:
        ids = [job_id for job_id, _ in jobs_of([submission])]
        if submission.collect is not None:
            ids.append(submission.collect.id)
        for job_id in ids:
            number = job_number(job_id)
            if number is not None:
                found[number] = job_id
    for status in statuses:
        own = _own_job(status)
        number = job_number(own)
        if own is not None and number is not None:
            found.setdefault(number, array_id(own))
    return list(found.values())


def look(run: Run, scheduler: Scheduler | None = None) -> Picture:
    """Read the files of every point and, with a ``scheduler``, join them with one bulk ``qstat``.

    The checksums of results are not compared; only ``collect`` needs that.
    """
    statuses = [read_status(run, entry, verify=False) for entry in run.entries]
    problem = ""
    try:
        submissions = read_submissions(run)
    except UserError as error:
        submissions, problem = (), str(error)
    if scheduler is None:
        views = [
            View(entry, status, status.state, status.reason)
            for entry, status in zip(run.entries, statuses, strict=True)
        ]
        return Picture(run, tuple(views), submissions, problem)
    answer = scheduler.qstat(_ids(submissions, statuses))
    newest: dict[int, int] = {}
    for job, indices in jobs_of(submissions):
        number = job_number(job)
        newest.update({index: number for index in indices if number is not None})
    views = [
        _join(entry, status, newest.get(entry.index), answer)
        for entry, status in zip(run.entries, statuses, strict=True)
    ]
    return Picture(run, tuple(views), submissions, problem or answer.problem, answer)


def _sub_job(answer: Answer, number: int, index: int) -> Job | None:
    return answer.jobs.get((number, index)) or answer.jobs.get((number, None))


def _join(entry: Entry, status: PointStatus, submitted: int | None, answer: Answer) -> View:
    own = job_number(_own_job(status))
    number = submitted if submitted is not None else own
    # A job that was submitted by hand may be newer than the one on record: PBS numbers jobs upwards.
    if own is not None and number is not None and own > number:
        number = own
    if number is None:
        return View(entry, status, status.state, status.reason)
    if answer.problem:
        return View(entry, status, status.state, status.reason, "unknown")
    job = _sub_job(answer, number, entry.index)
    if job is not None and job.state == "B":
        # The parent of the array, which says nothing about one index, except that it may wait.
        job = Job("Q") if status.state == "waiting" else None
    letter = job.state if job is not None else "F" if number in answer.finished else "unknown"
    if STATES[status.state].ended:
        return View(entry, status, status.state, status.reason, letter)
    if letter == "unknown":
        return View(entry, status, status.state, status.reason, letter)
    if job is not None and job.waits:
        return View(entry, status, QUEUED, _queued(job), letter)
    if job is not None and not job.ended:
        return View(entry, status, "running", "", letter, starting=own != number)
    if own is None and status.record is not None:
        # Trained on this machine since then; the scheduler does not know about that.
        return View(entry, status, status.state, status.reason, letter)
    state, reason = _ended(status, job, own=own == number)
    return View(entry, status, state, reason, letter)


def _queued(job: Job) -> str:
    return "held" if job.state == "H" else "suspended" if job.state == "S" else ""


def _killed(code: int | None) -> Ending | None:
    """How PBS or a signal ended a sub-job with this exit status; ``None`` where neither did."""
    if code is None:
        return None
    if code == WALLTIME_EXCEEDED:
        return Ending("timeout", "killed by PBS at the walltime")
    if code == MEMORY_EXCEEDED:
        return Ending("oom", "killed by PBS: it used more memory than it requested")
    if code > 256:
        return Ending("cancelled", f"killed by PBS with signal {code - 256} (qdel, or an administrator)")
    if code == 128 + signal.SIGKILL:
        return Ending("oom", "killed by signal 9, as the kernel does when the host's memory is used up")
    return None


def _ended(status: PointStatus, job: Job | None, *, own: bool) -> Ending:
    """How a point without a result ended, whose newest sub-job has ended. ``own``: the record is from that sub-job.

    The record of the process comes first, because PBS reports a walltime or a qdel even where the program ended in
    order. Only what the process could not know is taken from PBS.
    """
    recorded = Ending(status.state, status.reason)
    code = job.exit_status if job is not None else None
    if own and status.state not in ("running", "waiting", "lost"):
        if status.state == "cancelled" and code == WALLTIME_EXCEEDED:
            return Ending("timeout", "stopped by PBS at the walltime")
        return recorded
    if job is not None and not job.ran:
        # The sub-job was deleted before it started; the class of an earlier attempt remains valid.
        deleted = Ending("cancelled", "its sub-job was deleted before it started")
        return deleted if status.state == "waiting" else recorded
    killed = _killed(code)
    if killed is not None:
        return killed
    if code == 0 and status.state == "waiting":
        return Ending("lost", "its sub-job exited with 0 but left no record; see its log in logs/")
    if own and status.state == "lost":
        return recorded
    ending = "" if code is None else f" with exit status {code}"
    return Ending("lost", f"its sub-job ended{ending} and left no record; see its log in logs/")
