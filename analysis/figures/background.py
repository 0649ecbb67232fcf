"""Work that is done beside the program's own, on the other cores."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from jobs.common.errors import UserError
from jobs.common.signals import held_back

MOST_PROCESSES = 4  # a login node has a hundred cores, which are not one user's
_THREADS = Path("/proc/self/task")


def cores() -> int:
    """The cores that this process may use, at most :data:`MOST_PROCESSES`; in a PBS job those that it asked for."""
    mine = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1  # a laptop with macOS
    # PBS sets it, and at many sites nothing but a limit that kills the job holds it to that.
    asked = os.environ.get("NCPUS", "")
    if asked.isascii() and asked.isdigit() and int(asked) > 0:
        mine = min(mine, int(asked))
    return min(MOST_PROCESSES, mine)


def _can_fork() -> bool:
    """Whether a forked process is a whole one: threads are not copied, and what they hold stays locked for ever."""
    try:
        return len(list(_THREADS.iterdir())) == 1
    except OSError:  # not Linux, or no /proc
        return False


@contextmanager
def begun(tasks: dict[str, Callable[[], Any]], processes: int) -> Iterator[Callable[[], dict[str, Any]]]:
    """Begin ``tasks`` in ``processes`` processes; what is yielded waits for them and returns their results by name.

    With fewer than two processes, or where this one has threads, it does them itself. What a task raises is raised
    by the waiting; :class:`UserError` where a process was killed. Tasks must be picklable.
    """
    if processes < 2 or len(tasks) < 2 or not _can_fork():
        yield lambda: {name: task() for name, task in tasks.items()}
        return
    # Forked, they have everything imported.
    with ProcessPoolExecutor(processes, mp_context=get_context("fork")) as pool:
        # Ctrl-C is for this process alone, which says so once: forked while it is blocked, they never see it.
        with held_back({signal.SIGINT}):
            futures = {name: pool.submit(task) for name, task in tasks.items()}

        def results() -> dict[str, Any]:
            try:
                return {name: future.result() for name, future in futures.items()}
            except BrokenProcessPool as error:
                raise UserError(
                    f"one of the processes for {', '.join(futures)} was killed, as happens where memory is short; "
                    "expected all of them to end. Run it again on a node with more memory, or on one core: taskset -c 0 ..."
                ) from error

        try:
            yield results
        finally:
            pool.shutdown(cancel_futures=True)
