"""The scores of the configurations on the validation part and on the test part."""

from __future__ import annotations

from matplotlib.figure import Figure

from analysis.figures.drawing import MOST_ARCHITECTURES, limits, name_legend
from analysis.figures.drawn import Material, Plot
from analysis.figures.look import HUES, INK, MARKERS, MUTED, Look, legend_columns
from analysis.summary import architectures

_MOST = 2000  # configurations


def scores_on_test(material: Material, look: Look) -> Plot | None:
    """Mean test score over mean validation score of each configuration. ``None`` without a test score."""
    every = [
        one for one in material.findings.configurations if one.test_mean is not None and one.mean is not None
    ][:_MOST]
    if not every:
        return None
    best = list(dict.fromkeys(one.architecture for one in every))[:MOST_ARCHITECTURES]
    names = [name for name in architectures(material.frame) if name in best]
    figure = Figure(figsize=(look.width, 0.72 * min(look.width, 4.4) + 0.3), layout="constrained")
    axes = figure.subplots()
    handles: list[object] = []
    for name, colour, marker in zip(names, HUES, MARKERS, strict=False):
        own = [one for one in every if one.architecture == name]
        handles += axes.plot(
            [one.mean or 0.0 for one in own],
            [one.test_mean or 0.0 for one in own],
            linestyle="",
            marker=marker,
            color=colour,
            alpha=0.85,
            markeredgewidth=0,
        )
    low, high = limits([value or 0.0 for one in every for value in (one.mean, one.test_mean)])
    axes.plot([low, high], [low, high], color=MUTED, linewidth=0.8, linestyle="--")
    axes.set(
        xlim=(low, high), ylim=(low, high), xlabel="validation score (0 to 1)", ylabel="test score (0 to 1)"
    )
    first = every[0]
    axes.plot(
        [first.mean or 0.0], [first.test_mean or 0.0], "o", markersize=10, markerfacecolor="none", color=INK
    )
    axes.grid(visible=True)
    name_legend(
        axes, handles, names, loc="lower left", bbox_to_anchor=(0, 1.0), ncols=legend_columns(look, names)
    )
    below = sum((one.test_mean or 0.0) < (one.mean or 0.0) for one in every)
    return Plot(
        figure,
        f"Test score over validation score of {len(every)} configurations; {below} are below the line of equal scores. "
        f"The best one, {first.settings}, has {first.mean:.3f} in validation and {first.test_mean:.3f} on the test part.",
    )
