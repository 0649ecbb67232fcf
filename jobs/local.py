"""``python -m jobs.local RUN``: train the points of a run on this machine, without PBS.

Each point has a process of its own, forked from a server that has imported TensorFlow once: 36 points cost one import,
and a crash of one does not affect the others. Exit codes: 0 every chosen point has a result, 3 some have none,
130 interrupted (repeat the command to continue), 2 bad arguments.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import secrets
import signal
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
)

from jobs.common.console import SafeConsole
from jobs.common.cores import usable_cores
from jobs.common.errors import INTERRUPTED, OK, PARTIAL, UnreadableError, UserError, run_command
from jobs.common.hints import hint
from jobs.common.signals import answered_by, held_back
from jobs.common.states import STATES, UNREADABLE
from jobs.common.units import plural
from jobs.cost.estimate import longest_first
from jobs.monitor.summary import describe
from jobs.point.accumulation import may_accumulate
from jobs.point.circuit_breaker import LOCAL_SESSION
from jobs.point.endings import Ending, record_death
from jobs.point.gpu_check import CPU, likely_causes
from jobs.point.gpus import ask_driver, named_gpus
from jobs.point.log import captured
from jobs.point.memory import oom_kills
from jobs.point.status import PointStatus, read_status, unreadable_points
from jobs.point.worker import work
from jobs.run.index import Entry, Run, parse_indices
from jobs.run.sharing import check_trainable, open_run
from jobs.run.trust import add_trust_argument

STOP_SECONDS = 10.0  # from SIGTERM to SIGKILL, as PBS gives by default


@dataclass(frozen=True)
class Slot:
    """What one worker may use: ``threads`` cores, and one GPU (``None``: all that are visible)."""

    threads: int
    gpu: str | None = None


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, by the names of ``CUDA_VISIBLE_DEVICES``; runs ``nvidia-smi`` once."""
    named = named_gpus()
    if named is not None:
        return named
    return [str(number) for number, line in enumerate(ask_driver("-L")) if line.startswith("GPU ")]


