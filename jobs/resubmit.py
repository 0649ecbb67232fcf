"""``python -m jobs.resubmit RUN``: submit any set of points again, as few job arrays as possible.

Without a choice: every point without a result whose failure is worth repeating (not oom), and every point that
was never submitted. The class of a point comes from its files and the scheduler together, as in jobs.status --live. Each sub-job keeps its index. A collect job that still waits is changed to wait for the new
arrays as well; otherwise a new one follows. Only one process at a time submits a run; a second one waits. Exit
codes: 0 submitted (or shown, or nothing to do), 2 bad arguments or no usable run, 5 PBS refused, did not answer
or is not there, 6 a chosen point is queued or running, or the scheduler does not report whether it is, or the run is
being submitted by another process.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from msgspec import structs

from jobs.common.errors import ACTIVE, OK, UserError, run_command
from jobs.common.hints import hint
from jobs.common.schema import CollectJob
from jobs.common.states import FAILED, STATES, UNREADABLE
from jobs.common.units import plural
from jobs.cost.estimate import Estimate, proposals
from jobs.grid.settings import SITE
from jobs.monitor.scheduler_view import Picture, View, look
from jobs.monitor.summary import describe
from jobs.pbs.commands import Scheduler
from jobs.pbs.job_ids import job_number
from jobs.pbs.qsub_arguments import PlannedJob, by_hand, plan_jobs
from jobs.pbs.submissions import locked_submissions
from jobs.pbs.submitter import submit
from jobs.run.index import Run, parse_indices
from jobs.run.sharing import check_trainable, open_run
from jobs.run.trust import add_trust_argument
from jobs.submit import array_limit, check_max_running, predict, say_what_does_not_fit

CLASSES = tuple(name for name in STATES if name not in ("running", UNREADABLE))


@dataclass(frozen=True)
class Resubmission:
    """The points to submit again, the jobs that run them, and the collect job that can wait for them, if any.

    ``active``: the ids of the run's jobs that have not ended; what collects waits for them as well.
    """

    number: int
    views: tuple[View, ...]
    planned: tuple[PlannedJob, ...]
    waiting: CollectJob | None
    active: tuple[str, ...]


def parse_classes(text: str) -> list[str]:
    """``oom,timeout`` -> the names; :class:`UserError` for a name that is not a class."""
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in CLASSES:
            raise UserError(f"--class: received {name!r}, expected one or more of {', '.join(CLASSES)}")
    return names


def choose(
    picture: Picture, *, indices: str | None = None, classes: str | None = None, all_failed: bool = False
) -> list[View]:
    """The points to submit again; finished ones only where ``indices`` or ``classes`` names them.

    ``indices`` together with ``classes`` or ``all_failed`` are those points that both choose.

    Raises :class:`UserError` with exit code 6 if a point named by ``indices`` is running or queued.
    """
    views = {view.entry.index: view for view in picture.views}
    if indices is not None:
        chosen = [views[picture.run.entry(index).index] for index in parse_indices(indices)]
        if classes is not None or all_failed:
            both = {view.entry.index for view in choose(picture, classes=classes, all_failed=all_failed)}
            return [view for view in chosen if view.entry.index in both]
        active = [view for view in chosen if view.active]
        if active:
            raise UserError(
                f"--indices: {', '.join(str(view.entry.index) for view in active[:20])}: {active[0].entry.name} is "
                f"{active[0].state}{f' ({active[0].job_id})' if active[0].job_id else ''}; expected points that are neither queued "
                "nor running. Wait, or end it first: "
                + hint("jobs.cancel", picture.run.paths.root, "--indices", indices),
                exit_code=ACTIVE,
            )
        return chosen
    if classes is not None:
        names = parse_classes(classes)
        return [view for view in picture.views if view.state in names and not view.active]
    if all_failed:
        return [view for view in picture.views if view.state in FAILED and not view.active]
    return [
        view
        for view in picture.views
        if view.state in STATES and STATES[view.state].rerun and not view.active
    ]


def waiting_collect(picture: Picture) -> CollectJob | None:
    """The newest collect job if it has not started; ``waits_for`` without the ids that PBS no longer reports."""
    if picture.answer is None or picture.answer.problem:
        return None
    newest = next((one.collect for one in reversed(picture.submissions) if one.collect is not None), None)
    number = job_number(newest.id) if newest is not None else None
    if newest is None or number is None:
        return None
    job = picture.answer.jobs.get((number, None))
    if job is None or job.state not in ("H", "W") or not picture.is_ours(newest.id):
        return None
    known = {reported for reported, _ in picture.answer.jobs}
    return structs.replace(
        newest, waits_for=tuple(one for one in newest.waits_for if job_number(one) in known)
    )


def _with_resources(run: Run, walltime: str | None, mem: str | None) -> Run:
    site = dict(run.site)
    for key, value in (("walltime", walltime), ("mem", mem)):
        if value is not None:
            try:
                site[key] = SITE[key].parse(value)
            except ValueError as error:
                raise UserError(f"--{key}: received {value!r}, expected {error}") from None
    root = run.paths.root.resolve()
    return replace(run, site=site, paths=replace(run.paths, root=root))


def _proposed(
    run: Run, predicted: Estimate, walltime: str | None, mem: str | None
) -> dict[int, tuple[str, str | None]]:
    """What is proposed for each point; a walltime or mem that the user gave overrides it."""
    return {
        index: (walltime or own_walltime, mem or own_mem)
        for index, (own_walltime, own_mem) in proposals(run, predicted).items()
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m jobs.resubmit",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", metavar="RUN", type=Path, help="the run directory that make_grid.py made")
    parser.add_argument(
        "--indices",
        help="for example 3,7-9; a finished point named here is trained again. With --class or --all-failed: "
        "only those of these points that it names",
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--class", dest="classes", metavar="CLASS", help="for example oom,timeout")
    which.add_argument("--all-failed", action="store_true", help="every point that failed, including oom")
    parser.add_argument("--walltime", help="for these sub-jobs, HH:MM:SS")
    parser.add_argument("--mem", help="for these sub-jobs, for example 64gb")
    parser.add_argument(
        "--proposed",
        action="store_true",
        help="request the walltime and mem that jobs.submit --estimate proposes",
    )
    parser.add_argument("--max-running", type=int, metavar="N", help="run at most N sub-jobs at a time")
    parser.add_argument("--dry-run", action="store_true", help="print the exact qsub lines; do not submit")
    parser.add_argument(
        "--force",
        action="store_true",
        help="submit even if the scheduler does not report what is queued",
    )
    add_trust_argument(parser)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command with ``argv`` (default: the process's arguments); returns its exit code."""
    arguments = _parser().parse_args(argv)
    return run_command("jobs.resubmit", lambda: _command(arguments))


