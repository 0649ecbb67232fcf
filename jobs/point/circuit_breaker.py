"""Stops a run early: where its first points all fail, the others are not started, so that one fault costs little."""

from __future__ import annotations

import contextlib
import os

from jobs.common.errors import UserError
from jobs.pbs.job_ids import job_number
from jobs.pbs.submissions import read_submissions
from jobs.point.status import read_status
from jobs.run.index import Run

FAILURES = 3  # points that failed, while no point has completed an epoch
LOOKED_AT = 50  # points from the front; in a healthy run the first one decides
LOCAL_SESSION = "LOCAL_SESSION"  # environment variable: the local run that a process belongs to


def session(run: Run) -> str | None:
    """What started this process: a submission, an array submitted by hand, a local run; ``None`` if nothing did.

    Failures count within one session only, so that a user who has repaired the fault can try again.
    """
    local = os.environ.get(LOCAL_SESSION)
    if local:
        return f"local {local}"
    number = job_number(os.environ.get("PBS_JOBID", ""))
    if number is None:
        return None
    # The commands that need a damaged record of submissions report it.
    with contextlib.suppress(UserError):
        for submission in read_submissions(run):
            if any(job_number(job.id) == number for job in submission.jobs):
                return f"submission {submission.number} of {submission.made}"
    return f"job {number}"


def why_not_to_start(run: Run, own: str | None) -> str:
    """The reason not to start a point in the session ``own``; empty where there is none.

    There is one if :data:`FAILURES` points of the session ended with ``error`` and no point of the run has a result,
    ended otherwise, or has completed an epoch in this session.
    """
    if own is None:
        return ""
    failed = []
    for entry in run.entries[:LOOKED_AT]:
        status = read_status(run, entry, verify=False)
        if status.result is not None:
            return ""
        record = status.record
        if record is None or record.session != own or record.not_started:
            continue
        if status.state == "error":
            failed.append((entry.name, status.reason))
        elif status.state != "running" or record.epoch:
            return ""
    if len(failed) < FAILURES:
        return ""
    names = ", ".join(name for name, _ in failed[:FAILURES])
    return (
        f"not started: the first {len(failed)} points of this run all failed ({names}), the last with: "
        f"{failed[-1][1]}. Fix that, then run the points again"
    )
