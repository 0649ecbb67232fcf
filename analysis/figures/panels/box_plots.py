"""Panel (e): box plots of the Jaccard index, one per architecture."""

from __future__ import annotations

import textwrap

import numpy as np
from matplotlib.axes import Axes

from analysis.figures.drawing import GREY, explain_empty, limits
from analysis.figures.panels.sheet import JACCARD, LABELS, Sheet, set_title

FEWEST_SCORES = 3  # of a box
_CROWD = 300  # dots; more of them are drawn smaller and paler


def draw_box_plots(axes: Axes, sheet: Sheet) -> None:
    """Draw the quartiles of the Jaccard index for each architecture, every point, and the chance level."""
    title = "(e) Jaccard index by architecture"
    if sheet.rows.empty:
        set_title(axes, title)
        explain_empty(axes, "No box: no point was successful." + sheet.why_empty())
        return
    random = np.random.default_rng(0)  # so that the figure is always the same
    labels = []
    for place, name in enumerate(sheet.names):
        scores = sheet.rows.loc[sheet.rows["architecture"] == name, JACCARD].to_numpy()
        labels.append(_label(name, len(scores), max(9, 54 // len(sheet.names))))
        _draw_scores(axes, place, scores, sheet.looks[name]["color"], random)
        if len(scores) < FEWEST_SCORES:
            sheet.notes.setdefault("An architecture with fewer than 3 points has no box.", ["(e)"])
    if len(sheet.names) == 1:
        sheet.note("Only one architecture: there is nothing to compare.", "e")
    caption, levels = _chance(axes, sheet)
    axes.set_xticks(range(len(labels)), labels, parse_math=False)
    axes.set_xlim(-0.6, len(labels) - 0.4)
    axes.set_ylim(*limits([*sheet.rows[JACCARD], *levels]))
    axes.set_ylabel(LABELS[JACCARD], fontsize=7.5)
    axes.grid(axis="y", alpha=0.25)
    set_title(axes, title, f"box: quartiles, median; whiskers: 1.5 quartile ranges; {caption}")


def _label(name: str, count: int, width: int) -> str:
    """The name of an architecture, wrapped after its underscores, and its number of points."""
    wrapped = textwrap.wrap(name.replace("_", "_ "), width)
    return "\n".join([*(line.replace("_ ", "_") for line in wrapped), f"n = {count}"])


def _draw_scores(
    axes: Axes,
    place: int,
    scores: np.ndarray,
    colour: tuple[float, float, float],
    random: np.random.Generator,
) -> None:
    if len(scores) >= FEWEST_SCORES:
        axes.boxplot(
            scores,
            positions=[place],
            widths=0.55,
            showfliers=False,
            patch_artist=True,
            boxprops={"facecolor": (*colour, 0.2), "edgecolor": GREY},
            medianprops={"color": "black", "linewidth": 1.6},
        )
    crowd = len(scores) > _CROWD
    axes.plot(
        place + random.uniform(-0.18, 0.18, len(scores)) * (len(scores) > 1),
        scores,
        linestyle="",
        marker="o",
        markersize=2 if crowd else 4,
        markeredgecolor="white",
        markeredgewidth=0 if crowd else 0.4,
        color=colour,
        alpha=0.35 if crowd else 0.85,
    )


def _chance(axes: Axes, sheet: Sheet) -> tuple[str, list[float]]:
    """Draw the lowest and the highest chance level; returns their text for the caption, and both levels."""
    chance = sheet.frame["chance_jaccard"].dropna()
    if chance.empty:
        sheet.note("The chance level was not recorded.", "e")
        return "chance level not recorded", []
    low, high = float(chance.min()), float(chance.max())
    for level in sorted({low, high}):
        axes.axhline(level, color="black", linestyle="--", linewidth=1)
    equal = f"{low:.3f}" == f"{high:.3f}"
    return f"dashed: chance {low:.3f}" if equal else f"dashed: chance {low:.3f} to {high:.3f}", [low, high]
