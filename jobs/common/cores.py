"""The number of cores that this process may use."""

from __future__ import annotations

import os


def usable_cores() -> int:
    """The cores that this process may use, at least 1; inside a PBS job at most the ``ncpus`` of its request.

    PBS sets ``NCPUS`` in a job. Many sites do not bind a job to its cores and kill it when it uses more than it
    requested, so the affinity mask alone is not enough. ``NCPUS`` is ignored if it is not a positive integer.
    """
    # macOS has no affinity masks.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    requested = os.environ.get("NCPUS", "")
    if requested.isascii() and requested.isdigit() and int(requested) > 0:
        cores = min(cores, int(requested))
    return cores
