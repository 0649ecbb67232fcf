"""The points of a run: their states from files, joined with what the scheduler reports about their sub-jobs.

:func:`look` is the only place where both are put together: every command takes a point's class from it.
"""

from __future__ import annotations

import dataclasses
import signal
import time
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

import msgspec

from jobs.common.errors import UnreadableError, UserError
from jobs.common.permissions import check_readable
from jobs.common.schema import Submission, Submissions
from jobs.common.states import STATES, UNREADABLE
from jobs.monitor.run_jobs import RunJobs, belongs_to, own_job
from jobs.pbs.commands import Scheduler
from jobs.pbs.intents import settled
from jobs.pbs.job_ids import array_id, job_number, sub_job_id
from jobs.pbs.qstat_output import Answer, Details, Job
from jobs.pbs.submissions import read_all
from jobs.point.endings import Ending
from jobs.point.status import PointStatus, read_status, unreadable_points
from jobs.run.index import Entry, Run

# Exit statuses that PBS itself sets.
WALLTIME_EXCEEDED, MEMORY_EXCEEDED = -29, -27
QUEUED = "queued"  # not a state of the files: the scheduler has a sub-job for the point that has not started
FULL = 0.9  # of the requested memory: a process that was killed by signal 9 with this much was killed for it
_WAITS_AS = {"H": "held", "S": "suspended", "W": "waiting for its time", "T": "in transit", "M": "in transit"}


class View(msgspec.Struct, frozen=True):
    """One point: its ``state`` (:data:`jobs.common.states.STATES` or ``queued``), the reason, and its files' status.

    ``scheduler`` is PBS's letter for the sub-job of the point, ``"unknown"`` where the scheduler does not know it or did
    not answer, and empty where the scheduler was not asked or never had the point. ``starting``: the sub-job is running
    and has not written a record yet; a record, if any, belongs to an earlier attempt. ``job_id`` is the id of the
    sub-job while it waits or runs, for ``qdel``.
    """

    entry: Entry
    status: PointStatus
    state: str
    reason: str
    scheduler: str = ""
    starting: bool = False
    job_id: str = ""

    @property
    def ended(self) -> bool:
        """Whether the point has a result."""
        return self.state in STATES and STATES[self.state].ended

    @property
    def active(self) -> bool:
        """Whether the point is being trained, or a sub-job for it waits: also one that has a result, to train it again."""
        return self.state in (QUEUED, "running") or bool(self.job_id)


class Waiting(msgspec.Struct, frozen=True):
    """A job of the run of which ``points`` wait, and why.

    ``state`` is ``queued``, ``held``, ``suspended`` or another word for PBS's letter. ``reason`` is the scheduler's own
    comment. ``since`` and ``start`` are when it was queued and when the scheduler expects it to start. ``never``: the
    scheduler says that it cannot ever run. ``points`` is 0 for a job that collects.
    """

    id: str
    state: str
    points: int
    reason: str
    since: datetime | None
    start: datetime | None
    never: bool


@dataclass(frozen=True)
class Picture:
    """A run at one moment. ``answer`` is ``None`` where the scheduler was not asked; ``problem`` is empty without one.

    ``ids`` are the ids of the run's jobs that train points by their numbers, those that were submitted by hand included.
    ``unreadable``: what of the run cannot be read and what to do about it; empty if nothing. ``unsettled``: it is not
    known whether a job was accepted that is on record without an id; ``unanswered`` says why.
    """

    run: Run
    views: tuple[View, ...]
    submissions: tuple[Submission, ...]
    problem: str = ""
    answer: Answer | None = None
    ids: Mapping[int, str] = field(default_factory=dict)
    unreadable: str = ""
    unsettled: bool = False

    def refuse_unreadable(self, indices: Iterable[int] | None = None) -> None:
        """Raise :class:`UnreadableError` where one of these points (default: anything) cannot be read.

        It may have a result, or be in training: it is neither trained again nor left out in silence.
        """
        chosen = None if indices is None else set(indices)
        points = [
            (view.entry, view.status.reason)
            for view in self.views
            if view.status.state == UNREADABLE and (chosen is None or view.entry.index in chosen)
        ]
        sentence = unreadable_points(self.run, points) or (self.unreadable if chosen is None else "")
        if sentence:
            raise UnreadableError(sentence)

    @property
    def unanswered(self) -> str:
        """Why it is not known which jobs are in the queue; empty where it is, or where the scheduler was not asked."""
        return self.answer.problem if self.answer is not None else ""

    def active_jobs(self) -> tuple[str, ...]:
        """The ids of the jobs that train points of this run and have not ended, as far as the scheduler knows."""
        if self.answer is None:
            return ()
        return self.answer.not_ended(self.ids.values())

    def is_ours(self, job_id: str) -> bool:
        """Whether PBS's record of a job says that it is one of this run (:func:`jobs.monitor.run_jobs.belongs_to`)."""
        number = job_number(job_id)
        if self.answer is None or number is None:
            return False
        return belongs_to(self.run, self.answer.details.get(number))

    def active_collects(self) -> tuple[str, ...]:
        """The ids of the jobs on record that collect and have not ended."""
        if self.answer is None:
            return ()
        return self.answer.not_ended(one.collect.id for one in self.submissions if one.collect is not None)

    def waiting(self) -> tuple[Waiting, ...]:
        """The jobs of which points wait, and collect jobs that somebody must do something about; oldest first."""
        if self.answer is None:
            return ()
        counts = Counter(array_id(view.job_id) for view in self.views if view.state == QUEUED)
        letters: dict[int, set[str]] = {}
        for (number, index), sub_job in self.answer.jobs.items():
            if index is None or sub_job.waits:
                letters.setdefault(number, set()).add(sub_job.state)
        found = []
        for number, job_id in sorted(self.ids.items()):
            points = counts[array_id(job_id)]
            if points:
                found.append(
                    _waiting(job_id, points, self.answer.details.get(number), letters.get(number, set()))
                )
        for collect in (one.collect for one in self.submissions if one.collect is not None):
            own = job_number(collect.id)
            if own is None:
                continue
            job = self.answer.jobs.get((own, None))
            details = self.answer.details.get(own, Details())
            if job is not None and job.waits and (details.can_never_run or set(details.hold) & {"u", "o"}):
                found.append(_waiting(collect.id, 0, details, {job.state}))
        return tuple(found)


