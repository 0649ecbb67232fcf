"""Adjusted means and differences of pairs with their 95 % intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.figures.drawing import limits
from analysis.figures.drawn import Material, Plot
from analysis.figures.look import HUES, INK, MUTED, RULE, Look
from analysis.schema import Interval, Level
from jobs.common.units import plural

METRIC = "best_val_jaccard"
MARGIN = 0.01  # differences within it do not matter
_MOST = 16  # rows of one hyperparameter


@dataclass(frozen=True)
class _Row:
    label: str
    value: float
    interval: Interval | None
    marked: bool


def adjusted_means(material: Material, look: Look) -> Plot | None:
    """The adjusted mean score at each level of each hyperparameter. ``None`` if there is none."""
    groups, seen = {}, []
    for factor, means in material.findings.adjusted_means[METRIC].items():
        found = [one for one in means.means if one.mean is not None]
        if len(found) < 2:
            continue
        top = max(found, key=lambda one: one.mean or 0.0)
        kept = sorted(found, key=lambda one: -(one.mean or 0.0))[:_MOST]
        rows = [_Row(_level(one.level), one.mean or 0.0, one.ci, one is top) for one in found if one in kept]
        label = factor.replace("_", " ") + (f" (best {_MOST} of {len(found)})" if len(found) > _MOST else "")
        groups[label] = rows
        seen.append(
            f"{factor.replace('_', ' ')}: highest at {_level(top.level)}, {_interval(top.mean, top.ci)}"
        )
    if not groups:
        return None
    figure = _forest(groups, look, "adjusted mean score, 95 % interval", zero=False)
    return Plot(figure, f"Adjusted means with 95 % intervals. {'; '.join(seen)}.")


def differences(material: Material, look: Look) -> Plot | None:
    """The differences of the adjusted means of all pairs of levels, Tukey's intervals. ``None`` if there is none."""
    groups, seen = {}, []
    for factor, pairs in material.findings.pairwise[METRIC].items():
        found = [one for one in pairs.pairs if one.difference is not None and one.ci is not None]
        if not found:
            continue
        largest = sorted(found, key=lambda one: -abs(one.difference or 0.0))[:_MOST]
        rows = [
            _Row(f"{_level(one.a)} − {_level(one.b)}", one.difference or 0.0, one.ci, _apart(one.ci))  # noqa: RUF001
            for one in found
            if one in largest
        ]
        label = factor.replace("_", " ") + (
            f" (largest {_MOST} of {len(found)})" if len(found) > _MOST else ""
        )
        groups[label] = rows
        clear = sum(_apart(one.ci) for one in found)
        seen.append(f"{factor.replace('_', ' ')}: {clear} of {plural(len(found), 'interval')} without zero")
    if not groups:
        return None
    figure = _forest(groups, look, "difference of adjusted means, 95 % interval", zero=True)
    return Plot(
        figure, f"Differences of pairs of levels with simultaneous 95 % intervals. {'; '.join(seen)}."
    )


def _forest(groups: dict[str, list[_Row]], look: Look, label: str, *, zero: bool) -> Figure:
    heights = [len(rows) + 1.2 for rows in groups.values()]
    figure = Figure(figsize=(look.width, 0.022 * look.size * sum(heights) + 0.5), layout="constrained")
    every = figure.subplots(
        len(groups), 1, squeeze=False, sharex=True, gridspec_kw={"height_ratios": heights}
    )
    for axes, (title, rows) in zip(every[:, 0], groups.items(), strict=True):
        _rows(axes, rows, zero=zero)
        axes.set_title(title, parse_math=False)
    ends = [end for rows in groups.values() for row in rows for end in row.interval or (row.value,)]
    ends += [-1.5 * MARGIN, 1.5 * MARGIN] if zero else []
    every[-1, 0].set_xlim(*limits(ends, share=0.04))
    # Of a narrow range the labels have five digits, and more of them than this would run into each other.
    every[-1, 0].xaxis.set_major_locator(MaxNLocator(4, steps=(1, 2, 5, 10)))
    figure.supxlabel(label, fontsize=look.size)
    return figure


def _rows(axes: Axes, rows: Sequence[_Row], *, zero: bool) -> None:
    if zero:
        axes.axvspan(-MARGIN, MARGIN, color=RULE, alpha=0.5, linewidth=0)
        axes.axvline(0, color=INK, linewidth=0.7)
    for place, row in enumerate(rows):
        colour = HUES[0] if row.marked else MUTED
        if row.interval is not None:
            axes.plot(row.interval, [place, place], color=colour, linewidth=1.6, solid_capstyle="butt")
        axes.plot([row.value], [place], marker="o", color=colour, markersize=4)
    axes.set_yticks(np.arange(len(rows)), [row.label for row in rows])
    for text in axes.get_yticklabels():
        text.set_parse_math(False)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(visible=True, axis="x")


def _apart(interval: Interval | None) -> bool:
    return interval is not None and (interval[0] > 0 or interval[1] < 0)


def _level(level: Level) -> str:
    return level[:28] if isinstance(level, str) else f"{level:g}"


def _interval(value: float | None, interval: Interval | None) -> str:
    text = f"{value:.3f}"
    return text if interval is None else f"{text} ({interval[0]:.3f} to {interval[1]:.3f})"
