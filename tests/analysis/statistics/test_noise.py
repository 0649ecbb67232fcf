"""Noise, its components and the set of best configurations have the values of a computation by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from analysis.statistics.importance import importance
from analysis.statistics.noise import noise
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


def test_a_failed_point_does_not_put_the_effect_of_the_seeds_into_the_noise():
    frame = results((1, 2, 3))
    frame[JACCARD] += 0.05 * frame["seed"]
    whole = noise(frame)
    one_failed = frame.drop(index=17).reset_index(drop=True)
    found = noise(one_failed)
    assert found.df_within_seed == 107 - 36 - 2
    assert found.sd_within_seed == pytest.approx(whole.sd_within_seed, rel=0.05)
    # The residual of the additive model of configurations and seeds, by least squares.
    cells = one_failed.groupby(CELL).ngroup().to_numpy()
    seeds = one_failed["seed"].to_numpy(int) - 1
    design = np.hstack([np.eye(36)[cells], np.eye(3)[seeds][:, 1:]])
    squares = np.linalg.lstsq(design, one_failed[JACCARD].to_numpy(), rcond=None)[1]
    assert found.sd_within_seed == pytest.approx(math.sqrt(squares[0] / 69), rel=1e-9)


def test_a_second_seed_of_one_configuration_is_not_the_noise_of_the_grid():
    frame = results((1, 2)).query(
        "seed == 1 or (architecture == 'UNet' and learning_rate == 0.001 and batch_size == 8)"
    )
    found = noise(frame.reset_index(drop=True))
    assert not found.known
    assert (
        found.reason == "only 1 of 36 configurations have more than one successful point: run several seeds"
    )


def test_points_near_chance_are_not_part_of_the_noise():
    frame = results((1, 2, 3)).assign(chance_jaccard=0.07)
    frame.loc[frame["learning_rate"] == 5e-3, JACCARD] = 0.07  # nothing was learned, and nothing varies
    assert noise(frame).sd == pytest.approx(
        noise(frame[frame["learning_rate"] < 5e-3].reset_index(drop=True)).sd
    )
