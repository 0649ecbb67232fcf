"""Heatmaps of score and stability for the page, one panel for each architecture."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.patches import Rectangle

from analysis.figures.drawing import limits, rate_text, spans_decades
from analysis.figures.drawn import Material, Plot
from analysis.figures.heatmaps import MOST_VALUES, Cells, cells_of, shown_rows
from analysis.figures.look import MUTED, PAPER, RULE, Look, panels
from analysis.summary import architectures
from jobs.common.units import plural

_UPRIGHT = 6  # learning rates, up to which the numbers are horizontal
_LARGE = 90  # cells of a panel: with more, the numbers do not fit in them


def score_heatmap(material: Material, look: Look) -> Plot | None:
    """Mean best validation Jaccard index (0 to 1) by learning rate and batch size. ``None`` without a score."""
    return _heatmap(material, look, "best_val_jaccard", "viridis", "mean score", "{:.3f}", higher=True)


def stability_heatmap(material: Material, look: Look) -> Plot | None:
    """Mean standard deviation of the validation loss; bright is stable. ``None`` without a value."""
    return _heatmap(
        material,
        look,
        "val_loss_stability",
        "cividis_r",
        "mean SD of the validation loss",
        "{:.2g}",
        higher=False,
    )


def _heatmap(
    material: Material, look: Look, column: str, colours: str, words: str, pattern: str, *, higher: bool
) -> Plot | None:
    frame, left_out = shown_rows(material.frame)
    names = architectures(frame)
    rates, batches = sorted(frame["learning_rate"].unique()), sorted(frame["batch_size"].unique())
    grids = {name: cells_of(frame[frame["architecture"] == name], column, rates, batches) for name in names}
    found = np.concatenate([cells.means.ravel() for cells in grids.values()])
    finite = found[np.isfinite(found)]
    if not len(finite):
        return None
    norm = _norm(finite, log=not higher)
    figure, every = panels(
        look, names, (0.32 if len(rates) <= _UPRIGHT else 0.46) * len(batches) + 0.45, "batch size"
    )
    for axes, name in zip(every, names, strict=True):
        _draw(axes, grids[name], norm, colours, pattern if len(rates) * len(batches) <= _LARGE else "", look)
    ignored = next((one for one in material.findings.fictitious if one.axis == "learning_rate"), None)
    label = "learning rate" if ignored is None else "learning rate that was asked for, but not used"
    figure.supxlabel(label, fontsize=look.size)
    return Plot(figure, _alt(grids, finite, words, pattern, left_out, higher=higher))


def _norm(finite: np.ndarray, *, log: bool) -> Normalize:
    if log and spans_decades(pd.Series(finite)):
        return LogNorm(finite[finite > 0].min(), finite.max(), clip=True)
    low, high = float(finite.min()), float(finite.max())
    return Normalize(*((low, high) if high > low else limits([low])))


def _draw(axes: Axes, cells: Cells, norm: Normalize, colours: str, pattern: str, look: Look) -> None:
    colour_map = colormaps[colours]
    narrow = len(cells.rates) > _UPRIGHT
    size = look.size - (1.5 if narrow else 0.5)
    for (y, x), value in np.ndenumerate(cells.means):
        if math.isfinite(value):
            shown = max(value, norm.vmin or 0.0) if isinstance(norm, LogNorm) else value
            fill = colour_map(float(norm(shown)))
            failed = str(cells.partial_failures[y, x])
            axes.add_patch(Rectangle((x, y), 1, 1, facecolor=fill, edgecolor=PAPER, linewidth=1))
            dark = np.dot(fill[:3], [0.299, 0.587, 0.114]) < 0.5
            text, ink = (
                pattern.format(value) + ("*" if failed and pattern else ""),
                "white" if dark else "black",
            )
        else:
            axes.add_patch(
                Rectangle((x, y), 1, 1, facecolor="none", edgecolor=RULE, hatch="////", linewidth=0.5)
            )
            text, ink = str(cells.reasons[y, x]) if pattern else "", MUTED
        if text:
            axes.text(
                x + 0.5,
                y + 0.5,
                text,
                ha="center",
                va="center",
                fontsize=size,
                color=ink,
                in_layout=False,
                rotation=90 if narrow else 0,
            )
    axes.set(xlim=(0, len(cells.rates)), ylim=(len(cells.batches), 0))
    axes.set_xticks(np.arange(len(cells.rates)) + 0.5, [rate_text(rate) for rate in cells.rates])
    axes.set_yticks(np.arange(len(cells.batches)) + 0.5, [f"{batch:g}" for batch in cells.batches])
    axes.tick_params(length=0, axis="both")
    if narrow:
        axes.tick_params(axis="x", rotation=90)
    axes.spines[:].set_visible(False)


def _alt(
    grids: dict[str, Cells], finite: np.ndarray, words: str, pattern: str, left_out: str, *, higher: bool
) -> str:
    found = [
        (
            float(value),
            f"{name} at learning rate {rate_text(cells.rates[x])} and batch size {cells.batches[y]:g}",
        )
        for name, cells in grids.items()
        for (y, x), value in np.ndenumerate(cells.means)
        if math.isfinite(value)
    ]
    best, worst = (max(found), min(found)) if higher else (min(found), max(found))
    cells = next(iter(grids.values()))
    empty = sum(cells.means.size for cells in grids.values()) - len(finite)
    text = (
        f"Heatmaps of the {words} for {plural(len(grids), 'architecture')}, {plural(len(cells.rates), 'learning rate')} "
        f"and {plural(len(cells.batches), 'batch size')}. Best: {pattern.format(best[0])}, {best[1]}. "
        f"Worst: {pattern.format(worst[0])}, {worst[1]}."
    )
    if empty:
        text += f" {plural(empty, 'combination')} without a value."
    return text + (f" {left_out.capitalize()} ({MOST_VALUES} at most)." if left_out else "")
