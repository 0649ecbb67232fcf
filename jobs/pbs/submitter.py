"""Submits planned jobs and the job that collects their results, and records each id as soon as PBS has given it."""

from __future__ import annotations

import contextlib
import getpass
import socket
from collections.abc import Callable, Mapping, Sequence

from msgspec.structs import replace

from jobs.common.errors import UserError
from jobs.common.folders import make_folder
from jobs.common.hints import hint
from jobs.common.schema import CollectJob, Submission, SubmittedJob
from jobs.pbs.commands import Scheduler
from jobs.pbs.index_ranges import expression
from jobs.pbs.job_paths import qsub_line, shell_line, submission_folder
from jobs.pbs.qsub_arguments import PlannedJob, collect_arguments, dependency
from jobs.pbs.submissions import LockedSubmissions
from jobs.run.index import Run
from jobs.run.provenance import now
from jobs.run.site_file import write_site


def submit(
    run: Run,
    record: LockedSubmissions,
    planned: Sequence[PlannedJob],
    scheduler: Scheduler,
    *,
    kind: str,
    waiting: CollectJob | None = None,
    active: Sequence[str] = (),
    collect: bool = True,
    retried: str = "",
    reasons: Mapping[int, str] | None = None,
    say: Callable[[str], None] = print,
) -> Submission:
    """Submit ``planned`` and a job that collects afterwards; returns the submission as recorded.

    ``kind``: ``submit`` or ``resubmit``. ``waiting``: a collect job that has not started. It is changed (``qalter``) to
    wait for the new jobs as well; where that fails, a new collect job follows. ``active``: the ids of earlier jobs of
    the run that have not ended: the collect job waits for them, too. ``collect=False``: no job collects, because more
    points follow. ``retried`` and ``reasons`` are for the record (:class:`jobs.common.schema.Submission`).

    Raises :class:`UserError` where PBS refuses a job or the record cannot be written. The message then names the jobs
    that are in the queue already, and how to go on.
    """
    make_folder(run.paths.logs)  # PBS loses the output of a job whose log folder does not exist
    write_site(run)
    submission = Submission(
        number=record.number,
        kind=kind,
        made=now(),
        host=socket.gethostname(),
        user=getpass.getuser(),
        retried=retried,
        reasons={str(index): reason for index, reason in (reasons or {}).items()},
    )
    record.save(submission)  # a full disk must be noticed before any job is in the queue
    try:
        for job in planned:
            say(qsub_line(run, job.arguments))
            job_id = scheduler.qsub(job.arguments, submission_folder(run))
            submitted = SubmittedJob(
                id=job_id,
                indices=expression(job.indices),
                asked=job.requested,
                command=("qsub", *job.arguments),
            )
            submission = replace(submission, jobs=(*submission.jobs, submitted))
            record.save(submission)
            say(f"  {job_id}")
        if collect:
            submission = replace(
                submission, collect=_collect(run, submission, scheduler, waiting, active, say)
            )
            record.save(submission)
    except UserError as error:
        if not submission.jobs:
            with contextlib.suppress(UserError):  # an empty submission on record does no harm
                record.withdraw()
            raise
        raise UserError(
            _half_submitted(run, record, submission, active, error), exit_code=error.exit_code
        ) from error
    return submission


def _collect(
    run: Run,
    submission: Submission,
    scheduler: Scheduler,
    waiting: CollectJob | None,
    active: Sequence[str],
    say: Callable[[str], None],
) -> CollectJob:
    """The job that collects after those of ``submission``: ``waiting`` if it can be extended, otherwise a new one."""
    ids = (*active, *(job.id for job in submission.jobs))
    if waiting is not None:
        waits_for = tuple(dict.fromkeys([*waiting.waits_for, *ids]))
        arguments = ["-W", f"depend={dependency(waits_for)}", waiting.id]
        say(shell_line("qalter", arguments))
        refused = scheduler.qalter(arguments)
        if not refused:
            say(f"  {waiting.id} waits for them, too")
            return CollectJob(id=waiting.id, command=("qalter", *arguments), waits_for=waits_for)
        say(f"  {refused}; submitting a new collect job instead")
    arguments = collect_arguments(run, ids, submission=submission.number)
    say(qsub_line(run, arguments))
    job_id = scheduler.qsub(arguments, submission_folder(run))
    say(f"  {job_id}")
    return CollectJob(id=job_id, command=("qsub", *arguments), waits_for=ids)


def _half_submitted(
    run: Run, record: LockedSubmissions, submission: Submission, active: Sequence[str], error: UserError
) -> str:
    """The message of ``error``, then which jobs are in the queue already, and how to go on."""
    on_record = record.current or Submission()
    kept = [job.id for job in on_record.jobs]
    lost = [job.id for job in submission.jobs if job not in on_record.jobs]
    if submission.collect is not None and submission.collect != on_record.collect:
        lost.append(submission.collect.id)
    lines = [str(error)]
    if kept:
        lines.append(f"already submitted, and on record: {', '.join(kept)}")
    if lost:
        lines.append(
            f"already submitted, but not on record: {', '.join(lost)}. Delete them: {shell_line('qdel', lost)}"
        )
    lines.append(f"then submit the points that are missing: {hint('jobs.resubmit', run.paths.root)}")
    if kept:
        follow = collect_arguments(run, [*active, *kept], submission=submission.number)
        lines.append(f"or only collect after the jobs that are on record:\n  {qsub_line(run, follow)}")
    return "\n".join(lines)
