"""Warnings about an estimate: why its numbers may be wrong, and where the site block requests too little or too much."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jobs.common.units import gigabytes, plural, whole_duration
from jobs.cost.costs import Cost, listed
from jobs.grid.sites import seconds, size_mb
from jobs.point.deadline import RESERVE_SECONDS

# The 48 GB of an A40 as its driver counts them, less about 1 GB for CUDA's own context.
REFERENCE_GPU, REFERENCE_GPU_MB = "48 GB A40", 46_068 - 1_024
MEASURE = "python -m jobs.submit --probe RUN"  # the end of a warning; RUN is replaced where it is shown
WASTE = 4.0  # a request of more than so many times the proposal gives a warning


def warnings(site: Mapping[str, Any], costs: Sequence[Cost]) -> list[str]:
    """The warnings for ``costs`` under this site block, the most important first."""
    trusted = [cost for cost in costs if cost.walltime is not None and not cost.wrong_device]
    return [
        *_not_measured(costs),
        *_wrong_device(site, costs),
        *(f"{cost.named}: {cost.fault}; its times are scaled from others" for cost in costs if cost.fault),
        *_gpu_memory(costs),
        *_walltime(site, trusted),
        *_mem(site, trusted),
    ]


def _not_measured(costs: Sequence[Cost]) -> list[str]:
    guesses = [cost for cost in costs if cost.source == "flops"]
    text = (
        f"not measured: {listed(guesses)}: a guess, which may be wrong by a factor of three either way. Measure: "
        f"{MEASURE}"
    )
    return [text] if guesses else []


def _wrong_device(site: Mapping[str, Any], costs: Sequence[Cost]) -> list[str]:
    requested = f"{site['ngpus']} GPU" if site["ngpus"] else "no GPU"
    devices = [cost.device for cost in costs if cost.wrong_device]
    text = (
        f"measured on {', '.join(devices[:1])} while the site block requests {requested}: the search will take other times "
        f"there. Measure in a job: {MEASURE}"
    )
    return [text] if devices else []


def _gpu_memory(costs: Sequence[Cost]) -> list[str]:
    grouped: dict[str, list[Cost]] = {}
    for cost in costs:
        if cost.gpu_memory_mb is not None and cost.gpu_memory_mb > REFERENCE_GPU_MB:
            text = (
                f"needed {cost.gpu_memory_mb / 1024:.0f} GB of GPU memory on {cost.device}, more than a {REFERENCE_GPU} "
                "has: exclude it, or set on_oom: accumulate, a smaller batch_size or smaller base_filters"
            )
            grouped.setdefault(text, []).append(cost)
    return [f"{listed(many)}: {text}" for text, many in sorted(grouped.items())]


def _walltime(site: Mapping[str, Any], costs: Sequence[Cost]) -> list[str]:
    requested: str = site["walltime"]
    proposed = max((cost.walltime for cost in costs if cost.walltime is not None), key=seconds, default=None)
    if proposed is None:
        return []
    short = [cost for cost in costs if cost.seconds + RESERVE_SECONDS[1] > seconds(requested)]
    if short:
        longest = max(short, key=lambda cost: cost.seconds)
        left = seconds(requested) - RESERVE_SECONDS[1] - longest.once_seconds
        text = (
            f"walltime {requested} is too short for all epochs of {listed(short)}: {longest.named} would end as "
            f"timeout after about {max(0, int(left // longest.epoch_seconds))} of {longest.epochs} epochs. Set walltime: "
            f'"{proposed}" in the site block, or submit with --proposed'
        )
    elif seconds(requested) > WASTE * seconds(proposed):
        text = (
            f"walltime {requested} is more than {WASTE:g} times what the longest point needs: shorter jobs start "
            f'sooner. walltime: "{proposed}" is enough, or submit with --proposed'
        )
    else:
        return []
    return [text]


def _mem(site: Mapping[str, Any], costs: Sequence[Cost]) -> list[str]:
    requested: str = site["mem"]
    proposed = max((cost.mem for cost in costs if cost.mem is not None), key=size_mb, default=None)
    if proposed is None:
        return []
    used = {cost: cost.host_memory_mb for cost in costs if cost.host_memory_mb is not None}
    short = [cost for cost, host in used.items() if host > size_mb(requested)]
    if short:
        text = (
            f"mem {requested} is too small for {listed(short)}: {gigabytes(max(used.values()))} were used. "
            f"Set mem: {proposed} in the site block, or submit with --proposed"
        )
    elif size_mb(requested) > WASTE * size_mb(proposed):
        text = (
            f"mem {requested} is more than {WASTE:g} times what is needed: a job that needs a smaller share of a node "
            f"starts sooner. mem: {proposed} is enough, or submit with --proposed"
        )
    else:
        return []
    return [text]


def does_not_fit(durations: Mapping[int, float], walltimes: Mapping[int, str], *, measured: bool) -> str:
    """A sentence about the points that are predicted to take longer than the walltime that they get; empty for none.

    ``durations`` are seconds and ``walltimes`` what PBS is asked for, both by index.
    """
    longer = {
        index: durations[index]
        for index, walltime in walltimes.items()
        if durations.get(index, 0.0) > seconds(walltime)
    }
    if not longer:
        return ""
    worst = max(longer, key=lambda index: longer[index])
    basis = "" if measured else " (a guess, nothing was measured: it may be wrong by a factor of three)"
    return (
        f"{plural(len(longer), 'point')} predicted to take longer than the walltime, point {worst} the longest: "
        f"{whole_duration(longer[worst])} of {walltimes[worst]}{basis}. Such a point stops in order before the walltime "
        "and continues when it is submitted again; or ask for more: --proposed, or walltime in the site block"
    )
