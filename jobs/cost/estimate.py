"""What a search will cost: seconds of each point, GPU hours, wall time, and what to ask PBS for.

From, in this order of trust: points of the run that have finished, ``probe.json``, those two scaled by FLOPs to
points of another kind, and else counted FLOPs at an assumed utilisation of a named GPU, which is a guess and
labelled so. What was measured on the kind of device that the site block asks for stands before what was not.
Every number is an upper bound in one way: it counts all epochs, and early stopping makes it less.
``docs/cost.md`` has the formulas and the margins.
"""

from __future__ import annotations

import itertools
import math
import os
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from jobs.common.errors import UserError, one_line
from jobs.common.records import DamagedRecord, read_record
from jobs.cost.measurements import COST, Measured, cost_settings, kind, read_probe
from jobs.grid.sites import seconds, size_mb
from jobs.monitor.usage import span
from jobs.pbs.arrays import groups, makespan
from jobs.point.deadline import RESERVE_SECONDS
from jobs.point.status import read_result
from jobs.run.index import Entry, Run
from unet_models.networks.flops import TRAINING_PASSES, forward_flops

# Where nothing was measured. NVIDIA A40 datasheet, dense tensor cores: float32 convolutions run as TF32 in
# TensorFlow unless it is forbidden (37.4 TFLOP/s without).
ASSUMED_GPU = "NVIDIA A40"
ASSUMED_PEAK = {"float32": 74.8e12, "mixed_bfloat16": 149.7e12, "mixed_float16": 149.7e12}
ASSUMED_STRICT_PEAK = 37.4e12
ASSUMED_UTILISATION = 0.25
ASSUMED_ONCE = 60.0  # seconds: imports, compiling, evaluation
PICTURES = 5.0  # seconds for a point's pictures, which a probe does not draw
# The 48 GB of an A40 as its driver counts them, less about 1 GB for CUDA's own context.
REFERENCE_GPU, REFERENCE_GPU_MB = "48 GB A40", 46_068 - 1_024

MARGINS = {
    "points": 1.25,
    "probe": 1.5,
    "scaled": 2.0,
}  # of the walltime, by source; "flops": none is proposed
SLOWEST = 1.1  # of the slowest finished point of its kind, where there are several
STEP_SECONDS = 900  # walltimes are whole quarters of an hour
MEMORY_MARGIN, MEMORY_MORE = (
    1.25,
    1024.0,
)  # of the peak host memory, and MB more for the parent process and scripts
WASTE = 4.0  # asking for more than so many times what is proposed is told
SAMPLE = 20  # finished points of a kind that are read
SOURCES = {
    "points": "finished points of this run",
    "probe": "probe.json",
    "scaled": "scaled by FLOPs from what was measured",
    "flops": f"counted FLOPs at {100 * ASSUMED_UTILISATION:.0f} % of an {ASSUMED_GPU}, not measured",
}


@dataclass(frozen=True)
class Cost:
    """Points that cost alike (:func:`jobs.cost.measurements.kind`) and have equally many ``epochs``.

    ``once_seconds`` is start-up and end, ``epoch_seconds`` an epoch with validation and checkpoint, ``seconds`` a whole
    point with all its epochs, ``slowest_seconds`` the same from the slowest measurement, ``least_seconds`` where early
    stopping ends it as soon as it can. ``source`` is a key of :data:`SOURCES`; ``fault``: why it cannot be trained as
    it is. ``walltime`` and ``mem`` are proposals in PBS's words; ``None`` where nothing was measured.
    """

    settings: Mapping[str, Any]
    epochs: int
    indices: tuple[int, ...]
    source: str
    detail: str
    device: str
    wrong_device: bool
    step_seconds: float
    epoch_seconds: float
    once_seconds: float
    seconds: float
    slowest_seconds: float
    least_seconds: float
    host_memory_mb: float | None
    gpu_memory_mb: float | None
    fault: str
    walltime: str | None
    mem: str | None


@dataclass(frozen=True)
class Estimate:
    """The cost of a run. ``gpu_hours`` count ``ngpus`` GPUs a point, ``hours`` the sub-jobs alone.

    ``wall_seconds`` maps a number of sub-jobs at a time to the time that all points take, the longest first, without
    waiting in the queue; ``at_once`` is the one that the site block or ``--max-running`` gives (``None``: no limit).
    ``finished`` points have their result; ``left_hours`` is for the others.
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
        return self.hours * max(1, self.ngpus)

    @property
    def measured(self) -> bool:
        """Whether every point's time rests on a measurement, on the kind of device that is asked for."""
        return not any(cost.source == "flops" or cost.wrong_device for cost in self.costs)


