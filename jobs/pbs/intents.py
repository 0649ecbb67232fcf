"""Jobs that PBS has accepted are never lost from the record: each ``qsub`` is announced before it is called.

The announcement (:class:`jobs.common.schema.Intent`) has a random token, which the job gets as a variable. Where this
process is killed between ``qsub`` and the record, or the disk is full, the next command finds the job by its token. It
adds it to the record, or, where PBS has no such job, forgets the announcement.
"""

from __future__ import annotations

import getpass
import secrets
import socket
from collections.abc import Sequence

from msgspec.structs import replace

from jobs.common.schema import (
    CollectJob,
    Intent,
    ProbeJob,
    Requested,
    Submission,
    Submissions,
    SubmittedJob,
)
from jobs.common.units import plural
from jobs.pbs.commands import Scheduler
from jobs.pbs.job_ids import job_number
from jobs.pbs.qsub_arguments import COLLECT_NAME, PROBE_NAME, TOKEN, TRAIN_NAME
from jobs.run.provenance import now

# A qsub whose caller was killed is killed, too; what it had sent by then, the server has accepted within a moment.
SETTLE_SECONDS = 20.0
_NAMES = {"points": TRAIN_NAME, "collect": COLLECT_NAME, "probe": PROBE_NAME}


def new_intent(
    arguments: Sequence[str],
    *,
    kind: str,
    submission: int = 0,
    indices: str = "",
    asked: Requested | None = None,
    waits_for: Sequence[str] = (),
) -> Intent:
    """The announcement of ``qsub`` with ``arguments``, which get the token by :func:`with_token`."""
    return Intent(
        token=secrets.token_hex(8),
        kind=kind,
        submission=submission,
        indices=indices,
        asked=asked or Requested(),
        command=("qsub", *arguments),
        waits_for=tuple(waits_for),
        made=now(),
        host=socket.gethostname(),
        user=getpass.getuser(),
    )


def with_token(arguments: Sequence[str], token: str) -> tuple[str, ...]:
    """``arguments`` of ``qsub``, with the token among the variables of ``-v``.

    >>> with_token(["-v", "A=1", "script"], "0a")
    ('-v', 'A=1,SUBMISSION_TOKEN=0a', 'script')
    """
    place = list(arguments).index("-v") + 1
    return (*arguments[:place], f"{arguments[place]},{TOKEN}={token}", *arguments[place + 1 :])


def settled(record: Submissions, scheduler: Scheduler, *, age: float) -> tuple[Submissions, str]:
    """``record`` with each announced job that PBS has, without the announcements that are void; and a problem.

    ``age``: the seconds since the record was written, by one clock. The problem says why it is not known whether a job
    was accepted, and is empty where that is known of all; nobody may submit the same points before.
    """
    if not record.intents:
        return record, ""
    names = list(dict.fromkeys(_NAMES[one.kind] for one in record.intents if one.kind in _NAMES))
    users = sorted({one.user for one in record.intents if one.user} | {getpass.getuser()})
    numbers = {number for one in _ids(record) if (number := job_number(one)) is not None}
    found, problem = scheduler.jobs_by_token(names, known=numbers, users=users)
    left = []
    for intent in record.intents:
        ids = found.get(intent.token, ())
        if ids:
            record = _adopted(record, intent, ids)
        elif problem or age < SETTLE_SECONDS:
            left.append(intent)
    if left and not problem:
        problem = (
            f"a qsub that was begun {age:.0f} s ago has not said whether its job was accepted; "
            f"it is known after {SETTLE_SECONDS:.0f} s"
        )
    elif left:
        problem = f"{plural(len(left), 'qsub')} did not say whether the job was accepted, and {problem}"
    return replace(record, intents=tuple(left)), problem


def recorded(record: Submissions, intent: Intent, job_id: str) -> Submissions:
    """``record`` in which the announced job has its id."""
    record = _adopted(record, intent, [job_id])
    return without(record, intent)


def without(record: Submissions, intent: Intent) -> Submissions:
    """``record`` without the announcement."""
    return replace(record, intents=tuple(one for one in record.intents if one.token != intent.token))


def _adopted(record: Submissions, intent: Intent, ids: Sequence[str]) -> Submissions:
    """``record`` with the jobs ``ids``, which have the token of ``intent``."""
    if intent.kind == "probe":
        probes = [ProbeJob(id=one, made=intent.made, user=intent.user, command=intent.command) for one in ids]
        return replace(record, probes=(*record.probes, *probes))
    submissions = list(record.submissions)
    place = next((at for at, one in enumerate(submissions) if one.number == intent.submission), None)
    if place is None:
        place = len(submissions)
        submissions.append(
            Submission(
                number=intent.submission,
                kind="submit",
                made=intent.made,
                host=intent.host,
                user=intent.user,
            )
        )
    one = submissions[place]
    if intent.kind == "collect":
        collect = CollectJob(id=ids[0], command=intent.command, waits_for=intent.waits_for)
        submissions[place] = replace(one, collect=one.collect or collect)
    else:
        jobs = [
            SubmittedJob(id=job_id, indices=intent.indices, asked=intent.asked, command=intent.command)
            for job_id in ids
        ]
        submissions[place] = replace(one, jobs=(*one.jobs, *jobs))
    return replace(record, submissions=tuple(submissions))


def _ids(record: Submissions) -> list[str]:
    found = [job.id for one in record.submissions for job in one.jobs]
    found += [one.collect.id for one in record.submissions if one.collect is not None]
    return found + [one.id for one in record.probes]
