"""``python -m jobs.supervise RUN``: bring a run to its end without a person: submit, submit again what failed, collect.

Run it in tmux, in a small job, or from cron with --once. It submits the points that were not submitted yet, at most as
many at a time as --max-queued (or max_queued of the site block) allows, and submits failed points again by their class,
as retry: of the site block says: how often, and with how much more walltime or memory. It gives a point up when the
same error comes again, and submits nothing more when the same error ends every point. It asks the scheduler at most
once a minute. What it did is in RUN/supervise.log. All that it knows is in the run directory: if it was killed, start
it again. It ends when jobs.cancel was called for the run. Exit codes: 0 every point has a result (with --once: the step
was made), 3 it has ended, and some points have none, 2 bad arguments or no usable run, 5 PBS refuses everything (with
--once: or did not answer), 6 another one supervises this run, 130 interrupted by Ctrl-C: the jobs go on.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from filelock import Timeout

from jobs.common.errors import ACTIVE, OK, PARTIAL, SCHEDULER, UserError, environment_error, run_command
from jobs.common.files import lock_file
from jobs.common.hints import hint
from jobs.common.schema import CollectJob, Submission
from jobs.common.units import plural, seconds_since_1970
from jobs.monitor.lasting_log import Log
from jobs.monitor.retries import KIND, Again, Decision, decide
from jobs.monitor.scheduler_view import Picture, look
from jobs.monitor.summary import describe
from jobs.pbs.commands import Scheduler
from jobs.pbs.qsub_arguments import plan_jobs
from jobs.pbs.submissions import LockedSubmissions, indices_of_job, locked_submissions
from jobs.pbs.submitter import submit
from jobs.resubmit import waiting_collect
from jobs.run.index import Run, indices_text
from jobs.run.sharing import open_run
from jobs.run.trust import add_trust_argument
from jobs.submit import array_limit, check_max_running, predict

LEAST_INTERVAL = 60.0  # sites ask for at most one query a minute
INTERVAL = 120.0
FAILURES = 30  # steps in a row that could not be made, an hour: grid.yaml is wrong, or RUN cannot be written
COLLECTS = 2  # jobs that collect after the newest result; if none leaves a summary, another will not either
TOO_MUCH = "violates queue"  # PBS's words for a request that the queue does not allow
REFUSALS = 3  # steps in a row in which PBS refused, with nothing in the queue: somebody must look


@dataclass(frozen=True)
class Options:
    """The options of the command: numbers, ``None`` for the site block's value."""

    max_queued: int | None = None
    max_running: int | None = None
    trust: bool = False


@dataclass(frozen=True)
class Step:
    """What one step found: whether the supervision has ended, and the exit code of it or, with --once, of the step.

    ``refused``: why PBS refuses everything, although nothing is in the queue.
    """

    ended: bool = False
    code: int = OK
    refused: str = ""


