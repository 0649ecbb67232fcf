"""``python -m jobs.cancel RUN``: delete the jobs of a run, or those of some of its points.

The job that collects is deleted first: the end of the others would start it. A point that is running stops in order and
keeps its last checkpoint; jobs.resubmit continues it. Results are never deleted. With --indices, only the sub-jobs of
these points are deleted, and the job that collects still waits for the rest. What was deleted is recorded in
RUN/submissions.json, and jobs.supervise does not submit it again. Exit codes: 0 deleted (or shown, or nothing to
delete), 2 bad arguments or no usable run, 5 PBS refused, did not answer or is not there.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jobs.common.errors import OK, SCHEDULER, UserError, one_line, run_command
from jobs.common.hints import hint, hint_lines
from jobs.common.units import plural
from jobs.monitor.changing import active_probes, change_of, look_at_all, whose
from jobs.monitor.scheduler_view import Picture, View
from jobs.monitor.summary import describe
from jobs.pbs.commands import Scheduler
from jobs.pbs.job_paths import shell_line
from jobs.pbs.submissions import locked_submissions
from jobs.run.index import Run, parse_indices
from jobs.run.sharing import open_run
from jobs.run.trust import add_trust_argument

AT_ONCE = 100  # ids in one qdel: a command line has a limit


@dataclass(frozen=True)
class Deletion:
    """What is to be deleted: ``ids`` in this order, which stop or remove the points in ``views``.

    ``strangers``: jobs that the run names, and that are none of it by what PBS has on record; they are left alone.
    """

    ids: tuple[str, ...]
    views: tuple[View, ...]
    strangers: tuple[str, ...] = ()


def plan(picture: Picture, indices: str | None, probes: Sequence[str] = ()) -> Deletion:
    """What ``jobs.cancel`` deletes; ``probes`` are the ids of probe jobs that have not ended."""
    active = [view for view in picture.views if view.job_id and picture.is_ours(view.job_id)]
    if indices is None:
        collects, jobs = picture.active_collects(), picture.active_jobs()
        ours = (*filter(picture.is_ours, collects), *probes, *filter(picture.is_ours, jobs))
        strangers = tuple(one for one in (*collects, *jobs) if not picture.is_ours(one))
        return Deletion(tuple(dict.fromkeys(ours)), tuple(active), strangers)
    wanted = {picture.run.entry(index).index for index in parse_indices(indices)}
    views = tuple(view for view in active if view.entry.index in wanted)
    return Deletion(tuple(view.job_id for view in views), views)


def delete(
    ids: Sequence[str], scheduler: Scheduler
) -> tuple[list[tuple[str, ...]], list[str], tuple[str, ...]]:
    """Call ``qdel`` for ``ids``; the commands, what PBS refused, and the ids of the jobs that it did not delete."""
    commands: list[tuple[str, ...]] = []
    refused = []
    kept: list[str] = []
    rest = list(ids)
    while rest:
        part, rest = rest[:AT_ONCE], rest[AT_ONCE:]
        commands.append(("qdel", *part))
        problem = scheduler.qdel(part)
        if problem:
            refused.append(one_line(problem, 500))
            named = [one for one in part if one in problem.split()]
            kept += named or part
    return commands, refused, tuple(kept)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m jobs.cancel",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", metavar="RUN", type=Path, help="the run directory that make_grid.py made")
    parser.add_argument("--indices", help="only the sub-jobs of these points, for example 3,7-9")
    parser.add_argument("--dry-run", action="store_true", help="print the exact qdel lines; delete nothing")
    add_trust_argument(parser)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command with ``argv`` (default: the process's arguments); returns its exit code."""
    arguments = _parser().parse_args(argv)
    return run_command("jobs.cancel", lambda: _command(arguments))


def _command(arguments: argparse.Namespace) -> int:
    run = open_run(arguments.run, trust=arguments.trust)
    scheduler = Scheduler()
    if arguments.indices is not None:
        for index in parse_indices(arguments.indices):
            run.entry(index)
    with locked_submissions(run) as record:
        record.settle(scheduler)
        picture = look_at_all(run, scheduler)
        probes = active_probes(run, record.record, scheduler)[0] if arguments.indices is None else ()
        deletion = plan(picture, arguments.indices, probes)
        _say_what_is_not_affected(picture, deletion, arguments.indices)
        if deletion.strangers:
            print(
                f"note: {', '.join(deletion.strangers)} stay: the run names them, and PBS does not say that they are of this "
                f"run. If they are: {shell_line('qdel', deletion.strangers)}"
            )
        if not deletion.ids:
            print(f"{run.paths.root}: no job to delete")
        if arguments.dry_run:
            for start in range(0, len(deletion.ids), AT_ONCE):
                print(shell_line("qdel", deletion.ids[start : start + AT_ONCE]))
            return OK
        record.prepare_change()
        commands, refused, kept = delete(deletion.ids, scheduler)
        for command in commands:
            print(shell_line(command[0], command[1:]))
        record.add_change(
            change_of(
                picture,
                "cancel",
                ids=[one for one in deletion.ids if one not in kept],
                commands=commands,
                refused=refused,
                indices=arguments.indices or "",
            )
        )
    if not deletion.ids:
        # It is on record all the same: jobs.supervise may be between two submissions.
        return OK
    if refused:
        raise UserError(
            f"{run.paths.root}: PBS refused to delete {len(kept)} of {plural(len(deletion.ids), 'job')}: "
            f"{'; '.join(refused)}{whose(refused)}. {'The others were deleted. ' if len(kept) < len(deletion.ids) else ''}"
            f"See what is left: {hint('jobs.status', run.paths.root, '--live')}",
            exit_code=SCHEDULER,
        )
    _say_what_was_done(run, deletion, whole=arguments.indices is None)
    return OK


def _say_what_is_not_affected(picture: Picture, deletion: Deletion, indices: str | None) -> None:
    ended = sum(view.ended and not view.job_id for view in picture.views)
    if ended and indices is None:
        print(f"{plural(ended, 'point')} had finished; the results stay")
    chosen = {view.entry.index for view in deletion.views}
    named = set(parse_indices(indices)) if indices is not None else set()
    left = [view for view in picture.views if view.entry.index in named - chosen]
    if left:
        states = Counter(view.state for view in left)
        print(f"not in the queue: {plural(len(left), 'point')} ({describe(states, tuple(sorted(states)))})")
    outside = [
        view
        for view in picture.views
        if view.state == "running" and not view.job_id and (indices is None or view.entry.index in named)
    ]
    if outside:
        print(
            f"note: {plural(len(outside), 'point')} running that PBS does not report, the first {outside[0].entry.name}: "
            "started by jobs.local, or about to end"
        )


def _say_what_was_done(run: Run, deletion: Deletion, *, whole: bool) -> None:
    running = sum(view.state == "running" for view in deletion.views)
    waiting = len(deletion.views) - running
    parts = [
        f"{running} running, which {'stops' if running == 1 else 'stop'} after the current step"
        if running
        else "",
        f"{waiting} waiting" if waiting else "",
    ]
    print(
        f"deleted: {plural(len(deletion.views), 'point')} ({', '.join(filter(None, parts)) or 'none active'})"
    )
    print(f"to continue later: {hint('jobs.resubmit', run.paths.root)}")
    if whole:
        root = run.paths.root
        print(
            "to collect what there is:", *hint_lines(("collect.py", root), ("analyze.py", root)), sep="\n  "
        )


if __name__ == "__main__":
    sys.exit(main())