def _waiting(job_id: str, points: int, details: Details | None, letters: Collection[str]) -> Waiting:
    """``letters``: the states of the job as a whole and of its sub-jobs that wait."""
    details = details or Details()
    state = next((_WAITS_AS[letter] for letter in ("H", "S", "W", "T", "M") if letter in letters), QUEUED)
    # The comment of an array that has begun says when: that is no reason why the others wait.
    began = details.comment.startswith(("Job Array Began", "Job run at"))
    return Waiting(
        id=job_id,
        state=state,
        points=points,
        reason="" if began else details.comment,
        since=details.since,
        start=details.start,
        never=details.can_never_run,
    )


def look(run: Run, scheduler: Scheduler | None = None, *, by_hand: bool = True) -> Picture:
    """Read the files of every point and, with a ``scheduler``, join them with one bulk ``qstat``.

    ``by_hand``: look for jobs in the queue that were submitted by hand and have not started, which is another query.
    The checksums of results are not compared; only ``collect`` needs that.
    """
    statuses = [read_status(run, entry, verify=False) for entry in run.entries]
    problem = unreadable = ""
    record = Submissions()
    try:
        record = read_all(run)
    except UnreadableError as error:
        unreadable = str(error)
    except UserError as error:
        problem = str(error)
    try:
        check_readable(run.paths.logs, whole=run.paths.root)  # it has the marks of arrays submitted by hand
    except UnreadableError as error:
        unreadable = str(error)
    unsettled = ""
    if scheduler is not None and record.intents:
        # Shown as on record. Who has the lock of the submissions has written it there already.
        record, unsettled = settled(record, scheduler, age=_age(run))
    submissions = record.submissions
    if scheduler is None:
        views = [
            View(entry, status, status.state, status.reason)
            for entry, status in zip(run.entries, statuses, strict=True)
        ]
        unreadable = unreadable_points(run, _unreadable(views)) or unreadable
        return Picture(run, tuple(views), submissions, problem, unreadable=unreadable)
    jobs = RunJobs(run, submissions, statuses)
    lacking = jobs.find_by_hand(scheduler) if by_hand else ""
    answer = scheduler.qstat(jobs.asked_about())
    if (lacking or unsettled) and not answer.problem:
        answer = dataclasses.replace(answer, problem=lacking or unsettled)
    jobs.learn(answer)
    known = {number for number, _ in answer.jobs} | answer.finished | answer.unknown
    joined = _Joined(jobs, answer, known)
    views = [joined.view(entry, status) for entry, status in zip(run.entries, statuses, strict=True)]
    unreadable = unreadable_points(run, _unreadable(views)) or unreadable
    return Picture(
        run,
        tuple(views),
        submissions,
        problem or answer.problem,
        answer,
        jobs.ids,
        unreadable=unreadable,
        unsettled=bool(unsettled),
    )


def _age(run: Run) -> float:
    """Seconds since the record of submissions was written, by the clocks of this host and of the file server."""
    try:
        return max(0.0, time.time() - run.paths.submissions.stat().st_mtime)
    except OSError:
        return 0.0


def _unreadable(views: Iterable[View]) -> list[tuple[Entry, str]]:
    """The points that cannot be read, and why. One that PBS reports as queued or running is known well enough."""
    return [(view.entry, view.reason) for view in views if view.state == UNREADABLE]


