"""Scores against what they cost: the number of updates of the weights, and the training time."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator
from scipy import stats

from analysis.figures.drawing import MOST_ARCHITECTURES, best_first, limits, name_legend
from analysis.figures.drawn import Material, Plot
from analysis.figures.look import HUES, MARKERS, Look, legend_columns
from analysis.summary import architectures

METRIC = "best_val_jaccard"
_MOST = 2000  # points: more make the file large, and hide each other


def scores_against_budget(material: Material, look: Look) -> Plot | None:
    """Scores over updates per training patch, and over minutes of training. ``None`` if neither is recorded."""
    rows = best_first(material.frame[material.frame["successful"]])
    epochs = rows["epochs_completed"] if "epochs_completed" in rows else pd.Series(np.nan, index=rows.index)
    rows = rows.assign(_updates=epochs / rows["batch_size"], _minutes=_minutes(rows))
    best = list(dict.fromkeys(rows["architecture"]))[:MOST_ARCHITECTURES]
    names = [name for name in architectures(material.frame) if name in best]
    rows = rows[rows["architecture"].isin(names)]
    if len(rows) > _MOST:
        rows = rows.iloc[np.linspace(0, len(rows) - 1, _MOST).astype(int)]
    shown = [
        (column, label)
        for column, label in (
            ("_updates", "updates per training patch: epochs / batch size (log scale)"),
            ("_minutes", "training time in minutes (log scale)"),
        )
        if rows[column].gt(0).sum() > 1
    ]
    if not shown:
        return None
    figure = Figure(figsize=(look.width, 2.3 if look.wide else 2.1 * len(shown) + 0.3), layout="constrained")
    shape = (1, len(shown)) if look.wide else (len(shown), 1)
    every = figure.subplots(*shape, squeeze=False, sharey=True)
    seen = []
    for axes, (column, label) in zip(every.flat, shown, strict=True):
        handles = _scatter(axes, rows, column, names)
        axes.set_xlabel(label)
        kept = rows[rows[column].gt(0)]
        if len(kept) > 2 and np.ptp(kept[column]) > 0 and np.ptp(kept[METRIC]) > 0:
            rho = float(stats.spearmanr(kept[column], kept[METRIC]).statistic)
            seen.append(
                f"with {'updates' if column == '_updates' else 'time'}: Spearman's correlation {rho:.2f}"
            )
    for axes in every[:, 0]:
        axes.set_ylabel("score (0 to 1)")
    name_legend(
        every.flat[0],
        handles,
        names,
        loc="lower left",
        bbox_to_anchor=(0, 1.0),
        ncols=legend_columns(look, names),
    )
    text = f"Scores of {len(rows)} points against what they cost. {'; '.join(seen)}".rstrip(" .") + "."
    return Plot(figure, text)


def _minutes(rows: pd.DataFrame) -> pd.Series:
    if "training_time_seconds" not in rows:
        return pd.Series(np.nan, index=rows.index)
    return rows["training_time_seconds"] / 60


def _scatter(axes: Axes, rows: pd.DataFrame, column: str, names: list[str]) -> list[object]:
    handles: list[object] = []
    for name, colour, marker in zip(names, HUES, MARKERS, strict=False):
        own = rows[(rows["architecture"] == name) & rows[column].gt(0)]
        handles += axes.plot(
            own[column], own[METRIC], linestyle="", marker=marker, color=colour, alpha=0.8, markeredgewidth=0
        )
    axes.set_xscale("log")
    values = rows.loc[rows[column].gt(0), column]
    axes.set_xlim(*limits(values, log=True))
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=12))
    axes.xaxis.set_major_formatter(lambda value, _place: f"{value:g}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.grid(visible=True)
    return handles
