"""Submits planned jobs and the job that collects their results; each is on record before and after its ``qsub``."""

from __future__ import annotations

import contextlib
import getpass
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from msgspec.structs import replace

from jobs.common.errors import UserError
from jobs.common.files import remove
from jobs.common.folders import make_folder
from jobs.common.hints import hint
from jobs.common.schema import CollectJob, Intent, Submission
from jobs.pbs.commands import Scheduler, UnsureError
from jobs.pbs.index_ranges import expression
from jobs.pbs.intents import new_intent, with_token
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
    record.save(submission)
    remove_captured(run.paths.logs.glob(f"submission_{record.number:02d}_*"))
    try:
        for job in planned:
            intent = new_intent(
                job.arguments,
                kind="points",
                submission=record.number,
                indices=expression(job.indices),
                asked=job.requested,
            )
            submit_announced(run, record, scheduler, intent, say)
        if collect:
            _collect(run, record, scheduler, waiting, active, say)
    except UserError as error:
        made = record.current or submission
        if not made.jobs and not record.record.intents:
            with contextlib.suppress(UserError):  # an empty submission on record does no harm
                record.withdraw()
            raise
        raise UserError(
            _half_submitted(run, record, made, active, error), exit_code=error.exit_code
        ) from error
    return record.current or submission


def remove_captured(logs: Iterable[Path]) -> None:
    """Remove what stands where PBS will write the output of a job: it would write through a link, as this user."""
    for path in logs:
        with contextlib.suppress(IsADirectoryError):
            remove(path)


def submit_announced(
    run: Run, record: LockedSubmissions, scheduler: Scheduler, intent: Intent, say: Callable[[str], None]
) -> str:
    """Call ``qsub`` as ``intent`` says, which goes on record before; returns the id of the job, which is on record then.

    Raises :class:`UserError` where PBS refuses it, where that is not known, and where there is no space for its record.
    """
    arguments = intent.command[1:]
    say(qsub_line(run, arguments))
    record.announce(intent)
    try:
        job_id = scheduler.qsub(with_token(arguments, intent.token), submission_folder(run))
    except UnsureError:
        record.unsure()
        raise
    except UserError:
        record.refuse(intent)
        raise
    say(f"  {job_id}")
    record.accept(intent, job_id)
    return job_id


def _collect(
    run: Run,
    record: LockedSubmissions,
    scheduler: Scheduler,
    waiting: CollectJob | None,
    active: Sequence[str],
    say: Callable[[str], None],
) -> None:
    """The job that collects after those of the submission: ``waiting`` if it can be extended, otherwise a new one."""
    submission = record.current or Submission()
    ids = (*active, *(job.id for job in submission.jobs))
    if waiting is not None:
        waits_for = tuple(dict.fromkeys([*waiting.waits_for, *ids]))
        arguments = ["-W", f"depend={dependency(waits_for)}", waiting.id]
        say(shell_line("qalter", arguments))
        refused = scheduler.qalter(arguments)
        if not refused:
            say(f"  {waiting.id} waits for them, too")
            collect = CollectJob(id=waiting.id, command=("qalter", *arguments), waits_for=waits_for)
            record.save(replace(submission, collect=collect))
            return
        say(f"  {refused}; submitting a new collect job instead")
    arguments = collect_arguments(run, ids, submission=record.number)
    intent = new_intent(arguments, kind="collect", submission=record.number, waits_for=ids)
    submit_announced(run, record, scheduler, intent, say)


def _half_submitted(
    run: Run, record: LockedSubmissions, submission: Submission, active: Sequence[str], error: UserError
) -> str:
    """The message of ``error``, then which jobs are in the queue already, and how to go on."""
    kept = [job.id for job in submission.jobs]
    lines = [str(error)]
    if kept:
        lines.append(f"already submitted, and on record: {', '.join(kept)}")
    if record.record.intents:
        lines.append("a job that PBS has accepted without a word is found, and recorded, by the next command")
    lines.append(f"then submit the points that are missing: {hint('jobs.resubmit', run.paths.root)}")
    if kept:
        follow = collect_arguments(run, [*active, *kept], submission=submission.number)
        lines.append(f"or only collect after the jobs that are on record:\n  {qsub_line(run, follow)}")
    return "\n".join(lines)
