"""``python -m jobs.status RUN``: the progress of a run, from its files.

With --live the scheduler is asked, too, once and in bulk: points that wait in the queue are shown as queued, with the
reason that the scheduler gives, points that ended without a record as lost. Where the scheduler does not answer, that
stays unknown. Without RUN, all runs that you have made are listed, with their progress; python /its/path/jobs/status.py
works in any folder. Exit codes: 0 shown, whatever the progress; 2 no usable run; 130 --watch ended by Ctrl-C.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from shlex import quote
from typing import Any

# So that `python /path/to/jobs/status.py` works in any folder.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from rich import box
from rich.console import Console, Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from jobs.common.console import SafeConsole
from jobs.common.errors import OK, UnreadableError, UserError, run_command
from jobs.common.hints import REPOSITORY, hint
from jobs.common.states import STATES
from jobs.common.units import plural
from jobs.common.units import whole_duration as duration
from jobs.monitor.progress import Progress, summarise
from jobs.monitor.scheduler_view import QUEUED, Waiting, look
from jobs.pbs.commands import Scheduler
from jobs.run.known import known_runs
from jobs.run.sharing import open_run

SHOWN = 10  # failed points in full; running points in the table
LIVE_INTERVAL = 60.0  # sites ask for at most one qstat a minute
OVERVIEW = 30  # runs
WIDTH = 120  # of what goes into a pipe or a file
_COLOURS = {
    "done": "green",
    "running": "cyan",
    "diverged": "yellow",
    "waiting": "dim",
    QUEUED: "blue",
    "cancelled": "yellow",
}


def _score(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _table(*columns: str, right: Sequence[str] = ()) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return table


def _bar(progress: Progress) -> Table:
    line = Table.grid(padding=(0, 1))
    share = 100 * progress.with_result / max(1, progress.total)
    line.add_row(
        ProgressBar(total=progress.total, completed=progress.with_result, width=60), f"{share:.0f} %"
    )
    return line


def _head(progress: Progress) -> list[RenderableType]:
    counts = Text()
    for state, count in progress.counts.items():
        counts.append(", " if counts else "")
        counts.append(f"{count} {state}", _COLOURS.get(state, "red"))
    line = Text(f"{progress.with_result} of {progress.total} points have a result: ").append_text(counts)
    parts: list[RenderableType] = [
        Text(str(progress.root), "bold").append(f"   {progress.data_source}", "dim"),
        _bar(progress),
        line,
    ]
    to_come = progress.to_come
    if progress.seconds_left is not None:
        parts.append(
            Text(
                f"about {duration(progress.seconds_left)} left, with {progress.at_once} running at once "
                f"and {to_come} to come (less where training stops early)"
            )
        )
    elif progress.at_once:
        parts.append(
            Text(f"{progress.at_once} running; the time left will be known after their first epochs")
        )
    elif to_come:
        advice = (
            ""
            if progress.asked_scheduler or not progress.submitted
            else "; use --live to ask the scheduler whether they are queued"
        )
        parts.append(Text(f"nothing is running, {plural(to_come, 'point')} to come{advice}"))
    parts += [_waiting(job) for job in progress.waiting[:SHOWN]]
    if len(progress.waiting) > SHOWN:
        parts.append(Text(f"  and {len(progress.waiting) - SHOWN} more jobs; --json lists all", "dim"))
    if not progress.history:
        parts.append(
            Text(
                "the PBS server keeps no history of jobs that have ended: how a job ended is known only where "
                "the point wrote it", "yellow",
            )
        )  # fmt: skip
    if progress.submitted:
        parts.append(Text(f"submitted as {', '.join(progress.submitted[-5:])}", "dim"))
    if progress.scheduler_problem:
        parts.append(Text(f"scheduler: unknown ({progress.scheduler_problem})", "red"))
    elif progress.problem:
        parts.append(Text(progress.problem, "red"))
    return parts


def _waiting(job: Waiting) -> Text:
    """One line about a job that waits: what, since when, why, and until when."""
    what = f"{plural(job.points, 'point')} {job.state}" if job.points else f"the collect job is {job.state}"
    line = Text(f"  {job.id}: {what}")
    if job.since is not None:
        # PBS does not say since when a job has been held or suspended.
        line.append(f"{'' if job.state == QUEUED else ', queued'} since {job.since:%Y-%m-%d %H:%M}")
    if job.start is not None:
        line.append(f", expected to start {job.start:%Y-%m-%d %H:%M}")
    if job.reason:
        line.append(f"; the scheduler says: {job.reason}", "red" if job.never else "")
    if job.state == "held":
        line.append(f"; if you hold it yourself: qrls {quote(job.id)}")
    return line


def _running(progress: Progress) -> list[RenderableType]:
    if not progress.running:
        return []
    table = _table(
        "running", "epoch", "val_jaccard", "best", "time left", "where",
        right=("epoch", "val_jaccard", "best", "time left"),
    )  # fmt: skip
    for point in progress.running[:SHOWN]:
        silent = point.silent_seconds
        where = " ".join(part for part in (point.host, point.job_id, point.note) if part)
        if silent is not None and silent > 3600:
            where += f" (no record for {duration(silent)}; use --live to see whether it is alive)"
        best = _score(point.best_val_jaccard)
        table.add_row(
            point.name,
            f"{point.epoch}/{point.epochs}",
            _score(point.val_jaccard),
            best + (f" ({point.best_epoch})" if best and point.best_epoch else ""),
            duration(point.seconds_left),
            Text(where),  # a plain string would be read as rich's markup
        )
    more = len(progress.running) - SHOWN
    return [table, *([Text(f"  and {more} more", "dim")] if more > 0 else [])]


def _failed(progress: Progress) -> list[RenderableType]:
    parts: list[RenderableType] = []
    for point in progress.failed[:SHOWN]:
        colour = _COLOURS.get(point.state, "red")
        parts.append(
            Text(f"\n{point.name}: ").append(point.state, colour).append(f" (attempt {point.attempts}) ")
            .append(point.reason)
        )  # fmt: skip
        parts += [Text(f"    | {line}", "dim") for line in point.last_lines]
    more = len(progress.failed) - SHOWN
    if more > 0:
        parts.append(Text(f"  and {more} more; --json lists all", "dim"))
    for state, command in progress.resubmit.items():
        note = (
            ""
            if STATES[state].rerun
            else " (they fail the same way unless you add --mem or change the batch size)"
        )
        points = plural(progress.counts.get(state, 0), f"{state} point")
        parts.append(Text(f"\nto submit the {points} again{note}:"))
        parts.append(Text(f"  {command}", no_wrap=True, overflow="ignore"))
    return parts


def _best(progress: Progress) -> list[RenderableType]:
    if not progress.best:
        return []
    table = _table("best so far", "val_jaccard", "epoch", right=("val_jaccard", "epoch"))
    for point in progress.best:
        table.add_row(point.name, _score(point.best_val_jaccard), str(point.best_epoch or ""))
    chance = "" if progress.chance_jaccard is None else f"  chance level {progress.chance_jaccard:.3f}; "
    return [table, Text(f"{chance or '  '}the report shows which differences can be trusted", "dim")]


def render(progress: Progress) -> Group:
    """The summary for a terminal."""
    return Group(*_head(progress), *_running(progress), *_failed(progress), *_best(progress))


def _overview(console: Console) -> None:
    """One line for each of the user's runs, the newest first."""
    roots = known_runs([Path.cwd(), REPOSITORY])
    if not roots:
        console.print(f"no run yet; make one with: {hint('make_grid.py')}", highlight=False)
        return
    table = _table("run", "with a result", "state", "last change", right=("with a result",))
    for root in roots[:OVERVIEW]:
        try:
            progress = summarise(look(open_run(root)), with_logs=0)
        except UserError as error:
            table.add_row(Text(str(root)), "", Text(str(error), "red"), "")
            continue
        counts = ", ".join(f"{count} {state}" for state, count in progress.counts.items())
        changed = datetime.fromtimestamp(root.stat().st_mtime).astimezone()
        table.add_row(
            Text(str(root)),
            f"{progress.with_result} of {progress.total}",
            Text(counts),
            f"{changed:%Y-%m-%d %H:%M}",
        )
    console.print(table, highlight=False, crop=False)
    if len(roots) > OVERVIEW:
        console.print(f"and {len(roots) - OVERVIEW} older ones", style="dim")
    console.print(f"one of them: {hint('jobs.status', 'RUN')}", highlight=False, style="dim")


