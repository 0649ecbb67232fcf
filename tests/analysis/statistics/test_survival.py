"""Points that were still rising are censored, not taken as if they had reached their best."""

from __future__ import annotations

import numpy as np
import pytest
from statsmodels.duration.survfunc import survdiff

from analysis.statistics.survival import epochs_to_best, survival
from tests.analysis.statistics.samples import results

BUDGET = 30


def slow_at_small_rates(seeds=(1,), *, effect=True, seed=0):
    rng = np.random.default_rng(seed)
    frame = results(seeds)
    scale = frame["learning_rate"].map({1e-4: 40.0, 5e-4: 20.0, 1e-3: 12.0, 5e-3: 8.0}) if effect else 18.0
    times = np.ceil(scale * rng.weibull(2.5, len(frame)))
    censored = times >= BUDGET - 1
    return frame.assign(
        epochs_to_best=np.minimum(times, BUDGET).astype(float),
        epochs_to_best_censored=np.where(censored, "yes", "no"),
        epochs_requested=float(BUDGET),
        epochs_completed=float(BUDGET),
    )


def by_factor(frame):
    return {one.factor: one for one in survival(frame).factors}


def test_a_slow_rate_is_found_and_its_median_is_not_the_budget():
    frame = slow_at_small_rates()
    found = survival(frame)
    assert found.points == 36 and found.censored == (frame["epochs_to_best_censored"] == "yes").sum() > 3
    one = by_factor(frame)["learning_rate"]
    assert one.p_holm < 0.01 and one.df == 3 and one.strata == 9
    medians = [level.median for level in one.levels]
    assert medians[1] > medians[2] > medians[3] and (medians[0] is None or medians[0] > medians[1])


def test_the_test_is_the_stratified_log_rank_test_of_statsmodels():
    frame = slow_at_small_rates((1, 2))
    one = by_factor(frame)["architecture"]
    strata = frame.groupby(["learning_rate", "batch_size"]).ngroup().to_numpy()
    event = (frame["epochs_to_best_censored"] == "no").to_numpy(int)
    useful = np.isin(strata, np.unique(strata[event == 1]))
    statistic, p = survdiff(
        frame["epochs_to_best"].to_numpy()[useful],
        event[useful],
        frame["architecture"]
        .map({"UNet": 0, "Attention_UNet": 1, "Attention_ResUNet": 2})
        .to_numpy()[useful],
        strata=strata[useful],
    )
    assert (one.statistic, one.p) == (pytest.approx(statistic), pytest.approx(p))


def test_without_an_effect_the_level_is_kept():
    rejected = [
        one.p < 0.05
        for seed in range(40)
        for one in survival(slow_at_small_rates((1, 2), effect=False, seed=seed)).factors
    ]
    assert np.mean(rejected) <= 0.05 + 3 * (0.05 * 0.95 / len(rejected)) ** 0.5


def test_an_older_summary_is_censored_at_the_end_of_its_budget():
    frame = slow_at_small_rates().rename(columns={"epochs_to_best": "best_epoch"})
    expected = frame["epochs_to_best_censored"] == "yes"
    _, censored = epochs_to_best(frame.drop(columns="epochs_to_best_censored"))
    assert censored.tolist() == expected.tolist()
    stopped = frame.drop(columns="epochs_to_best_censored").assign(epochs_completed=20.0)
    assert not epochs_to_best(stopped)[1].any()  # early stopping ended them: they had stopped rising


def test_odd_data_have_reasons():
    assert not survival(results()).computed
    rising = slow_at_small_rates().assign(epochs_to_best=30.0, epochs_to_best_censored="yes")
    assert all("still rising" in one.reason for one in survival(rising).factors)
    same = slow_at_small_rates().assign(epochs_to_best=5.0, epochs_to_best_censored="no")
    assert all(one.p is None or 0 <= one.p <= 1 for one in survival(same).factors)
