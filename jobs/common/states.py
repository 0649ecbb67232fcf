"""The classes of a point's life and what each means: the one table that every command reads.

Which failures are run again by default is the column ``rerun``.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class State:
    """One class.

    ``ended``: a result is published. ``successful``: counts as trained in the summary. ``rerun``: a local run or
    resubmission takes the point up again by default. ``resumed``: the next attempt continues after the last whole
    epoch, if there was one. ``exit_code``: the exit code of ``run_point.py``.
    """

    name: str
    meaning: str
    ended: bool
    successful: bool
    rerun: bool
    resumed: bool
    exit_code: int


# fmt: off
_TABLE = (
    #     name         meaning                                                  ended  success rerun  resumed code
    State("waiting",   "not started yet",                                       False, False,  True,  False,  0),
    State("running",   "being trained now",                                     False, False,  False, True,  15),
    State("done",      "trained; the result is published",                      True,  True,   False, False,  0),
    State("diverged",  "its loss became NaN or infinite: a result, not a fault", True, False,  False, False,  0),
    State("oom",       "not enough memory on the device or the host",           False, False,  False, True,  10),
    State("timeout",   "stopped before the walltime",                           False, False,  True,  True,  11),
    State("cancelled", "stopped by a signal or by the user",                    False, False,  True,  True,  12),
    State("error",     "an exception; training_log.txt has the traceback",      False, False,  True,  True,  13),
    State("lost",      "ended without a record: killed, or its node failed",    False, False,  True,  True,  14),
    State("unreadable", "its files cannot be read by this user, or this version", False, False, False, False, 13),
)
# fmt: on
STATES = {state.name: state for state in _TABLE}
UNREADABLE = "unreadable"
# What became of the point is known, and it has no result: what --all-failed means.
FAILED = tuple(
    state.name for state in _TABLE if not state.ended and state.name not in ("waiting", "running", UNREADABLE)
)