def as_json(progress: Progress) -> str:
    """The whole summary; keys are the fields of :class:`jobs.monitor.progress.Progress`."""

    def plain(value: Any) -> str:
        return str(value)

    return json.dumps(asdict(progress), indent=1, default=plain, allow_nan=False)


def _shown(progress: Progress) -> int:
    """The exit code of what was shown; :class:`UnreadableError` where part of the run cannot be read."""
    if progress.unreadable:
        raise UnreadableError(progress.unreadable)
    return OK


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m jobs.status",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "run", metavar="RUN", type=Path, nargs="?", help="a run directory (default: list your runs)"
    )
    parser.add_argument("--json", action="store_true", help="everything, for programs")
    parser.add_argument("--watch", action="store_true", help="repeat until every point has ended")
    parser.add_argument("--interval", type=float, help="seconds between two updates (10; with --live 60)")
    parser.add_argument("--live", action="store_true", help="also ask the scheduler, with one qstat")
    arguments = parser.parse_args(argv)

    return run_command("jobs.status", lambda: _command(arguments))


def _command(arguments: argparse.Namespace) -> int:
    if arguments.watch and arguments.json:
        raise UserError("--watch and --json: received both, expected one of them")
    interval = arguments.interval or (LIVE_INTERVAL if arguments.live else 10.0)
    if not 1 <= interval <= 86400 or (arguments.live and interval < LIVE_INTERVAL):
        least = LIVE_INTERVAL if arguments.live else 1
        raise UserError(f"--interval: received {interval:g}, expected {least:g} to 86400 seconds")
    console = SafeConsole()
    if not console.is_terminal:
        console = SafeConsole(width=WIDTH)
    if arguments.run is None:
        if arguments.json or arguments.watch or arguments.live:
            raise UserError(f"--json, --watch and --live: expected a run: {hint('jobs.status', 'RUN')} ...")
        _overview(console)
        return OK
    scheduler = Scheduler() if arguments.live else None
    if arguments.json:
        progress = summarise(look(open_run(arguments.run), scheduler), with_logs=sys.maxsize)
        print(as_json(progress))
        return _shown(progress)
    return _show(arguments.run, scheduler, console, interval if arguments.watch else None)


def _show(root: Path, scheduler: Scheduler | None, console: Console, interval: float | None) -> int:
    """Print the summary, once or, with an ``interval`` in seconds, until every point has ended."""
    while True:
        progress = summarise(look(open_run(root), scheduler), with_logs=SHOWN)
        if interval is not None and console.is_terminal:
            console.clear()
        # A command that is cut at the terminal's edge cannot be pasted.
        console.print(render(progress), highlight=False, crop=False)
        if interval is None or progress.unreadable:
            return _shown(progress)
        if progress.finished:
            without = progress.total - progress.with_result
            rest = f"; {without} without a result" if without else ""
            console.print(f"\nevery point has ended{rest}", style="dim")
            return OK
        console.print(
            f"\n{datetime.now().astimezone():%H:%M:%S}; next update in {interval:g} s, Ctrl-C to stop",
            style="dim",
        )
        time.sleep(interval)


if __name__ == "__main__":
    sys.exit(main())
