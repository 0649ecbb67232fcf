"""The walltime and memory to request for a job, from what a point needed.

``docs/cost.md`` explains the margins.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from jobs.common.units import clock
from jobs.point.deadline import RESERVE_SECONDS

# Of the walltime, by the source of a point's seconds; "flops" has none, because none is proposed from a guess.
MARGINS: Mapping[str, float] = {"points": 1.25, "probe": 1.5, "scaled": 2.0}
SLOWEST_MARGIN = 1.1  # of the walltime of the slowest finished point of a kind, where there are several
STEP_SECONDS = 900  # walltimes are multiples of a quarter of an hour
MEMORY_MARGIN = 1.25  # of the peak host memory
MORE_MEMORY_MB = 1024.0  # for the parent process, the scripts and PBS


def walltime_for(needed: float, margin: float) -> str:
    """The walltime for a point that takes ``needed`` seconds, times ``margin``.

    Includes the time that a point keeps for stopping in order; rounded up to a quarter of an hour.

    >>> walltime_for(3000, 1.5)
    '01:30:00'
    """
    total = margin * needed + RESERVE_SECONDS[1]
    return clock(STEP_SECONDS * math.ceil(total / STEP_SECONDS))


def mem_for(peak_mb: float) -> str:
    """The memory for a point whose process used at most ``peak_mb`` MB of host memory; rounded up to whole GB.

    >>> mem_for(8000)
    '11gb'
    """
    return f"{math.ceil((MEMORY_MARGIN * peak_mb + MORE_MEMORY_MB) / 1024)}gb"
