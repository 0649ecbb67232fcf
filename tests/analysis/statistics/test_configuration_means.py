"""The means of configurations are adjusted for seeds, have their own variances, and shrink by what chance explains."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.statistics.configuration_means import (
    BETWEEN_REPEATS,
    OF_MODEL,
    WITHIN_SEEDS,
    configuration_means,
    moderated_variances,
    predicted_means,
)
from analysis.statistics.factors import NotComputed
from tests.analysis.statistics.samples import CELL, JACCARD, results


def test_a_configuration_without_the_good_seed_is_not_worse_for_it():
    frame = results((1, 2, 3), spread=1e-4)
    frame[JACCARD] += 0.1 * (frame["seed"] == 3)
    lacking = frame[(frame["name"] != frame["name"][2])].reset_index(drop=True)
    found = configuration_means(lacking, JACCARD)
    first = found.data.cell[0]
    assert found.raw[first] == pytest.approx(0.6, abs=1e-3)
    assert found.adjusted[first] == pytest.approx(0.6 + 0.1 / 3, abs=1e-3)
    assert found.basis == WITHIN_SEEDS and found.pooled**0.5 == pytest.approx(1e-4, rel=0.3)


def test_adjusted_means_are_those_of_least_squares():
    rng = np.random.default_rng(3)
    frame = results((1, 2, 3, 4)).drop(index=rng.choice(144, 40, replace=False)).reset_index(drop=True)
    frame[JACCARD] += 0.03 * frame["seed"]
    found = configuration_means(frame, JACCARD)
    seeds = frame["seed"].to_numpy(int) - 1
    cells = found.data.cell
    design = np.hstack([np.eye(found.data.cells)[cells], np.eye(4)[seeds]])
    fitted = np.linalg.lstsq(design, frame[JACCARD].to_numpy(), rcond=None)[0]
    expected = fitted[: found.data.cells] + fitted[found.data.cells :].mean()
    assert found.adjusted == pytest.approx(expected, abs=1e-9)
    # The variance of a difference of two of them is that of least squares.
    inverse = np.linalg.pinv(design.T @ design)
    contrast = np.zeros(len(inverse))
    contrast[0], contrast[5] = 1, -1
    error = np.sqrt(contrast @ inverse @ contrast * found.pooled)
    if found.equal:
        assert found.estimates.difference_errors(0)[5] == pytest.approx(error, rel=1e-6)
    blocks = found.shared @ found.shared.T
    own = found.pooled / found.counts
    assert np.sqrt(own[0] + own[5] + blocks[0, 0] + blocks[5, 5] - 2 * blocks[0, 5]) == pytest.approx(error)


def test_unrelated_seeds_are_not_blocks():
    frame = results((1, 2, 3))
    frame["seed"] = np.arange(len(frame), dtype=float)
    found = configuration_means(frame, JACCARD)
    assert found.basis == BETWEEN_REPEATS and found.pooled_df == 72
    within = frame.groupby(CELL)[JACCARD].var().mean()
    assert found.pooled == pytest.approx(within, rel=1e-9)


def test_one_seed_has_the_residual_of_the_model():
    found = configuration_means(results(), JACCARD)
    assert found.basis == OF_MODEL and found.equal and found.pooled_df == 12 and not found.repeated


def test_points_near_chance_do_not_set_the_residual_for_the_rest():
    frame = results().assign(chance_jaccard=0.07)
    failing = [3, 10, 14, 23, 25, 35]  # in no pattern: a model of two-way interactions cannot follow
    frame.loc[failing, JACCARD] = 0.08
    assert configuration_means(frame, JACCARD).pooled ** 0.5 < 0.02
    assert configuration_means(frame.drop(columns="chance_jaccard"), JACCARD).pooled ** 0.5 > 0.05


def test_a_noisy_learning_rate_has_its_own_variance():
    frame = results((1, 2, 3))
    rng = np.random.default_rng(4)
    frame.loc[frame["learning_rate"] == 5e-3, JACCARD] += rng.normal(0, 0.05, 27)
    found = configuration_means(frame, JACCARD)
    noisy = found.codes("learning_rate") == 3
    assert not found.equal
    assert np.median(found.variances[noisy]) > 5 * np.median(found.variances[~noisy])


def test_equal_variances_stay_nearly_equal():
    rng = np.random.default_rng(5)
    ratios = []
    for _ in range(50):
        variances = rng.chisquare(2, 36) / 2
        found, df, _ = moderated_variances(variances, np.full(36, 2.0), variances.mean(), 72, [])
        ratios.append(found.max() / found.min())
        assert (df <= 72).all() and (df > 2).all()
    assert np.median(ratios) < 2.5  # those of two degrees of freedom differ by a factor of hundreds


def test_few_or_no_variances_are_pooled():
    for variances in (np.array([1.0, 2.0]), np.zeros(36)):
        found, _, equal = moderated_variances(variances, np.full(len(variances), 2.0), 1.5, 4, [])
        assert equal and (found == 1.5).all()


def test_means_that_differ_by_chance_only_shrink_to_one():
    found = configuration_means(results((1, 2, 3)), JACCARD)
    assert np.ptp(predicted_means(found)) < 0.4 * np.ptp(found.adjusted)


def test_clear_differences_are_kept():
    frame = results((1, 2, 3), spread=0.001)
    frame[JACCARD] += 0.1 * frame["learning_rate"].rank(method="dense")
    found = configuration_means(frame, JACCARD)
    assert predicted_means(found) == pytest.approx(found.adjusted, abs=0.002)


@pytest.mark.parametrize("seeds", [(1, 2, 3), (1,)])
def test_the_shrunken_mean_of_the_best_is_nearly_unbiased(seeds):
    rng = np.random.default_rng(6)
    frame = results(seeds)
    cell = frame.groupby(CELL).ngroup()
    raw, shrunken = [], []
    for _ in range(60):
        truth = 0.7 + rng.normal(0, 0.008, 36)
        trial = frame.assign(**{JACCARD: truth[cell] + rng.normal(0, 0.01, len(frame))})
        found = configuration_means(trial, JACCARD)
        best = int(found.adjusted.argmax())
        true = truth[cell[int(np.flatnonzero(found.data.cell == best)[0])]]
        raw.append(found.adjusted[best] - true)
        shrunken.append(predicted_means(found)[best] - true)
    assert np.mean(raw) > 0.004
    assert abs(np.mean(shrunken)) < 0.5 * np.mean(raw)


def test_values_without_any_error_have_a_reason():
    frame = results()
    frame[JACCARD] = 0.3 + 0.01 * frame["batch_size"]
    with pytest.raises(NotComputed, match="reproduces every value exactly"):
        configuration_means(frame, JACCARD)
