"""Several processes that take turns: each computes a few steps while the others wait.

The speed of a shared machine changes by a factor of two within minutes. Ratios between neighbouring bursts stay valid,
while one run after another would compare two machines.
"""

from __future__ import annotations

import multiprocessing
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection
from typing import Any


class Enough(BaseException):
    """Ends a worker from within its training. Not an ``Exception``: no handler for errors may catch it."""


class Gate:
    """Called by a worker after each step: waits until it is the worker's turn again."""

    def __init__(self, connection: Connection, warm_up: int) -> None:
        self._connection, self._left = connection, warm_up
        self._since = time.perf_counter()

    def __call__(self, *_arguments: Any) -> None:
        """Count a step; arguments that a library passes to its callback are ignored."""
        self._left -= 1
        if self._left:
            return
        self._connection.send(time.perf_counter() - self._since)
        self._left = self._connection.recv()
        if not self._left:
            raise Enough
        self._since = time.perf_counter()


def _body(connection: Connection, worker: Callable, options: Mapping[str, Any], warm_up: int) -> None:
    try:
        worker(Gate(connection, warm_up), **options)
    except Enough:
        return


class Worker:
    """A process that runs ``worker(gate, **options)`` in an interpreter of its own.

    ``first_seconds`` is the time from its start to the end of ``warm_up`` steps.
    """

    def __init__(self, worker: Callable, warm_up: int = 3, **options: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_body, args=(theirs, worker, options, warm_up), daemon=True)
        started = time.perf_counter()
        self._process.start()
        theirs.close()
        self._connection.recv()
        self.first_seconds = time.perf_counter() - started

    def steps(self, count: int) -> float:
        """Seconds for ``count`` further steps."""
        self._connection.send(count)
        return self._connection.recv()

    def close(self) -> None:
        """Have it end."""
        self._connection.send(0)
        self._process.join(20)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def take_turns(workers: Mapping[str, Worker], *, rounds: int, steps: int) -> list[dict[str, float]]:
    """Seconds per step of each worker in each of ``rounds`` rounds; the order is turned around each time."""
    found = []
    for number in range(rounds):
        names = list(workers) if number % 2 == 0 else list(reversed(workers))
        found.append({name: workers[name].steps(steps) / steps for name in names})
    return found


def median_ratio(rounds: Sequence[Mapping[str, float]], slow: str, quick: str) -> float:
    """The median over the rounds of ``slow``'s time to ``quick``'s."""
    return statistics.median(one[slow] / one[quick] for one in rounds)
