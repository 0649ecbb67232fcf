"""``python -m jobs.submit RUN``: submit a run to PBS, one sub-job for each point, and the job that collects afterwards.

Points that have a result are left out. Prints the qsub commands and the ids of the jobs, and records both in
RUN/submissions.json. Points that are
predicted to take clearly longer than others are submitted first, as arrays of their own. --estimate shows what
the search will cost, --probe submits one short job that measures it, --proposed requests what was measured
(docs/cost.md). Only one process at a time submits a run; a second one waits. Exit codes: 0 submitted (or, with
--dry-run or --estimate, shown), 2 no usable run or bad arguments, 5 PBS refused, did not answer or is not there,
6 the run is queued, running or being submitted already.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from jobs.common.errors import ACTIVE, OK, UserError, one_line, run_command
from jobs.common.folders import make_folder
from jobs.common.hints import hint
from jobs.common.units import clock, plural
from jobs.cost.advice import does_not_fit
from jobs.cost.estimate import Estimate, estimate, proposals
from jobs.cost.measurements import kinds
from jobs.cost.table import as_json, one_line_summary, show
from jobs.monitor.changing import active_probes
from jobs.monitor.scheduler_view import Picture, look
from jobs.pbs.commands import Scheduler
from jobs.pbs.intents import new_intent
from jobs.pbs.job_paths import qsub_line
from jobs.pbs.qsub_arguments import PlannedJob, by_hand, plan_jobs, probe_arguments
from jobs.pbs.submissions import LockedSubmissions, locked_submissions, read_submissions
from jobs.pbs.submitter import remove_captured, submit, submit_announced
from jobs.run.index import Run
from jobs.run.sharing import check_trainable, open_run
from jobs.run.site_file import write_site
from jobs.run.trust import add_trust_argument

PROBE_MINUTES = (10, 5, 240)  # walltime of a probe: for the job, more for each combination, at most


def array_limit(run: Run, scheduler: Scheduler | None) -> int | None:
    """The largest array: the smaller of the site block's and the server's ``max_array_size``."""
    limits = [run.site["max_array_size"], scheduler.array_limit() if scheduler is not None else None]
    return min((limit for limit in limits if limit is not None), default=None)


def check_max_running(requested: int | None) -> None:
    """Refuse ``--max-running 0``: PBS accepts ``%0``, and such an array never starts."""
    if requested is not None and requested < 1:
        raise UserError(f"--max-running: received {requested}, expected at least 1")


def predict(run: Run, max_running: int | None, *, needed: bool = False) -> tuple[Estimate | None, str]:
    """The estimate, or ``None`` and the reason; where it is ``needed``, a :class:`UserError` instead.

    The order of points is a convenience: a damaged probe must not keep a run from being submitted.
    """
    try:
        return estimate(run, max_running=max_running), ""
    except UserError as error:
        if needed:
            raise
        return None, one_line(f"none: {error}", 500)


def probe_walltime(run: Run) -> str:
    """The walltime of a probe job, by the number of combinations; those it does not reach are measured by --missing."""
    base, each, most = PROBE_MINUTES
    return clock(60 * min(most, base + each * len(kinds(run.entries))))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m jobs.submit",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", metavar="RUN", type=Path, help="the run directory that make_grid.py made")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--estimate", action="store_true", help="show what the run will cost; do not submit it")
    what.add_argument("--probe", action="store_true", help="submit one short job that measures the cost")
    what.add_argument(
        "--proposed", action="store_true", help="request the walltime and mem that --estimate proposes"
    )
    parser.add_argument("--json", action="store_true", help="with --estimate: print everything as JSON")
    parser.add_argument("--dry-run", action="store_true", help="print the exact qsub lines; do not submit")
    parser.add_argument("--max-running", type=int, metavar="N", help="run at most N sub-jobs at a time")
    parser.add_argument(
        "--force", action="store_true", help="submit even if the run is queued or running already"
    )
    add_trust_argument(parser)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command with ``argv`` (default: the process's arguments); returns its exit code."""
    arguments = _parser().parse_args(argv)
    return run_command("jobs.submit", lambda: _command(arguments))


