"""All hyperparameters of all points in one view: a line for each point, coloured by its score."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from analysis.figures.drawing import best_first
from analysis.figures.drawn import Material, Plot
from analysis.figures.look import INK, MUTED, PAPER, Look, ramp_of
from analysis.statistics.factors import design_columns, levels_of

METRIC = "best_val_jaccard"
MOST_LINES = 300
_MOST_AXES = 7
_MOST_LABELS = 8  # of one axis
_BEHIND = {"facecolor": PAPER, "alpha": 0.8, "edgecolor": "none", "pad": 0.6}


def parallel_coordinates(material: Material, look: Look) -> Plot | None:
    """One line for each successful point over its hyperparameters to its score; ``None`` with fewer than two points.

    Of more than :data:`MOST_LINES` points the best half is drawn, and others evenly spread over the scores.
    """
    rows = best_first(material.frame[material.frame["successful"]])
    columns = {
        name: column.astype(str) if name not in ("learning_rate", "batch_size") else column
        for name, column in design_columns(rows)[0].items()
        if len(set(rows[name])) > 1
    }
    columns = dict(list(columns.items())[:_MOST_AXES])
    if len(rows) < 2 or not columns:
        return None
    total = len(rows)
    kept = np.arange(total)
    if total > MOST_LINES:
        rest = np.linspace(MOST_LINES // 2, total - 1, MOST_LINES - MOST_LINES // 2).astype(int)
        kept = np.unique(np.concatenate([kept[: MOST_LINES // 2], rest]))
    figure = Figure(figsize=(look.width, 2.9), layout="constrained")
    axes = figure.subplots()
    heights = []
    for place, (name, column) in enumerate(columns.items()):
        levels = levels_of(column)
        order = {level: number for number, level in enumerate(levels)}
        scale = max(1, len(levels) - 1)
        heights.append(column.map(order).to_numpy(float) / scale)
        axes.axvline(place, color=MUTED, linewidth=0.6)
        step = -(-len(levels) // _MOST_LABELS)
        for level in levels[::step]:
            text = str(level)[:18] if isinstance(level, str) else f"{level:.4g}"
            axes.text(
                place + 0.03, order[level] / scale, text, va="center", fontsize=look.size - 1, color=INK,
                parse_math=False, zorder=4, in_layout=False, bbox=_BEHIND,
            )  # fmt: skip
        axes.text(place, 1.08, name.replace("_", " "), ha="center" if place else "left", va="bottom")
    scores = rows[METRIC].to_numpy(float)
    low, high = float(scores.min()), float(scores.max())
    share = (scores - low) / (high - low) if high > low else np.full(total, 1.0)
    last = len(columns)
    axes.axvline(last, color=MUTED, linewidth=0.6)
    axes.text(last, 1.08, "score", ha="right", va="bottom")
    for end, value in ((0.0, low), (1.0, high)):
        axes.text(last + 0.03, end, f"{value:.3f}", va="center", fontsize=look.size - 1, in_layout=False)
    lines = np.column_stack([*heights, share])[kept][::-1]  # the best ones on top
    axes.add_collection(
        LineCollection(
            [np.column_stack([np.arange(last + 1), line]) for line in lines],
            colors=[ramp_of(float(line[-1])) for line in lines],
            linewidths=[1.6 if place >= len(lines) - _top(total) else 0.6 for place in range(len(lines))],
            alpha=0.65 if len(lines) > 60 else 0.85,
        )
    )
    axes.set(xlim=(-0.02, last + 0.3), ylim=(-0.06, 1.2))
    axes.axis("off")
    return Plot(figure, _alt(rows, columns, len(kept), total))


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
