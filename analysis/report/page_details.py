"""What can be opened for one point on the page: its curves and the end of its log."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from analysis.figures.run_files import LARGEST_HISTORY, is_readable, point_paths
from jobs.common.errors import one_line
from unet_models.training.history import read_history

MOST_DETAILED = 300  # points: each adds about 8 KB to the page
LOG_LINES = 20
_LOG_BYTES = 16_000
_LINE = 300  # characters
_LARGEST_LOG = 10**12  # bytes: only its end is read
_MOST_EPOCHS = 150  # drawn of one curve
WIDTH, HEIGHT = 300, 90  # of a curve, in its own units


@dataclass(frozen=True)
class Line:
    """One line of a curve: ``points`` is that of an SVG polyline, ``kind`` is ``validation`` or ``training``."""

    kind: str
    points: str


@dataclass(frozen=True)
class Curve:
    """The curves of one metric over the epochs. ``low`` and ``high`` are the ends of the vertical axis."""

    title: str
    lines: tuple[Line, ...]
    low: float
    high: float
    last_epoch: int
    alt: str


@dataclass(frozen=True)
class Details:
    """``curves`` and ``log`` are empty if there is no readable file."""

    curves: tuple[Curve, ...]
    log: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.curves or self.log)


def point_details(name: str, run_root: Path) -> Details:
    """The curves and the end of the log of the point ``name``; never raises for what the files contain."""
    paths = point_paths(run_root, name)
    if paths is None:
        return Details((), ())
    return Details(curves(_history(paths.history, run_root)), _end(paths.log, run_root))


def _history(path: Path, run_root: Path) -> list[dict[str, float]]:
    if not is_readable(path, run_root, LARGEST_HISTORY):
        return []
    try:
        return read_history(path)
    except OSError:
        return []


def _end(path: Path, run_root: Path) -> tuple[str, ...]:
    """The last lines of the log, without characters that cannot be printed."""
    if not is_readable(path, run_root, _LARGEST_LOG):
        return ()
    try:
        with path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _LOG_BYTES))
            text = file.read(_LOG_BYTES).decode("utf-8", errors="replace")
    except OSError:
        return ()
    return tuple(one_line(line, _LINE) for line in text.splitlines()[-LOG_LINES:])


def curves(rows: Sequence[Mapping[str, float]]) -> tuple[Curve, ...]:
    """The curves of the score and of the loss over the epochs of a history; those without any value are left out."""
    found = []
    for title, metric in (("Jaccard index", "jaccard"), ("loss", "loss")):
        one = _curve(title, rows, metric)
        if one is not None:
            found.append(one)
    return tuple(found)


def _curve(title: str, rows: Sequence[Mapping[str, float]], metric: str) -> Curve | None:
    series = {
        kind: [
            (row["epoch"], row[column])
            for row in rows
            if math.isfinite(row[column]) and abs(row[column]) < 1e12
        ]
        for kind, column in (("training", metric), ("validation", f"val_{metric}"))
    }
    values = [value for points in series.values() for _, value in points]
    if not values:
        return None
    low, high = min(values), max(values)
    if metric == "jaccard" and low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    first = min(epoch for points in series.values() for epoch, _ in points)
    last = max(epoch for points in series.values() for epoch, _ in points)

    def place(epoch: float, value: float) -> str:
        x = WIDTH * (epoch - first) / (last - first) if last > first else WIDTH / 2
        y = HEIGHT * (high - value) / (high - low) if high > low else HEIGHT / 2
        return f"{x:.0f},{y:.1f}"

    lines = []
    for kind, points in series.items():
        step = -(-len(points) // _MOST_EPOCHS) or 1
        kept = points[::step] + ([points[-1]] if points and (len(points) - 1) % step else [])
        if len(kept) == 1:  # a line of one point is not visible
            kept = [(first, kept[0][1]), (max(last, first + 1), kept[0][1])]
        lines.append(Line(kind, " ".join(place(epoch, value) for epoch, value in kept)))
    return Curve(title, tuple(lines), low, high, int(last), _alt(title, series["validation"]))


def _alt(title: str, points: Sequence[tuple[float, float]]) -> str:
    if not points:
        return f"{title} by epoch, training only"
    best = (max if title == "Jaccard index" else min)(points, key=lambda one: one[1])
    word = "highest" if title == "Jaccard index" else "lowest"
    return (
        f"Validation {title} by epoch: {points[0][1]:.3f} in epoch {points[0][0]:.0f}, {word} {best[1]:.3f} in epoch "
        f"{best[0]:.0f}, {points[-1][1]:.3f} in epoch {points[-1][0]:.0f}"
    )
