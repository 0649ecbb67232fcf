"""The classes of a point's life, and what each means: the one table that every command reads."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class State:
    """``ended``: a result is published and the point is not run again by default.

    ``successful``: counts as trained in the summary. ``rerun``: a further local run or resubmission takes it
    up by default. ``resumed``: a further attempt goes on after the last whole epoch, if there was one, and not
    from the beginning. ``exit_code``: what ``run_point.py`` ends with.
    """

    name: str
    meaning: str
    ended: bool
    successful: bool
    rerun: bool
    resumed: bool
    exit_code: int


_TABLE = (
    State("waiting", "not begun yet", False, False, True, False, 0),
    State("running", "being trained now", False, False, False, True, 15),
    State("done", "trained, with a result", True, True, False, False, 0),
    State("diverged", "its loss became NaN or infinite: a result, not a fault", True, False, False, False, 0),
    State("oom", "the device's or the host's memory did not suffice", False, False, False, True, 10),
    State("timeout", "stopped in time before the walltime", False, False, True, True, 11),
    State("cancelled", "stopped by a signal or by the user", False, False, True, True, 12),
    State("error", "an exception; training_log.txt has the traceback", False, False, True, True, 13),
    State("lost", "ended without a word: killed, or its node went down", False, False, True, True, 14),
)
STATES = {state.name: state for state in _TABLE}