class Supervisor:
    """Makes one step after the other; all that it must remember is in the run directory."""

    def __init__(self, root: Path, scheduler: Scheduler, log: Log, options: Options) -> None:
        self.root, self.scheduler, self.log, self.options = root, scheduler, log, options
        self.limit: int | None = None
        self.first = True

    def step(self) -> Step:
        """Look at the run once, submit what is due, and say what was done."""
        run = open_run(self.root, trust=self.options.trust)
        run = replace(run, paths=replace(run.paths, root=run.paths.root.resolve()))
        with locked_submissions(run, say=self.log.news) as record:
            record.settle(self.scheduler, say=self.log.news)
            picture = look(run, self.scheduler, by_hand=self.first)
            decision = self._decide(picture, record)
            if decision.submits and not self.first and not picture.unanswered:
                # A qsub that gave no answer, or that somebody typed, may have left jobs that are on no record.
                picture = look(run, self.scheduler)
                decision = self._decide(picture, record)
            if picture.unanswered:
                self.log.news(
                    f"the scheduler does not report what is queued: {picture.unanswered}; nothing is submitted"
                )
                return Step(code=SCHEDULER)
            if self.first:
                self.limit = array_limit(run, self.scheduler)
            self.first = False
            self._say(picture, decision)
            return self._act(picture, record, decision)

    def _decide(self, picture: Picture, record: LockedSubmissions) -> Decision:
        run = picture.run
        most = self.options.max_queued or run.site["max_queued"]
        active = sum(view.active for view in picture.views)
        room: int | None = None
        if most is not None:
            # One place is for the job that collects.
            room = max(0, most - 1 - active)
        at_once = self._max_running(run)
        if at_once is not None and (active or not run.site["job_arrays"]):
            # PBS limits the sub-jobs of each array by itself: beside others, only as many are submitted as may run.
            room = min(len(picture.views) if room is None else room, max(0, at_once - active))
        predicted, _ = predict(run, at_once)
        order: Sequence[int] = ()
        if predicted is not None and room is not None:
            order = sorted(predicted.durations, key=lambda index: -predicted.durations[index])
        return decide(
            picture,
            record.record.changes,
            run.site["retry"],
            room=room,
            order=order,
            at_once=at_once,
        )

    def _max_running(self, run: Run) -> int | None:
        found: int | None = self.options.max_running or run.site["max_running"]
        return found

    def _say(self, picture: Picture, decision: Decision) -> None:
        states = Counter(view.state for view in picture.views)
        self.log.once(f"{plural(len(picture.views), 'point')}: {describe(states, tuple(sorted(states)))}")
        for index, why in (decision.given_up or {}).items():
            self.log.once(f"given up: {picture.run.entry(index).name}: {why}")
        for job in picture.waiting():
            if job.never:
                self.log.once(
                    f"{job.id} waits, and the scheduler says that it can never run: {job.reason}. Correct the site block "
                    f"in {picture.run.paths.grid}, delete the jobs "
                    f"({hint('jobs.cancel', picture.run.paths.root, anywhere=True)}) and submit them again "
                    f"({hint('jobs.resubmit', picture.run.paths.root, anywhere=True)})"
                )

    def _act(self, picture: Picture, record: LockedSubmissions, decision: Decision) -> Step:
        if decision.stopped:
            self.log.news(f"stopped: {decision.stopped}")
            return Step(ended=True, code=PARTIAL)
        waiting = waiting_collect(picture)
        if decision.submits:
            refused = self._submit(picture, record, decision, waiting)
            if not refused or any(view.active for view in picture.views):
                return Step()
            # What there is must not wait for points that PBS never takes.
            if self._not_collected(picture, record):
                self._collect(picture.run, record)
            return Step(refused=refused)
        if any(view.active for view in picture.views) or decision.later:
            return Step()
        if self._not_collected(picture, record):
            refused = self._collect(picture.run, record)
            if refused:
                return Step(refused=refused)
        left = sum(not view.ended for view in picture.views)
        if left:
            self.log.news(
                f"ended: {plural(left, 'point')} without a result, which will not be submitted again"
            )
            return Step(ended=True, code=PARTIAL)
        self.log.news("ended: every point has a result")
        return Step(ended=True)

    def _submit(
        self, picture: Picture, record: LockedSubmissions, decision: Decision, waiting: CollectJob | None
    ) -> str:
        """Submit the groups of ``decision``; returns what PBS refused where it took nothing, empty otherwise.

        A group that is refused does not keep the others from being submitted. Only the last group is followed by a job
        that collects, if none is to follow.
        """
        groups: list[Again | None] = [*decision.again, *([None] if decision.fresh else [])]
        active = list(picture.active_jobs())
        problem = ""
        taken = False
        while groups:
            group = groups.pop(0)
            refused = ""
            collect = not groups and not decision.later
            try:
                self._submit_group(
                    picture.run, record, group, decision, waiting=waiting, active=active, collect=collect
                )
            except UserError as error:
                if error.exit_code != SCHEDULER:
                    raise
                problem = refused = str(error)
                self.log.news(refused)
            jobs = record.current.jobs if record.current is not None else ()
            if jobs:
                taken = True
                active += [job.id for job in jobs]
                record.begin_next()
            if group is not None and TOO_MUCH in refused:
                rest = group.as_before({index for job in jobs for index in indices_of_job(job)})
                if rest is not None:
                    self.log.news("these points are submitted with the walltime that they had before")
                    groups.insert(0, rest)
        return "" if taken else problem

    def _submit_group(
        self,
        run: Run,
        record: LockedSubmissions,
        group: Again | None,
        decision: Decision,
        *,
        waiting: CollectJob | None,
        active: Sequence[str],
        collect: bool,
    ) -> Submission:
        max_running = self._max_running(run)
        predicted, _ = predict(run, max_running)
        proposed: Mapping[int, tuple[str, str | None]] | None = group.proposed if group is not None else None
        indices = list(proposed) if proposed is not None else list(decision.fresh)
        planned = plan_jobs(
            run,
            indices,
            submission=record.number,
            limit=self.limit,
            max_running=max_running,
            durations=predicted.durations if predicted is not None else None,
            proposed=proposed,
        )
        made = submit(
            run,
            record,
            planned,
            self.scheduler,
            kind=KIND,
            waiting=waiting,
            active=active,
            collect=collect,
            retried=group.state if group is not None else "",
            reasons=group.reasons if group is not None else None,
            say=_quiet,
        )
        walltimes = ", ".join(sorted({job.requested.walltime or run.site["walltime"] for job in planned}))
        self.log.say(
            f"submitted {plural(len(indices), 'point')} "
            f"({f'again, after {group.state}' if group is not None else 'for the first time'}; "
            f"indices {indices_text(indices)}; walltime {walltimes}) as {', '.join(job.id for job in made.jobs)}"
            + (f", collected by {made.collect.id}" if made.collect is not None else "")
        )
        return made

    def _not_collected(self, picture: Picture, record: LockedSubmissions) -> bool:
        """Whether there is a result that no summary has, and no job that will collect it."""
        run = picture.run
        if picture.active_collects():
            return False
        newest = max(
            (_changed(run.point_paths(view.entry).results) for view in picture.views if view.ended),
            default=0.0,
        )
        if newest <= _changed(run.paths.summary):
            return False
        tried = [one for one in reversed(record.earlier) if not one.jobs]
        tried = [
            one for one in tried if one.kind == KIND and seconds_since_1970(one.made) >= int(newest)
        ]  # on record in whole seconds
        if len(tried) >= COLLECTS:
            self.log.once(
                f"{plural(len(tried), 'job')} that collect ended without a summary: see "
                f"{run.paths.captured(tried[0].number, 'collect')}, or collect here: "
                + hint("collect.py", run.paths.root, anywhere=True)
            )
            return False
        return True

    def _collect(self, run: Run, record: LockedSubmissions) -> str:
        """Submit a job that collects; returns what PBS answered where it refuses."""
        try:
            made = submit(run, record, [], self.scheduler, kind=KIND, say=_quiet)
        except UserError as error:
            if error.exit_code != SCHEDULER:
                raise
            self.log.news(str(error))
            return str(error)
        if made.collect is not None:
            self.log.say(f"submitted {made.collect.id}, which collects")
        return ""


