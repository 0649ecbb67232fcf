"""The signals that ask a process to end: PBS's and a person's."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
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
