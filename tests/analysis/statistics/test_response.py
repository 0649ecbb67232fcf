"""The optimum of the learning rate comes from a parabola over its logarithm, with an interval."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.configurations import ranking
from analysis.statistics.response import responses
from tests.analysis.statistics.samples import JACCARD, results

OPTIMUM = 7e-4


def curved(seeds=(1, 2, 3), curvature=0.1, spread=0.005, seed=0):
    frame = results(seeds, spread=spread, seed=seed)
    frame[JACCARD] -= curvature * np.log10(frame["learning_rate"] / OPTIMUM) ** 2
    frame[JACCARD] += 0.01 * (frame["batch_size"] == 16)
    return frame


def of(frame):
    return {one.architecture: one for one in responses(frame, ranking(frame))}


def test_the_optimum_is_found_with_its_interval():
    one = of(curved())["UNet"]
    assert one.computed and one.curvature_p < 0.001 and one.n == 12
    low, high = one.ci
    assert low < OPTIMUM < high < 5e-3 and one.optimum == pytest.approx(OPTIMUM, rel=0.2)
    a, b, c = one.coefficients
    x = np.log10(one.optimum)
    assert b + 2 * c * x == pytest.approx(0, abs=1e-9) and 0.55 < a + b * x + c * x * x < 0.65


def test_the_interval_covers_the_optimum():
    covered = []
    for seed in range(60):
        one = of(curved(spread=0.02, seed=seed))["UNet"]
        if one.ci is not None and one.ci[0] is not None:
            covered.append(one.ci[0] <= OPTIMUM <= one.ci[1])
    assert np.mean(covered) >= 0.85


def test_without_curvature_the_optimum_may_be_anywhere():
    for seed in range(10):
        one = of(curved(curvature=0.0, seed=seed))["UNet"]
        if one.curvature_p > 0.05 and one.optimum is not None:
            assert one.ci == (None, None) and "anywhere" in one.reason


def test_points_near_chance_and_ignored_rates_do_not_make_a_parabola():
    frame = curved().assign(chance_jaccard=0.07)
    frame.loc[frame["learning_rate"].isin([5e-3, 1e-4]), JACCARD] = 0.08
    assert of(frame)["UNet"].reason.startswith("2 learning rates with a score above chance")
    ignored = curved().assign(learning_rate_logged_epoch1=0.001)
    assert "did not follow" in of(ignored)["UNet"].reason


def test_few_settings_have_a_reason():
    one = curved().query("batch_size == 8 and learning_rate < 5e-3").reset_index(drop=True)
    assert "degrees of freedom" in of(one)["UNet"].reason