@dataclass(frozen=True)
class _Size:
    """How much there is to compute in an epoch: patches by part, and their size in pixels."""

    train: int
    validation: int
    test: int
    patch: int

    def steps(self, settings: Mapping[str, Any]) -> int:
        return max(1, self.train // settings["batch_size"])

    def validation_batches(self, settings: Mapping[str, Any]) -> int:
        return math.ceil(self.validation / settings["validation_batch_size"])

    def scored_batches(self, settings: Mapping[str, Any]) -> int:
        """Of the validation batch size, after the last epoch: validation, training and test part."""
        batch = settings["validation_batch_size"]
        return sum(math.ceil(count / batch) for count in (self.validation, self.train, self.test))

    def epoch_flops(self, settings: Mapping[str, Any]) -> float:
        one = forward_flops(
            settings["architecture"],
            patch_size=self.patch,
            base_filters=settings["base_filters"],
            levels=settings["levels"],
        )
        trained = self.steps(settings) * settings["batch_size"]
        return float(one) * (TRAINING_PASSES * trained + self.validation)


@dataclass(frozen=True)
class _Times:
    """One measurement of a kind of point, in seconds and MB."""

    source: str
    detail: str
    device: str
    step: float
    epoch: float
    once: float
    slow: float = 1.0  # the slowest measurement against the middle one
    host: float | None = None
    gpu: float | None = None


def _size(run: Run) -> _Size:
    path = run.paths.provenance
    try:
        patches = read_record(path)["data"]["patches"]
        counts = [patches[part] for part in ("train", "validation", "test")]
        if any(type(count) is not int or count < 0 for count in counts) or not counts[0]:
            raise ValueError(f"patches {patches!r}")
        height = int(run.fingerprint.split("x")[1])
    except (DamagedRecord, FileNotFoundError, KeyError, TypeError, ValueError, IndexError) as error:
        raise UserError(
            f"{path} does not tell how many patches there are ({one_line(error, 200)}); expected the file that "
            f"make_grid.py wrote: python make_grid.py --run-dir {run.paths.root}"
        ) from error
    return _Size(*counts, height)


def _positive(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 < value < 1e9 else None


def from_result(result: Mapping[str, Any], settings: Mapping[str, Any], steps: int) -> _Times | None:
    """What a finished point tells of its kind; ``None`` where its result lacks the times."""
    metrics, rows = result.get("metrics"), result.get("history")
    if not isinstance(metrics, dict) or not isinstance(rows, list):
        return None
    each = [_positive(row.get("seconds")) for row in rows if isinstance(row, dict)]
    training = _positive(metrics.get("training_time_seconds"))
    if training is None or not each or None in each:
        return None
    steady = statistics.median(each[1:] or each)
    # The checkpoints are between the epochs' own times.
    epoch = steady + max(0.0, training - sum(each)) / len(each)
    whole = span(result.get("started"), result.get("ended"))
    if result.get("resumed") or whole is None or whole < training:
        startup = result.get("startup")
        told = [_positive(v) for v in startup.values()] if isinstance(startup, dict) else []
        outside = sum(value for value in told if value) or ASSUMED_ONCE
    else:
        outside = whole - training
    device = one_line(result.get("device") or "CPU", 80)
    memory = _positive(result.get("peak_memory_mb"))
    return _Times(
        "points",
        "",
        device,
        steady / steps,
        epoch,
        max(0.0, each[0] - steady) + outside,
        host=_positive(result.get("peak_host_memory_mb")),
        gpu=memory if device != "CPU" else None,
    )


def _from_points(run: Run, entries: Sequence[Entry], steps: int, folders: set[str]) -> list[_Times]:
    """Finished points of one kind, one :class:`_Times` for each device, the best-known first."""
    found: dict[str, list[_Times]] = {}
    for entry in entries:
        if entry.name not in folders:
            continue
        try:
            result = read_result(run, entry)
        except DamagedRecord:
            continue
        times = from_result(result, entry.point.settings, steps) if result is not None else None
        if times is not None:
            found.setdefault(times.device, []).append(times)
        if sum(map(len, found.values())) >= SAMPLE:
            break
    return [_middle(many) for many in sorted(found.values(), key=len, reverse=True)]


def _middle(many: Sequence[_Times]) -> _Times:
    epoch = statistics.median(one.epoch for one in many)
    host = [one.host for one in many if one.host is not None]
    gpu = [one.gpu for one in many if one.gpu is not None]
    return replace(
        many[0],
        detail=f"{len(many)} finished",
        step=statistics.median(one.step for one in many),
        epoch=epoch,
        once=statistics.median(one.once for one in many),
        slow=max(one.epoch for one in many) / epoch,
        host=max(host, default=None),
        gpu=max(gpu, default=None),
    )


def _from_probe(measured: Measured, settings: Mapping[str, Any], size: _Size) -> _Times | None:
    if measured.status != "measured" or not measured.step_seconds or not measured.validation_seconds:
        return None
    validation = measured.validation_seconds
    epoch = size.steps(settings) * measured.step_seconds + size.validation_batches(settings) * validation
    more = max(0.0, size.scored_batches(settings) - (measured.finish_batches or 0.0)) * validation
    finish = PICTURES + more + (10.0 if measured.finish_seconds is None else measured.finish_seconds)
    return _Times(
        "probe",
        "",
        measured.device or "CPU",
        measured.step_seconds,
        epoch + (measured.epoch_end_seconds or 0.0),
        sum(measured.startup.values()) + finish,
        host=measured.peak_host_memory_mb,
        gpu=measured.peak_memory_mb,
    )


def _guess(settings: Mapping[str, Any], size: _Size) -> _Times:
    strict = settings["precision"] == "float32" and not settings["tensor_float_32"]
    peak = ASSUMED_STRICT_PEAK if strict else ASSUMED_PEAK[settings["precision"]]
    epoch = size.epoch_flops(settings) / (peak * ASSUMED_UTILISATION)
    training = size.steps(settings) * settings["batch_size"] * TRAINING_PASSES
    share = training / (training + size.validation)
    return _Times("flops", "", ASSUMED_GPU, epoch * share / size.steps(settings), epoch, ASSUMED_ONCE)


def _scaled(
    settings: Mapping[str, Any], size: _Size, known: Sequence[tuple[Mapping[str, Any], _Times]]
) -> _Times:
    """From the measured kind that has most settings in common, by the FLOPs of an epoch."""
    flops = size.epoch_flops(settings)

    def distance(item: tuple[Mapping[str, Any], _Times]) -> tuple[int, float]:
        other = item[0]
        return sum(other[key] != settings[key] for key in COST if key != "dropout"), abs(
            math.log(size.epoch_flops(other) / flops)
        )

    other, times = min(known, key=distance)
    factor = flops / size.epoch_flops(other)
    steps = size.steps(other) / size.steps(settings)
    return replace(
        times,
        source="scaled",
        detail=f"from {other['architecture']} batch {other['batch_size']}",
        step=times.step * factor * steps,
        epoch=times.epoch * factor,
        gpu=None,
    )


def walltime_for(needed: float, margin: float) -> str:
    """``needed`` seconds times ``margin``, and what a point keeps for ending in order, in whole quarters of an hour.

    >>> walltime_for(3000, 1.5)
    '01:30:00'
    """
    total = margin * needed + RESERVE_SECONDS[1]
    total = STEP_SECONDS * math.ceil(total / STEP_SECONDS)
    return f"{total // 3600:02d}:{total // 60 % 60:02d}:00"


def mem_for(peak_mb: float) -> str:
    """What to ask for where a point's process had ``peak_mb`` of host memory at most.

    >>> mem_for(8000)
    '11gb'
    """
    return f"{math.ceil((MEMORY_MARGIN * peak_mb + MEMORY_MORE) / 1024)}gb"


def _kinds(run: Run) -> dict[tuple[Any, ...], list[Entry]]:
    found: dict[tuple[Any, ...], list[Entry]] = {}
    for entry in run.entries:
        key = (kind(entry.point.settings), entry.point.settings["epochs"])
        found.setdefault(key, []).append(entry)
    return found


def _folders(run: Run) -> set[str]:
    """The names of what is in the run directory: one question to the file system instead of one for each point."""
    try:
        return set(os.listdir(run.paths.root))  # noqa: PTH208 - the names alone
    except OSError:
        return set()


def estimate(run: Run, *, max_running: int | None = None) -> Estimate:
    """The cost of ``run``; ``max_running`` sub-jobs at a time (default: the site block's).

    Reads files only. Raises :class:`UserError` where ``probe.json`` is damaged or of another run, or the run does not
    tell how many patches it has.
    """
    size = _size(run)
    probe = read_probe(run)
    folders = _folders(run)
    ngpus = run.site["ngpus"]

    def wrong(times: _Times) -> bool:
        return (times.device == "CPU") == (ngpus > 0)

    by_kind: dict[tuple[Any, ...], list[Entry]] = {}
    for (one, _), entries in _kinds(run).items():
        by_kind.setdefault(one, []).extend(entries)
    measured: dict[tuple[Any, ...], _Times] = {}
    for one, entries in by_kind.items():
        settings = entries[0].point.settings
        candidates = _from_points(run, entries, size.steps(settings), folders)
        if one in probe and (times := _from_probe(probe[one], settings, size)) is not None:
            candidates.append(times)
        if candidates:
            measured[one] = min(candidates, key=wrong)  # stable: points stand before the probe
    known = [(by_kind[one][0].point.settings, times) for one, times in measured.items()]
    # From the wrong device only where there is nothing else.
    known = [item for item in known if not wrong(item[1])] or known

    costs = []
    durations: dict[int, float] = {}
    least = 0.0
    for (one, epochs), entries in _kinds(run).items():
        settings = entries[0].point.settings
        times = measured.get(one)
        if times is None:
            times = _scaled(settings, size, known) if known else _guess(settings, size)
        elif wrong(times) and not wrong(known[0][1]):
            times = _scaled(settings, size, known)
        total = times.once + epochs * times.epoch
        seen = probe.get(one)
        # A finished point has shown that it can be trained, whatever the probe ran out of.
        fault = _fault(seen) if seen is not None and times.source != "points" else ""
        shortest = []
        for entry in entries:
            patience = entry.point.settings["early_stopping_patience"]
            fewest = epochs if patience is None else min(epochs, patience + 1)
            shortest.append(times.once + fewest * times.epoch)
            durations[entry.index] = total
        least += sum(shortest)
        margin = MARGINS.get(times.source)
        slowest = times.once + epochs * times.epoch * times.slow
        proposed = None
        if margin is not None:
            proposed = walltime_for(max(margin * total, SLOWEST * slowest), 1.0)
        costs.append(
            Cost(
                settings=cost_settings(settings),
                epochs=epochs,
                indices=tuple(entry.index for entry in entries),
                source=times.source,
                detail=times.detail,
                device=times.device,
                wrong_device=times.source != "flops" and wrong(times),
                step_seconds=times.step,
                epoch_seconds=times.epoch,
                once_seconds=times.once,
                seconds=total,
                slowest_seconds=slowest,
                least_seconds=min(shortest),
                host_memory_mb=times.host,
                gpu_memory_mb=times.gpu,
                fault=fault,
                walltime=proposed,
                mem=None if times.host is None or margin is None else mem_for(times.host),
            )
        )
    finished = {
        entry.index
        for entry in run.entries
        if entry.name in folders and run.point_paths(entry).results.is_file()
    }
    places = max_running if max_running is not None else run.site["max_running"]
    order = sorted(durations.values(), reverse=True)
    count = len(order)
    shown = sorted(
        {n for n in (1, 4, 8, places or count, count) if n <= count} | {min(places or count, count)}
    )
    found = Estimate(
        costs=tuple(costs),
        durations=durations,
        points=count,
        finished=len(finished),
        patches={"train": size.train, "validation": size.validation, "test": size.test},
        patch_size=size.patch,
        ngpus=ngpus,
        hours=sum(order) / 3600,
        least_hours=least / 3600,
        left_hours=sum(value for index, value in durations.items() if index not in finished) / 3600,
        at_once=places,
        wall_seconds={n: makespan(order, n) for n in shown},
        warnings=(),
    )
    return replace(found, warnings=tuple(_warnings(run.site, found)))


def _fault(measured: Measured) -> str:
    if measured.status == "measured":
        return ""
    memory = f" with {measured.gpu_memory_mb / 1024:.0f} GB" if measured.gpu_memory_mb else ""
    where = f" on {measured.device}{memory}" if measured.device else ""
    return f"{measured.status} in the probe{where}: {measured.reason or 'no reason given'}"


def named(cost: Cost) -> str:
    """``Attention_UNet batch 32``."""
    return f"{cost.settings['architecture']} batch {cost.settings['batch_size']}"


def _listed(costs: Sequence[Cost]) -> str:
    names = list(dict.fromkeys(map(named, costs)))
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def _warnings(site: Mapping[str, Any], found: Estimate) -> list[str]:
    """What forbids believing the numbers, then what the site block asks too little or too much of."""
    warnings = []
    costs = found.costs
    guessed = [cost for cost in costs if cost.source == "flops"]
    wrong = [cost for cost in costs if cost.wrong_device]
    if guessed:
        warnings.append(
            f"not measured: {_listed(guessed)}: a guess, which may be wrong by a factor of three either way. Measure: "
            "python -m jobs.submit --probe RUN"
        )
    if wrong:
        asked = f"{site['ngpus']} GPU" if site["ngpus"] else "no GPU"
        warnings.append(
            f"measured on {wrong[0].device} while the site block asks for {asked}: these times are not those of the search "
            "there. Measure in a job: python -m jobs.submit --probe RUN"
        )
    for cost in costs:
        if cost.fault:
            warnings.append(f"{named(cost)}: {cost.fault}; its times are scaled from others")
    for text, many in itertools.groupby(
        sorted(((_gpu_words(cost), cost) for cost in costs if _gpu_words(cost)), key=lambda item: item[0]),
        key=lambda item: item[0],
    ):
        warnings.append(f"{_listed([cost for _, cost in many])}: {text}")
    believed = [cost for cost in costs if cost.walltime is not None and not cost.wrong_device]
    return warnings + _walltime_warnings(site, believed) + _mem_warnings(site, believed)


def _gpu_words(cost: Cost) -> str:
    if cost.gpu_memory_mb is None or cost.gpu_memory_mb <= REFERENCE_GPU_MB:
        return ""
    return (
        f"needed {cost.gpu_memory_mb / 1024:.0f} GB of GPU memory on {cost.device}; a {REFERENCE_GPU} does not hold that: "
        "exclude it, on_oom: accumulate, or a smaller batch_size or base_filters"
    )


def _walltime_warnings(site: Mapping[str, Any], costs: Sequence[Cost]) -> list[str]:
    if not costs:
        return []
    asked = seconds(site["walltime"])
    proposed = max((cost.walltime for cost in costs if cost.walltime), key=seconds)
    short = [cost for cost in costs if cost.seconds + RESERVE_SECONDS[1] > asked]
    if short:
        worst = max(short, key=lambda cost: cost.seconds)
        fit = max(0, int((asked - RESERVE_SECONDS[1] - worst.once_seconds) // worst.epoch_seconds))
        return [
            f"walltime {site['walltime']} is too small for all epochs of {_listed(short)}: {named(worst)} would end as "
            f'timeout after about {fit} of {worst.epochs} epochs. Set walltime: "{proposed}" in the site block, or submit '
            "with --proposed"
        ]
    if asked > WASTE * seconds(proposed):
        return [
            f"walltime {site['walltime']} is more than {WASTE:g} times what the longest point needs: shorter jobs start "
            f'sooner. walltime: "{proposed}" would do, or submit with --proposed'
        ]
    return []


def _mem_warnings(site: Mapping[str, Any], costs: Sequence[Cost]) -> list[str]:
    known = [cost for cost in costs if cost.mem is not None and cost.host_memory_mb is not None]
    if not known:
        return []
    asked = size_mb(site["mem"])
    proposed = max((cost.mem for cost in known if cost.mem), key=size_mb)
    short = [cost for cost in known if (cost.host_memory_mb or 0.0) > asked]
    if short:
        most = max(cost.host_memory_mb or 0.0 for cost in short) / 1024
        return [
            f"mem {site['mem']} is too small for {_listed(short)}: {most:.1f} GB were used. Set mem: {proposed} in the site "
            "block, or submit with --proposed"
        ]
    if asked > WASTE * size_mb(proposed):
        return [
            f"mem {site['mem']} is more than {WASTE:g} times what is needed: a smaller share of a node starts sooner. "
            f"mem: {proposed} would do, or submit with --proposed"
        ]
    return []


def proposals(run: Run, found: Estimate) -> dict[int, tuple[str, str | None]]:
    """``(walltime, mem)`` for each index; ``mem`` is ``None`` where the site block's is to stay.

    Raises :class:`UserError` where a point's time was not measured on the kind of device that the site asks for: a job
    that is cut off by a guess costs more than one that asks for too much.
    """
    refused = [cost for cost in found.costs if cost.walltime is None or cost.wrong_device]
    if refused:
        why = "was measured on another kind of device" if refused[0].wrong_device else "was not measured"
        raise UserError(
            f"--proposed: {_listed(refused)} {why}, so there is nothing to propose a walltime from; expected "
            f"finished points or a probe. Measure first: python -m jobs.submit --probe {run.paths.root}; or submit without --proposed"
        )
    return {index: (cost.walltime or "", cost.mem) for cost in found.costs for index in cost.indices}


def longest_first(run: Run, entries: Sequence[Entry]) -> list[Entry]:
    """``entries`` with those of the longest predicted duration first; in their order where it is about the same.

    Never raises for what it cannot predict: then the order stays.
    """
    try:
        durations = estimate(run).durations
    except UserError:
        return list(entries)
    by_index = {entry.index: entry for entry in entries}
    place = {index: number for number, group in enumerate(groups(durations, by_index)) for index in group}
    return sorted(entries, key=lambda entry: place[entry.index])
