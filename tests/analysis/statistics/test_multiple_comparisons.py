"""Multiple comparisons with the best have Dunnett's critical values and Hsu's intervals, and cover the best."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from analysis.statistics.multiple_comparisons import (
    Estimates,
    compared_with_best,
    dunnett_quantile,
    normal_quantile,
)

HALF = math.sqrt(0.5)  # the loading of differences with equal numbers of runs: their correlation is 0.5


def estimates(means, *, runs=3, variance=1.0, df=math.inf, equal=True):
    k = len(means)
    runs = np.broadcast_to(runs, k)
    return Estimates(
        np.asarray(means, float),
        np.broadcast_to(variance, k) / runs,
        np.zeros((k, 0)),
        np.broadcast_to(np.asarray(df, float), k),
        equal,
    )


@pytest.mark.parametrize(
    ("rivals", "df", "expected"),
    # Dunnett (1955), table 1a: one-sided, 5 %.
    [(1, 10, 1.81), (3, 20, 2.19), (9, 60, 2.48), (5, 15, 2.44), (2, 5, 2.44), (9, math.inf, 2.42)],
)
def test_the_critical_values_are_dunnetts(rivals, df, expected):
    assert dunnett_quantile(0.95, ((HALF, rivals),), df) == pytest.approx(expected, abs=0.006)


def test_without_correlation_the_quantile_is_that_of_independent_variables():
    expected = stats.norm.ppf(0.95 ** (1 / 7))
    assert normal_quantile(0.95, ((0.0, 7),)) == pytest.approx(expected, abs=1e-7)
    assert normal_quantile(0.95, ((0.0, 3), (0.0, 4))) == pytest.approx(expected, abs=1e-7)


def test_unequal_loadings_have_the_quantile_of_simulated_variables():
    loadings = np.array([0.2, 0.5, 0.9])
    rng = np.random.default_rng(0)
    common, own = rng.standard_normal((200_000, 1)), rng.standard_normal((200_000, 3))
    simulated = np.quantile((loadings * common + np.sqrt(1 - loadings**2) * own).max(axis=1), 0.95)
    assert normal_quantile(0.95, ((0.2, 1), (0.5, 1), (0.9, 1))) == pytest.approx(simulated, abs=0.02)


def test_the_intervals_are_hsus():
    means = np.array([0.80, 0.79, 0.70, 0.60])
    df, error = 20, 0.02
    found = compared_with_best(estimates(means, variance=3 * error**2, df=df))
    reach = dunnett_quantile(0.95, ((0.707, 3),), df) * error * math.sqrt(2)
    assert found.may_be_best.tolist() == [True, True, False, False]
    assert found.upper.tolist() == pytest.approx([0.01 + reach, reach - 0.01, 0.0, 0.0])
    # Of those that may be the best, the difference to the other is at least this.
    assert found.lower.tolist() == pytest.approx([0.01 - reach, -0.01 - reach, -0.1 - reach, -0.2 - reach])


def test_a_single_candidate_is_the_best_and_needs_no_comparison():
    found = compared_with_best(estimates([0.9, 0.1, 0.1], variance=1e-6, df=10))
    assert found.may_be_best.tolist() == [True, False, False] and found.lower[0] == 0.0
    assert compared_with_best(estimates([0.5])).may_be_best.tolist() == [True]


def test_a_mean_of_many_runs_needs_a_smaller_difference():
    few, many = (
        compared_with_best(estimates([0.8, 0.7], runs=runs, variance=0.01, df=30)).upper[1]
        for runs in ((3, 3), (3, 30))
    )
    assert many < few


@pytest.mark.parametrize("spread", [1.0, 5.0])
def test_the_best_is_covered_with_equal_and_unequal_variances(spread):
    rng = np.random.default_rng(1)
    sd = np.where(np.arange(12) % 3 == 0, spread, 1.0)
    covered = []
    for _ in range(400):
        scores = sd * rng.standard_normal((8, 12))
        variances = scores.var(axis=0, ddof=1)
        equal = spread == 1
        found = Estimates(
            scores.mean(axis=0),
            (np.full(12, variances.mean()) if equal else variances) / 8,
            np.zeros((12, 0)),
            np.full(12, 84.0 if equal else 7.0),
            equal,
        )
        covered.append(compared_with_best(found).may_be_best.mean())
    assert 0.93 <= np.mean(covered) <= 0.99  # all twelve are the best: each is included in 95 of 100


def test_combinations_have_the_variance_of_their_parts():
    found = estimates([1.0, 2.0, 3.0, 4.0], runs=[1, 2, 3, 4], variance=2.0, df=9)
    rows = np.array([[0.5, 0.5, 0, 0], [0, 0, 1.0, -1.0]])
    combined = found.combined(rows)
    assert combined.means.tolist() == [1.5, -1.0]
    assert combined.own == pytest.approx([0.25 * 2 + 0.25 * 1, 2 / 3 + 0.5])
    with pytest.raises(ValueError, match="in two of the combinations"):
        found.combined(np.ones((2, 4)))


def test_different_variances_have_satterthwaites_degrees_of_freedom():
    found = estimates([0.0, 0.0], runs=5, variance=[1.0, 4.0], df=[4, 4], equal=False)
    df = found.combined(np.array([[1.0, -1.0]])).df[0]
    assert df == pytest.approx((0.2 + 0.8) ** 2 / (0.2**2 / 4 + 0.8**2 / 4))


def test_thousands_of_means_are_compared():
    rng = np.random.default_rng(2)
    for equal in (True, False):
        found = compared_with_best(estimates(rng.standard_normal(3000), variance=0.01, df=20, equal=equal))
        assert 1 <= found.may_be_best.sum() < 50


@pytest.mark.parametrize("ratio", [1e-12, 1e-3, 1e3, 1e12])
def test_variances_of_very_different_sizes_are_compared(ratio):
    found = compared_with_best(
        estimates([0.0, 0.1, 0.2], variance=[1.0, ratio, 1.0], df=[3, 2, 4], equal=False)
    )
    assert found.may_be_best.any() and np.isfinite(found.upper).all()
