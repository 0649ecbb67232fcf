"""Charts of intervals that are tables: the text is that of the page, so it is as large on a phone as elsewhere.

A row has a label, a track with an interval and a dot, and the numbers. A screen reader reads the numbers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import unet_models.plotting  # noqa: F401 - first: it prepares Matplotlib  # isort: skip
from matplotlib.ticker import MaxNLocator

from analysis.report.page_filters import interval, level_text, number
from analysis.schema import AdjustedMeans, Configuration, FailureTest, Pairwise

MOST_ROWS = 200  # of a chart
_TICKS = 3


@dataclass(frozen=True)
class Bar:
    """One row. ``at``, ``low`` and ``high`` are places from 0 to 100, in percent of the track; ``None`` is not drawn.

    ``value`` and ``limits`` are the numbers as text. ``marked`` rows are drawn in colour, the others in grey.
    """

    label: str
    value: str
    limits: str
    at: float | None = None
    low: float | None = None
    high: float | None = None
    marked: bool = True


@dataclass(frozen=True)
class Chart:
    """A table of intervals on one scale.

    ``ticks`` are places and texts, ``zero`` is the place of the value 0 if it is drawn as a line. ``value_title`` and
    ``limits_title`` are the headings of the numbers. ``hidden`` rows are not shown.
    """

    title: str
    label_title: str
    value_title: str
    limits_title: str
    bars: tuple[Bar, ...]
    ticks: tuple[tuple[float, str], ...]
    zero: float | None = None
    hidden: int = 0


@dataclass(frozen=True)
class Measured:
    """What a row shows: a value and its interval, in the units of the chart."""

    label: str
    value: float | None
    limits: tuple[float, float] | None
    shown: str
    marked: bool = True


def chart(
    title: str, headings: tuple[str, str, str], rows: Sequence[Measured], pattern: str, *, zero: bool = False
) -> Chart:
    """The chart of ``rows``; ``headings`` are those of label, value and interval. ``zero``: with a line at 0."""
    shown = rows[:MOST_ROWS]
    values = [value for row in shown for value in (row.value, *(row.limits or ())) if value is not None]
    finite = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
    if zero:
        finite.append(0.0)
    low, high = float(min(finite)), float(max(finite))
    pad = 0.04 * (high - low) or 0.05 * abs(high) or 0.05
    low, high = low - pad, high + pad

    def place(value: float | None) -> float | None:
        if value is None or not math.isfinite(value):
            return None
        return round(float(100 * (value - low) / (high - low)), 2)

    bars = []
    for row in shown:
        ends = row.limits if row.limits is not None and all(map(math.isfinite, row.limits)) else (None, None)
        bars.append(
            Bar(
                row.label,
                row.shown,
                interval(row.limits, pattern),
                place(row.value),
                place(ends[0]),
                place(ends[1]),
                row.marked,
            )
        )
    steps = [float(tick) for tick in MaxNLocator(_TICKS).tick_values(low, high) if low <= tick <= high]
    ticks = tuple((place(tick) or 0.0, f"{tick + 0.0:.6g}") for tick in steps)
    return Chart(title, *headings, tuple(bars), ticks, place(0.0) if zero else None, len(rows) - len(shown))


def leading(configurations: Sequence[Configuration], most: int) -> Chart | None:
    """The differences of the first ``most`` configurations to the best of the others; ``None`` if not compared.

    Marked are those that may be the best: their interval reaches zero.
    """
    compared = [one for one in configurations if one.difference_to_best is not None]
    if len(compared) < 2:
        return None
    first, second = compared[0].mean_with_failures, compared[1].mean_with_failures
    rows = []
    for n, one in enumerate(compared):
        rival = second if n == 0 else first
        score = one.mean_with_failures
        away = None if score is None or rival is None else score - rival
        rows.append(Measured(one.settings, away, one.difference_to_best, number(score), one.may_be_best))
    return replace(
        chart(
            "Difference to the best of the other configurations, with its interval",
            ("configuration", "score", "interval of the difference"),
            rows[:most],
            "{:+.3f}",
            zero=True,
        ),
        hidden=len(rows[most:]),
    )


def of_means(found: AdjustedMeans, title: str) -> Chart:
    """The adjusted means of the levels of one hyperparameter."""
    rows = [
        Measured(f"{level_text(one.level)} (n = {one.n})", one.mean, one.ci, number(one.mean))
        for one in found.means
    ]
    return chart(title, ("level", "mean", "95 % interval"), rows, "{:.3f}")


def of_differences(found: Pairwise, title: str) -> Chart:
    """The differences of the levels of one hyperparameter; marked are those whose interval leaves out zero."""
    rows = [
        Measured(
            f"{level_text(one.a)} \N{MINUS SIGN} {level_text(one.b)}",
            one.difference,
            one.ci,
            number(one.difference, "{:+.4f}"),
            one.ci is not None and (one.ci[0] > 0 or one.ci[1] < 0),
        )
        for one in found.pairs
    ]
    return chart(title, ("a \N{MINUS SIGN} b", "difference", "95 % interval"), rows, "{:+.3f}", zero=True)


@dataclass(frozen=True)
class FailureBar:
    """The failures at one level: counts, and shares of its points in percent."""

    level: str
    points: int
    diverged: int
    failed: int
    diverged_percent: float
    failed_percent: float


def of_failures(found: FailureTest) -> list[FailureBar]:
    """The failures by level of one hyperparameter."""
    return [
        FailureBar(
            level_text(one.level),
            one.points,
            one.diverged,
            one.failed,
            round(100 * one.diverged / one.points, 2) if one.points else 0.0,
            round(100 * one.failed / one.points, 2) if one.points else 0.0,
        )
        for one in found.levels[:MOST_ROWS]
    ]


def any_failure(tests: Iterable[FailureTest]) -> bool:
    """Whether any level of any hyperparameter has a failure."""
    return any(one.diverged or one.failed for test in tests for one in test.levels)
