"""The seconds and memory that a point of each kind takes, and where these numbers come from.

In this order: points of the run that have finished, ``probe.json``, those two scaled by FLOPs to kinds that were not
measured, and counted FLOPs at an assumed utilisation of a named GPU, which is a guess and labelled as one. A
measurement on the kind of device that the site block requests is preferred to all others.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from jobs.common.errors import one_line
from jobs.common.permissions import cannot_read
from jobs.common.records import DamagedRecord
from jobs.common.schema import CostSettings, Measurement, Result
from jobs.cost.measurements import COST
from jobs.cost.workload import Workload
from jobs.monitor.usage import span
from jobs.point.status import read_result
from jobs.run.index import Entry, Run

# Where nothing was measured. NVIDIA A40 datasheet, dense tensor cores: float32 convolutions run as TF32 in
# TensorFlow unless it is forbidden (37.4 TFLOP/s without).
ASSUMED_GPU = "NVIDIA A40"
ASSUMED_PEAK = {"float32": 74.8e12, "mixed_bfloat16": 149.7e12, "mixed_float16": 149.7e12}
ASSUMED_STRICT_PEAK = 37.4e12
ASSUMED_UTILISATION = 0.25
ASSUMED_ONCE = 60.0  # seconds: imports, compiling, evaluation
ASSUMED_FINISH = 10.0  # seconds from the last epoch to the end, where a probe failed to measure them
PICTURES = 5.0  # seconds for a point's pictures, which a probe does not draw
SAMPLE = 20  # at most so many finished points of a kind are read
LONGEST = 1e9  # seconds; a result with more is not used

Source = Literal["points", "probe", "scaled", "flops"]
SOURCES: Mapping[Source, str] = {
    "points": "finished points of this run",
    "probe": "probe.json",
    "scaled": "scaled by FLOPs from what was measured",
    "flops": f"counted FLOPs at {100 * ASSUMED_UTILISATION:.0f} % of an {ASSUMED_GPU}, not measured",
}


@dataclass(frozen=True)
class Times:
    """What one kind of point takes, in seconds and MB.

    ``step`` is a training step, ``epoch`` an epoch with validation and checkpoint, ``once`` the start and the end of a
    point. ``slow`` is the slowest measured epoch divided by ``epoch``. ``host`` and ``gpu`` are the peaks of memory,
    ``None`` where they are not known.
    """

    source: Source
    detail: str
    device: str
    step: float
    epoch: float
    once: float
    slow: float = 1.0
    host: float | None = None
    gpu: float | None = None

    @property
    def on_gpu(self) -> bool:
        """Whether the device is a GPU."""
        return self.device != "CPU"


def from_result(result: Result, steps: int) -> Times | None:
    """The times of a finished point with ``steps`` steps per epoch; ``None`` where its result does not have them."""
    training = result.metrics.training_time_seconds
    each = [row.seconds for row in result.history if row.seconds is not None and 0 < row.seconds < LONGEST]
    if training is None or not 0 < training < LONGEST or not each or len(each) < len(result.history):
        return None
    steady = statistics.median(each[1:] or each)
    # Checkpoints are written between the epochs, whose own seconds do not include them.
    epoch = steady + max(0.0, training - sum(each)) / len(each)
    whole = span(result.started, result.ended)
    if result.resumed or whole is None or whole < training:
        # The time from start to end is that of the last attempt, and the training that of all.
        outside = sum(value for value in result.startup.values() if value and value > 0) or ASSUMED_ONCE
    else:
        outside = whole - training
    device = one_line(result.device or "CPU", 80)
    return Times(
        source="points",
        detail="",
        device=device,
        step=steady / steps,
        epoch=epoch,
        once=max(0.0, each[0] - steady) + outside,
        host=result.peak_host_memory_mb or None,
        gpu=None if device == "CPU" else result.peak_memory_mb or None,
    )


def middle(many: Sequence[Times]) -> Times:
    """The medians of the times of several points, and the most memory that one of them used."""
    epoch = statistics.median(one.epoch for one in many)
    return replace(
        many[0],
        detail=f"{len(many)} finished",
        step=statistics.median(one.step for one in many),
        epoch=epoch,
        once=statistics.median(one.once for one in many),
        slow=max(one.epoch for one in many) / epoch,
        host=max((one.host for one in many if one.host is not None), default=None),
        gpu=max((one.gpu for one in many if one.gpu is not None), default=None),
    )


def _result(run: Run, entry: Entry) -> Result | None:
    """The result of a point; ``None`` where there is none, or it is damaged. Raises ``UnreadableError``."""
    try:
        return read_result(run, entry)
    except DamagedRecord as error:
        if not error.content:
            raise cannot_read(error, Path(run.results_text(entry)), whole=run.paths.root) from error
        return None


def from_points(run: Run, entries: Sequence[Entry], steps: int, folders: set[str]) -> list[Times]:
    """The times of finished points of one kind, by device; the device with most points first.

    ``folders`` are the names in the run directory: points without a folder are not looked up.
    """
    found: dict[str, list[Times]] = {}
    number = 0
    for entry in entries:
        if entry.name not in folders:
            continue
        result = _result(run, entry)
        times = from_result(result, steps) if result is not None else None
        if times is None:
            continue
        found.setdefault(times.device, []).append(times)
        number += 1
        if number >= SAMPLE:
            break
    return [middle(many) for many in sorted(found.values(), key=len, reverse=True)]


def from_probe(measurement: Measurement, workload: Workload) -> Times | None:
    """The times of a kind that was probed; ``None`` where its probe failed."""
    step, validation = measurement.step_seconds, measurement.validation_seconds
    if measurement.status != "measured" or not step or not validation:
        return None
    kind = measurement.settings
    epoch = workload.steps(kind) * step + workload.validation_batches(kind) * validation
    # The probe scored fewer batches at its end than a point does.
    unscored = max(0.0, workload.scored_batches(kind) - (measurement.finish_batches or 0.0))
    finish = ASSUMED_FINISH if measurement.finish_seconds is None else measurement.finish_seconds
    startup = sum(value for value in measurement.startup.values() if value is not None)
    return Times(
        source="probe",
        detail="",
        device=one_line(measurement.device or "CPU", 80),
        step=step,
        epoch=epoch + (measurement.epoch_end_seconds or 0.0),
        once=startup + finish + unscored * validation + PICTURES,
        host=measurement.peak_host_memory_mb,
        gpu=measurement.peak_memory_mb,
    )


def guessed(kind: CostSettings, workload: Workload) -> Times:
    """The times by counted FLOPs, at :data:`ASSUMED_UTILISATION` of :data:`ASSUMED_GPU`."""
    strict = kind.precision == "float32" and not kind.tensor_float_32
    peak = ASSUMED_STRICT_PEAK if strict else ASSUMED_PEAK[kind.precision]
    epoch = workload.epoch_flops(kind) / (peak * ASSUMED_UTILISATION)
    step = epoch * workload.training_share(kind) / workload.steps(kind)
    return Times(source="flops", detail="", device=ASSUMED_GPU, step=step, epoch=epoch, once=ASSUMED_ONCE)


def scaled(kind: CostSettings, workload: Workload, known: Mapping[CostSettings, Times]) -> Times:
    """The times of the ``known`` kind with most settings in common, scaled by the FLOPs of an epoch."""
    flops = workload.epoch_flops(kind)
    # Dropout is cheap: with or without it, other settings decide which kind is nearest.
    compared = [name for name in COST if name != "dropout"]

    def distance(other: CostSettings) -> tuple[int, float]:
        differing = sum(getattr(other, name) != getattr(kind, name) for name in compared)
        return differing, abs(math.log(workload.epoch_flops(other) / flops))

    nearest = min(known, key=distance)
    times = known[nearest]
    factor = flops / workload.epoch_flops(nearest)
    return replace(
        times,
        source="scaled",
        detail=f"from {nearest.architecture} batch {nearest.batch_size}",
        step=times.step * factor * workload.steps(nearest) / workload.steps(kind),
        epoch=times.epoch * factor,
        gpu=None,
    )


def predict(
    run: Run,
    workload: Workload,
    by_kind: Mapping[CostSettings, Sequence[Entry]],
    probe: Mapping[CostSettings, Measurement],
    folders: set[str],
) -> dict[CostSettings, Times]:
    """The times of each kind, from the best source that there is for it."""
    requested = run.site["ngpus"] > 0
    measured: dict[CostSettings, Times] = {}
    for kind, entries in by_kind.items():
        candidates = from_points(run, entries, workload.steps(kind), folders)
        probed = from_probe(probe[kind], workload) if kind in probe else None
        if probed is not None:
            candidates.append(probed)
        on_requested = [times for times in candidates if times.on_gpu == requested]
        if candidates:
            measured[kind] = (on_requested or candidates)[0]
    right = {kind: times for kind, times in measured.items() if times.on_gpu == requested}
    # Measurements on the wrong device are used only where there are no others.
    usable = right or measured
    found: dict[CostSettings, Times] = {}
    for kind in by_kind:
        if kind in usable:
            found[kind] = usable[kind]
        else:
            found[kind] = scaled(kind, workload, usable) if usable else guessed(kind, workload)
    return found
