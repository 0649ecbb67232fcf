"""``learning_curves.png``: how every point learned, on one sheet; and the reading of their history files."""

from __future__ import annotations

import stat
import textwrap
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.figures.heatmaps import best_first, limits, png, rate_text, say, source_text, spans_decades
from analysis.summary import LARGEST, architectures
from jobs.common.states import STATES
from jobs.grid.points import stem_of_name
from jobs.run.paths import PointPaths, RunPaths
from unet_models.training.history import read_history

MOST_CURVES = 300
MOST_FILES = 2000
LARGEST_FILE = 20_000_000  # bytes: ten times the history of ten thousand epochs
MOST_EPOCHS = 1000  # drawn of one curve: more than there are pixels
MOST_PANELS = 24
_ENDS = {
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


def point_paths(run_root: Path, name: Any) -> PointPaths | None:
    """The files of the point called ``name``; ``None`` for what is no name of a point."""
    stem = stem_of_name(name)
    return None if stem is None else RunPaths(run_root).point(name, stem)


def is_readable(path: Path, run_root: Path, largest: int) -> bool:
    """Whether ``path`` is a plain file of at most ``largest`` bytes inside the run, also behind its links."""
    try:
        found = path.resolve(strict=True)
        state = found.stat()
        inside = found.is_relative_to(run_root.resolve(strict=True))
    except (OSError, RuntimeError):  # the latter: a circle of links
        return False
    return inside and stat.S_ISREG(state.st_mode) and state.st_size <= largest


def read_histories(run_root: Path, frame: pd.DataFrame) -> dict[str, list[dict[str, float]]]:
    """The epochs of each point in ``frame`` (rows with :data:`unet_models.training.history.COLUMNS`), by its name.

    A point whose history is missing, damaged, empty, too large or outside the run is left out, and so is
    what comes after :data:`MOST_FILES` files; the best points come first. Never raises for what is there.
    """
    histories: dict[str, list[dict[str, float]]] = {}
    for name in list(dict.fromkeys(best_first(frame)["name"]))[:MOST_FILES]:
        paths = point_paths(run_root, name)
        if paths is None or not is_readable(paths.history, run_root, LARGEST_FILE):
            continue
        try:
            rows = read_history(paths.history)
        except OSError:
            continue
        if rows:
            histories[name] = rows
    return histories


def learning_curves(frame: pd.DataFrame, histories: Mapping[str, History]) -> bytes:
    """The validation Jaccard index and loss of all points over epochs, 1500 pixels wide.

    A panel for each architecture and batch size (for each architecture, or one for all, where these would be
    too many); the colour is the learning rate, a dot the best epoch. Points without success are dashed, and
    the marker at their end is their class. ``histories`` maps names of points to their epochs; points that it
    lacks are counted, by class. Of more than :data:`MOST_CURVES` points the best are drawn.
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
        lines.append(f"the {MOST_CURVES} best of {known.sum()} points with a history are drawn")
    if lacking := _classes(order.loc[~known, "status"]):
        lines += textwrap.wrap(f"no readable history: {lacking}", 130)
    if drawn.empty:
        figure = Figure(figsize=(10, 3), layout="constrained")
        say(
            figure.subplots(),
            f"No learning curve: none of {len(frame)} points has a readable history file.",
            60,
        )
        figure.suptitle("\n".join(lines), fontsize=8.5, parse_math=False)
        return figure
    curves = {name: _arrays(histories[name]) for name in drawn["name"]}
    if _cut_losses(drawn, curves):
        lines.append("val. loss: far beyond that of the successful points, curves run along the edge")
    panels, columns, note = _panels(frame, order)
    if note:
        lines.append(note)
    rows = -(-len(panels) // columns)
    losses = rows <= 4
    heights = ([1.9, 1.1] if losses else [1.7]) * rows
    figure = Figure(figsize=(10, sum(heights) + 0.35 * rows + 1.5), layout="constrained")
    grid = figure.add_gridspec(len(heights), columns, height_ratios=heights)
    per_row = 2 if losses else 1
    scores = [
        figure.add_subplot(grid[place // columns * per_row, place % columns]) for place in range(len(panels))
    ]
    norm = _rate_norm(drawn["learning_rate"])
    colours = LinearSegmentedColormap.from_list(
        "rates", matplotlib.colormaps["viridis"](np.linspace(0, 0.9, 64))
    )
    for axes, (title, points) in zip(scores, panels, strict=True):
        _panel(axes, points, curves, "val_jaccard", lambda rate: colours(norm(rate)))
        axes.set_title(title, fontsize=7.5, parse_math=False)
    axes_of_losses = []
    if losses:
        for place, (_, points) in enumerate(panels):
            axes = figure.add_subplot(grid[place // columns * 2 + 1, place % columns])
            _panel(axes, points, curves, "val_loss", lambda rate: colours(norm(rate)))
            axes_of_losses.append(axes)
    _share(scores, axes_of_losses, list(curves.values()), columns)
    bar = figure.colorbar(
        ScalarMappable(norm, colours), ax=scores + axes_of_losses, location="right", aspect=50, pad=0.01
    )
    _rate_ticks(bar, drawn["learning_rate"])
    _legend(figure, drawn)
    figure.suptitle("\n".join(lines), fontsize=8.5, parse_math=False)
    return figure


def _classes(statuses: Iterable[str]) -> str:
    counts = Counter(statuses)
    return ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state])


def _arrays(rows: History) -> dict[str, np.ndarray]:
    """Columns of a history for drawing; impossible values are gaps. Long ones are thinned, the end is kept."""
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


def _cut_losses(drawn: pd.DataFrame, curves: Mapping[str, dict[str, np.ndarray]]) -> bool:
    """Bring losses of points without success near those of the others, which they would flatten to a line."""
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


def _panels(frame: pd.DataFrame, points: pd.DataFrame) -> tuple[list[tuple[str, pd.DataFrame]], int, str]:
    """Title and points of each panel, the number of columns, and what to say of the arrangement."""
    names, batches = architectures(frame), sorted(frame["batch_size"].unique())
    if len(names) * len(batches) <= MOST_PANELS:
        panels = [
            (
                f"{name}, batch size {batch:g}",
                points[(points["architecture"] == name) & (points["batch_size"] == batch)],
            )
            for name in names
            for batch in batches
        ]
        return panels, len(batches) if len(batches) <= 4 else 4, ""
    if len(names) <= MOST_PANELS:
        panels = [(f"{name}, all batch sizes", points[points["architecture"] == name]) for name in names]
        return panels, min(3, len(names)), f"{len(batches)} batch sizes: one panel for each architecture"
    return [("all points", points)], 1, f"{len(names)} architectures: one panel for all points"


def _rate_norm(rates: pd.Series) -> LogNorm:
    low, high = float(rates.min()), float(rates.max())
    return LogNorm(low, high) if high > low else LogNorm(low / 2, high * 2)


def _panel(axes: Axes, points: pd.DataFrame, curves: Mapping[str, Any], column: str, colour: Any) -> None:
    """The curves of those of ``points`` that are drawn, the best ones on top, or why there is none."""
    if not points["drawn"].any():
        missing = _classes(points["status"])
        why = f"not among the {MOST_CURVES} best" if points["known"].any() else f"no history: {missing}"
        text = "\n".join(textwrap.wrap(why if missing else "not in the grid", 24))
        axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", fontsize=7.5)
    points = points[points["drawn"]]
    several = len(points) > 8
    for row in points[::-1].itertuples():
        rows = curves[row.name]
        values, shade = rows[column], colour(row.learning_rate)
        axes.plot(
            rows["epoch"],
            values,
            color=shade,
            linewidth=0.7 if several else 1.2,
            linestyle="-" if row.successful else (0, (4, 1.5)),
            alpha=0.6 if len(points) > 40 else 0.9,
        )
        finite = np.flatnonzero(np.isfinite(values) & np.isfinite(rows["epoch"]))
        if not len(finite):
            continue
        if not row.successful:
            end = finite[-1]
            axes.plot(
                rows["epoch"][end],
                values[end],
                marker=_ENDS.get(row.status, "P"),
                color=shade,
                markeredgecolor="black",
                markersize=6,
                markeredgewidth=1.4 if row.status == "diverged" else 0.7,
                zorder=4,
            )
        elif column == "val_jaccard":
            best = finite[np.argmax(values[finite])]
            axes.plot(
                rows["epoch"][best], values[best], marker="o", markersize=3 if several else 4, color=shade
            )
    axes.grid(alpha=0.25)
    axes.tick_params(labelsize=7)


def _finite(curves: Iterable[Mapping[str, Any]], column: str) -> np.ndarray:
    values = np.concatenate([rows[column] for rows in curves])
    return values[np.isfinite(values)]


def _share(scores: list[Axes], losses: list[Axes], curves: Sequence[Mapping[str, Any]], columns: int) -> None:
    """The same scales in all panels, labels at the outer ones."""

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
            axes.xaxis.get_major_locator().set_params(integer=True)
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


def _rate_ticks(bar: Any, rates: pd.Series) -> None:
    values = sorted(rates.unique())
    if len(values) <= 8:
        bar.set_ticks(values, labels=[rate_text(value) for value in values])
        bar.set_ticks([], minor=True)
    bar.ax.tick_params(labelsize=7)
    bar.set_label("learning rate (log scale)", fontsize=7.5)


def _legend(figure: Figure, drawn: pd.DataFrame) -> None:
    """What dots, dashes and the markers at the ends mean, below the panels."""
    handles = [Line2D([], [], color="black", marker="o", markersize=4)]
    names = ["successful, best epoch"]
    for state in STATES:
        if (drawn.loc[~drawn["successful"], "status"] == state).any():
            handles.append(
                Line2D(
                    [],
                    [],
                    color="black",
                    linestyle=(0, (4, 1.5)),
                    marker=_ENDS.get(state, "P"),
                    markersize=6,
                )
            )
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
