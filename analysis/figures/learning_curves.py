"""``learning_curves.png``: the validation score and loss of every point over its epochs, on one sheet."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.colors import LinearSegmentedColormap, LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from analysis.figures.drawing import (
    best_first,
    explain_empty,
    limits,
    png,
    rate_text,
    source_text,
    spans_decades,
)
from analysis.summary import LARGEST, architectures
from jobs.common.states import STATES
from jobs.common.units import plural

MOST_CURVES = 300
MOST_EPOCHS = 1000  # drawn of one curve: more than there are pixels
MOST_PANELS = 24
_DASHES = (0, (4, 1.5))
_END_MARKERS = {
    "waiting": "d",
    "running": ">",
    "diverged": "x",
    "oom": "s",
    "timeout": "^",
    "cancelled": "v",
    "error": "P",
    "lost": "*",
}

History = Sequence[Mapping[str, Any]]
_Curve = dict[str, npt.NDArray[np.float64]]  # equally long arrays: epoch, val_jaccard, val_loss; NaN is a gap


class _Panel(NamedTuple):
    title: str
    points: pd.DataFrame  # with the columns "known" (has a history) and "drawn"


class _Colours(NamedTuple):
    """The colour of a learning rate."""

    norm: LogNorm
    colour_map: LinearSegmentedColormap

    def of(self, rate: float) -> tuple[float, float, float, float]:
        return self.colour_map(float(self.norm(rate)))


def learning_curves(frame: pd.DataFrame, histories: Mapping[str, History]) -> bytes:
    """The validation Jaccard index and loss of all points over epochs, 1500 pixels wide.

    There is one panel for each combination of architecture and batch size; if these would be too many, one for each
    architecture, or one for all points. The colour is the learning rate, and a dot marks the best epoch. Curves of
    unsuccessful points are dashed and end with the marker of their class. ``histories`` maps names of points to their
    epochs; points without a history are counted by class. Of more than :data:`MOST_CURVES` points the best are drawn.
    """
    return png(curves_figure(frame, histories))


def curves_figure(frame: pd.DataFrame, histories: Mapping[str, History]) -> Figure:
    """The figure of :func:`learning_curves`."""
    order = best_first(frame)
    known = pd.Series([bool(histories.get(name)) for name in order["name"]], index=order.index, dtype=bool)
    drawn = order[known].head(MOST_CURVES)
    order = order.assign(known=known, drawn=order.index.isin(drawn.index))
    lines = [source_text(frame)]
    if known.sum() > MOST_CURVES:
        lines.append(f"only the best {MOST_CURVES} of {known.sum()} points with a history are drawn")
    if lacking := _classes(order.loc[~known, "status"]):
        lines += textwrap.wrap(f"no readable history: {lacking}", 130)
    if drawn.empty:
        figure = Figure(figsize=(10, 3), layout="constrained")
        text = f"No learning curves: none of {plural(len(frame), 'point')} has a readable history file."
        explain_empty(figure.subplots(), text, 60)
    else:
        curves = {name: _curve(histories[name]) for name in drawn["name"]}
        if _cut_losses(drawn, curves):
            lines.append("val. loss: curves far above those of the successful points are cut off at the edge")
        panels, columns, note = _panels(frame, order)
        if note:
            lines.append(note)
        figure = _draw(panels, columns, drawn, curves)
    figure.suptitle("\n".join(lines), fontsize=8.5, parse_math=False)
    return figure


def _draw(
    panels: Sequence[_Panel], columns: int, drawn: pd.DataFrame, curves: Mapping[str, _Curve]
) -> Figure:
    """The panels in ``columns``, those of the losses below those of the scores, unless there are too many rows."""
    rows = -(-len(panels) // columns)
    with_losses = rows <= 4
    heights = ([1.9, 1.1] if with_losses else [1.7]) * rows
    figure = Figure(figsize=(10, sum(heights) + 0.35 * rows + 1.5), layout="constrained")
    grid = figure.add_gridspec(len(heights), columns, height_ratios=heights)
    per_row = 2 if with_losses else 1
    places = [(place // columns * per_row, place % columns) for place in range(len(panels))]
    colours = _colours(drawn["learning_rate"])
    scores = [figure.add_subplot(grid[row, column]) for row, column in places]
    for axes, panel in zip(scores, panels, strict=True):
        _draw_panel(axes, panel.points, curves, "val_jaccard", colours)
        axes.set_title(panel.title, fontsize=7.5, parse_math=False)
    losses = []
    if with_losses:
        for (row, column), panel in zip(places, panels, strict=True):
            axes = figure.add_subplot(grid[row + 1, column])
            _draw_panel(axes, panel.points, curves, "val_loss", colours)
            losses.append(axes)
    _share_scales(scores, losses, list(curves.values()), columns)
    bar = figure.colorbar(
        ScalarMappable(colours.norm, colours.colour_map),
        ax=scores + losses,
        location="right",
        aspect=50,
        pad=0.01,
    )
    _rate_ticks(bar, drawn["learning_rate"])
    _legend(figure, drawn)
    return figure


def _classes(statuses: Iterable[str]) -> str:
    counts = Counter(statuses)
    return ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state])


def _curve(rows: History) -> _Curve:
    """The columns to draw. Impossible values become gaps. A long history is thinned, but its best and last epoch stay."""
    found = {
        column: np.array([_number(row.get(column)) for row in rows])
        for column in ("epoch", "val_jaccard", "val_loss")
    }
    found["epoch"][~(np.abs(found["epoch"]) <= 1e9)] = np.nan
    found["val_jaccard"][~((found["val_jaccard"] >= 0) & (found["val_jaccard"] <= 1))] = np.nan
    found["val_loss"][~(np.abs(found["val_loss"]) <= LARGEST)] = np.nan
    kept = np.zeros(len(rows), dtype=bool)
    kept[:: -(-len(rows) // MOST_EPOCHS)] = True
    kept[-1] = True
    if np.isfinite(found["val_jaccard"]).any():
        kept[np.nanargmax(found["val_jaccard"])] = True
    return {column: values[kept] for column, values in found.items()}


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return np.nan


def _cut_losses(drawn: pd.DataFrame, curves: Mapping[str, _Curve]) -> bool:
    """Cut off losses of unsuccessful points that would flatten the other curves. Returns whether there were any."""
    good = [curves[name] for name in drawn.loc[drawn["successful"], "name"]]
    values = _finite(good, "val_loss") if good else np.array([])
    if not len(values):
        return False
    low, high = values.min(), values.max()
    edge = high + 0.5 * (high - low)
    bad = [curves[name]["val_loss"] for name in drawn.loc[~drawn["successful"], "name"]]
    beyond = [losses for losses in bad if (losses > edge).any()]
    for losses in beyond:
        np.minimum(losses, edge, out=losses)
    return bool(beyond)


def _panels(frame: pd.DataFrame, points: pd.DataFrame) -> tuple[list[_Panel], int, str]:
    """The panels, their number of columns, and a note if there is not one for each combination."""
    names, batches = architectures(frame), sorted(frame["batch_size"].unique())
    if len(names) * len(batches) <= MOST_PANELS:
        panels = [
            _Panel(
                f"{name}, batch size {batch:g}",
                points[(points["architecture"] == name) & (points["batch_size"] == batch)],
            )
            for name in names
            for batch in batches
        ]
        return panels, min(len(batches), 4), ""
    if len(names) <= MOST_PANELS:
        panels = [
            _Panel(f"{name}, all batch sizes", points[points["architecture"] == name]) for name in names
        ]
        return panels, min(3, len(names)), f"{plural(len(batches), 'batch size')}: one panel per architecture"
    return (
        [_Panel("all points", points)],
        1,
        f"{plural(len(names), 'architecture')}: one panel for all points",
    )


def _colours(rates: pd.Series) -> _Colours:
    low, high = float(rates.min()), float(rates.max())
    norm = LogNorm(low, high) if high > low else LogNorm(low / 2, high * 2)
    shades = mpl.colormaps["viridis"](np.linspace(0, 0.9, 64))
    return _Colours(norm, LinearSegmentedColormap.from_list("rates", shades))


def _draw_panel(
    axes: Axes, points: pd.DataFrame, curves: Mapping[str, _Curve], column: str, colours: _Colours
) -> None:
    """Draw the curves of ``points``, the best ones on top, or write the reason if there are none."""
    if not points["drawn"].any():
        missing = _classes(points["status"])
        why = f"not among the {MOST_CURVES} best" if points["known"].any() else f"no history: {missing}"
        text = "\n".join(textwrap.wrap(why if missing else "not in the grid", 24))
        axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", fontsize=7.5)
    points = points[points["drawn"]][::-1]
    several = len(points) > 8
    for name, rate, successful, status in zip(
        *(points[key] for key in ("name", "learning_rate", "successful", "status")), strict=True
    ):
        epoch, values, colour = curves[name]["epoch"], curves[name][column], colours.of(rate)
        axes.plot(
            epoch,
            values,
            color=colour,
            linewidth=0.7 if several else 1.2,
            linestyle="-" if successful else _DASHES,
            alpha=0.6 if len(points) > 40 else 0.9,
        )
        finite = np.flatnonzero(np.isfinite(values) & np.isfinite(epoch))
        if not len(finite):
            continue
        if not successful:
            axes.plot(
                epoch[finite[-1]],
                values[finite[-1]],
                marker=_END_MARKERS.get(status, "P"),
                color=colour,
                markeredgecolor="black",
                markersize=6,
                markeredgewidth=1.4 if status == "diverged" else 0.7,
                zorder=4,
            )
        elif column == "val_jaccard":
            best = finite[np.argmax(values[finite])]
            axes.plot(epoch[best], values[best], marker="o", markersize=3 if several else 4, color=colour)
    axes.grid(alpha=0.25)
    axes.tick_params(labelsize=7)


def _finite(curves: Iterable[_Curve], column: str) -> np.ndarray:
    values = np.concatenate([curve[column] for curve in curves])
    finite: npt.NDArray[np.float64] = values[np.isfinite(values)]
    return finite


def _share_scales(
    scores: Sequence[Axes], losses: Sequence[Axes], curves: Sequence[_Curve], columns: int
) -> None:
    """Give all panels the same scales, and the outer ones labels."""
    ends = limits(_finite(curves, "epoch"), share=0.03)
    for group, column, label in (
        (scores, "val_jaccard", "val. Jaccard index\n(0 to 1)"),
        (losses, "val_loss", "val. loss\n(loss units"),
    ):
        values = _finite(curves, column)
        log = column == "val_loss" and bool((values > 0).all()) and spans_decades(pd.Series(values))
        for place, axes in enumerate(group):
            axes.set_xlim(*ends)
            if log:
                axes.set_yscale("log")
            axes.set_ylim(*limits(values, log=log))
            locator = axes.xaxis.get_major_locator()
            if isinstance(locator, MaxNLocator):
                locator.set_params(integer=True)
            if place % columns == 0:
                closing = "" if column == "val_jaccard" else ", log)" if log else ")"
                axes.set_ylabel(label + closing, fontsize=7.5)
            else:
                axes.tick_params(labelleft=False)
            below = place + columns >= len(group)
            if below and (column == "val_loss" or not losses):
                axes.set_xlabel("epoch", fontsize=7.5)
            else:
                axes.tick_params(labelbottom=False)


def _rate_ticks(bar: Colorbar, rates: pd.Series) -> None:
    values = sorted(rates.unique())
    if len(values) <= 8:
        bar.set_ticks(values, labels=[rate_text(value) for value in values])
        bar.set_ticks([], minor=True)
    bar.ax.tick_params(labelsize=7)
    bar.set_label("learning rate (log scale)", fontsize=7.5)


def _legend(figure: Figure, drawn: pd.DataFrame) -> None:
    """The meaning of dots, dashes and end markers, below the panels."""
    handles = [Line2D([], [], color="black", marker="o", markersize=4)]
    names = ["successful, best epoch"]
    for state in STATES:
        if (drawn.loc[~drawn["successful"], "status"] == state).any():
            marker = _END_MARKERS.get(state, "P")
            handles.append(Line2D([], [], color="black", linestyle=_DASHES, marker=marker, markersize=6))
            names.append(f"{state}, its last epoch")
    figure.legend(
        handles,
        names,
        loc="outside lower center",
        ncols=min(5, len(names)),
        fontsize=7.5,
        frameon=False,
        handlelength=4,
    )
