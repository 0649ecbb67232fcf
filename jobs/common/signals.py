"""The signals that end a process, from PBS or from a person."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


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
