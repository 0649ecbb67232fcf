"""Rank statistics have exactly the values of scipy, of statsmodels or of a computation by hand."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.api import OLS
from statsmodels.stats.multitest import multipletests

from analysis.statistics.intervals import holm
from analysis.statistics.ranks import correlations, friedman, rank_tests
from tests.analysis.statistics.samples import ARCHITECTURES, CELL, JACCARD, STABILITY, results


def test_friedman_is_scipys_also_with_ties():
    rng = np.random.default_rng(0)
    for levels in (3, 4, 6):
        table = rng.integers(0, 4, (9, levels)).astype(float)
        found, expected = friedman(table), stats.friedmanchisquare(*table.T)
        assert (found.statistic, found.p) == pytest.approx((expected.statistic, expected.pvalue), rel=1e-10)
        assert found.df == levels - 1
        w = expected.statistic / (9 * (levels - 1))
        f = 8 * w / (1 - w)
        assert found.kendall_w == pytest.approx(w, rel=1e-10)
        assert found.p_f == pytest.approx(stats.f.sf(f, levels - 1, 8 * (levels - 1)), rel=1e-9)
        assert found.mean_ranks == pytest.approx(stats.rankdata(table, axis=1).mean(axis=0))


def test_friedman_of_two_levels_is_the_sign_test():
    """The library refuses two levels; the statistic is (wins - losses) squared by their number."""
    table = np.array([[1.0, 2.0]] * 7 + [[2.0, 1.0]] * 2)
    assert friedman(table).statistic == pytest.approx(25 / 9)
    assert friedman(table).p == pytest.approx(stats.chi2.sf(25 / 9, 1))


def test_kruskal_wallis_is_scipys_with_ties_and_gives_mean_ranks():
    frame = results()
    keep = np.array([(n + n // 3) % 3 == 0 for n in range(36)])
    frame[JACCARD] = frame[JACCARD].round(2)
    frame.loc[~keep, ["successful", JACCARD]] = [False, np.nan]
    row = next(row for row in rank_tests(frame, JACCARD).factors if row.factor == "batch_size")
    groups = [group[JACCARD].dropna() for _, group in frame.groupby("batch_size")]
    expected = stats.kruskal(*groups)
    assert (row.test, row.df) == ("Kruskal-Wallis", 2)
    assert (row.statistic, row.p) == pytest.approx((expected.statistic, expected.pvalue), rel=1e-10)
    ranks = frame[JACCARD].rank()
    assert row.mean_ranks == pytest.approx([ranks[group.index].mean() for group in groups])


def test_a_partial_correlation_loses_a_degree_of_freedom_for_each_level():
    frame = results(seed=3)
    frame[STABILITY] += 0.5 * frame[JACCARD]
    found = next(
        row for row in correlations(frame) if (row.kind, row.a, row.b) == ("partial", JACCARD, STABILITY)
    )
    dummies = pd.get_dummies(frame[CELL].astype(str), drop_first=True).astype(float)
    matrix = np.column_stack([np.ones(36), dummies.to_numpy()])
    left = [OLS(frame[metric].rank().to_numpy(), matrix).fit().resid for metric in (JACCARD, STABILITY)]
    rho = float(np.corrcoef(*left)[0, 1])
    df = 36 - 2 - 7  # 3 rates, 2 batch sizes and 2 architectures beyond the first
    assert found.rho == pytest.approx(rho, abs=1e-10)
    assert found.p == pytest.approx(2 * stats.t.sf(abs(rho) * math.sqrt(df / (1 - rho**2)), df), rel=1e-8)
    half = stats.norm.ppf(0.975) * math.sqrt((1 + rho**2 / 2) / (df - 1))  # Bonett and Wright: n - 3
    assert found.ci == pytest.approx([math.tanh(math.atanh(rho) + sign * half) for sign in (-1, 1)])


def test_pairs_are_corrected_within_their_factor():
    for row in rank_tests(results(seed=1), JACCARD).factors:
        p = [pair.p for pair in row.pairs]
        assert [pair.p_holm for pair in row.pairs] == pytest.approx(multipletests(p, method="holm")[1])
        assert all(pair.n == row.blocks for pair in row.pairs)


def test_a_median_difference_is_in_the_units_of_the_metric():
    frame = results()
    frame[JACCARD] *= 50
    wide = frame.pivot_table(index=CELL[1:], columns="architecture", values=JACCARD)
    row = next(row for row in rank_tests(frame, JACCARD).factors if row.factor == "architecture")
    expected = (wide[ARCHITECTURES[0]] - wide[ARCHITECTURES[1]]).median()
    assert row.pairs[0].median_difference == pytest.approx(expected, rel=1e-9)


def unrelated(seed=0, effect=0.0):
    """Three repeats of each configuration, whose seeds occur once each."""
    frame = results((1, 2, 3), seed=seed)
    frame[JACCARD] += effect * (frame["architecture"] == "UNet")
    return frame.assign(seed=np.arange(len(frame), dtype=float))


def test_repeats_without_shared_seeds_are_not_paired_by_their_order():
    frame = unrelated(effect=0.005)
    expected = rank_tests(frame, JACCARD)
    assert "the tests compare the means of the configurations" in " ".join(expected.notes)
    rng = np.random.default_rng(1)
    for _ in range(5):
        shuffled = frame.sample(frac=1, random_state=int(rng.integers(1000))).reset_index(drop=True)
        found = {one.factor: one.p for one in rank_tests(shuffled, JACCARD).factors}
        assert found == {one.factor: pytest.approx(one.p, abs=1e-12) for one in expected.factors}


def test_the_means_of_unrelated_repeats_are_the_blocks():
    frame = unrelated()
    means = frame.groupby(CELL, sort=False)[JACCARD].mean().reset_index()
    wide = means.pivot_table(index=["learning_rate", "batch_size"], columns="architecture", values=JACCARD)
    found = {one.factor: one for one in rank_tests(frame, JACCARD).factors}["architecture"]
    assert found.p == pytest.approx(stats.friedmanchisquare(*wide.to_numpy().T).pvalue) and found.blocks == 12


def test_rank_tests_of_unrelated_repeats_keep_their_level():
    p = [one.p_f for seed in range(100) for one in rank_tests(unrelated(seed), JACCARD).factors]
    assert np.mean(np.array(p) < 0.05) <= 0.05 + 3 * (0.05 * 0.95 / len(p)) ** 0.5


def test_a_configuration_with_a_diverged_repeat_is_the_worst_of_its_block():
    frame = unrelated()
    bad = frame.index[(frame["architecture"] == "UNet")][::3]
    frame.loc[bad, ["successful", "status", JACCARD]] = [False, "diverged", np.nan]
    found = {one.factor: one for one in rank_tests(frame, JACCARD).factors}["architecture"]
    assert found.mean_ranks[found.levels.index("UNet")] == 1.0


def test_the_p_of_each_hyperparameter_is_corrected_for_their_number():
    frame = results((1, 2, 3))
    frame[JACCARD] += 0.006 * (frame["architecture"] == "UNet")
    factors = rank_tests(frame, JACCARD).factors
    assert [one.p_holm for one in factors] == pytest.approx(holm([one.p_f for one in factors]))
