"""The interaction of learning rate and batch size: one line for each batch size, one panel for each architecture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.markers import TICKUP

from analysis.figures.drawing import MOST_ARCHITECTURES, best_first, limits, rate_text
from analysis.figures.drawn import Material, Plot
from analysis.figures.look import INK, MARKERS, Look, panel_columns, panels, ramp, rate_axis
from analysis.schema import Findings
from analysis.summary import architectures
from jobs.common.units import plural

METRIC = "best_val_jaccard"
_FACTORS = {"learning_rate", "batch_size"}
_MOST = 12  # batch sizes
_LISTED = 8  # batch sizes in the legend
_MARKED = 12  # points of a line; with more, it has no markers


def interaction(material: Material, look: Look) -> Plot | None:
    """Mean score over the learning rate for each batch size.

    ``None`` with fewer than two learning rates, or if the points did not use them. Of more than :data:`_MOST` batch
    sizes, that of the best point and others evenly spread are drawn.
    """
    if any(one.axis == "learning_rate" for one in material.findings.fictitious):
        return None
    rows = material.frame[material.frame["successful"]]
    if rows["learning_rate"].nunique() < 2:
        return None
    best = list(dict.fromkeys(best_first(rows)["architecture"]))[:MOST_ARCHITECTURES]
    names = [name for name in architectures(rows) if name in best]
    rows = rows[rows["architecture"].isin(names)]
    batches = _drawn(sorted(rows["batch_size"].unique()), best_first(rows)["batch_size"].iloc[0])
    rows = rows[rows["batch_size"].isin(batches)]
    everything = material.frame[
        material.frame["architecture"].isin(names) & material.frame["batch_size"].isin(batches)
    ]
    colours = dict(zip(batches, ramp(len(batches)), strict=True))
    means = rows.groupby(["architecture", "batch_size", "learning_rate"])[METRIC].mean()
    figure, every = panels(look, names, 1.75 if look.wide else 1.5, "mean score")
    best_at = []
    for axes, name in zip(every, names, strict=True):
        own = means.loc[name]
        _marks(axes, everything[everything["architecture"] == name], batches, colours)
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
        rate_axis(axes, rows["learning_rate"].tolist(), look, panel_columns(look, len(names)))
        axes.grid(visible=True)
    every[0].set_ylim(*limits(rows[METRIC]))
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
    figure.supxlabel("learning rate (log scale)", fontsize=look.size)
    lines = f"{len(batches)} batch sizes" if len(batches) > 1 else "one batch size"
    return Plot(
        figure,
        f"Mean score over the learning rate, with lines for {lines}. Highest means, at learning rate and batch size: "
        f"{'; '.join(best_at)}. {_marked(everything)}{_tested(material.findings)}",
    )


def _rising(rows: pd.DataFrame) -> pd.DataFrame:
    """The successful points whose score still rose at the last epoch."""
    if "epochs_to_best_censored" not in rows:
        return rows.iloc[:0]
    return rows[rows["successful"] & (rows["epochs_to_best_censored"] == "yes")]


def _marks(axes: Axes, rows: pd.DataFrame, batches: Sequence[float], colours: Mapping[float, str]) -> None:
    """Single seeds as dots, points that were still rising with a tick upwards, and failed ones as crosses at the bottom."""
    done = rows[rows["successful"]]
    repeated = done.duplicated(["batch_size", "learning_rate"]).any()
    rising = _rising(rows)
    across = axes.get_xaxis_transform()
    for place, batch in enumerate(batches):
        own = done[done["batch_size"] == batch]
        if repeated:
            axes.plot(
                own["learning_rate"],
                own[METRIC],
                "o",
                color=colours[batch],
                markersize=2,
                alpha=0.6,
                label="_seeds",
            )
        own = rising[rising["batch_size"] == batch]
        axes.plot(
            own["learning_rate"], own[METRIC], marker=TICKUP, linestyle="",
            color=colours[batch], markersize=7, markeredgewidth=1.2, label="_rising",
        )  # fmt: skip
        failed = rows.loc[~rows["successful"] & (rows["batch_size"] == batch), "learning_rate"].unique()
        axes.plot(
            failed, np.full(len(failed), 0.05 + 0.07 * place), "x",
            color=colours[batch], markersize=4, markeredgewidth=1.2, transform=across, label="_failed",
        )  # fmt: skip


def _marked(rows: pd.DataFrame) -> str:
    """The number of points that are marked, as a sentence and a space."""
    failed, rising = int((~rows["successful"]).sum()), len(_rising(rows))
    parts = [f"{plural(failed, 'point')} failed"] if failed else []
    parts += [f"{plural(rising, 'point')} still rising at the last epoch"] if rising else []
    return f"Marked: {', '.join(parts)}. " if parts else ""


def _drawn(batches: list[float], best: float) -> list[float]:
    if len(batches) <= _MOST:
        return batches
    spread = [batches[int(place)] for place in np.linspace(0, len(batches) - 1, _MOST - 1)]
    return sorted({*spread, best})


def _tested(findings: Findings) -> str:
    """The test of the interaction, because lines that cross may be noise."""
    term = next((one for one in findings.anova[METRIC].terms if set(one.term.split(":")) == _FACTORS), None)
    if term is None or term.p_holm is None:
        return "The interaction was not tested."
    return f"Test of the interaction of learning rate and batch size: p = {term.p_holm:.2g} (Holm-corrected)."
