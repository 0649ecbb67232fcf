"""The expected best score of a random search by the number of points tried (Dodge et al. 2019)."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.figures.drawing import MOST_ARCHITECTURES, name_legend
from analysis.figures.drawn import Material, Plot
from analysis.figures.look import HUES, MARKERS, Look, legend_columns


def best_of_curves(material: Material, look: Look) -> Plot | None:
    """One line for each architecture. ``None`` if none was computed."""
    every = [one for one in material.findings.best_of if len(one.expected) > 1][:MOST_ARCHITECTURES]
    if not every:
        return None
    figure = Figure(figsize=(look.width, 2.6), layout="constrained")
    axes = figure.subplots()
    handles: list[object] = []
    for one, colour, marker in zip(every, HUES, MARKERS, strict=False):
        count = np.arange(1, len(one.expected) + 1)
        handles += axes.plot(
            count, one.expected, color=colour, marker=marker, markevery=max(1, len(count) // 8), alpha=0.9
        )
    longest = max(len(one.expected) for one in every)
    if longest > 60:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda value, _place: f"{value:g}")
    else:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="points tried at random", ylabel="expected best score (0 to 1)")
    axes.grid(visible=True)
    names = [one.architecture for one in every]
    name_legend(
        axes, handles, names, loc="lower left", bbox_to_anchor=(0, 1.0), ncols=legend_columns(look, names)
    )
    seen = [
        f"{one.architecture} from {one.expected[0]:.3f} with 1 point to {one.expected[-1]:.3f} with {len(one.expected)}"
        for one in every
    ]
    return Plot(figure, f"Expected best score of a random search: {'; '.join(seen)}.")
