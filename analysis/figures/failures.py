"""How often points diverged or failed otherwise, by the levels of each hyperparameter."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from analysis.figures.drawn import Material, Plot
from analysis.figures.look import HUES, INK, MUTED, Look
from analysis.schema import FailureLevel

_MOST = 12  # levels of one hyperparameter


def failures_by_hyperparameter(material: Material, look: Look) -> Plot | None:
    """Shares of points that diverged, and of those that failed otherwise. ``None`` if no point failed."""
    tests = [
        one
        for one in material.findings.failure_tests
        if len(one.levels) > 1 and any(level.diverged or level.failed for level in one.levels)
    ]
    if not tests:
        return None
    shown = [sorted(one.levels, key=lambda level: -_share(level))[:_MOST] for one in tests]
    kept = [[level for level in one.levels if level in some] for one, some in zip(tests, shown, strict=True)]
    heights = [len(levels) + 1.2 for levels in kept]
    figure = Figure(figsize=(look.width, 0.024 * look.size * sum(heights) + 0.8), layout="constrained")
    every = figure.subplots(len(tests), 1, squeeze=False, sharex=True, gridspec_kw={"height_ratios": heights})
    seen = []
    for axes, test, levels in zip(every[:, 0], tests, kept, strict=True):
        # A level whose points have not ended yet has none.
        diverged = np.array([level.diverged / max(1, level.points) for level in levels])
        failed = np.array([level.failed / max(1, level.points) for level in levels])
        places = np.arange(len(levels))
        axes.barh(places, 100 * diverged, color=HUES[1], height=0.7)
        axes.barh(
            places,
            100 * failed,
            left=100 * diverged,
            color=MUTED,
            height=0.7,
            hatch="///",
            fill=False,
            edgecolor=MUTED,
        )
        for place, level in enumerate(levels):
            bad = level.diverged + level.failed
            axes.text(
                100 * _share(level) + 1,
                place,
                f"{bad} of {level.points}",
                va="center",
                fontsize=look.size - 1,
            )
        axes.set_yticks(places, [_level(level) for level in levels])
        for text in axes.get_yticklabels():
            text.set_parse_math(False)
        axes.set_ylim(len(levels) - 0.4, -0.6)
        more = f" (worst {_MOST} of {len(test.levels)})" if len(test.levels) > _MOST else ""
        p = "" if test.p_holm is None else f", p = {test.p_holm:.2g}"
        axes.set_title(f"{test.label}{more}{p}", parse_math=False)
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=True, axis="x")
        worst = max(test.levels, key=_share)
        seen.append(
            f"{test.label}: most at {_level(worst)}, {worst.diverged} diverged and {worst.failed} failed otherwise "
            f"of {worst.points}{p}"
        )
    largest = max(_share(level) for levels in kept for level in levels)
    every[-1, 0].set_xlim(0, max(10.0, 125 * largest))
    every[-1, 0].set_xlabel("percent of the points of the level")
    figure.legend(
        [Patch(color=HUES[1]), Patch(fill=False, hatch="///", edgecolor=MUTED)],
        ["diverged", "failed otherwise"],
        loc="outside upper left",
        ncols=2,
        labelcolor=INK,
    )
    return Plot(
        figure,
        f"Failures by hyperparameter (p: exact test of divergence, Holm-corrected). {'; '.join(seen)}.",
    )


def _share(level: FailureLevel) -> float:
    return (level.diverged + level.failed) / level.points if level.points else 0.0


def _level(level: FailureLevel) -> str:
    return level.level[:28] if isinstance(level.level, str) else f"{level.level:g}"
