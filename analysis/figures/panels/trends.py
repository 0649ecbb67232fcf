"""Panels (a) to (d): the mean of a metric over learning rate or batch size, with 95 % confidence bands."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from scipy.special import stdtrit

from analysis.figures.drawing import BATCH_LABEL, RATE_LABEL, explain_empty, limits, value_ticks
from analysis.figures.panels.sheet import JACCARD, LABELS, STABILITY, Sheet, configuration_columns, set_title

MOST_DOTS = 500  # points that a panel shows as dots
_METRIC_WORDS = {JACCARD: "Jaccard index", STABILITY: "SD of validation loss"}


class Trend(NamedTuple):
    """A panel: the mean of ``metric`` over the ``column`` of a hyperparameter. ``letter`` is in its title."""

    letter: str
    metric: str
    column: str

    @property
    def hyperparameter(self) -> str:
        """The hyperparameter in words."""
        return self.column.replace("_", " ")


def confidence(rows: pd.DataFrame, column: str, metric: str, *, repeated: bool) -> pd.DataFrame:
    """The mean of ``metric`` at each value of ``column``, with its 95 % confidence interval (Student's t).

    Returns a frame with the values of ``column`` as its index, ``mean``, and ``half``, the half width of the interval.
    A cell is the points with equal settings, and the mean is that of the cells' means. With ``repeated`` the interval
    comes from the spread within the cells, pooled (degrees of freedom: points minus cells); otherwise from the spread
    between the cells. ``half`` is NaN if there is no degree of freedom.
    """
    # The columns get new names: an axis that the user added may be called "count".
    cell = rows.groupby(configuration_columns(rows), dropna=False).ngroup()
    points = pd.DataFrame({column: rows[column], "cell": cell, "value": rows[metric]})
    cells = points.groupby([column, "cell"])["value"].agg(["mean", "count", "var"]).reset_index()
    cells["spare"] = cells["count"] - 1
    cells["squares"] = (cells["spare"] * cells["var"]).where(cells["spare"] > 0, 0.0)
    cells["share"] = 1 / cells["count"]
    groups = cells.groupby(column, sort=True)
    found = groups.agg(
        mean=("mean", "mean"),
        between=("mean", "var"),
        cells=("mean", "size"),
        squares=("squares", "sum"),
        spare=("spare", "sum"),
        share=("share", "sum"),
    )
    freedom = found["spare"] if repeated else found["cells"] - 1
    certain = freedom.clip(lower=1)
    if repeated:
        error = np.sqrt(found["squares"] / certain * found["share"]) / found["cells"]
    else:
        error = np.sqrt(found["between"] / found["cells"])
    half = (stdtrit(certain.to_numpy(dtype=float), 0.975) * error).where(freedom > 0)
    return pd.DataFrame({"mean": found["mean"], "half": half})


def draw_trend(axes: Axes, sheet: Sheet, trend: Trend) -> None:
    """Draw the means of the metric as one line for each architecture, with its 95 % confidence band."""
    metric, column, letter = trend.metric, trend.column, trend.letter
    log = metric == STABILITY and sheet.log_stability
    rows = _on_axis(sheet, metric)
    title = f"({letter}) {_METRIC_WORDS[metric]} over {trend.hyperparameter}"
    if rows.empty:
        set_title(axes, title)
        explain_empty(axes, "Nothing to draw: no successful point has this metric." + sheet.why_empty())
        return
    lines = {
        name: confidence(own, column, metric, repeated=sheet.repeated)
        for name in sheet.names
        if len(own := rows[rows["architecture"] == name])
    }
    low, high = _limits(sheet, trend, rows, lines)
    values = sorted(rows[column].unique())
    shifts = _shifts(values, list(lines))
    for name, line in lines.items():
        look, x = sheet.looks[name], line.index.to_numpy(dtype=float) * shifts[name]
        bottom, top = (_shown(edge, log=log) for edge in _band(line, metric))
        axes.fill_between(x, bottom, top, color=look["color"], alpha=0.13, linewidth=0)
        # A band between a mean with and one without an interval has no width: only this line shows the interval.
        axes.vlines(x, bottom, top, color=look["color"], alpha=0.55, linewidth=1)
        means = _shown(line["mean"].to_numpy(), log=log)
        axes.plot(x, means, marker="o", markersize=4, linewidth=1.6, **look)
        if len(rows) <= MOST_DOTS:
            own = rows[rows["architecture"] == name]
            axes.plot(
                own[column] * shifts[name],
                _shown(own[metric].to_numpy(), log=log),
                linestyle="",
                marker=".",
                markersize=4,
                color=look["color"],
                alpha=0.5,
                markeredgewidth=0,
            )
    batch = column == "batch_size"
    value_ticks(axes, values, base=2 if batch else 10, label=BATCH_LABEL if batch else RATE_LABEL)
    if log:
        axes.set_yscale("log")
    axes.set_ylim(*_shown(np.array([low, high]), log=log))
    axes.set_ylabel(LABELS[metric] + (", log" if log else ""), fontsize=7.5)
    axes.grid(alpha=0.25)
    set_title(axes, title, _caption(sheet, trend, lines, has_dots=len(rows) <= MOST_DOTS))
    if len(values) == 1:
        sheet.note(f"Only one {trend.hyperparameter}: there is no trend over it.", letter)


def _on_axis(sheet: Sheet, metric: str) -> pd.DataFrame:
    """The rows with ``metric``, as its base-10 logarithm if the axis is logarithmic."""
    if metric != STABILITY:
        return sheet.rows[sheet.rows[metric].notna()]
    rows = sheet.with_stability()
    return rows.assign(**{metric: np.log10(rows[metric])}) if sheet.log_stability else rows


def _limits(
    sheet: Sheet, trend: Trend, rows: pd.DataFrame, lines: dict[str, pd.DataFrame]
) -> tuple[float, float]:
    """The limits of the y axis: all means and dots, and the bands unless they would flatten the rest."""
    means = np.concatenate([line["mean"].to_numpy() for line in lines.values()])
    points = np.concatenate([means, rows[trend.metric]]) if len(rows) <= MOST_DOTS else means
    bands = np.concatenate([_band(line, trend.metric).ravel() for line in lines.values()])
    low, high = limits(points)
    wide_low, wide_high = limits(np.concatenate([points, bands]))
    if wide_high - wide_low <= 2.5 * (high - low):
        return wide_low, wide_high
    sheet.note(
        "Some bands are wider than the panel: there are few settings, and their scores differ much.",
        trend.letter,
    )
    return low, high


def _band(line: pd.DataFrame, metric: str) -> np.ndarray:
    """The lower and upper edges of a band, shape (2, n); those of a Jaccard index are cut at 0 and 1."""
    edges = np.array([line["mean"] - line["half"], line["mean"] + line["half"]])
    return np.clip(edges, 0, 1) if metric == JACCARD else edges


def _shifts(values: list[float], names: list[str]) -> dict[str, float]:
    """The factor by which the x values of each line are moved: at most a third of the way to the next value."""
    low, high = limits(values, log=True)
    gaps = np.diff(np.log(values))
    step = min(0.012 * np.log(high / low), 0.33 * gaps.min() / len(names) if len(gaps) else np.inf)
    return {name: float(np.exp(step * (place - (len(names) - 1) / 2))) for place, name in enumerate(names)}


def _shown(values: np.ndarray, *, log: bool) -> np.ndarray:
    """``values`` in units of the metric; with ``log`` they are its base-10 logarithms."""
    return np.power(10.0, np.clip(values, -250, 250)) if log else values


def _caption(sheet: Sheet, trend: Trend, lines: dict[str, pd.DataFrame], *, has_dots: bool) -> str:
    """The meaning of lines, dots and bands. Adds a note if bands are missing."""
    half = pd.concat([line["half"] for line in lines.values()])
    lacking = int(half.isna().sum())
    geometric = "geometric mean" if trend.metric == STABILITY and sheet.log_stability else "mean"
    dots = "; dots: points" if has_dots else ""
    if lacking == len(half):
        why = (
            "no setting shown here was repeated"
            if sheet.repeated
            else f"only one point at each {trend.hyperparameter}"
        )
        sheet.note(f"No confidence band: {why}.", trend.letter)
        return f"line: {geometric}{dots}; no confidence band: {why}"
    if lacking:
        why = "no setting was repeated" if sheet.repeated else "there is only one point"
        sheet.note(f"{lacking} of {len(half)} means have no band: {why}.", trend.letter)
    if sheet.repeated:
        return f"line: {geometric}{dots}; band: 95 % confidence, run-to-run (repeats of equal settings)"
    return (
        f"line: {geometric}{dots}; band: 95 % confidence from the spread BETWEEN settings, "
        "no repeats: not run-to-run noise"
    )
