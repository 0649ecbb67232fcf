"""Noise, its components and the set of best configurations have the values of a computation by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from analysis.statistics.importance import importance
from analysis.statistics.noise import indistinguishable, noise
from tests.analysis.statistics.samples import BATCHES, CELL, JACCARD, results


def mean_squares(frame):
    """Between and within configurations of a balanced frame: one-way analysis of variance by hand."""
    groups = [group[JACCARD].to_numpy() for _, group in frame.groupby(CELL)]
    size, middle = len(groups[0]), frame[JACCARD].mean()
    between = size * sum((group.mean() - middle) ** 2 for group in groups) / (len(groups) - 1)
    within = sum(((group - group.mean()) ** 2).sum() for group in groups) / (len(groups) * (size - 1))
    return between, within, size


def with_effect():
    frame = results((1, 2, 3))
    frame[JACCARD] += 0.01 * frame["batch_size"].map({batch: n for n, batch in enumerate(BATCHES)})
    return frame


def test_the_icc_is_that_of_shrout_and_fleiss():
    frame = with_effect()
    between, within, size = mean_squares(frame)
    assert noise(frame).icc == pytest.approx((between - within) / (between + (size - 1) * within), rel=1e-9)


def test_the_interval_of_the_noise_is_chi_squared():
    frame = with_effect()
    found = noise(frame)
    _, within, _ = mean_squares(frame)
    df = 72
    limits = [math.sqrt(within * df / stats.chi2.ppf(p, df)) for p in (0.975, 0.025)]
    assert (found.df, found.cells) == (df, 36) and found.sd_ci == pytest.approx(limits, rel=1e-9)


def test_noise_within_seeds_leaves_out_the_means_of_the_seeds_and_their_degrees_of_freedom():
    frame = with_effect()
    frame[JACCARD] += 0.02 * frame["seed"]
    values = frame[JACCARD] - frame.groupby(CELL)[JACCARD].transform("mean")
    rest = values - values.groupby(frame["seed"]).transform("mean")
    found = noise(frame)
    assert found.df_within_seed == 108 - 36 - 2
    assert found.sd_within_seed == pytest.approx(math.sqrt((rest**2).sum() / 70), rel=1e-9)
    assert found.sd == pytest.approx(math.sqrt((values**2).sum() / 72), rel=1e-9)


def test_the_noise_component_of_the_importance_is_that_of_the_one_way_model():
    frame = with_effect()
    between, within, size = mean_squares(frame)
    found = importance(frame, JACCARD).replicates
    component = (between - within) / size
    assert found.df == 72 and found.variance_share == pytest.approx(within / (within + component), rel=1e-9)


def test_the_critical_difference_is_tukeys_and_decides_on_both_sides():
    frame = with_effect().drop(columns="seed")  # no seeds in common: the plain variation between repeats
    frame["seed"] = np.arange(len(frame), dtype=float)
    _, within, _ = mean_squares(frame)
    expected = stats.studentized_range.ppf(0.95, 36, 72) * math.sqrt(within / 3)
    found = indistinguishable(frame)
    assert found.df == 72 and found.of == 36
    assert found.sd == pytest.approx(math.sqrt(within), rel=1e-9)
    assert found.critical_difference == pytest.approx(expected, rel=1e-7)
    means = frame.groupby(CELL)[JACCARD].transform("mean")
    other = frame[means == means.min()].index
    for away, inside in ((expected * (1 - 1e-6), True), (expected * (1 + 1e-6), False)):
        moved = frame.copy()
        moved.loc[other, JACCARD] += means.max() - away - means.min()
        assert bool(set(frame.loc[other, "name"]) & set(indistinguishable(moved).names)) == inside
