"""The cost of a run: seconds of each point, GPU hours, wall time, and the walltime and memory to request.

Every number is an upper bound in one way: it counts all epochs, and early stopping makes it less. ``docs/cost.md``
has the formulas and the margins.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jobs.common.errors import UnreadableError, UserError, denied
from jobs.common.hints import hint
from jobs.cost.advice import warnings
from jobs.cost.costs import Cost, cost_of, fewest_epochs, listed
from jobs.cost.measurements import kinds, read_probe
from jobs.cost.prediction import predict
from jobs.cost.workload import read_workload
from jobs.pbs.arrays import groups, makespan
from jobs.run.index import Entry, Run


@dataclass(frozen=True)
class Estimate:
    """The cost of a run. ``hours`` are those of the sub-jobs, ``gpu_hours`` count ``ngpus`` GPUs for each.

    ``durations`` are the predicted seconds by index. ``wall_seconds`` maps a number of sub-jobs at a time to the
    seconds that all points take, the longest first, without waiting in the queue; ``at_once`` is the number that the
    site block or ``--max-running`` gives (``None``: no limit). ``finished`` points have their result; ``left_hours``
    is for the others. ``patches`` are counts by part, ``patch_size`` is in pixels.
    """

    costs: tuple[Cost, ...]
    durations: Mapping[int, float]
    points: int
    finished: int
    patches: Mapping[str, int]
    patch_size: int
    ngpus: int
    hours: float
    least_hours: float
    left_hours: float
    at_once: int | None
    wall_seconds: Mapping[int, float]
    warnings: tuple[str, ...]

    @property
    def gpu_hours(self) -> float:
        """Hours of all GPUs, or of the sub-jobs where they have none."""
        return self.hours * max(1, self.ngpus)

    @property
    def measured(self) -> bool:
        """Whether every point's time is based on a measurement, on the kind of device that is requested."""
        return not any(cost.source == "flops" or cost.wrong_device for cost in self.costs)


def _folders(run: Run) -> set[str]:
    """The names in the run directory: one call to the file system instead of one for each point."""
    try:
        return set(os.listdir(run.paths.root))  # noqa: PTH208 - only the names are needed
    except OSError:
        return set()


def _has_result(run: Run, entry: Entry) -> bool:
    results = run.point_paths(entry).results
    try:
        return stat.S_ISREG(results.stat().st_mode)
    except PermissionError as error:
        raise UnreadableError(denied(error, results, whole=run.paths.root)) from error
    except OSError:
        return False


def _wall_seconds(durations: Sequence[float], places: int | None) -> dict[int, float]:
    """The time that all points take, longest first, with 1, 4, 8, ``places`` and all of them at a time."""
    count = len(durations)
    allowed = min(places or count, count)
    shown = sorted({number for number in (1, 4, 8, count) if number <= count} | {allowed})
    order = sorted(durations, reverse=True)
    return {number: makespan(order, number) for number in shown}


def estimate(run: Run, *, max_running: int | None = None) -> Estimate:
    """The cost of ``run`` with ``max_running`` sub-jobs at a time (default: the site block's).

    Reads files only. Raises :class:`UserError` where ``probe.json`` cannot be used or the run does not have its number
    of patches.
    """
    workload = read_workload(run)
    probe = read_probe(run)
    folders = _folders(run)
    ngpus: int = run.site["ngpus"]
    by_kind = kinds(run.entries)
    predicted = predict(run, workload, by_kind, probe, folders)

    costs: list[Cost] = []
    durations: dict[int, float] = {}
    least = 0.0
    for kind, of_kind in by_kind.items():
        times = predicted[kind]
        by_epochs: dict[int, list[Entry]] = {}
        for entry in of_kind:
            by_epochs.setdefault(entry.point.settings["epochs"], []).append(entry)
            least += times.once + fewest_epochs(entry) * times.epoch
        for entries in by_epochs.values():
            cost = cost_of(kind, entries, times, measurement=probe.get(kind), ngpus=ngpus)
            costs.append(cost)
            durations |= dict.fromkeys(cost.indices, cost.seconds)
    costs.sort(key=lambda cost: cost.indices[0])
    finished = {entry.index for entry in run.entries if entry.name in folders and _has_result(run, entry)}
    places: int | None = max_running if max_running is not None else run.site["max_running"]
    return Estimate(
        costs=tuple(costs),
        durations=durations,
        points=len(durations),
        finished=len(finished),
        patches={"train": workload.train, "validation": workload.validation, "test": workload.test},
        patch_size=workload.patch_size,
        ngpus=ngpus,
        hours=sum(durations.values()) / 3600,
        least_hours=least / 3600,
        left_hours=sum(value for index, value in durations.items() if index not in finished) / 3600,
        at_once=places,
        wall_seconds=_wall_seconds(list(durations.values()), places),
        warnings=tuple(warnings(run.site, costs)),
    )


def proposals(run: Run, found: Estimate) -> dict[int, tuple[str, str | None]]:
    """The proposed ``(walltime, mem)`` for each index; ``mem`` is ``None`` where the site block's remains.

    Raises :class:`UserError` where a point's time was not measured on the kind of device that the site block requests:
    a job that is cut off because of a guess costs more than one that requests too much.
    """
    refused = [cost for cost in found.costs if cost.walltime is None or cost.wrong_device]
    if refused:
        why = "was measured on another kind of device" if refused[0].wrong_device else "was not measured"
        raise UserError(
            f"--proposed: {listed(refused)} {why}, so no walltime can be proposed; expected finished points or a "
            f"probe. Measure first: {hint('jobs.submit', '--probe', run.paths.root)}; or submit without --proposed"
        )
    return {index: (cost.walltime or "", cost.mem) for cost in found.costs for index in cost.indices}


def longest_first(run: Run, entries: Sequence[Entry]) -> list[Entry]:
    """``entries`` with those of the longest predicted duration first; otherwise in their order.

    Where no duration can be predicted, the order does not change.
    """
    try:
        durations = estimate(run).durations
    except UserError:
        return list(entries)
    indices = [entry.index for entry in entries]
    place = {index: number for number, group in enumerate(groups(durations, indices)) for index in group}
    return sorted(entries, key=lambda entry: place[entry.index])
