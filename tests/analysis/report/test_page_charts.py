"""Charts of intervals: places on the track, marks and numbers."""

from __future__ import annotations

import math

import pytest

from analysis.report.page_charts import MOST_ROWS, Measured, chart, of_differences, of_failures, of_means
from analysis.schema import AdjustedMean, AdjustedMeans, Difference, FailureLevel, FailureTest, Pairwise

HEADINGS = ("level", "mean", "95 % interval")


def test_places_are_in_proportion_and_inside_the_track():
    rows = [Measured("a", 1.0, (0.0, 2.0), "1"), Measured("b", 3.0, (2.0, 4.0), "3")]
    drawn = chart("title", HEADINGS, rows, "{:.1f}")
    first, second = drawn.bars
    assert [bar.limits for bar in drawn.bars] == ["0.0 to 2.0", "2.0 to 4.0"]
    assert 0 < first.low < first.at < first.high < second.at < second.high < 100
    assert first.high == second.low == pytest.approx(50) and drawn.zero is None
    assert all(0 <= place <= 100 for place, _ in drawn.ticks) and len(drawn.ticks) >= 2


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [Measured("a", None, None, "-")],
        [Measured("a", 5.0, None, "5")],
        [Measured("a", math.nan, (math.nan, 1.0), "-"), Measured("b", 1.0, (-math.inf, 2.0), "1")],
    ],
)
def test_missing_numbers_are_not_drawn(rows):
    drawn = chart("title", HEADINGS, rows, "{:.1f}", zero=True)
    assert len(drawn.bars) == len(rows) and 0 < drawn.zero < 100
    for bar in drawn.bars:
        assert (bar.low is None) == (bar.high is None)
        assert all(place is None or 0 <= place <= 100 for place in (bar.at, bar.low, bar.high))


def test_of_many_rows_the_others_are_counted():
    drawn = chart("t", HEADINGS, [Measured(str(n), n, None, "") for n in range(MOST_ROWS + 7)], "{:g}")
    assert len(drawn.bars) == MOST_ROWS and drawn.hidden == 7


def test_means_and_differences_have_their_numbers_as_text():
    means = tuple(
        AdjustedMean(level=level, n=9, mean=mean, se=0.01, ci=(mean - 0.02, mean + 0.02), raw_mean=mean)
        for level, mean in ((1e-4, 0.5), (0.005, 0.6))
    )
    drawn = of_means(AdjustedMeans(computed=True, metric="m", factor="f", means=means), "Means")
    assert [(bar.label, bar.value, bar.limits) for bar in drawn.bars] == [
        ("0.0001 (n = 9)", "0.5000", "0.480 to 0.520"),
        ("0.005 (n = 9)", "0.6000", "0.580 to 0.620"),
    ]
    pairs = (
        Difference(a="UNet", b="X", estimable=True, difference=0.1, ci=(0.05, 0.15)),
        Difference(a="UNet", b="Y", estimable=True, difference=0.01, ci=(-0.04, 0.06)),
        Difference(a="X", b="Y", estimable=False),
    )
    drawn = of_differences(Pairwise(computed=True, metric="m", factor="f", pairs=pairs), "Differences")
    assert [bar.marked for bar in drawn.bars] == [True, False, False]
    assert drawn.bars[0].low > drawn.zero > drawn.bars[1].low and drawn.bars[2].at is None


def test_failures_are_shares_of_the_points_of_a_level():
    levels = (
        FailureLevel(level=8, points=4, diverged=1, failed=2),
        FailureLevel(level=16, points=0, diverged=0, failed=0),
    )
    test = FailureTest(computed=False, reason="r", factor="batch_size", label="batch size", levels=levels)
    assert [(bar.level, bar.diverged_percent, bar.failed_percent) for bar in of_failures(test)] == [
        ("8", 25.0, 50.0),
        ("16", 0.0, 0.0),
    ]
