"""Divergence is tested exactly within groups that agree in the other hyperparameters."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from analysis.statistics import failures
from analysis.statistics.failures import failure_tests
from tests.analysis.statistics.samples import JACCARD, results


def diverging(rows, *, seeds=(1,), state="diverged"):
    frame = results(seeds)
    frame.loc[rows(frame), ["successful", "status", JACCARD]] = [False, state, np.nan]
    return frame


def by_factor(frame):
    return {one.factor: one for one in failure_tests(frame)}


def three_of_nine(frame):
    """At the largest rate, a different batch size for each architecture."""
    batches = {"UNet": 8, "Attention_UNet": 16, "Attention_ResUNet": 32}
    return (frame["learning_rate"] == 5e-3) & (frame["batch_size"] == frame["architecture"].map(batches))


def test_three_of_nine_at_the_largest_rate_are_found():
    one = by_factor(diverging(three_of_nine))["learning_rate"]
    # Each of three groups has one diverged point, which is at the largest of four rates by chance once in four times.
    assert one.p == pytest.approx(1 / 64) and one.p_holm == pytest.approx(3 / 64)
    assert one.strata == 3 and [level.diverged for level in one.levels] == [0, 0, 0, 3]
    assert "exact" in one.test and "higher values" in one.alternative


def test_divergence_at_the_smallest_rate_is_not_what_was_expected():
    one = by_factor(diverging(lambda f: (f["learning_rate"] == 1e-4) & (f["architecture"] == "UNet")))
    assert one["learning_rate"].p == pytest.approx(1.0)


def test_an_architecture_that_diverges_is_found_by_the_general_statistic():
    frame = diverging(lambda f: (f["architecture"] == "UNet") & (f["learning_rate"] == 5e-3), seeds=(1, 2, 3))
    one = by_factor(frame)["architecture"]
    # Three groups (batch sizes) of 3 x 3 points, in each all three of UNet: 1 of 84 choices, for any of 3 architectures.
    assert one.p == pytest.approx(3 / 84**3)


def test_two_strata_of_two_levels_have_the_p_of_fishers_combined_tables():
    frame = results((1, 2, 3, 4), rates=(1e-3, 5e-3), batches=(8,))
    frame = frame[frame["architecture"] != "UNet"].reset_index(drop=True)
    bad = [4, 5, 6, 12, 13]  # three of four at the larger rate in one architecture; in the other two
    frame.loc[[*bad], ["successful", "status"]] = [False, "diverged"]
    one = by_factor(frame)["learning_rate"]
    tables = [
        (
            group[group["status"] == "diverged"]["learning_rate"].gt(2e-3).sum(),
            (group["status"] == "diverged").sum(),
        )
        for _, group in frame.groupby("architecture")
    ]
    first, second = (stats.hypergeom(8, 4, total) for _, total in tables)
    observed = sum(high for high, _ in tables)
    expected = sum(first.pmf(a) * second.pmf(b) for a in range(5) for b in range(5) if a + b >= observed)
    assert one.p == pytest.approx(expected)


def test_without_divergence_or_without_a_comparison_there_is_a_reason():
    assert all(one.reason == "no point diverged" for one in failure_tests(results()))
    whole = diverging(lambda f: f["batch_size"] == 8)
    assert by_factor(whole)["learning_rate"].reason.startswith("no group of points that agree")
    assert by_factor(whole)["batch_size"].computed


def test_other_failures_are_counted_but_are_not_divergence():
    one = by_factor(diverging(three_of_nine, state="oom"))["learning_rate"]
    assert not one.computed and [level.failed for level in one.levels] == [0, 0, 0, 3]


def test_too_many_points_have_the_approximate_test(monkeypatch):
    frame = diverging(three_of_nine, seeds=range(1, 4))
    exact = {name: one.p for name, one in by_factor(frame).items()}
    monkeypatch.setattr(failures, "MOST_STATES", 3)
    found = by_factor(frame)
    assert all("approximate" in one.test for one in found.values() if one.computed)
    for name, p in exact.items():
        if p is not None:
            assert (found[name].p < 0.05) == (p < 0.05)


def test_the_exact_tests_keep_their_level():
    rng = np.random.default_rng(0)
    frame = results((1, 2))
    rejected = {"learning_rate": 0, "batch_size": 0, "architecture": 0}
    for _ in range(120):
        bad = rng.random(len(frame)) < 0.15
        trial = frame.assign(successful=~bad, status=np.where(bad, "diverged", "done"))
        for name, one in by_factor(trial).items():
            rejected[name] += one.p is not None and one.p < 0.05
    assert max(rejected.values()) <= 0.05 * 120 + 3 * (0.05 * 0.95 * 120) ** 0.5
