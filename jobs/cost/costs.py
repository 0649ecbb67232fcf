"""The cost of the points of one kind, and what to request for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jobs.common.errors import one_line
from jobs.common.schema import CostSettings, Measurement
from jobs.cost.prediction import Source, Times
from jobs.cost.requests import MARGINS, SLOWEST_MARGIN, mem_for, walltime_for
from jobs.run.index import Entry
from unet_models.wording import first_of


@dataclass(frozen=True)
class Cost:
    """Points of one kind with the same number of ``epochs``.

    ``once_seconds`` is the start and the end of a point, ``epoch_seconds`` an epoch with validation and checkpoint,
    ``seconds`` a whole point with all its epochs, ``slowest_seconds`` the same from the slowest measurement,
    ``least_seconds`` the same where early stopping ends it as soon as it can. ``source`` is a key of
    :data:`jobs.cost.prediction.SOURCES`; ``fault`` is why its probe failed, empty where it did not. ``walltime`` and
    ``mem`` are proposals in PBS's notation; ``None`` where nothing was measured.
    """

    settings: CostSettings
    epochs: int
    indices: tuple[int, ...]
    source: Source
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

    @property
    def named(self) -> str:
        """The kind as messages name it: ``Attention_UNet batch 32``."""
        return f"{self.settings.architecture} batch {self.settings.batch_size}"


def listed(costs: Sequence[Cost]) -> str:
    """The names of at most four kinds, and how many more there are."""
    names = list(dict.fromkeys(cost.named for cost in costs))
    return first_of(names, 4)


def fewest_epochs(entry: Entry) -> int:
    """The number of epochs after which early stopping can end a point at the earliest."""
    epochs: int = entry.point.settings["epochs"]
    patience: int | None = entry.point.settings["early_stopping_patience"]
    return epochs if patience is None else min(epochs, patience + 1)


def fault_of(measurement: Measurement | None) -> str:
    """Why the probe of a kind failed; empty where it did not, or where there was none."""
    if measurement is None or measurement.status == "measured":
        return ""
    device = one_line(measurement.device, 80)
    memory = f" with {measurement.gpu_memory_mb / 1024:.0f} GB" if measurement.gpu_memory_mb else ""
    where = f" on {device}{memory}" if device else ""
    return (
        f"{measurement.status} in the probe{where}: {one_line(measurement.reason, 400) or 'no reason given'}"
    )


def cost_of(
    kind: CostSettings,
    entries: Sequence[Entry],
    times: Times,
    *,
    measurement: Measurement | None,
    ngpus: int,
) -> Cost:
    """The cost of ``entries``, which are points of ``kind`` with the same number of epochs."""
    epochs: int = entries[0].point.settings["epochs"]
    seconds = times.once + epochs * times.epoch
    slowest = times.once + epochs * times.epoch * times.slow
    least = times.once + min(map(fewest_epochs, entries)) * times.epoch
    margin = MARGINS.get(times.source)
    return Cost(
        settings=kind,
        epochs=epochs,
        indices=tuple(entry.index for entry in entries),
        source=times.source,
        detail=times.detail,
        device=times.device,
        wrong_device=times.source != "flops" and times.on_gpu != (ngpus > 0),
        step_seconds=times.step,
        epoch_seconds=times.epoch,
        once_seconds=times.once,
        seconds=seconds,
        slowest_seconds=slowest,
        least_seconds=least,
        host_memory_mb=times.host,
        gpu_memory_mb=times.gpu,
        # A finished point proves that its kind can be trained, even where the probe failed.
        fault="" if times.source == "points" else fault_of(measurement),
        walltime=None
        if margin is None
        else walltime_for(max(margin * seconds, SLOWEST_MARGIN * slowest), 1.0),
        mem=None if times.host is None or margin is None else mem_for(times.host),
    )
