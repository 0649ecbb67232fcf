"""The score as a quadratic function of the logarithm of the learning rate, with an interval for its optimum."""

from __future__ import annotations

import numpy as np

from analysis.figures.drawing import MOST_ARCHITECTURES, limits, rate_text
from analysis.figures.drawn import Material, Plot
from analysis.figures.look import HUES, INK, Look, panel_columns, panels, rate_axis
from analysis.schema import Response

METRIC = "best_val_jaccard"


def response_curves(material: Material, look: Look) -> Plot | None:
    """The fitted curve, the mean score at each learning rate, and the interval of the optimum. ``None`` without a fit."""
    every = [
        one
        for one in material.findings.response
        if one.computed and one.coefficients is not None and one.tried is not None
    ][:MOST_ARCHITECTURES]
    if not every:
        return None
    rows = material.frame[material.frame["successful"]]
    means = rows.groupby(["architecture", "learning_rate"])[METRIC].mean()
    figure, panels_ = panels(look, [one.architecture for one in every], 1.75 if look.wide else 1.4, "score")
    heights = []
    for axes, one in zip(panels_, every, strict=True):
        low, high = one.tried or (1.0, 10.0)
        x = np.linspace(np.log10(low), np.log10(high), 100)
        a, b, c = one.coefficients or (0.0, 0.0, 0.0)
        fitted = a + b * x + c * x**2
        if one.ci is not None:
            left, right = (
                end if end is not None else edge for end, edge in zip(one.ci, (low, high), strict=True)
            )
            axes.axvspan(max(left, low), min(right, high), color=HUES[0], alpha=0.15, linewidth=0)
        axes.plot(10**x, fitted, color=HUES[0])
        if one.optimum is not None and low <= one.optimum <= high:
            axes.axvline(one.optimum, color=HUES[0], linewidth=0.8, linestyle="--")
        own = (
            means.loc[one.architecture]
            if one.architecture in means.index.get_level_values(0)
            else means.iloc[:0]
        )
        axes.plot(own.index.to_numpy(float), own.to_numpy(float), "o", color=INK)
        heights += [*fitted, *own]
        rate_axis(axes, rows["learning_rate"].tolist(), look, panel_columns(look, len(every)))
        axes.grid(visible=True)
    panels_[0].set_ylim(*limits(heights))
    figure.supxlabel("learning rate (log scale)", fontsize=look.size)
    return Plot(figure, f"Score as a quadratic of log learning rate. {' '.join(_seen(one) for one in every)}")


def _seen(one: Response) -> str:
    if one.optimum is None:
        tried = f" from {rate_text(one.tried[0])} to {rate_text(one.tried[1])}" if one.tried else ""
        return f"{one.architecture}: no maximum was found{tried}."
    low, high = one.tried or (one.optimum, one.optimum)
    if low <= one.optimum <= high:
        place = f"optimum {rate_text(one.optimum)}"
    else:
        place = f"optimum {'below the lowest' if one.optimum < low else 'above the highest'} rate tried"
    if one.ci is None:
        return f"{one.architecture}: {place}, without an interval."
    left, right = one.ci
    if left is not None and right is not None:
        interval = f"95 % interval {rate_text(left)} to {rate_text(right)}"
    elif left is not None:
        interval = f"95 % interval from {rate_text(left)}, without an upper limit"
    elif right is not None:
        interval = f"95 % interval up to {rate_text(right)}, without a lower limit"
    else:
        interval = "95 % interval without limits"
    return f"{one.architecture}: {place} ({interval})."
