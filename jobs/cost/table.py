"""An estimate as a table for people, as JSON for programs, and as one line for a dry run."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from jobs.common.console import SafeConsole
from jobs.common.hints import hint
from jobs.common.units import duration, gigabytes
from jobs.cost.advice import MEASURE
from jobs.cost.costs import Cost
from jobs.cost.estimate import Estimate
from jobs.cost.measurements import COST
from jobs.cost.prediction import SOURCES
from jobs.run.index import Run

WIDTH = 110  # columns of what is printed into a pipe or a file
_NAMES = {
    "architecture": "architecture",
    "batch_size": "batch",
    "base_filters": "filters",
    "validation_batch_size": "val. batch",
    "tensor_float_32": "TF32",
    "jit_compile": "XLA",
}


def _hours(hours: float) -> str:
    return f"{hours:.0f}" if hours >= 100 else f"{hours:.1f}" if hours >= 1 else f"{hours:.2f}"


def unit(found: Estimate) -> str:
    """The unit of the hours: of GPUs, or of sub-jobs where none has a GPU."""
    return "GPU hours" if found.ngpus else "hours of sub-jobs (no GPU is requested)"


def _varied(costs: Sequence[Cost]) -> list[str]:
    """The settings that are columns: architecture and batch size, and all others that differ."""
    return [
        key
        for key in COST
        if key in ("architecture", "batch_size") or len({getattr(cost.settings, key) for cost in costs}) > 1
    ]


def _table(found: Estimate) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), collapse_padding=True)
    keys = _varied(found.costs)
    for key in keys:
        name = _NAMES.get(key, key.replace("_", " "))
        table.add_column(
            name, justify="left" if key == "architecture" else "right", no_wrap=key == "architecture"
        )
    epochs = {cost.epochs for cost in found.costs}
    if len(epochs) > 1:
        table.add_column("epochs", justify="right")
    for name in ("points", "step", "epoch", "point", "hours", "walltime", "mem", "GPU mem"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("from", overflow="fold", min_width=12)
    for cost in found.costs:
        table.add_row(
            *(str(getattr(cost.settings, key)) for key in keys),
            *([str(cost.epochs)] if len(epochs) > 1 else []),
            str(len(cost.indices)),
            duration(cost.step_seconds),
            duration(cost.epoch_seconds),
            duration(cost.seconds),
            _hours(cost.seconds * len(cost.indices) / 3600),
            cost.walltime or "-",
            cost.mem or "-",
            gigabytes(cost.gpu_memory_mb),
            Text(_source(cost), "red" if cost.fault or cost.source == "flops" else ""),
        )
    return table


def _source(cost: Cost) -> str:
    if cost.source == "flops":
        return "not measured"
    words = {"points": cost.detail, "probe": "probe", "scaled": f"scaled {cost.detail}"}[cost.source]
    return f"{words}{', ' + cost.fault.split(' ')[0] if cost.fault else ''}"


def sources(found: Estimate) -> str:
    """The sources of the numbers, the most frequent first: ``probe.json (NVIDIA A40): 9 of 9 combinations``."""
    counts = Counter((cost.source, cost.device if cost.source != "flops" else "") for cost in found.costs)
    parts = [
        f"{SOURCES[source]}{f' ({device})' if device else ''}: {count} of {len(found.costs)} combinations"
        for (source, device), count in counts.most_common()
    ]
    return "; ".join(parts)


def _wall(found: Estimate) -> str:
    parts = []
    for places, seconds in found.wall_seconds.items():
        named = " (max_running)" if places == found.at_once else ""
        every = "all " if places == found.points and places > 1 else ""
        parts.append(f"{duration(seconds)} with {every}{places} at a time{named}")
    return "; ".join(parts)


def _epochs(found: Estimate) -> str:
    epochs = {cost.epochs for cost in found.costs}
    return (
        f"all {next(iter(epochs))} epochs of each point" if len(epochs) == 1 else "all epochs of each point"
    )


def totals(found: Estimate) -> str:
    """The hours in one sentence: ``at most 31.0 GPU hours, with all 30 epochs of each point; at least 12.4, ...``."""
    factor = max(1, found.ngpus)
    text = f"at most {_hours(found.gpu_hours)} {unit(found)}, with {_epochs(found)}"
    if found.least_hours < 0.99 * found.hours:
        text += f"; at least {_hours(found.least_hours * factor)}, if early stopping ends each point as soon as it can"
    if 0 < found.finished < found.points:
        text += f"; {_hours(found.left_hours * factor)} of them for the {found.points - found.finished} points without a result"
    return text


def render(run: Run, found: Estimate) -> Group:
    """The whole estimate for a terminal or a file of :data:`WIDTH` columns."""
    patches = ", ".join(f"{count:,} {part}" for part, count in found.patches.items() if count)
    parts: list[RenderableType] = [
        Text(str(run.paths.root), "bold").append(
            f"   {found.points} points, {found.finished} with a result; patches of {found.patch_size}x{found.patch_size}: "
            f"{patches}",
            "not bold",
        ),
        _table(found),
        Text(f"cost: {totals(found)}"),
        Text(f"wall time, longest points first, without waiting in the queue: {_wall(found)}"),
        Text(f"from: {sources(found)}"),
    ]
    if any(cost.walltime for cost in found.costs):
        parts.append(
            Text(
                "walltime, mem: what to request, with the margins of docs/cost.md; --proposed submits with them",
                "dim",
            )
        )
    for text in found.warnings:
        parts.append(Text(f"! {text.removesuffix(MEASURE).rstrip()}", "yellow"))
        if text.endswith(MEASURE):
            # On a line of its own, however long: one that is broken at the edge cannot be pasted.
            line = f"  {hint('jobs.submit', '--probe', run.paths.root)}"
            parts.append(Text(line, no_wrap=True, overflow="ignore"))
    return Group(*parts)


def show(run: Run, found: Estimate) -> None:
    """Print the estimate of ``run``."""
    console = SafeConsole()
    if not console.is_terminal:
        console = SafeConsole(width=WIDTH)
    console.print(render(run, found), highlight=False, crop=False)


def as_json(found: Estimate) -> str:
    """All fields of :class:`jobs.cost.estimate.Estimate`, and ``gpu_hours``, ``measured`` and ``sources``."""
    content: dict[str, Any] = asdict(found)
    for cost in content["costs"]:
        cost["settings"] = cost["settings"].fields()
    content |= {"gpu_hours": found.gpu_hours, "measured": found.measured, "sources": SOURCES}
    return json.dumps(content, indent=1, sort_keys=True, allow_nan=False)


def one_line_summary(found: Estimate) -> str:
    """The estimate of a dry run: ``at most 31 GPU hours, 4 h 10 min with 8 at a time; from probe.json (NVIDIA A40)``."""
    places = min(found.at_once or found.points, found.points)
    return (
        f"at most {_hours(found.gpu_hours)} {unit(found)}, {duration(found.wall_seconds[places])} with {places} at a time, "
        f"without the queue; from {sources(found)}"
    )