def _command(arguments: argparse.Namespace) -> int:
    check_max_running(arguments.max_running)
    if arguments.json and not arguments.estimate:
        raise UserError(
            "--json: received without --estimate, expected both; for the progress of a run: jobs.status --json"
        )
    run = open_run(arguments.run, trust=arguments.trust)
    run = replace(run, paths=replace(run.paths, root=run.paths.root.resolve()))
    max_running = arguments.max_running or run.site["max_running"]
    if arguments.estimate:
        found = estimate(run, max_running=max_running)
        print(as_json(found)) if arguments.json else show(run, found)
        return OK
    if arguments.probe:
        return _probe(run, dry_run=arguments.dry_run)
    if not arguments.dry_run:
        check_trainable(run)
    scheduler = Scheduler()
    predicted, problem = predict(run, max_running, needed=arguments.proposed)
    limit = array_limit(run, None if arguments.dry_run else scheduler)

    def planned(number: int, indices: Sequence[int]) -> list[PlannedJob]:
        return plan_jobs(
            run,
            indices,
            submission=number,
            limit=limit,
            max_running=max_running,
            durations=predicted.durations if predicted else None,
            proposed=proposals(run, predicted) if predicted and arguments.proposed else None,
        )

    if arguments.dry_run:
        number = len(read_submissions(run)) + 1
        print(f"# estimate: {one_line_summary(predicted) if predicted else problem}")
        print(f"# the whole estimate: {hint('jobs.submit', '--estimate', run.paths.root)}")
        indices = _without_result(look(run))
        lines = (
            by_hand(run, submission=number, planned=planned(number, indices)) if indices else [_nothing(run)]
        )
        print("\n".join(lines))
        return OK
    # The check is under the lock: of two submissions at once the second must see the jobs of the first.
    with locked_submissions(run) as record:
        record.settle(scheduler)
        picture = look(run, scheduler)
        indices = _chosen(picture, force=arguments.force)
        if not indices:
            print(_nothing(run))
            return OK
        if problem:
            print(f"note: the longest points are not submitted first: {problem}")
        jobs = planned(record.number, indices)
        if predicted is not None:
            say_what_does_not_fit(run, predicted, jobs)
        submission = submit(run, record, jobs, scheduler, kind="submit", active=picture.active_jobs())
    ids = ", ".join(job.id for job in submission.jobs)
    collect = submission.collect.id if submission.collect is not None else ""
    print(f"\n{plural(len(indices), 'point')} submitted as {ids}; collected by {collect}")
    print(f"to follow the progress: {hint('jobs.status', arguments.run)}")
    return OK


def _nothing(run: Run) -> str:
    again = hint("jobs.resubmit", run.paths.root, "--class", "done")
    return f"{run.paths.root}: nothing to submit: every point has a result. To train finished points again: {again}"


def say_what_does_not_fit(run: Run, predicted: Estimate, jobs: Sequence[PlannedJob]) -> None:
    """Print a note where points are predicted to take longer than the walltime of their job."""
    walltimes = {
        index: job.requested.walltime or run.site["walltime"] for job in jobs for index in job.indices
    }
    note = does_not_fit(predicted.durations, walltimes, measured=predicted.measured)
    if note:
        print(f"note: {note}")


def _probe(run: Run, *, dry_run: bool) -> int:
    arguments = probe_arguments(run, probe_walltime(run))
    line = qsub_line(run, arguments)
    if dry_run:
        print(line)
        return OK
    check_trainable(run)
    scheduler = Scheduler()
    with locked_submissions(run) as record:
        record.settle(scheduler)
        _check_no_probe(run, record, scheduler)
        make_folder(run.paths.logs)
        write_site(run)
        remove_captured([run.paths.captured_probe])
        submit_announced(run, record, scheduler, new_intent(arguments, kind="probe"), print)
    print(f"\n{len(kinds(run.entries))} combinations are measured; its output: {run.paths.captured_probe}")
    print(f"when it has ended: {hint('jobs.submit', '--estimate', run.paths.root)}")
    return OK


def _check_no_probe(run: Run, record: LockedSubmissions, scheduler: Scheduler) -> None:
    """Refuse a second probe while one is queued or runs: it would wait, and then end because of the first."""
    active, problem = active_probes(run, record.record, scheduler)
    if active:
        raise UserError(
            f"{run.paths.root}: a probe is queued or running already: {active[0]}; expected one at a time. "
            f"Wait for it, or delete it: qdel {active[0]}",
            exit_code=ACTIVE,
        )
    if problem:
        raise UserError(
            f"{run.paths.root}: a probe was submitted before as {record.record.probes[-1].id}, and the scheduler does not report whether it "
            f"is still queued ({problem}); nothing was submitted. Repeat the command when it answers",
            exit_code=ACTIVE,
        )


def _without_result(picture: Picture) -> list[int]:
    """The indices of the points to submit: all that have no result."""
    picture.refuse_unreadable()
    chosen = [view.entry.index for view in picture.views if not view.ended]
    ended = len(picture.views) - len(chosen)
    if ended and chosen:
        print(f"note: {plural(ended, 'point')} with a result already, which are not submitted")
    return chosen


def _chosen(picture: Picture, *, force: bool) -> list[int]:
    """The indices of the points to submit; refuses a run that is queued or running, or whose jobs PBS does not report."""
    run = picture.run
    chosen = _without_result(picture)
    if force:
        return chosen
    active = [view for view in picture.views if view.active]
    root = run.paths.root
    if active:
        states = ", ".join(sorted({view.state for view in active}))
        raise UserError(
            f"{root} is active: {len(active)} points are {states}, the first {active[0].entry.name}; expected a run that is "
            f"neither queued nor running. To follow it: {hint('jobs.status', root)}; to repeat failed "
            f"points: {hint('jobs.resubmit', root, '--all-failed')}; to submit anyway: --force",
            exit_code=ACTIVE,
        )
    unsure = picture.unsettled or any(
        view.scheduler == "unknown" and not view.ended for view in picture.views
    )
    if unsure and picture.unanswered:
        raise UserError(
            f"{root} was submitted before, and the scheduler does not report whether its jobs are still queued "
            f"({picture.unanswered}); check with qstat, or submit anyway with --force",
            exit_code=ACTIVE,
        )
    return chosen


if __name__ == "__main__":
    sys.exit(main())
