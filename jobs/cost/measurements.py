"""``probe.json``: what :mod:`jobs.probe` has measured of a run, one entry for each combination that costs alike.

The record (:mod:`jobs.common.records`) holds ``fingerprint`` (of the run's data), ``source``, ``updated`` and
``combinations``, a list of objects:

=========================  ==================================================================================
``settings``               the settings of :data:`COST`, ``dropout`` as whether there is any
``status``, ``reason``     ``measured``, or the class of its fault: ``oom``, ``timeout``, ``lost``, ``error``
``point``                  the name of the point that stood for the combination
``step_seconds``           median seconds of a training step, after :data:`WARM_STEPS`
``step_seconds_range``     the quickest and the slowest of them; ``steps`` is their number
``validation_seconds``     seconds for one validation batch (with the copy of the best weights)
``epoch_end_seconds``      seconds for what follows an epoch: its checkpoint, in the run directory
``finish_seconds``         seconds from the last epoch to the end: model written, read, and scored on
                           ``finish_batches`` batches
``startup``                seconds of ``import``, ``data``, ``build`` and ``first_step`` (which traces and compiles)
``peak_memory_mb``         most GPU memory allocated; null on a CPU. ``gpu_memory_mb`` is what the GPU has
``peak_host_memory_mb``    most host memory (resident) of the process
``device``, ``host``, ``job_id``, ``made``, ``packages``, ``threads``
                           where and when
=========================  ==================================================================================

What was not reached is null. ``schema`` and ``checksum`` are the record's own.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from jobs.common.errors import UserError, one_line, shown
from jobs.common.records import DamagedRecord, read_record
from jobs.run.index import Entry, Run

# The settings that change what a step takes. The others do not (rates, seeds, thresholds, number of epochs).
COST = (
    "architecture",
    "batch_size",
    "base_filters",
    "levels",
    "dropout",
    "optimizer",
    "loss",
    "augment",
    "validation_batch_size",
    "precision",
    "tensor_float_32",
    "jit_compile",
    "deterministic",
)
WARM_STEPS = 3  # after the first, which compiles: caches and memory pools are still filling
STATUSES = ("measured", "oom", "timeout", "lost", "error")
_LARGEST = 1e9  # seconds or megabytes; anything above is no measurement
Kind = tuple[Any, ...]


def cost_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Those of a point's settings that change what a step of it takes; ``dropout`` as whether there is any."""
    return {key: settings[key] > 0 if key == "dropout" else settings[key] for key in COST}


def kind(settings: Mapping[str, Any]) -> Kind:
    """Equal for points whose steps cost the same: the values of :func:`cost_settings`, in order."""
    return tuple(cost_settings(settings).values())


def kinds(entries: Iterable[Entry]) -> dict[Kind, list[Entry]]:
    """The points by :func:`kind`, in order of the first of each."""
    found: dict[Kind, list[Entry]] = {}
    for entry in entries:
        found.setdefault(kind(entry.point.settings), []).append(entry)
    return found


@dataclass(frozen=True)
class Measured:
    """One combination of ``probe.json``; the fields are the module's table, checked. ``None``: not reached."""

    settings: Mapping[str, Any]
    status: str
    reason: str
    device: str
    step_seconds: float | None
    validation_seconds: float | None
    epoch_end_seconds: float | None
    finish_seconds: float | None
    finish_batches: float | None
    startup: Mapping[str, float]
    peak_memory_mb: float | None
    gpu_memory_mb: float | None
    peak_host_memory_mb: float | None
    made: str = ""


def _number(value: Any, name: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _LARGEST:
        raise ValueError(
            f"{name}: received {shown(value)}, expected a number from 0 to {_LARGEST:g}, or null"
        )
    return float(value)


def _measured(content: Any) -> Measured:
    if not isinstance(content, dict) or not isinstance(content.get("settings"), dict):
        raise ValueError(f"a combination: received {shown(content)}, expected an object with its settings")
    settings = content["settings"]
    if set(settings) != set(COST):
        raise ValueError(
            f"settings: received {shown(sorted(map(str, settings)))}, expected {', '.join(COST)}"
        )
    status = content.get("status")
    if status not in STATUSES:
        raise ValueError(f"status: received {shown(status)}, expected one of {', '.join(STATUSES)}")
    numbers = {
        name: _number(content.get(name), name)
        for name in (
            "step_seconds",
            "validation_seconds",
            "epoch_end_seconds",
            "finish_seconds",
            "finish_batches",
            "peak_memory_mb",
            "gpu_memory_mb",
            "peak_host_memory_mb",
        )
    }
    if status == "measured" and not all(numbers[name] for name in ("step_seconds", "validation_seconds")):
        raise ValueError(
            "step_seconds and validation_seconds: expected both, above zero, where it was measured"
        )
    startup = content.get("startup")
    times = {
        str(name): number
        for name, value in (startup if isinstance(startup, dict) else {}).items()
        if (number := _number(value, f"startup.{name}")) is not None
    }
    texts = {name: one_line(content.get(name) or "", 400) for name in ("reason", "device", "made")}
    return Measured(settings=settings, status=status, startup=times, **numbers, **texts)


def _hashable(values: Iterable[Any]) -> Kind | None:
    found = tuple(values)
    plain = all(isinstance(value, str | bool | int | float) for value in found)
    return found if plain and not any(isinstance(v, float) and not math.isfinite(v) for v in found) else None


def read_content(run: Run) -> dict[str, Any] | None:
    """The record as it stands, or ``None`` where there is none.

    Raises :class:`UserError` where it is damaged, was edited, or tells of other data.
    """
    path = run.paths.probe
    again = f"move it away and measure again: python -m jobs.probe {run.paths.root}"
    try:
        content = read_record(path)
    except FileNotFoundError:
        return None
    except DamagedRecord as error:
        raise UserError(f"{error}; {again}") from error
    if content.get("fingerprint") != run.fingerprint:
        raise UserError(
            f"{path} was measured with the data {shown(content.get('fingerprint'))}, expected those of this run, "
            f"{run.fingerprint}: it belongs to another run; {again}"
        )
    if not isinstance(content.get("combinations"), list):
        raise UserError(
            f"{path} holds {shown(content.get('combinations'))} as combinations, expected a list; {again}"
        )
    return content


def read_probe(run: Run) -> dict[Kind, Measured]:
    """What was measured of this run, by :func:`kind`; empty where there is no ``probe.json``.

    Raises :class:`UserError` where it is damaged, was edited, or is of other data or another recipe.
    """
    content = read_content(run)
    if content is None:
        return {}
    path = run.paths.probe
    try:
        measured = [_measured(one) for one in content["combinations"]]
    except ValueError as error:
        raise UserError(
            f"{path}: {error}; move it away and measure again: python -m jobs.probe {run.paths.root}"
        ) from None
    found = {}
    for one in measured:
        key = _hashable(one.settings[name] for name in COST)
        if key is not None:
            found[key] = one
    wanted = kinds(run.entries)
    if found and not any(key in wanted for key in found):
        first = measured[0].settings
        entry = cost_settings(run.entries[0].point.settings)
        differing = [name for name in COST if first[name] != entry[name]]
        raise UserError(
            f"{path} was measured with another recipe: none of its {len(found)} combinations is one of this run "
            f"({', '.join(f'{name}: received {shown(first[name])}, expected {shown(entry[name])}' for name in differing[:4])}); "
            f"measure again: python -m jobs.probe {run.paths.root}"
        )
    return {key: one for key, one in found.items() if key in wanted}
