"""What the commands that change jobs in the queue have in common: they must know them all, and they write down what they did."""

from __future__ import annotations

import getpass
import socket
from collections.abc import Sequence

from jobs.common.errors import SCHEDULER, UserError
from jobs.common.schema import Change, Submissions
from jobs.monitor.run_jobs import belongs_to
from jobs.monitor.scheduler_view import Picture, look
from jobs.pbs.commands import Scheduler
from jobs.pbs.job_ids import job_number
from jobs.run.index import Run
from jobs.run.provenance import now


def look_at_all(run: Run, scheduler: Scheduler) -> Picture:
    """The picture of ``run``; :class:`UserError` with exit code 5 where PBS does not report each of its jobs."""
    picture = look(run, scheduler)
    if picture.unanswered:
        raise UserError(
            f"{run.paths.root}: the scheduler does not report which jobs are in the queue ({picture.unanswered}); nothing was "
            "changed. Repeat the command when it answers; qstat -u $USER shows your jobs",
            exit_code=SCHEDULER,
        )
    return picture


def active_probes(run: Run, record: Submissions, scheduler: Scheduler) -> tuple[tuple[str, ...], str]:
    """The ids of the probes that are queued or running, and why that is not known, empty if it is."""
    ids = [probe.id for probe in record.probes]
    answer = scheduler.qstat(ids)
    ours = [
        one
        for one in answer.not_ended(ids)
        if (number := job_number(one)) is not None and belongs_to(run, answer.details.get(number))
    ]
    return tuple(ours), answer.problem


def whose(refused: Sequence[str]) -> str:
    """What to add to PBS's words where it refuses because of who asks; empty otherwise."""
    if "unauthorized" in " ".join(refused).lower():
        return " (only the user who submitted a job can change or delete it)"
    return ""


def change_of(
    picture: Picture,
    kind: str,
    *,
    ids: Sequence[str],
    commands: Sequence[Sequence[str]],
    refused: Sequence[str],
    indices: str = "",
) -> Change:
    """The record of a change that was made now, by this user."""
    return Change(
        kind=kind,
        made=now(),
        host=socket.gethostname(),
        user=getpass.getuser(),
        after=len(picture.submissions),
        indices=indices,
        ids=tuple(ids),
        commands=tuple(tuple(command) for command in commands),
        refused=tuple(refused),
    )
