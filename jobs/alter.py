"""``python -m jobs.alter RUN``: change what the jobs of a run that have not ended may use, through qalter.

``--max-running`` changes how many sub-jobs run at a time, in all arrays together, at once. ``--walltime`` and ``--mem``
are for the sub-jobs that have not started; those that run keep theirs. The change is recorded in RUN/submissions.json.
It is for these jobs only: for later submissions change the site block in RUN/grid.yaml. Exit codes: 0 changed (or
shown, or nothing to change), 2 bad arguments or no usable run, 5 PBS refused, did not answer or is not there.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace

from jobs.common.errors import OK, SCHEDULER, UserError, run_command
from jobs.common.hints import hint
from jobs.common.schema import Requested
from jobs.common.units import plural
from jobs.grid.settings import SITE
from jobs.grid.sites import gpu_resources
from jobs.monitor.changing import change_of, look_at_all, whose
from jobs.monitor.scheduler_view import Picture
from jobs.pbs.arrays import shares
from jobs.pbs.commands import Scheduler
from jobs.pbs.job_ids import array_id, is_array
from jobs.pbs.job_paths import shell_line
from jobs.pbs.submissions import locked_submissions
from jobs.run.index import Run
from jobs.run.sharing import open_run
from jobs.run.trust import add_trust_argument
from jobs.submit import check_max_running


@dataclass(frozen=True)
class Wanted:
    """What is to be changed; ``None``: not this."""

    max_running: int | None = None
    walltime: str | None = None
    mem: str | None = None


@dataclass(frozen=True)
class Alteration:
    """One ``qalter``: the job, its arguments, and the points of it that have not started."""

    id: str
    arguments: tuple[str, ...]
    waiting: int


def plan(picture: Picture, wanted: Wanted) -> list[Alteration]:
    """One :class:`Alteration` for each job of the run that has not ended.

    ``max_running`` is divided among the arrays by the number of their points that have not ended; each array has at
    least 1.
    """
    ids = [one for one in picture.active_jobs() if picture.is_ours(one)]
    indices: dict[str, list[int]] = {array_id(one): [] for one in ids}
    waiting = dict.fromkeys(indices, 0)
    for view in picture.views:
        owner = array_id(view.job_id)
        if owner in indices:
            indices[owner].append(view.entry.index)
            waiting[owner] += view.state != "running"
    arrays = [one for one in indices if is_array(one)]
    given = dict(
        zip(arrays, shares([indices[one] or [0] for one in arrays], {}, wanted.max_running), strict=True)
    )
    found = []
    for one, of_job in indices.items():
        arguments: list[str] = []
        if wanted.max_running is not None and is_array(one):
            # An array that has no more sub-jobs than its share needs no limit; qalter cannot remove one.
            arguments += ["-W", f"max_run_subjobs={given[one] or max(1, len(of_job))}"]
        if waiting[one]:
            arguments += _resources(picture.run, wanted)
        if arguments:
            found.append(Alteration(one, (*arguments, one), waiting[one]))
    return found


def _resources(run: Run, wanted: Wanted) -> list[str]:
    arguments = []
    if wanted.mem is not None:
        arguments += ["-l", gpu_resources({**run.site, "mem": wanted.mem})]
    if wanted.walltime is not None:
        arguments += ["-l", f"walltime={wanted.walltime}"]
    return arguments


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m jobs.alter",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", metavar="RUN", type=Path, help="the run directory that make_grid.py made")
    parser.add_argument("--max-running", type=int, metavar="N", help="run at most N sub-jobs at a time")
    parser.add_argument("--walltime", help="for the sub-jobs that have not started, HH:MM:SS")
    parser.add_argument("--mem", help="for the sub-jobs that have not started, for example 64gb")
    parser.add_argument("--dry-run", action="store_true", help="print the exact qalter lines; change nothing")
    add_trust_argument(parser)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command with ``argv`` (default: the process's arguments); returns its exit code."""
    arguments = _parser().parse_args(argv)
    return run_command("jobs.alter", lambda: _command(arguments))


