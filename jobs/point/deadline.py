"""When PBS will end this sub-job, and whether another epoch fits before that.

PBS sends no warning before the walltime and sets no variable with it. The job script provides the time of its start
(``JOB_STARTED``, seconds since 1970) and how long it may run (``WALLTIME_SECONDS``: what was requested, or what the
scheduler has on record). Without the latter, the walltime of the run's site block is used.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jobs.grid.sites import seconds

RESERVE = 0.02  # share of the walltime for starting Python and for an orderly end
RESERVE_SECONDS = (2.0, 60.0)  # at least, at most
SLOWER = 1.15  # an epoch may take this much longer than the longest so far


class OutOfTime(BaseException):
    """No further epoch fits before the walltime. Not an ``Exception``: no handler for errors may catch it."""


@dataclass(frozen=True)
class Deadline:
    """``ends``: seconds since 1970, ``walltime``: seconds; both ``None`` where nothing limits the time."""

    ends: float | None = None
    walltime: float | None = None

    def reached(self) -> bool:
        """Whether the walltime is used up, so that a SIGTERM now comes from the scheduler: PBS never kills early."""
        return self.ends is not None and time.time() >= self.ends - 1

    def check(self, longest_epoch: float, then: str) -> None:
        """Raise :class:`OutOfTime` unless another ``longest_epoch`` seconds fit.

        ``then`` starts the message: what has been done so far.
        """
        if self.ends is None or self.walltime is None:
            return
        low, high = RESERVE_SECONDS
        reserve = min(high, max(low, RESERVE * self.walltime))
        left = self.ends - time.time()
        if left < SLOWER * longest_epoch + reserve:
            raise OutOfTime(
                f"{then}; {max(0.0, left):.0f} s of the walltime ({self.walltime:.0f} s) are left and an epoch takes "
                f"{longest_epoch:.0f} s: stopped before the walltime, to be resumed"
            )


def deadline(site: Mapping[str, Any]) -> Deadline:
    """The deadline of this process; none outside a PBS job.

    Values of the variables that are not numbers are ignored.
    """
    started = _positive(os.environ.get("JOB_STARTED"))
    if started is None:
        if "PBS_JOBID" not in os.environ:
            return Deadline()
        started = time.time()  # a job script that is not ours: it has just started
    limit = _positive(os.environ.get("WALLTIME_SECONDS"))
    if limit is None:
        if "walltime" not in site:
            return Deadline()
        limit = float(seconds(site["walltime"]))
    return Deadline(started + limit, limit)


def _positive(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if 0 < value < 1e12 else None
