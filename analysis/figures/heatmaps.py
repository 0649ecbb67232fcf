"""``detailed_heatmaps.png``: score and stability by learning rate and batch size, for each architecture."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from analysis.figures.drawing import (
    MOST_ARCHITECTURES,
    best_first,
    explain_empty,
    limits,
    png,
    rate_text,
    source_text,
    spans_decades,
    status_counts,
)
from analysis.summary import architectures, extra_axes
from jobs.common.errors import one_line
from jobs.common.states import STATES

MOST_VALUES = 16  # rows and columns of a heatmap: more are not readable, and thousands cannot be drawn
_CELL = ["architecture", "learning_rate", "batch_size"]


class _Metric(NamedTuple):
    column: str
    title: str
    colours: str  # a colour map of Matplotlib
    pattern: str  # the format of the number in a cell


_METRICS = (
    _Metric(
        "best_val_jaccard", "best validation Jaccard index (0 to 1, higher is better)", "viridis", "{:.3f}"
    ),
    _Metric(
        "val_loss_stability",
        "SD of validation loss, last 10 epochs (loss units, lower is better)",
        "cividis_r",  # reversed: bright is good, as for the score
        "{:.2g}",
    ),
)


@dataclass(frozen=True)
class Cells:
    """The cells of one heatmap, one row per batch size and one column per learning rate.

    ``means`` are the means of the successful points over seeds and other axes, NaN where there are none. ``reasons``
    are the texts of cells without a mean, ``partial_failures`` those of cells in which only some points failed.
    """

    rates: list[float]
    batches: list[float]
    means: np.ndarray
    reasons: np.ndarray
    partial_failures: np.ndarray


@dataclass(frozen=True)
class _Layout:
    """How the heatmaps are arranged on the figure; sizes in inches.

    ``side_by_side``: the two metrics are columns and the architectures rows, as in a large grid; otherwise metrics are
    rows. ``narrow``: the texts of the cells are vertical.
    """

    side_by_side: bool
    width: float
    height: float
    narrow: bool


def detailed_heatmaps(frame: pd.DataFrame) -> bytes:
    """Score and stability by learning rate and batch size, for each architecture.

    ``frame`` is that of :func:`analysis.summary.load_summary`. All heatmaps of a metric have the same colour scale,
    logarithmic if the stability spans more than a factor of ten. Cells are means over seeds and other axes. A cell
    without a value contains the class of the failure, or "not in the grid". A cell in which only some points failed
    contains their number and class.
    """
    return png(heatmap_figure(frame))


def heatmap_figure(frame: pd.DataFrame) -> Figure:
    """The figure of :func:`detailed_heatmaps`."""
    frame, left_out = shown_rows(frame)
    names = architectures(frame)
    if not names:
        figure = Figure(figsize=(6.4, 2), layout="constrained")
        explain_empty(figure.subplots(), "No heatmap: the summary has no point.")
        return figure
    rates, batches = sorted(frame["learning_rate"].unique()), sorted(frame["batch_size"].unique())
    layout = _layout(frame, len(names), len(rates), len(batches))
    figure = Figure(figsize=(layout.width, layout.height), layout="constrained")
    if layout.side_by_side:
        grid = figure.subplots(len(names), len(_METRICS), squeeze=False).T
    else:
        grid = figure.subplots(len(_METRICS), len(names), squeeze=False)
    good = frame[frame["successful"]]
    for row, metric in zip(grid, _METRICS, strict=True):
        found = good.groupby(_CELL)[metric.column].mean().dropna()
        norm = _scale(found, log=metric.column == "val_loss_stability")
        for axes, name in zip(row, names, strict=True):
            cells = cells_of(frame[frame["architecture"] == name], metric.column, rates, batches)
            mesh = _heatmap(axes, cells, metric, norm=norm, narrow=layout.narrow)
            axes.set_title(name, fontsize=8, parse_math=False)
            # The axes are not to scale: every value takes one cell.
            axes.set_xlabel("learning rate", fontsize=8)
            axes.set_ylabel("batch size (patches)", fontsize=8)
        if len(found):
            _colour_bar(figure, mesh, list(row), metric.title, layout)
    figure.suptitle(_heading(frame, left_out, int(layout.width * 13)), fontsize=8, parse_math=False)
    return figure


def shown_rows(frame: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """The rows that fit into the figure, those of the best points first, and a sentence on what is left out."""
    order = best_first(frame)
    missing = []
    rows = pd.Series(data=True, index=frame.index)
    for column, most in (
        ("architecture", MOST_ARCHITECTURES),
        ("learning_rate", MOST_VALUES),
        ("batch_size", MOST_VALUES),
    ):
        values = order[column].unique()
        rows &= frame[column].isin(values[:most])
        if len(values) > most:
            missing.append(f"{most} of {len(values)} values of {column}")
    return frame[rows], f"shown: {', '.join(missing)}, with the best points" if missing else ""


def _layout(frame: pd.DataFrame, names: int, rates: int, batches: int) -> _Layout:
    side_by_side = names * rates > 12  # metrics as rows would be wider than a page
    width = 10.0 if side_by_side else max(6.4, 1.2 + names * max(2.4, 0.73 * rates))
    narrow = (width - 2.6) / (len(_METRICS) if side_by_side else names) / rates < 0.6  # for "cancelled"
    texts = not frame["successful"].all() or len(frame.drop_duplicates(_CELL)) < names * rates * batches
    tall = 0.95 + (0.55 if texts or not narrow else 0.42) * max(2, batches)
    return _Layout(side_by_side, width, 1.0 + (names if side_by_side else len(_METRICS)) * tall, narrow)


def _heading(frame: pd.DataFrame, left_out: str, characters: int) -> str:
    """The lines above the heatmaps: the source of the data, what a cell is, and what is missing."""
    several = int(frame.groupby(_CELL).size().max())
    over = ["seeds" if len(frame["seed"].dropna().unique()) > 1 else "", *extra_axes(frame)]
    note = (
        f"cells are means of up to {several} points (over {', '.join(filter(None, over)) or 'repeats'})"
        if several > 1
        else "one point per cell: differences may be chance"
    )
    lines = [source_text(frame, characters), *textwrap.wrap(one_line(note, 300), characters), left_out]
    if not frame["successful"].any():
        lines.append(f"no values: no point was successful ({status_counts(frame)})")
    return "\n".join(filter(None, lines))


def cells_of(frame: pd.DataFrame, column: str, rates: list[float], batches: list[float]) -> Cells:
    """The cells of one architecture, whose points are ``frame``."""
    shape = (len(batches), len(rates))
    means = np.full(shape, np.nan)
    reasons = np.full(shape, "not in\nthe grid", dtype=object)
    partial_failures = np.full(shape, "", dtype=object)
    groups = dict(iter(frame.groupby(["batch_size", "learning_rate"])))
    for place in np.ndindex(shape):
        points = groups.get((batches[place[0]], rates[place[1]]))
        if points is None:
            continue
        numbers = points.loc[points["successful"], column].dropna()
        failed = points.loc[~points["successful"], "status"].value_counts()
        states = [state for state in STATES if state in failed.index]
        if len(numbers):
            means[place] = numbers.mean()
            reasons[place] = ""
            partial_failures[place] = "".join(f"\n{failed[state]} {state}" for state in states)
        else:
            reasons[place] = "\n".join(states) or "no value"
    return Cells(rates, batches, means, reasons, partial_failures)


def _scale(found: pd.Series, *, log: bool) -> Normalize:
    """The colour scale for all heatmaps of a metric, also for a metric that is constant."""
    if log and spans_decades(found):
        return LogNorm(found[found > 0].min(), found.max(), clip=True)
    low, high = (found.min(), found.max()) if len(found) else (0.0, 1.0)
    if high <= low:
        low, high = limits([low])
    return Normalize(low, high)


def _heatmap(axes: Axes, cells: Cells, metric: _Metric, *, norm: Normalize, narrow: bool) -> ScalarMappable:
    """Draw one heatmap; with ``narrow`` the texts are vertical."""
    drawn = np.ma.masked_invalid(cells.means)
    if isinstance(norm, LogNorm):
        drawn = np.ma.maximum(drawn, norm.vmin or 0.0)  # zero has no logarithm; the text of the cell is 0
    mesh = axes.pcolormesh(drawn, cmap=metric.colours, norm=norm, edgecolors="white", linewidth=1)
    shades = mesh.cmap(norm(drawn))[..., :3] @ [0.299, 0.587, 0.114]
    for (y, x), number in np.ndenumerate(cells.means):
        text, colour = str(cells.reasons[y, x]), "black"
        if text:
            axes.add_patch(Rectangle((x, y), 1, 1, facecolor="#dddddd", edgecolor="white", hatch="//"))
        else:
            text = metric.pattern.format(number) + str(cells.partial_failures[y, x])
            colour = "black" if shades[y, x] > 0.5 else "white"
        axes.text(
            x + 0.5,
            y + 0.5,
            text,
            ha="center",
            va="center",
            fontsize=7,
            color=colour,
            rotation=90 if narrow else 0,
            in_layout=False,  # there may be thousands, and all are inside the axes
        )
    axes.set_xticks(np.arange(len(cells.rates)) + 0.5, [rate_text(rate) for rate in cells.rates])
    axes.set_yticks(np.arange(len(cells.batches)) + 0.5, [f"{batch:g}" for batch in cells.batches])
    axes.tick_params(labelsize=7.5, length=0)
    axes.tick_params(axis="x", rotation=90 if narrow else 0)
    axes.invert_yaxis()
    axes.spines[:].set_visible(False)
    return mesh


def _colour_bar(
    figure: Figure, mesh: ScalarMappable, row: Sequence[Axes], title: str, layout: _Layout
) -> None:
    place: dict[str, Any] = {"location": "right", "fraction": 0.03}
    if layout.side_by_side:
        place = {"location": "top", "aspect": 40}
    bar = figure.colorbar(mesh, ax=row, pad=0.01, **place)
    bar.set_label("\n".join(textwrap.wrap(title, 70 if layout.side_by_side else 34)), fontsize=7)
    bar.ax.tick_params(labelsize=7)
