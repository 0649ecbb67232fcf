"""``python -m jobs.resubmit RUN``: any set of points again, in as few array jobs as possible.

Without a choice: every point without a result that is run again by default (not oom), and every point that
was never submitted. Each sub-job keeps its true index. A collect job that still waits is made to wait for
the new arrays, too; otherwise a new one follows. Exit codes: 0 submitted (or shown, or nothing to do), 2 bad
arguments or no usable run, 5 PBS refused, did not answer or is not there, 6 a chosen point is at work.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from jobs.common.errors import ACTIVE, OK, UserError, run_command
from jobs.common.states import STATES
from jobs.cost.estimate import Estimate, proposals
from jobs.grid.settings import SITE
from jobs.monitor.scheduler_view import Picture, View, look
from jobs.monitor.summary import describe
from jobs.pbs.scheduler import Scheduler, job_number
from jobs.pbs.submissions import by_hand, plan, submit
from jobs.run.index import Run, parse_indices, read_run
from jobs.submit import array_limit, check_max_running, predict

CLASSES = tuple(name for name, state in STATES.items() if name != "running")


def parse_classes(text: str) -> list[str]:
    """``oom,timeout`` -> the names; :class:`UserError` for one that is none."""
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in CLASSES:
            raise UserError(f"--class: received {name!r}, expected one or more of {', '.join(CLASSES)}")
    return names


def choose(
    picture: Picture, *, indices: str | None = None, classes: str | None = None, all_failed: bool = False
) -> list[View]:
    """The points to run again; finished ones only where ``indices`` or ``classes`` names them.

    Raises :class:`UserError` with exit code 6 if a named point is running or queued.
    """
    views = {view.entry.index: view for view in picture.views}
    if indices is not None:
        chosen = [views[picture.run.entry(index).index] for index in parse_indices(indices)]
        active = [view for view in chosen if view.active]
        if active:
            raise UserError(
                f"--indices: {', '.join(str(view.entry.index) for view in active[:20])}: {active[0].entry.name} is "
                f"{active[0].state}; expected points that are not at work. Wait, or end it first with qdel",
                exit_code=ACTIVE,
            )
        return chosen
    if classes is not None:
        names = parse_classes(classes)
        return [view for view in picture.views if view.state in names]
    if all_failed:
        return [
            view for view in picture.views if not view.ended and not view.active and view.state != "waiting"
        ]
    return [view for view in picture.views if view.state in STATES and STATES[view.state].rerun]


def waiting_collect(picture: Picture) -> tuple[str, list[str]] | None:
    """The newest collect job if it has not begun, and the ids it waits for that have not vanished."""
    if picture.answer is None or picture.answer.problem:
        return None
    for submission in reversed(picture.submissions):
        collect = submission.get("collect")
        if not isinstance(collect, dict):
            continue
        number = job_number(collect.get("id", ""))
        job = picture.answer.jobs.get((number, None)) if number is not None else None
        if job is None or job.state not in ("H", "W"):
            return None
        known = {number for number, _ in picture.answer.jobs}
        before = [name for name in collect.get("waits_for") or [] if job_number(name) in known]
        return collect["id"], before
    return None


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
    """What is proposed for each point; what the user names for all of them stands before it."""
    return {
        index: (walltime or own_walltime, mem or own_mem)
        for index, (own_walltime, own_mem) in proposals(run, predicted).items()
    }


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m jobs.resubmit",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", metavar="RUN", type=Path, help="the run directory that make_grid.py made")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--indices", help="for example 3,7-9; a finished point named here is trained again")
    which.add_argument("--class", dest="classes", metavar="CLASS", help="for example oom,timeout")
    which.add_argument("--all-failed", action="store_true", help="everything that failed, oom included")
    parser.add_argument("--walltime", help="for these sub-jobs, HH:MM:SS")
    parser.add_argument("--mem", help="for these sub-jobs, for example 64gb")
    parser.add_argument(
        "--proposed",
        action="store_true",
        help="ask for the walltime and mem that jobs.submit --estimate proposes",
    )
    parser.add_argument("--max-running", type=int, metavar="N", help="at most N sub-jobs at a time")
    parser.add_argument("--dry-run", action="store_true", help="print the exact qsub lines; submit nothing")
    arguments = parser.parse_args(argv)

    def command() -> int:
        check_max_running(arguments.max_running)
        run = _with_resources(read_run(arguments.run), arguments.walltime, arguments.mem)
        scheduler = Scheduler()
        # A dry run must work where there is no PBS; what it would not see then is said below.
        picture = look(run, scheduler)
        if picture.answer is not None and picture.answer.problem:
            print(f"note: the scheduler does not say what is queued ({picture.answer.problem})")
        chosen = choose(
            picture, indices=arguments.indices, classes=arguments.classes, all_failed=arguments.all_failed
        )
        if not chosen:
            states = Counter(view.state for view in picture.views)
            print(f"{run.paths.root}: nothing to run again ({describe(states, tuple(sorted(states)))})")
            return OK
        finished = [view for view in chosen if view.ended]
        if finished:
            print(
                f"note: {len(finished)} of these points have a result, which stands until the new one takes its place"
            )
        number = len(picture.submissions) + 1
        places = arguments.max_running or run.site["max_running"]
        predicted, problem = predict(run, places, needed=arguments.proposed)
        if problem:
            print(f"note: the longest points do not start first: {problem}")
        plans = plan(
            run,
            [view.entry.index for view in chosen],
            submission=number,
            limit=array_limit(run, None if arguments.dry_run else scheduler),
            max_running=places,
            again=bool(finished),
            durations=predicted.durations if predicted else None,
            proposed=_proposed(run, predicted, arguments.walltime, arguments.mem)
            if predicted and arguments.proposed
            else None,
        )
        print(_chosen(chosen))
        if arguments.dry_run:
            print("\n".join(by_hand(run, submission=number, plans=plans)))
            return OK
        record = submit(
            run, plans, scheduler, kind="resubmit", number=number, waiting_collect=waiting_collect(picture)
        )
        jobs = ", ".join(job["id"] for job in record["jobs"])
        print(f"\n{len(chosen)} points submitted as {jobs}; collected by {record['collect']['id']}")
        return OK

    return run_command("jobs.resubmit", command)


def _chosen(views: Sequence[View]) -> str:
    states = Counter(view.state for view in views)
    names = ", ".join(view.entry.name for view in views[:5]) + (", ..." if len(views) > 5 else "")
    return f"{len(views)} points ({describe(states, tuple(sorted(states)))}): {names}"


if __name__ == "__main__":
    sys.exit(main())
