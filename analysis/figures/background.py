"""Draw figures in other processes, on the other cores, while this process computes the statistics."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

from jobs.common.cores import usable_cores
from jobs.common.errors import UserError
from jobs.common.signals import held_back

MOST_PROCESSES = 4  # a login node has a hundred cores, which one user must not take
_THREADS = Path("/proc/self/task")
_Result = TypeVar("_Result")


def drawing_processes() -> int:
    """The number of processes to draw in: the cores that this process may use, at most :data:`MOST_PROCESSES`."""
    return min(MOST_PROCESSES, usable_cores())


def _can_fork() -> bool:
    """Whether this process can be forked safely.

    A fork does not copy threads, so a lock that another thread has acquired would never be released in the copy.
    """
    try:
        return len(list(_THREADS.iterdir())) == 1
    except OSError:  # not Linux, or /proc is not mounted
        return False


@contextmanager
def in_background(
    tasks: Mapping[str, Callable[[], _Result]], processes: int
) -> Iterator[Callable[[], dict[str, _Result]]]:
    """Start ``tasks`` in ``processes`` other processes and yield a function that waits for their results.

    The function returns the results by name. It raises what a task has raised, and :class:`UserError` if a process
    was killed. Tasks must be picklable. With fewer than two tasks or processes, or if this process has several
    threads, that function runs the tasks itself, one after the other.
    """
    if processes < 2 or len(tasks) < 2 or not _can_fork():
        yield lambda: {name: task() for name, task in tasks.items()}
        return
    # Forked processes need not import anything again.
    with ProcessPoolExecutor(processes, mp_context=get_context("fork")) as pool:
        # Only this process must react to Ctrl-C. The others are forked while SIGINT is blocked, so they never get it.
        with held_back({signal.SIGINT}):
            futures = {name: pool.submit(task) for name, task in tasks.items()}

        def results() -> dict[str, _Result]:
            try:
                return {name: future.result() for name, future in futures.items()}
            except BrokenProcessPool as error:
                raise UserError(
                    f"one of the processes for {', '.join(futures)} was killed, probably because there was not enough "
                    "memory; expected all of them to finish. Run the command again on a node with more memory, or on "
                    "one core: taskset -c 0 ..."
                ) from error

        try:
            yield results
        finally:
            pool.shutdown(cancel_futures=True)
