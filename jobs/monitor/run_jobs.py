"""Which PBS jobs belong to a run, and which of them have a sub-job for a point.

``submissions.json`` names those of ``jobs.submit`` and ``jobs.resubmit``. Those that were submitted by hand are found by
what the points recorded, by the mark that the first sub-job leaves, and in the queue by the RUN_DIR that they got.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import stat
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path

from jobs.common.errors import UserError
from jobs.common.schema import Submission
from jobs.pbs.commands import Scheduler
from jobs.pbs.job_ids import array_id, job_number
from jobs.pbs.qstat_output import Answer, Details
from jobs.pbs.qsub_arguments import COLLECT_NAME, PROBE_NAME, TRAIN_NAME
from jobs.pbs.submissions import jobs_of
from jobs.point.status import PointStatus
from jobs.run.index import Run, read_provenance
from jobs.run.paths import RUN_PREFIX, RunPaths

NAMES = (TRAIN_NAME, COLLECT_NAME, PROBE_NAME)  # of jobs that were submitted by hand, without RUN_DIR
CLOCKS = timedelta(seconds=5)  # by which the clocks of the login node and of PBS may differ


def own_job(status: PointStatus) -> str | None:
    """The id of the job that trained the point last, as the point recorded it."""
    return status.record.job_id if status.record is not None else None


class RunJobs:
    """The jobs of a run: which there are, and which of them have a sub-job for a point."""

    def __init__(self, run: Run, submissions: Sequence[Submission], statuses: Iterable[PointStatus]) -> None:
        self.run = run
        self.ids: dict[int, str] = {}  # of those that train points
        self.others: dict[int, str] = {}  # of those that collect
        self.numbers: dict[int, set[int]] = {}  # by the index of the point
        self.by_hand: set[int] = set()
        self.submitters = [one.user for one in submissions if one.user]
        for job_id, indices in jobs_of(submissions):
            number = job_number(job_id)
            if number is not None:
                self.ids[number] = job_id
                for index in indices:
                    self.numbers.setdefault(index, set()).add(number)
        for collect in (one.collect for one in submissions if one.collect is not None):
            number = job_number(collect.id)
            if number is not None:
                self.others[number] = collect.id
        for entry, status in zip(run.entries, statuses, strict=True):
            own = own_job(status)
            number = job_number(own)
            if own is not None and number is not None:
                self._add(number, array_id(own))
                self.numbers.setdefault(entry.index, set()).add(number)
        for mark in run.paths.array_marks():
            number = job_number(mark.name.removeprefix(".array_"))
            if number is not None:
                self._add(number, f"{number}[]")

    def _add(self, number: int, job_id: str) -> None:
        """Add a job that is on no record: it was submitted by hand."""
        if number not in self.ids:
            self.ids[number] = job_id
            self.by_hand.add(number)

    def asked_about(self) -> list[str]:
        """The ids for ``qstat``: what is on record in its order, then the rest."""
        recorded = {number: job_id for number, job_id in self.ids.items() if number not in self.by_hand}
        rest = {number: self.ids[number] for number in self.by_hand}
        return list({**recorded, **self.others, **dict(sorted(rest.items()))}.values())

    def find_by_hand(self, scheduler: Scheduler) -> str:
        """Add the jobs in the queue that are on no record of this run; returns why they are not known, if so."""
        waiting, problem = scheduler.jobs_in_the_queue(TRAIN_NAME, known=self.ids, users=self._users())
        for job_id, details in waiting.items():
            number = job_number(job_id)
            if number is not None and _is_for(self.run, details):
                self._add(number, job_id)
        return problem

    def _users(self) -> list[str]:
        """Who may have submitted jobs for the run; empty where that may be anybody, since others may write into it."""
        state = self.run.paths.root.stat()
        if state.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            return []
        found = set(self.submitters)
        for uid in (state.st_uid, os.getuid()):
            with contextlib.suppress(KeyError):  # a user without a name, as in a container
                found.add(pwd.getpwuid(uid).pw_name)
        return sorted(found)

    def learn(self, answer: Answer) -> None:
        """Add what jobs that were submitted by hand train: PBS's answer lists all their indices."""
        for number in self.by_hand & set(answer.details):
            index = answer.details[number].point_index
            if index is not None:
                self.numbers.setdefault(index, set()).add(number)
        for number, sub_job in answer.jobs:
            if number in self.by_hand and sub_job is not None:
                self.numbers.setdefault(sub_job, set()).add(number)


def belongs_to(run: Run, details: Details | None) -> bool:
    """Whether PBS's own record says that a job is one of ``run``: by its RUN_DIR, or where it has none by its name.

    The files of a run may come from anyone, and may name any job of this user. Only such a job is deleted or changed.
    """
    if details is None:
        return False
    if details.run_directory:
        return _is(run.paths.root, details.folder, details.run_directory)
    return details.name in NAMES


def _is_for(run: Run, details: Details) -> bool:
    """Whether a job that has not started will train ``run``, as ``find_run`` in ``jobs/environment.sh`` chooses it."""
    root = run.paths.root.resolve()
    if details.run_directory:
        return _is(root, details.folder, details.run_directory)
    if not details.folder or details.since is None or not _is(root.parent, details.folder):
        return False
    # Without RUN_DIR: the newest run when the job was submitted. Where two were made within the time by which clocks
    # differ, it counts for both: a job too many keeps points from being submitted twice.
    made = _made(run.paths)
    others = [_made(RunPaths(index.parent)) for index in root.parent.glob(f"{RUN_PREFIX}*/index.csv")]
    latest = details.since + CLOCKS
    return (
        made is not None
        and made <= latest
        and not any(other is not None and made + CLOCKS < other <= details.since for other in others)
    )


def _is(place: Path, *parts: str) -> bool:
    """Whether the path that PBS has on record is that of ``place``; it may be of any user, and lead in circles."""
    return os.path.realpath(os.path.join(*parts)) == os.path.realpath(place)  # noqa: PTH118 - that of pathlib raises


def _made(paths: RunPaths) -> datetime | None:
    try:
        return datetime.fromisoformat(read_provenance(paths).made[0].made or "")
    except (UserError, ValueError, IndexError):
        return None