def share_out(workers: int | None, cores: int, gpus: Sequence[str]) -> list[Slot]:
    """The workers: by default one per GPU, else one for every two cores; the cores are divided evenly.

    >>> [slot.threads for slot in share_out(2, 5, [])]
    [3, 2]
    """
    count = workers or len(gpus) or max(1, cores // 2)
    return [
        Slot(max(1, cores // count + (number < cores % count)), gpus[number % len(gpus)] if gpus else None)
        for number in range(count)
    ]


def _work(root: str, index: int, slot: Slot, session: str) -> None:
    """The whole life of a point's process."""
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C reaches the parent, which stops its children in order
    if slot.gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = slot.gpu
    os.environ[LOCAL_SESSION] = session
    work(root, index, None, {"echo": False, "threads": slot.threads, "tell": _silent})


def _silent(text: str) -> None:
    pass


class Display(Protocol):
    """How progress is shown."""

    def begun(self, entry: Entry) -> None:
        """A point has started."""

    def ended(self, entry: Entry, status: PointStatus) -> None:
        """A point has ended."""

    def note(self, text: str) -> None:
        """Show something that concerns all points."""

    def close(self) -> None:
        """Nothing more will be shown."""


def _outcome(status: PointStatus) -> str:
    if status.result is not None and status.state == "done":
        metrics = status.result.metrics
        return f"done, best val_jaccard {metrics.best_val_jaccard:.3f} in epoch {metrics.best_epoch}"
    return status.state + (f": {status.reason[:160]}" if status.reason else "")


class TimeLeft:
    """Counts the points that have ended and estimates the time for the others.

    The estimate is from the mean rate since the start: points that run at the same time end in bursts, so the last few
    would mislead.
    """

    def __init__(self, total: int) -> None:
        self.total, self.count, self._started = total, 0, time.monotonic()

    def add(self) -> None:
        """One more point has ended."""
        self.count += 1

    def left(self) -> str:
        """``about 125 s left``; empty until a point has ended."""
        if not self.count:
            return ""
        seconds = (time.monotonic() - self._started) / self.count * (self.total - self.count)
        return f"about {seconds:.0f} s left"


class PlainLines:
    """One line for each point that ends, with the estimated time left; for logs and pipes."""

    def __init__(self, total: int) -> None:
        self.time_left = TimeLeft(total)

    def begun(self, entry: Entry) -> None:
        """Print nothing."""

    def ended(self, entry: Entry, status: PointStatus) -> None:
        """Print how the point ended."""
        self.time_left.add()
        place = f"[{self.time_left.count}/{self.time_left.total}]"
        print(f"{place} {entry.name}: {_outcome(status)} ({self.time_left.left()})", flush=True)

    def note(self, text: str) -> None:
        """Print a line."""
        print(f"note: {text}", flush=True)

    def close(self) -> None:
        """Print nothing."""


class Bar:
    """A bar with the estimated time left, the point that started last, and a line for each point that ends."""

    def __init__(self, total: int, console: Console) -> None:
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=console,
        )
        self.time_left = TimeLeft(total)
        self.task = self.progress.add_task("points", total=total, left="")
        self.progress.start()

    def begun(self, entry: Entry) -> None:
        """Name the point next to the bar."""
        self.progress.update(self.task, description=f"points (now {entry.name})")

    def ended(self, entry: Entry, status: PointStatus) -> None:
        """Print how the point ended, and move the bar."""
        colour = "green" if status.state == "done" else "yellow" if STATES[status.state].ended else "red"
        self.progress.console.print(
            f"{entry.name}: {_outcome(status)}", style=colour, markup=False, highlight=False
        )
        self.time_left.add()
        self.progress.update(self.task, advance=1, left=self.time_left.left())

    def note(self, text: str) -> None:
        """Print a line above the bar."""
        self.progress.console.print(f"note: {text}", style="yellow", markup=False, highlight=False)

    def close(self) -> None:
        """Leave the bar as it is."""
        self.progress.stop()


# In this order: multiprocessing imports this module, its parent's main module, in each fork; the second one freezes all.
PRELOADED = ("jobs.local", "jobs.point.fork_server")


def _context(log: Path) -> Any:
    """The fork server with TensorFlow imported; its output and that of TensorFlow's start go to ``log``."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOADED))
    with captured(log, echo=False):
        forkserver.ensure_running()
    return context


def run_local(run: Run, entries: Sequence[Entry], slots: Sequence[Slot], display: Display) -> bool:
    """Train ``entries``, each in its own process, ``len(slots)`` at a time; ``False`` if Ctrl-C or SIGTERM ended it.

    Never raises because of a point. The end of a process that died without recording it is recorded here.
    """
    context = _context(run.paths.workers_log)
    session = secrets.token_hex(4)
    waiting = list(entries)
    free = list(slots)
    unused = False  # a GPU that a point was given, and TensorFlow does not see
    at_work: dict[Any, tuple[Any, Entry, Slot, int | None]] = {}
    try:
        while waiting or at_work:
            while waiting and free:
                entry, slot = waiting.pop(0), free.pop(0)
                kills = oom_kills()
                # A signal between start and registration would leave a child that nobody stops.
                with held_back():
                    process = context.Process(
                        target=_work, args=(str(run.paths.root), entry.index, slot, session)
                    )
                    _start(process, run)
                    at_work[process.sentinel] = (process, entry, slot, kills)
                display.begun(entry)
            for sentinel in wait(list(at_work)):
                process, entry, slot, kills = at_work.pop(sentinel)
                process.join()
                free.append(slot)
                record_death(run, entry, process.pid, process.exitcode, kills_before=kills)
                status = read_status(run, entry)
                if slot.gpu is not None and not unused and status.record is not None:
                    unused = status.record.device == CPU
                    if unused:
                        display.note(
                            f"the points train on the CPU: TensorFlow sees no GPU. {likely_causes(run=run)}"
                        )
                if may_accumulate(run, entry, status):
                    waiting.insert(0, entry)  # in a new process, with smaller parts of its batches
                else:
                    display.ended(entry, status)
    except KeyboardInterrupt:
        with answered_by(lambda *_: None):  # an impatient second Ctrl-C must not skip the rest
            _stop([process for process, *_ in at_work.values()])
            for process, entry, *_ in at_work.values():
                ended = Ending("cancelled", "stopped by the local run")
                record_death(run, entry, process.pid, process.exitcode, ended=ended)
        return False
    return True


def _start(process: Any, run: Run) -> None:
    """Start the process of a point. Raises :class:`UserError` where the fork server has ended, as by a TensorFlow that crashes."""
    try:
        process.start()
    except (ConnectionError, EOFError) as error:
        raise UserError(
            f"the process that imports TensorFlow and starts the points has ended ({error}); what it printed is in "
            f"{run.paths.workers_log}. Check this Python with: {hint('jobs.verify', run.paths.root)}"
        ) from error


def _stop(processes: Sequence[Any]) -> None:
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + STOP_SECONDS
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
        if process.is_alive():
            process.kill()
            process.join()


def choose(run: Run, indices: str | None) -> tuple[list[Entry], Counter[str]]:
    """The points to train, and the states of those that are skipped.

    Without ``indices``: every point whose class is run again by default. Named points run unless they have a result.
    Raises :class:`UnreadableError` where one of them cannot be read.
    """
    entries = [run.entry(index) for index in parse_indices(indices)] if indices else list(run.entries)
    chosen: list[Entry] = []
    skipped: Counter[str] = Counter()
    statuses = [read_status(run, entry) for entry in entries]
    unreadable = unreadable_points(
        run,
        [
            (entry, one.reason)
            for entry, one in zip(entries, statuses, strict=True)
            if one.state == UNREADABLE
        ],
    )
    if unreadable:
        raise UnreadableError(unreadable)
    for entry, status in zip(entries, statuses, strict=True):
        state = STATES[status.state]
        if state.rerun or (indices and not state.ended and state.name != "running"):
            chosen.append(entry)
        else:
            skipped[state.name] += 1
    return chosen, skipped


def _check_working_directory() -> None:
    """The processes of the points start there. Raises :class:`UserError` where this user may not enter it."""
    here = Path.cwd()
    try:
        os.chdir(here)
    except PermissionError as error:
        raise UserError(
            f"the working directory {here} cannot be entered ({error.strerror}); change to another one with cd, then repeat"
        ) from error


def _raise_interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def main(argv: list[str] | None = None) -> int:
    """Run the command with the arguments ``argv`` and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m jobs.local", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", metavar="RUN", type=Path, help="the run directory that make_grid.py made")
    parser.add_argument(
        "--workers", type=int, help="points at a time (default: one per GPU, else one for two cores)"
    )
    parser.add_argument("--indices", help="only these, for example 3,7-9; also points of the class oom")
    add_trust_argument(parser)
    arguments = parser.parse_args(argv)

    def command() -> int:
        if arguments.workers is not None and arguments.workers < 1:
            raise UserError(f"--workers: received {arguments.workers}, expected at least 1")
        run = open_run(arguments.run, trust=arguments.trust)
        check_trainable(run)
        _check_working_directory()
        chosen, skipped = choose(run, arguments.indices)
        if skipped:
            print(f"skipped: {describe(skipped)}")
        if not chosen:
            print(f"{run.paths.root}: nothing to train")
            return OK if all(STATES[name].ended for name in skipped) else PARTIAL
        gpus = visible_gpus()
        slots = share_out(arguments.workers, usable_cores(), gpus)[: max(1, len(chosen))]
        chosen = longest_first(run, chosen)  # a long one that starts last would delay the end
        print(
            f"{plural(len(chosen), 'point')} to train, {len(slots)} at a time, "
            f"on {plural(len(gpus), 'GPU') if gpus else 'the CPU'}; data: {run.source}",
            flush=True,
        )
        console = SafeConsole()
        display = Bar(len(chosen), console) if console.is_terminal else PlainLines(len(chosen))
        before = signal.signal(signal.SIGTERM, _raise_interrupt)
        try:
            finished = run_local(run, chosen, slots, display)
        finally:
            signal.signal(signal.SIGTERM, before)
            with contextlib.suppress(KeyboardInterrupt):
                display.close()
        states = Counter(read_status(run, entry).state for entry in run.entries)
        print(f"{run.paths.root}: {describe(states)}")
        if not finished:
            print(f"interrupted; nothing is lost. To continue: {hint('jobs.local', run.paths.root)}")
            return INTERRUPTED
        if any(not STATES[read_status(run, entry).state].ended for entry in chosen):
            print(
                f"some points have no result; to list them with their reasons: {hint('collect.py', run.paths.root)}"
            )
            return PARTIAL
        return OK

    return run_command("jobs.local", command)


if __name__ == "__main__":
    sys.exit(main())
