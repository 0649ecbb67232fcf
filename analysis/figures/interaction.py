"""The interaction of learning rate and batch size: one line for each batch size, one panel for each architecture."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.figures.drawing import MOST_ARCHITECTURES, best_first, limits, rate_text, value_ticks
from analysis.figures.drawn import Material, Plot
from analysis.figures.look import INK, MARKERS, MUTED, Look, panels, ramp
from analysis.summary import architectures

METRIC = "best_val_jaccard"
_LISTED = 8  # batch sizes in the legend
_MARKED = 12  # points of a line; with more, it has no markers


def interaction(material: Material, look: Look) -> Plot | None:
    """Mean score over the learning rate for each batch size. ``None`` with fewer than two learning rates."""
    rows = material.frame[material.frame["successful"]]
    if rows["learning_rate"].nunique() < 2:
        return None
    best = list(dict.fromkeys(best_first(rows)["architecture"]))[:MOST_ARCHITECTURES]
    names = [name for name in architectures(rows) if name in best]
    rows = rows[rows["architecture"].isin(names)]
    batches = sorted(rows["batch_size"].unique())
    colours = dict(zip(batches, ramp(len(batches)), strict=True))
    means = rows.groupby(["architecture", "batch_size", "learning_rate"])[METRIC].mean()
    figure, every = panels(look, names, 1.5)
    best_at = []
    for axes, name in zip(every, names, strict=True):
        own = means.loc[name]
        for place, batch in enumerate(batches):
            if batch not in own.index.get_level_values(0):
                continue
            line = own.loc[batch]
            axes.plot(
                line.index.to_numpy(float),
                line.to_numpy(float),
                color=colours[batch],
                marker=MARKERS[place % len(MARKERS)] if len(line) <= _MARKED else None,
                label=f"{batch:g}",
            )
        batch, rate = own.idxmax()
        axes.plot(
            [rate], [own.max()], marker="o", markersize=9, markerfacecolor="none", color=INK, linewidth=0
        )
        best_at.append(f"{name} {own.max():.3f} at {rate_text(rate)} and {batch:g}")
        _finish(axes, sorted(rows["learning_rate"].unique()))
    every[0].set_ylim(*limits(means.to_numpy()))
    handles, labels = every[0].get_legend_handles_labels()
    step = -(-len(handles) // _LISTED)
    figure.legend(
        handles[::step],
        labels[::step],
        loc="outside upper left",
        ncols=min(4, len(handles[::step])),
        title="batch size (circle: highest mean)",
        alignment="left",
    )
    figure.supylabel("mean score (0 to 1)", fontsize=look.size)
    figure.supxlabel("learning rate (log scale)", fontsize=look.size)
    lines = f"{len(batches)} batch sizes" if len(batches) > 1 else "one batch size"
    return Plot(
        figure,
        f"Mean score over the learning rate, with lines for {lines}. Highest means, at learning rate and batch size: "
        f"{'; '.join(best_at)}. {_crossing(means, names, batches)}",
    )


def _finish(axes: Axes, rates: list[float]) -> None:
    value_ticks(axes, rates, base=10, label="")
    axes.grid(visible=True)
    axes.tick_params(colors=MUTED, which="both", labelcolor=INK)


def _crossing(means: pd.Series, names: list[str], batches: list[float]) -> str:
    if len(batches) < 2:
        return ""
    crossed = []
    for name in names:
        own = means.loc[name].reset_index()
        table = own.pivot_table(index="learning_rate", columns="batch_size", values=METRIC).dropna()
        order = np.diff(table.to_numpy(), axis=1)
        if len(order) and (np.sign(order).min(axis=0) * np.sign(order).max(axis=0) < 0).any():
            crossed.append(name)
    if not crossed:
        return "The lines do not cross: the best batch size is the same at every learning rate."
    return f"The lines cross for {', '.join(crossed)}: which batch size is best depends on the learning rate."
