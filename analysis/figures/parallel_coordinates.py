"""All points in one view: a line for each point over its hyperparameters and results, coloured by its score."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from analysis.figures.drawing import best_first
from analysis.figures.drawn import Material, Plot
from analysis.figures.look import INK, MUTED, PAPER, Look, ramp_of
from analysis.statistics.factors import design_columns, levels_of
from analysis.summary import architectures

METRIC = "best_val_jaccard"
MOST_LINES = 300
_MOST_AXES = 5  # of hyperparameters
_MOST_LABELS = 8  # of one axis
_BEHIND = {"facecolor": PAPER, "alpha": 0.8, "edgecolor": "none", "pad": 0.6}


@dataclass(frozen=True)
class _Axis:
    """``heights`` of the points, from 0 to 1 (NaN: not recorded), and the texts ``labels`` at some heights."""

    title: str
    heights: npt.NDArray[np.float64]
    labels: tuple[tuple[float, str], ...]
    result: bool = False


def parallel_coordinates(material: Material, look: Look) -> Plot | None:
    """One line for each successful point over its hyperparameters, training time and stability to its score.

    ``None`` with fewer than two points. The short times, the low standard deviations and the high scores are at the
    top. Of more than :data:`MOST_LINES` points the best half is drawn, and others evenly spread over the scores.
    """
    rows = best_first(material.frame[material.frame["successful"]])
    columns = {
        name: column.astype(str) if name not in ("learning_rate", "batch_size") else column
        for name, column in design_columns(rows)[0].items()
        if len(set(rows[name])) > 1
    }
    # The architecture is the last one, where there is space for its long names.
    columns = dict(sorted(list(columns.items())[:_MOST_AXES], key=lambda one: one[0] == "architecture"))
    if len(rows) < 2 or not columns:
        return None
    total = len(rows)
    kept = np.arange(total)
    if total > MOST_LINES:
        rest = np.linspace(MOST_LINES // 2, total - 1, MOST_LINES - MOST_LINES // 2).astype(int)
        kept = np.unique(np.concatenate([kept[: MOST_LINES // 2], rest]))
    every = [_hyperparameter(name, column, material.frame) for name, column in columns.items()]
    every += [
        one
        for one in (
            _lower_is_better("time (minutes)", rows, "training_time_seconds", 60.0),
            _lower_is_better("SD of loss", rows, "val_loss_stability", 1.0),
        )
        if one is not None
    ]
    every.append(_score(rows))
    figure = Figure(figsize=(look.width, 3.1), layout="constrained")
    axes = figure.subplots()
    for place, one in enumerate(every):
        beside = every[place + 1] if place + 1 < len(every) else None
        _draw(axes, place, one, look, _room(look, len(every), beside))
    lines = np.column_stack([one.heights for one in every])[kept][::-1]  # the best ones on top
    axes.add_collection(
        LineCollection(
            [np.column_stack([np.arange(len(every)), line]) for line in lines],
            colors=[ramp_of(float(line[-1])) for line in lines],
            linewidths=[1.6 if place >= len(lines) - _top(total) else 0.6 for place in range(len(lines))],
            alpha=0.65 if len(lines) > 60 else 0.85,
        )
    )
    axes.set(xlim=(-0.02, len(every) - 1 + 0.2), ylim=(-0.12, 1.3))
    axes.axis("off")
    return Plot(figure, _alt(rows, columns, len(kept), total))


def _hyperparameter(name: str, column: pd.Series, frame: pd.DataFrame) -> _Axis:
    if name == "architecture":  # in the order of all other figures, from the top
        found = set(column)
        levels = [one for one in architectures(frame)[::-1] if one in found]
    else:
        levels = levels_of(column.sort_values())
    scale = max(1, len(levels) - 1)
    order = {level: number / scale for number, level in enumerate(levels)}
    step = -(-len(levels) // _MOST_LABELS)
    labels = tuple(
        (order[level], level if isinstance(level, str) else f"{level:.4g}") for level in levels[::step]
    )
    return _Axis(name.replace("_", " "), np.asarray(column.map(order), dtype=np.float64), labels)


def _lower_is_better(title: str, rows: pd.DataFrame, column: str, unit: float) -> _Axis | None:
    """A result on a logarithmic axis with the lowest value at the top; ``None`` with fewer than two values."""
    if column not in rows:
        return None
    values = pd.to_numeric(rows[column], errors="coerce").to_numpy(float) / unit
    values = np.where(np.isfinite(values) & (values > 0), values, np.nan)
    if len(np.unique(values[np.isfinite(values)])) <= 1:
        return None
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    heights = np.asarray((np.log(high) - np.log(values)) / (np.log(high) - np.log(low)), dtype=np.float64)
    return _Axis(title, heights, ((0.0, f"{high:.2g}"), (1.0, f"{low:.2g}")), result=True)


def _score(rows: pd.DataFrame) -> _Axis:
    scores = rows[METRIC].to_numpy(float)
    low, high = float(scores.min()), float(scores.max())
    heights = (scores - low) / (high - low) if high > low else np.full(len(scores), 1.0)
    return _Axis("score", heights, ((0.0, f"{low:.3f}"), (1.0, f"{high:.3f}")), result=True)


def _room(look: Look, count: int, beside: _Axis | None) -> int:
    """The longest label, in characters, that does not reach the labels of the next axis."""
    if beside is None or beside.result:  # whose labels are above and below it
        return 18
    return max(4, min(18, int(0.95 * look.width * 72 / count / (0.62 * (look.size - 1)))))


def _draw(axes: Axes, place: int, one: _Axis, look: Look, room: int) -> None:
    axes.plot([place, place], [0, 1], color=MUTED, linewidth=0.6)
    # Two lines, because the axes are close to each other on a phone.
    side = "center" if place else "left"
    title = "\n".join(one.title.rsplit(" ", 1))
    axes.text(place, 1.12, title, ha=side, va="bottom", parse_math=False)
    for height, text in one.labels:
        if one.result:
            y, side = (1.03, "bottom") if height else (-0.03, "top")
            axes.text(place, y, text, ha="center", va=side, fontsize=look.size - 1)
            continue
        short = text if len(text) <= room else f"{text[: room - 1]}…"
        axes.text(
            place + 0.03, height, short, va="center", fontsize=look.size - 1, color=INK,
            parse_math=False, zorder=4, in_layout=False, bbox=_BEHIND,
        )  # fmt: skip


def _top(total: int) -> int:
    return max(1, total // 10)


def _alt(rows: pd.DataFrame, columns: dict[str, pd.Series], drawn: int, total: int) -> str:
    top = _top(total)
    common = []
    for name, column in columns.items():
        counts = column.iloc[:top].value_counts()
        level = counts.index[0]
        text = level if isinstance(level, str) else f"{level:g}"
        common.append(f"{name.replace('_', ' ')} {text} ({counts.iloc[0]} of {top})")
    lines = f"{drawn} of {total} points" if drawn < total else f"{total} points"
    return (
        f"Parallel coordinates of {lines}, from score {rows[METRIC].min():.3f} to {rows[METRIC].max():.3f}. "
        f"Most frequent among the best tenth: {'; '.join(common)}."
    )