def _command(arguments: argparse.Namespace) -> int:
    check_max_running(arguments.max_running)
    run = _with_resources(open_run(arguments.run, trust=arguments.trust), arguments.walltime, arguments.mem)
    scheduler = Scheduler()
    if arguments.dry_run:
        prepared = _prepare(run, arguments, scheduler)
        if prepared is not None:
            print("\n".join(by_hand(run, submission=prepared.number, planned=prepared.planned)))
        return OK
    check_trainable(run)
    # The choice is made under the lock: of two resubmissions at once the second must see the jobs of the first.
    with locked_submissions(run) as record:
        record.settle(scheduler)
        prepared = _prepare(run, arguments, scheduler)
        if prepared is None:
            return OK
        submission = submit(
            run,
            record,
            prepared.planned,
            scheduler,
            kind="resubmit",
            waiting=prepared.waiting,
            active=prepared.active,
        )
    ids = ", ".join(job.id for job in submission.jobs)
    collect = submission.collect.id if submission.collect is not None else ""
    print(f"\n{plural(len(prepared.views), 'point')} submitted as {ids}; collected by {collect}")
    limit = arguments.max_running or run.site["max_running"]
    if limit is not None and prepared.active:
        print(
            f"note: {', '.join(prepared.active)} still run beside them, and PBS limits each array by itself. For {limit} of all "
            f"together: {hint('jobs.alter', arguments.run, '--max-running', str(limit))}"
        )
    return OK


def _prepare(run: Run, arguments: argparse.Namespace, scheduler: Scheduler) -> Resubmission | None:
    """What is to be submitted; ``None``, and a line that says so, if nothing is."""
    picture = look(run, scheduler)
    picture.refuse_unreadable(parse_indices(arguments.indices) if arguments.indices is not None else None)
    problem = picture.unanswered
    if problem:
        # No error: a dry run must work where there is no PBS.
        print(f"note: the scheduler does not report what is queued ({problem})")
    chosen = choose(
        picture, indices=arguments.indices, classes=arguments.classes, all_failed=arguments.all_failed
    )
    if not chosen:
        states = Counter(view.state for view in picture.views)
        print(f"{run.paths.root}: nothing to run again ({describe(states, tuple(sorted(states)))})")
        return None
    if problem and not (arguments.dry_run or arguments.force):
        raise UserError(
            f"{run.paths.root}: {len(chosen)} points would be submitted again, and the scheduler does not report whether "
            f"they are still queued or running ({problem}); nothing was submitted. Check with qstat and repeat the command, "
            "or submit anyway with --force",
            exit_code=ACTIVE,
        )
    finished = [view for view in chosen if view.ended]
    if finished:
        print(
            f"note: {len(finished)} of these points have a result, which is kept until a new one replaces it"
        )
    number = len(picture.submissions) + 1
    max_running = arguments.max_running or run.site["max_running"]
    predicted, lacking = predict(run, max_running, needed=arguments.proposed)
    if lacking:
        print(f"note: the longest points are not submitted first: {lacking}")
    planned = plan_jobs(
        run,
        [view.entry.index for view in chosen],
        submission=number,
        limit=array_limit(run, None if arguments.dry_run else scheduler),
        max_running=max_running,
        again=bool(finished),
        durations=predicted.durations if predicted else None,
        proposed=_proposed(run, predicted, arguments.walltime, arguments.mem)
        if predicted and arguments.proposed
        else None,
    )
    print(_summary(chosen))
    if predicted is not None:
        say_what_does_not_fit(run, predicted, planned)
    return Resubmission(
        number, tuple(chosen), tuple(planned), waiting_collect(picture), picture.active_jobs()
    )


def _summary(views: Sequence[View]) -> str:
    states = Counter(view.state for view in views)
    names = ", ".join(view.entry.name for view in views[:5]) + (", ..." if len(views) > 5 else "")
    return f"{plural(len(views), 'point')} ({describe(states, tuple(sorted(states)))}): {names}"


if __name__ == "__main__":
    sys.exit(main())
