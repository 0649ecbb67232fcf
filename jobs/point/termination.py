"""How a signal ends a training: turned into an exception once, and remembered."""

from __future__ import annotations

import signal


class Cancelled(BaseException):
    """A signal arrived. Not an ``Exception``: no handler for errors may catch it."""


class Termination:
    """Turns the first SIGTERM, SIGINT or SIGHUP into :class:`Cancelled`, and remembers it.

    The exception alone is not enough: raised inside a callback of TensorFlow it may be swallowed, or come out as
    another one. Further signals are ignored, since one orderly end takes less than the ten seconds that PBS allows.
    """

    def __init__(self) -> None:
        self.arrived: signal.Signals | None = None
        self._raising = True

    def cancel(self, number: int, _frame: object) -> None:
        """The signal handler."""
        if self.arrived is None:
            self.arrived = signal.Signals(number)
            if self._raising:
                self.check()

    def settle(self) -> None:
        """From now on a signal is only remembered: the end of the point is being recorded."""
        self._raising = False

    def check(self) -> None:
        """Raise :class:`Cancelled` if a signal has arrived."""
        if self.arrived is not None:
            raise Cancelled(self.arrived.name)
