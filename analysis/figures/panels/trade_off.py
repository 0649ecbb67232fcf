"""Panel (f): the trade-off between Jaccard index and stability, with its Pareto front."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from analysis.figures.drawing import GREY, explain_empty, limits, name_legend
from analysis.figures.panels.sheet import JACCARD, LABELS, STABILITY, Sheet, set_title
from analysis.ranking import pareto_front

_MARKERS = ("o", "s", "^", "D", "v", "P", "X")  # of the smallest batch sizes
_OTHER_MARKER = "."  # of all other batch sizes
_CROWD = 300  # points; more of them are drawn smaller and paler


def draw_trade_off(axes: Axes, sheet: Sheet) -> None:
    """Draw the Jaccard index against the stability: one marker per batch size, and the Pareto front."""
    title = "(f) trade-off: Jaccard index against stability"
    rows = sheet.with_stability()
    if rows.empty:
        set_title(axes, title)
        explain_empty(axes, "No trade-off: no successful point has both metrics." + sheet.why_empty())
        return
    handles, names = _draw_points(axes, sheet, rows)
    handles.append(_draw_front(axes, rows))
    names.append("front")
    if sheet.log_stability:
        axes.set_xscale("log")
    axes.set_xlim(*limits(rows[STABILITY], log=sheet.log_stability))
    axes.set_ylim(*limits(rows[JACCARD]))
    axes.set_xlabel(LABELS[STABILITY] + (", log" if sheet.log_stability else ""), fontsize=8)
    axes.set_ylabel(LABELS[JACCARD], fontsize=7.5)
    axes.grid(alpha=0.25)
    legend = name_legend(
        axes,
        handles,
        names,
        loc="lower left",
        bbox_to_anchor=(0, 1.0),
        ncols=len(names),
        fontsize=7,
        frameon=False,
        columnspacing=0.9,
        handletextpad=0.2,
        borderaxespad=0.1,
    )
    legend.set_in_layout(False)
    # The empty last line leaves room for the legend.
    set_title(axes, title + "\nmarker: batch size; dotted: Pareto front (best is top left)\n ")
    if len(rows) == 1:
        sheet.note("Only one point: it is the Pareto front.", "f")


def _draw_points(axes: Axes, sheet: Sheet, rows: pd.DataFrame) -> tuple[list[Line2D], list[str]]:
    """Draw the points; returns the handles and the names of the batch sizes for the legend."""
    handles, names = [], []
    crowd = len(rows) > _CROWD
    for place, batch in enumerate(sorted(rows["batch_size"].unique())):
        marker = _MARKERS[place] if place < len(_MARKERS) else _OTHER_MARKER
        own = rows[rows["batch_size"] == batch]
        axes.scatter(
            own[STABILITY],
            own[JACCARD],
            s=10 if crowd else 34,
            c=[sheet.looks[name]["color"] for name in own["architecture"]],
            marker=marker,
            alpha=0.5 if crowd else 0.9,
            edgecolors="white",
            linewidths=0 if crowd else 0.5,
        )
        if place <= len(_MARKERS):
            handles.append(Line2D([], [], linestyle="", marker=marker, color=GREY, markersize=5))
            names.append(f"{batch:g}" if place < len(_MARKERS) else "others")
    return handles, names


def _draw_front(axes: Axes, rows: pd.DataFrame) -> Line2D:
    """Draw the Pareto front; returns its handle for the legend."""
    front = pareto_front(rows, STABILITY)[::-1]  # the steps rise from left to right
    axes.plot(
        front[STABILITY], front[JACCARD], drawstyle="steps-post", color="black", linewidth=1, linestyle=":"
    )
    axes.plot(
        front[STABILITY],
        front[JACCARD],
        linestyle="",
        marker="o",
        markersize=9,
        markerfacecolor="none",
        markeredgecolor="black",
        markeredgewidth=0.8,
    )
    return Line2D([], [], color="black", linestyle=":", marker="o", markersize=8, markerfacecolor="none")
