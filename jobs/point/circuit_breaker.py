"""One broken thing must not burn the budget: where the first points of a run all fail, the rest need not try."""

from __future__ import annotations

import contextlib
import os

from jobs.common.errors import UserError
from jobs.pbs.job_ids import job_number
from jobs.pbs.submissions import read_submissions
from jobs.point.status import read_status
from jobs.run.index import Run

FAILURES = 3  # points that failed, with no point that got through an epoch
LOOKED_AT = 50  # points from the front; in a healthy run the first one answers
LOCAL_SESSION = "LOCAL_SESSION"  # environment variable: which local run a process belongs to


def session(run: Run) -> str | None:
    """What this process was started by: a submission, an array by hand, a local run; ``None`` if by itself.

    Failures count within one session only, so that whoever has mended the fault can try again.
    """
    local = os.environ.get(LOCAL_SESSION)
    if local:
        return f"local {local}"
    number = job_number(os.environ.get("PBS_JOBID", ""))
    if number is None:
        return None
    with contextlib.suppress(
        UserError
    ):  # a damaged record of submissions is told by the commands that need it
        for submission in read_submissions(run):
            if any(job_number(job.id) == number for job in submission.jobs):
                return f"submission {submission.number} of {submission.made}"
    return f"job {number}"


def why_not_to_start(run: Run, own: str | None) -> str:
    """The reason not to begin a point in the session ``own``; empty where nothing speaks against it.

    There is one if :data:`FAILURES` points of the session ended with ``error`` and no point of the run has a result
    or ended otherwise, or has got through an epoch in this session.
    """
    if own is None:
        return ""
    failed = []
    for entry in run.entries[:LOOKED_AT]:
        status = read_status(run, entry, verify=False)
        if status.result is not None:
            return ""
        record = status.record or {}
        if record.get("session") != own or record.get("not_started") is True:
            continue
        if status.state == "error":
            failed.append((entry.name, status.reason))
        elif status.state != "running" or record.get("epoch"):
            return ""
    if len(failed) < FAILURES:
        return ""
    names = ", ".join(name for name, _ in failed[:FAILURES])
    return (
        f"not started: the first {len(failed)} points of this run all failed ({names}), the last with: "
        f"{failed[-1][1]}; mend that, then run the points again"
    )
