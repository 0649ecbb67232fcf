"""What a point used of the nodes: seconds of its attempts, memory, GPU. From its files, for the summary."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from jobs.common.schema import PointRecord, Result
from jobs.point.claim import heartbeat, read_holder
from jobs.point.status import PointStatus
from jobs.run.index import Entry, Run

_LONGEST = (
    1e8  # seconds; a longer time is not that of an attempt, but of a file that somebody touched or edited
)


class Usage(NamedTuple):
    """The columns of the summary, in order; ``None`` where the files of a point do not contain the value.

    ``wall_seconds`` are those of the newest attempt, ``earlier_seconds`` those of the attempts before it, as far as
    their claims still exist.
    """

    wall_seconds: float | None = None
    earlier_seconds: float | None = None
    peak_host_memory_mb: float | None = None
    gpu_utilisation_percent: float | None = None
    job_id: str | None = None


def span(earlier: str | None, later: str | None) -> float | None:
    """Seconds from one ISO 8601 time to another; ``None`` where one is missing or the difference is impossible."""
    if earlier is None or later is None:
        return None
    try:
        seconds = (datetime.fromisoformat(later) - datetime.fromisoformat(earlier)).total_seconds()
    except (ValueError, TypeError):
        return None
    return seconds if 0 <= seconds <= _LONGEST else None


def earlier_seconds(run: Run, entry: Entry, attempts: int) -> float | None:
    """Seconds of all attempts before number ``attempts``: from each claim to its last heartbeat.

    0 where there were none; ``None`` where a claim is gone or has no start time.
    """
    paths = run.point_paths(entry)
    total = 0.0
    for number in range(1, attempts):
        seen = heartbeat(paths.claim(number))
        started = read_holder(paths, number).started if seen is not None else None
        if seen is None or started is None:
            return None
        try:
            seconds = seen / 1e9 - datetime.fromisoformat(started).timestamp()
        except (ValueError, OverflowError):
            return None
        if seconds > _LONGEST:
            return None
        total += max(0.0, seconds)  # the clocks of a node and of the file server may differ
    return total


def usage(run: Run, entry: Entry, status: PointStatus) -> Usage:
    """What a point used, from its result or else from its status record."""
    source: Result | PointRecord | None = status.whole_result or status.record
    if source is None:
        return Usage()
    attempts = source.attempts or status.attempts
    gpu = source.gpu if isinstance(source, Result) else None
    return Usage(
        wall_seconds=span(source.started, source.ended if isinstance(source, Result) else source.updated),
        earlier_seconds=earlier_seconds(run, entry, attempts) if 0 < attempts < 10**4 else None,
        peak_host_memory_mb=source.peak_host_memory_mb,
        gpu_utilisation_percent=gpu.utilisation_percent_mean if gpu is not None else None,
        job_id=source.job_id,
    )
