"""The signals that end a process, from PBS or from a person."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

_PR_SET_PDEATHSIG = 1  # of prctl(2)


def signal_of_parents_death(number: int) -> Callable[[], None]:
    """A function for the child after a fork: the kernel sends it signal ``number`` when its parent ends. Linux only."""
    if sys.platform != "linux":
        return lambda: None
    import ctypes  # here, because few commands need it

    libc = ctypes.CDLL(None, use_errno=True)  # loaded now: between fork and exec nothing should be

    def ask() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, number)

    return ask


@contextmanager
def answered_by(handler: Callable[[int, object], None]) -> Iterator[None]:
    """Handle :data:`ENDING` with ``handler`` while the block runs.

    A signal that is ignored when the block starts remains ignored (``nohup``, a background job of a shell).
    """
    before = {
        number: signal.signal(number, handler)
        for number in ENDING
        if signal.getsignal(number) not in (signal.SIG_IGN, None)
    }
    try:
        yield
    finally:
        for number, former in before.items():
            signal.signal(number, former)


@contextmanager
def held_back(signals: Iterable[int] = ENDING) -> Iterator[None]:
    """Delay ``signals`` until the block has ended; a process that is forked in it never receives them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
