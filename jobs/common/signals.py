"""The signals that ask a process to end: PBS's and a person's."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@contextmanager
def answered_by(handler: Callable[[int, object], None]) -> Iterator[None]:
    """Have ``handler`` answer :data:`ENDING` while the block runs.

    A signal that is ignored when the block begins stays so (``nohup``, a shell's background job).
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
    """Have ``signals`` wait until the block has ended; a process that is forked in it never gets them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
