"""``python -m jobs.submit RUN``: one array job with a sub-job for each point, and the collect that follows it.

Prints the qsub commands and the ids, and records both in RUN/submissions.json. Exit codes: 0 submitted (or,
with --dry-run, shown), 2 no usable run or bad arguments, 5 PBS refused, did not answer or is not there,
6 the run is queued or running already.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from jobs.errors import ACTIVE, OK, UserError, run_command
from jobs.index import Run, read_run
from jobs.live import look
from jobs.scheduler import Scheduler
from jobs.submissions import by_hand, plan, read_submissions, submit


def array_limit(run: Run, scheduler: Scheduler | None) -> int | None:
    """The largest array: the smaller of the site block's and the server's ``max_array_size``."""
    limits = [run.site["max_array_size"], scheduler.array_limit() if scheduler is not None else None]
    return min((limit for limit in limits if limit is not None), default=None)


def check_max_running(asked: int | None) -> None:
    """Refuse ``--max-running 0``: PBS accepts ``%0``, and such an array never starts."""
    if asked is not None and asked < 1:
        raise UserError(f"--max-running: received {asked}, expected at least 1")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m jobs.submit",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", metavar="RUN", type=Path, help="the run directory that make_grid.py made")
    parser.add_argument("--dry-run", action="store_true", help="print the exact qsub lines; submit nothing")
    parser.add_argument("--max-running", type=int, metavar="N", help="at most N sub-jobs at a time")
    parser.add_argument("--force", action="store_true", help="submit even if it is queued or running already")
    arguments = parser.parse_args(argv)

    def command() -> int:
        check_max_running(arguments.max_running)
        run = read_run(arguments.run)
        run = replace(run, paths=replace(run.paths, root=run.paths.root.resolve()))
        scheduler = Scheduler()
        number = len(read_submissions(run)) + 1
        plans = plan(
            run,
            [entry.index for entry in run.entries],
            submission=number,
            limit=array_limit(run, None if arguments.dry_run else scheduler),
            max_running=arguments.max_running or run.site["max_running"],
        )
        if arguments.dry_run:
            print("\n".join(by_hand(run, submission=number, plans=plans)))
            return OK
        _check_inactive(run, scheduler, force=arguments.force)
        record = submit(run, plans, scheduler, kind="submit", number=number)
        jobs = ", ".join(job["id"] for job in record["jobs"])
        print(f"\n{len(run.entries)} points submitted as {jobs}; collected by {record['collect']['id']}")
        print(f"how far it is: python -m jobs.status {arguments.run}")
        return OK

    return run_command("jobs.submit", command)


def _check_inactive(run: Run, scheduler: Scheduler, *, force: bool) -> None:
    recorded = read_submissions(run)
    picture = look(run, scheduler if recorded else None)
    ended = sum(view.ended for view in picture.views)
    if ended:
        print(f"note: {ended} points have their result; their sub-jobs leave at once")
    active = [view for view in picture.views if view.active]
    unsure = [view for view in picture.views if view.scheduler == "unknown" and not view.ended]
    if force or not (active or (unsure and picture.answer is not None and picture.answer.problem)):
        return
    if active:
        states = ", ".join(sorted({view.state for view in active}))
        raise UserError(
            f"{run.paths.root} is at work already: {len(active)} points are {states}, the first {active[0].entry.name}; "
            "expected a run that is not. To watch it: python -m jobs.status; what failed: python -m jobs.resubmit; "
            "to submit all the same: --force",
            exit_code=ACTIVE,
        )
    raise UserError(
        f"{run.paths.root} was submitted before, and the scheduler does not say what became of it "
        f"({picture.answer.problem if picture.answer else ''}); look with qstat, or submit all the same with --force",
        exit_code=ACTIVE,
    )


if __name__ == "__main__":
    sys.exit(main())
