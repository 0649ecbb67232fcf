"""What a point has used of the nodes: seconds of its attempts, memory, GPU. From its files, for the summary."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from jobs.point.claim import read_holder, sign_of_life
from jobs.point.status import PointStatus
from jobs.run.index import Entry, Run

# Columns of the summary: seconds of the newest attempt, and of those before it as far as their claims still tell.
COLUMNS = ("wall_seconds", "earlier_seconds", "peak_host_memory_mb", "gpu_utilisation_percent", "job_id")
_LONGEST = 1e8  # seconds; more is no attempt but a file that somebody has touched or edited


def span(earlier: Any, later: Any) -> float | None:
    """Seconds from one ISO 8601 time to another; ``None`` where there is none, or it is impossible."""
    try:
        seconds = (datetime.fromisoformat(str(later)) - datetime.fromisoformat(str(earlier))).total_seconds()
    except (ValueError, TypeError):
        return None
    return seconds if 0 <= seconds <= _LONGEST else None


def earlier_seconds(run: Run, entry: Entry, attempts: int) -> float | None:
    """Seconds of all attempts before number ``attempts``: from each claim to its last sign of life.

    0 where there was none; ``None`` where a claim is gone or tells nothing.
    """
    paths = run.point_paths(entry)
    total = 0.0
    for number in range(1, attempts):
        sign = sign_of_life(paths.claim(number))
        started = read_holder(paths, number).started if sign is not None else None
        if sign is None or started is None:
            return None
        try:
            seconds = sign / 1e9 - datetime.fromisoformat(started).timestamp()
        except (ValueError, OverflowError):
            return None
        if seconds > _LONGEST:
            return None
        total += max(0.0, seconds)  # the clocks of a node and of the file server may differ
    return total


def usage(run: Run, entry: Entry, status: PointStatus) -> dict[str, Any]:
    """The values of :data:`COLUMNS` for a point; ``None`` where its files do not tell."""
    source: Mapping[str, Any] = status.result or status.record or {}
    gpu = source.get("gpu")
    attempts = source.get("attempts")
    counted = attempts if type(attempts) is int and 0 < attempts < 10**4 else status.attempts
    if status.result is not None:
        wall = span(source.get("started"), source.get("ended"))
    else:
        wall = span(source.get("started"), source.get("updated"))
    return {
        "wall_seconds": wall,
        "earlier_seconds": earlier_seconds(run, entry, counted) if counted else None,
        "peak_host_memory_mb": source.get("peak_host_memory_mb"),
        "gpu_utilisation_percent": gpu.get("utilisation_percent_mean") if isinstance(gpu, dict) else None,
        "job_id": source.get("job_id"),
    }
