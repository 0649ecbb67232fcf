"""The expected best of n is the mean over all subsets."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from analysis.statistics.best_of import best_of_curves, expected_best
from tests.analysis.statistics.samples import JACCARD, results


def test_it_is_the_mean_of_the_maximum_over_all_subsets():
    scores = np.random.default_rng(0).normal(size=7).round(1)
    found = expected_best(scores)
    for n in range(1, 8):
        assert found[n - 1] == pytest.approx(np.mean([max(chosen) for chosen in combinations(scores, n)]))


def test_thousands_of_points_are_no_problem():
    found = expected_best(np.linspace(0, 1, 5000))
    assert (
        len(found) == 200
        and found[0] == pytest.approx(0.5)
        and found[-1] == pytest.approx(200 / 201, abs=1e-3)
    )


def test_a_diverged_point_counts_as_chance():
    frame = results().assign(chance_jaccard=0.07)
    bad = frame.index[frame["architecture"] == "UNet"][0]
    frame.loc[bad, ["successful", "status", JACCARD]] = [False, "diverged", np.nan]
    unet = best_of_curves(frame)[0]
    rest = frame.loc[(frame["architecture"] == "UNet") & frame["successful"], JACCARD]
    assert unet.expected[0] == pytest.approx((rest.sum() + 0.07) / 12) and unet.expected[-1] == pytest.approx(
        rest.max()
    )


def test_a_failed_point_is_not_a_score_and_an_architecture_with_one_point_has_no_curve():
    frame = results().head(13)
    assert [one.architecture for one in best_of_curves(frame)] == ["UNet"]
