"""The classes of a point's life, and what each means: the one table that every command reads."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class State:
    """``ended``: a result is published and the point is not run again by default.

    ``successful``: counts as trained in the summary. ``rerun``: a further local run or resubmission takes it
    up by default. ``exit_code``: what ``run_point.py`` ends with.
    """

    name: str
    meaning: str
    ended: bool
    successful: bool
    rerun: bool
    exit_code: int


_TABLE = (
    State("waiting", "not begun yet", False, False, True, 0),
    State("running", "being trained now", False, False, False, 15),
    State("done", "trained, with a result", True, True, False, 0),
    State("diverged", "its loss became NaN or infinite: a result, not a fault", True, False, False, 0),
    State("oom", "the device's or the host's memory did not suffice", False, False, False, 10),
    State("timeout", "stopped in time before the walltime", False, False, True, 11),
    State("cancelled", "stopped by a signal or by the user", False, False, True, 12),
    State("error", "an exception; training_log.txt has the traceback", False, False, True, 13),
    State("lost", "ended without a word: killed, or its node went down", False, False, True, 14),
)
STATES = {state.name: state for state in _TABLE}
