"""``python -m jobs.submit RUN``: one array job with a sub-job for each point, and the collect that follows it.

Prints the qsub commands and the ids, and records both in RUN/submissions.json. Points that are predicted to take
clearly longer than others are submitted first, as arrays of their own. --estimate shows what the search will cost,
--probe submits one short job that measures it, --proposed asks PBS for what was measured (docs/cost.md). Exit
codes: 0 submitted (or, with --dry-run or --estimate, shown), 2 no usable run or bad arguments, 5 PBS refused, did
not answer or is not there, 6 the run is queued or running already.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from jobs.common.errors import ACTIVE, OK, UserError, one_line, run_command
from jobs.cost.estimate import Estimate, estimate, proposals
from jobs.cost.measurements import kinds
from jobs.cost.table import as_json, one_line_summary, show
from jobs.monitor.scheduler_view import look
from jobs.pbs.scheduler import Scheduler
from jobs.pbs.submissions import (
    by_hand,
    plan,
    probe_arguments,
    read_submissions,
    shell_line,
    submit,
)
from jobs.run.index import Run, read_run
from jobs.run.provenance import REPOSITORY
from jobs.run.site_file import write_site

PROBE_MINUTES = (10, 5, 240)  # of a probe's walltime: for the job, more for each combination, at most


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
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--estimate", action="store_true", help="show what it will cost; submit nothing")
    what.add_argument("--probe", action="store_true", help="submit one short job that measures the cost")
    what.add_argument(
        "--proposed", action="store_true", help="ask for the walltime and mem that --estimate proposes"
    )
    parser.add_argument("--json", action="store_true", help="with --estimate: everything, for programs")
    parser.add_argument("--dry-run", action="store_true", help="print the exact qsub lines; submit nothing")
    parser.add_argument("--max-running", type=int, metavar="N", help="at most N sub-jobs at a time")
    parser.add_argument("--force", action="store_true", help="submit even if it is queued or running already")
    arguments = parser.parse_args(argv)

    def command() -> int:
        check_max_running(arguments.max_running)
        if arguments.json and not arguments.estimate:
            raise UserError(
                "--json: received without --estimate, expected both; the state of a run: jobs.status --json"
            )
        run = read_run(arguments.run)
        run = replace(run, paths=replace(run.paths, root=run.paths.root.resolve()))
        places = arguments.max_running or run.site["max_running"]
        if arguments.estimate:
            found = estimate(run, max_running=places)
            print(as_json(found)) if arguments.json else show(run, found)
            return OK
        if arguments.probe:
            return _probe(run, dry_run=arguments.dry_run)
        scheduler = Scheduler()
        number = len(read_submissions(run)) + 1
        predicted, problem = predict(run, places, needed=arguments.proposed)
        plans = plan(
            run,
            [entry.index for entry in run.entries],
            submission=number,
            limit=array_limit(run, None if arguments.dry_run else scheduler),
            max_running=places,
            durations=predicted.durations if predicted else None,
            proposed=proposals(run, predicted) if predicted and arguments.proposed else None,
        )
        if arguments.dry_run:
            print(f"# estimate: {one_line_summary(predicted) if predicted else problem}")
            print(
                f"# the whole estimate: {shell_line('python', ['-m', 'jobs.submit', '--estimate', str(run.paths.root)])}"
            )
            print("\n".join(by_hand(run, submission=number, plans=plans)))
            return OK
        _check_inactive(run, scheduler, force=arguments.force)
        if problem:
            print(f"note: the longest points do not start first: {problem}")
        record = submit(run, plans, scheduler, kind="submit", number=number)
        jobs = ", ".join(job["id"] for job in record["jobs"])
        print(f"\n{len(run.entries)} points submitted as {jobs}; collected by {record['collect']['id']}")
        print(f"how far it is: python -m jobs.status {arguments.run}")
        return OK

    return run_command("jobs.submit", command)


def predict(run: Run, max_running: int | None, *, needed: bool = False) -> tuple[Estimate | None, str]:
    """The estimate, or ``None`` and why there is none; where it is ``needed``, that is a :class:`UserError`.

    The order of points is a convenience: a damaged probe must not keep a search from being submitted.
    """
    try:
        return estimate(run, max_running=max_running), ""
    except UserError as error:
        if needed:
            raise
        return None, one_line(f"none: {error}", 500)


def probe_walltime(run: Run) -> str:
    """Of a probe job: from how many combinations there are; what it does not reach is measured by --missing."""
    base, each, most = PROBE_MINUTES
    minutes = min(most, base + each * len(kinds(run.entries)))
    return f"{minutes // 60:02d}:{minutes % 60:02d}:00"


def _probe(run: Run, *, dry_run: bool) -> int:
    arguments = probe_arguments(run, probe_walltime(run))
    line = shell_line("qsub", arguments)
    if dry_run:
        print(line)
        return OK
    run.paths.logs.mkdir(exist_ok=True)
    write_site(run)
    print(line)
    print(f"  {Scheduler().qsub(arguments, REPOSITORY)}")
    print(
        f"\n{len(kinds(run.entries))} combinations are measured; what it prints: {run.paths.captured_probe}"
    )
    print(
        f"when it has ended: {shell_line('python', ['-m', 'jobs.submit', '--estimate', str(run.paths.root)])}"
    )
    return OK


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