def _wanted(arguments: argparse.Namespace) -> Wanted:
    check_max_running(arguments.max_running)
    for key in ("walltime", "mem"):
        value = getattr(arguments, key)
        if value is not None:
            try:
                SITE[key].parse(value)
            except ValueError as error:
                raise UserError(f"--{key}: received {value!r}, expected {error}") from None
    wanted = Wanted(arguments.max_running, arguments.walltime, arguments.mem)
    if wanted == Wanted():
        raise UserError("received no change; expected at least one of --max-running, --walltime and --mem")
    return wanted


def _command(arguments: argparse.Namespace) -> int:
    wanted = _wanted(arguments)
    run = open_run(arguments.run, trust=arguments.trust)
    scheduler = Scheduler()
    with locked_submissions(run) as record:
        record.settle(scheduler)
        picture = look_at_all(run, scheduler)
        alterations = plan(picture, wanted)
        if not alterations:
            print(f"{run.paths.root}: no job to change: {_why_none(picture, wanted)}")
            return OK
        if not arguments.dry_run:
            record.prepare_change()
        refused, changed = [], []
        for one in alterations:
            print(shell_line("qalter", one.arguments))
            problem = "" if arguments.dry_run else scheduler.qalter(one.arguments)
            if problem:
                refused.append(f"{one.id}: {problem}")
                print(f"  {refused[-1]}")
            else:
                changed.append(one)
        if arguments.dry_run:
            return OK
        record.add_change(
            change_of(
                picture,
                "alter",
                ids=[one.id for one in changed],
                commands=[("qalter", *one.arguments) for one in alterations],
                refused=refused,
            ),
            _requested_now(picture, changed, wanted),
        )
    if refused:
        raise UserError(
            f"{run.paths.root}: PBS refused {len(refused)} of {len(alterations)} changes: {'; '.join(refused)}{whose(refused)}. "
            f"See the jobs: {hint('jobs.status', run.paths.root, '--live')}",
            exit_code=SCHEDULER,
        )
    _say_what_was_done(changed, wanted)
    return OK


def _requested_now(picture: Picture, changed: list[Alteration], wanted: Wanted) -> dict[str, Requested]:
    """What the changed jobs on record request now, by id."""
    ids = {one.id for one in changed if one.waiting}
    found = {}
    for job in (job for submission in picture.submissions for job in submission.jobs):
        if job.id in ids:
            walltime, mem = wanted.walltime or job.asked.walltime, wanted.mem or job.asked.mem
            found[job.id] = replace(job.asked, walltime=walltime, mem=mem)
    return found


def _why_none(picture: Picture, wanted: Wanted) -> str:
    """Why no job can be changed as it is wanted."""
    if not picture.active_jobs():
        return "none of its jobs waits or runs"
    if wanted.walltime is None and wanted.mem is None:
        return (
            "its jobs are no job arrays, and PBS limits only the sub-jobs of an array. Let jobs.supervise submit them "
            "with --max-running, which has no more of them in the queue"
        )
    return "all its points that have not ended run already, and PBS lets them keep what they requested"


def _say_what_was_done(changed: list[Alteration], wanted: Wanted) -> None:
    waiting = sum(one.waiting for one in changed)
    print(f"changed: {plural(len(changed), 'job')}")
    arrays = sum(is_array(one.id) for one in changed)
    if wanted.max_running is not None and arrays > wanted.max_running:
        print(
            f"note: PBS runs at least 1 sub-job of each array, and there are {arrays}: {arrays} may run at a time"
        )
    if wanted.max_running is not None and arrays < len(changed):
        print(
            f"note: {plural(len(changed) - arrays, 'job')} that are no arrays, whose number PBS does not limit"
        )
    if wanted.walltime is not None or wanted.mem is not None:
        print(
            f"the new request is for {plural(waiting, 'point')} that had not started; those that run keep theirs. "
            "For later submissions change site: in RUN/grid.yaml"
        )


if __name__ == "__main__":
    sys.exit(main())