@dataclass(frozen=True)
class _Joined:
    """The answer of the scheduler, for the views of points. ``known``: the numbers of the jobs that it answered for."""

    jobs: RunJobs
    answer: Answer
    known: set[int]

    def _sub_job(self, number: int, index: int) -> Job | None:
        jobs = self.answer.jobs
        return jobs.get((number, index)) or jobs.get((number, None))

    def _chosen(self, numbers: Iterable[int], index: int) -> int:
        """The newest of the jobs that have not ended, else the newest: PBS numbers jobs upwards."""
        newest_first = sorted(numbers, reverse=True)
        for number in newest_first:
            job = self._sub_job(number, index)
            if job is not None and not job.ended and job.state != "B":
                return number
        return newest_first[0]

    def view(self, entry: Entry, status: PointStatus) -> View:
        numbers = self.jobs.numbers.get(entry.index)
        if not numbers:
            return View(entry, status, status.state, status.reason)
        number = self._chosen(numbers, entry.index)
        job = self._sub_job(number, entry.index)
        own = job_number(own_job(status))
        if self.answer.problem and not numbers <= self.known and (job is None or job.ended):
            return View(entry, status, status.state, status.reason, "unknown")
        if job is not None and job.state == "B":
            # The parent of the array, which says nothing about one index, except that it may wait.
            job = Job("Q") if status.state == "waiting" else None
        letter = job.state if job is not None else "F" if number in self.answer.finished else "unknown"
        job_id = ""
        if job is not None and (job.waits or job.state == "R"):
            job_id = sub_job_id(self.jobs.ids[number], entry.index)
        if STATES[status.state].ended:
            return View(entry, status, status.state, status.reason, letter, job_id=job_id)
        if letter == "unknown":
            return View(entry, status, status.state, status.reason, letter)
        if job is not None and job.waits:
            return View(entry, status, QUEUED, self._why(job, number), letter, job_id=job_id)
        if job is not None and not job.ended:
            return View(entry, status, "running", "", letter, starting=own != number, job_id=job_id)
        if own is None and status.record is not None:
            # Trained on this machine since then; the scheduler does not know about that.
            return View(entry, status, status.state, status.reason, letter)
        return self._ended(entry, job, number, letter)

    def _ended(self, entry: Entry, job: Job | None, number: int, letter: str) -> View:
        # Its files were read before PBS answered: meanwhile it may have published its result, or recorded how it ended.
        status = read_status(self.jobs.run, entry, verify=False)
        if STATES[status.state].ended:
            return View(entry, status, status.state, status.reason, letter)
        state, reason = _ended(status, job, own=job_number(own_job(status)) == number)
        return View(entry, status, state, reason, letter)

    def _why(self, job: Job, number: int) -> str:
        """Why a sub-job waits. That an array is held is a state of the array only: its sub-jobs stay Q."""
        whole = self.answer.jobs.get((number, None))
        letter = "H" if whole is not None and whole.state == "H" else job.state
        return _WAITS_AS.get(letter, "")


def _killed(code: int | None, share: float | None = None) -> Ending | None:
    """How PBS or a signal ended a sub-job with this exit status; ``None`` where neither did.

    ``share``: of the memory that it requested, how much it had used.
    """
    if code is None:
        return None
    if code == WALLTIME_EXCEEDED:
        return Ending("timeout", "killed by PBS at the walltime")
    if code == MEMORY_EXCEEDED:
        return Ending("oom", "killed by PBS: it used more memory than it requested")
    if code > 256:
        return Ending("cancelled", f"killed by PBS with signal {code - 256} (qdel, or an administrator)")
    if code == 128 + signal.SIGKILL:
        # Anybody can send signal 9; the kernel does when the memory is used up.
        if share is not None and share >= FULL:
            return Ending(
                "oom", f"killed by signal 9, when {100 * share:.0f} % of the requested memory were used"
            )
        return Ending("lost", "killed by signal 9; nothing shows that its memory was used up")
    return None


def _ended(status: PointStatus, job: Job | None, *, own: bool) -> Ending:
    """How a point without a result ended, whose newest sub-job has ended. ``own``: the record is from that sub-job.

    The record of the process comes first, because PBS reports a walltime or a qdel even where the program ended in
    order. Only what the process could not know is taken from PBS.
    """
    recorded = Ending(status.state, status.reason)
    if status.state == UNREADABLE:
        return recorded  # it may have a result
    code = job.exit_status if job is not None else None
    if own and status.state not in ("running", "waiting", "lost"):
        if status.state == "cancelled" and code == WALLTIME_EXCEEDED:
            return Ending("timeout", "stopped by PBS at the walltime")
        return recorded
    if job is not None and not job.ran:
        # The sub-job was deleted before it started; the class of an earlier attempt remains valid.
        deleted = Ending("cancelled", "its sub-job was deleted before it started")
        return deleted if status.state == "waiting" else recorded
    killed = _killed(code, job.memory_share if job is not None else None)
    if killed is not None and not (own and (status.state, killed.state) == ("lost", "lost")):
        return killed
    if code == 0 and status.state == "waiting":
        return Ending("lost", "its sub-job exited with 0 but left no record")
    if own and status.state == "lost":
        return recorded
    ending = "" if code is None else f" with exit status {code}"
    return Ending("lost", f"its sub-job ended{ending} and left no record")