def _quiet(_text: str) -> None:
    """The commands are on record; the log has one line for each submission."""


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m jobs.supervise",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", metavar="RUN", type=Path, help="the run directory that make_grid.py made")
    parser.add_argument("--once", action="store_true", help="make one step and end, for cron")
    parser.add_argument(
        "--interval",
        type=float,
        default=INTERVAL,
        help=f"seconds between two steps ({INTERVAL:g}, at least {LEAST_INTERVAL:g})",
    )
    parser.add_argument(
        "--max-queued", type=int, metavar="N", help="have at most N jobs in the queue, running ones included"
    )
    parser.add_argument("--max-running", type=int, metavar="N", help="run at most N sub-jobs at a time")
    add_trust_argument(parser)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command with ``argv`` (default: the process's arguments); returns its exit code."""
    arguments = _parser().parse_args(argv)
    return run_command("jobs.supervise", lambda: _command(arguments))


def _command(arguments: argparse.Namespace) -> int:
    check_max_running(arguments.max_running)
    if arguments.max_queued is not None and arguments.max_queued < 2:
        raise UserError(
            f"--max-queued: received {arguments.max_queued}, expected at least 2: one point and the job that collects"
        )
    if not LEAST_INTERVAL <= arguments.interval <= 86_400:
        raise UserError(
            f"--interval: received {arguments.interval:g}, expected {LEAST_INTERVAL:g} to 86400 seconds"
        )
    run = open_run(arguments.run, trust=arguments.trust)
    lock = lock_file(run.paths.supervisor_lock)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(
            f"{run.paths.root} is supervised by another process; expected one at a time. See what it does: "
            f"{run.paths.supervisor_log}",
            exit_code=ACTIVE,
        ) from None
    with lock:
        log = Log(run.paths.supervisor_log, show_all=not arguments.once)
        supervisor = Supervisor(
            arguments.run,
            Scheduler(),
            log,
            Options(arguments.max_queued, arguments.max_running, arguments.trust),
        )
        return supervise(supervisor, once=arguments.once, interval=arguments.interval)


def supervise(
    supervisor: Supervisor, *, once: bool, interval: float, pause: Callable[[float], None] = time.sleep
) -> int:
    """Make steps until the supervision has ended, or one with ``once``; returns the exit code of the command."""
    refusals = failures = 0
    while True:
        before = supervisor.scheduler.queries
        try:
            step = supervisor.step()
            failures = 0
        except (UserError, OSError) as error:
            # Somebody edits grid.yaml, another process submits for minutes, a file server restarts: it passes.
            failures += 1
            if once or failures >= FAILURES or supervisor.first or not supervisor.root.is_dir():
                raise
            said = str(error) if isinstance(error, UserError) else environment_error(error)
            supervisor.log.news(f"nothing is done: {said}")
            step = Step()
        if step.ended:
            return step.code
        refusals = refusals + 1 if step.refused else 0
        if refusals >= REFUSALS or (once and step.refused):
            raise UserError(step.refused, exit_code=SCHEDULER)
        if once:
            return step.code
        # A PBS that answers for one job at a time was asked more than once.
        pause(max(interval, LEAST_INTERVAL * (supervisor.scheduler.queries - before)))


if __name__ == "__main__":
    sys.exit(main())
