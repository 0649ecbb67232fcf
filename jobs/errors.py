"""Errors that a user can mend, and the exit codes of every command.

The exit codes are documented in ``docs/exit_codes.md``; :mod:`jobs.states` holds those of a point.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

OK = 0
INTERNAL = 1  # Python's own code for an uncaught exception
USAGE = 2  # bad arguments, grid.yaml or data: the user mends it
PARTIAL = 3  # collect, local: some points have no result (yet)
NOTHING = 4  # collect, analyze: nothing usable at all
SCHEDULER = 5  # submit, resubmit: PBS refused, did not answer, or is not there
ACTIVE = 6  # submit, resubmit: what was asked for is queued or running already
INTERRUPTED = 130  # Ctrl-C, as shells report it


class UserError(Exception):
    """Something the user can mend.

    The message says what is wrong, what was received, what is expected and what to do next.
    ``exit_code`` is what the command ends with.
    """

    def __init__(self, message: str, *, exit_code: int = USAGE) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def run_command(name: str, command: Callable[[], int]) -> int:
    """Run ``command``; print a :class:`UserError` as ``NAME: message`` on stderr and return its exit code."""
    try:
        return command()
    except UserError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        return INTERRUPTED
