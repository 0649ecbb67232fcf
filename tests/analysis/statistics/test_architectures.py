"""Architectures are compared at their own best settings, with the probability that one run beats another."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from analysis.configurations import ranking
from analysis.statistics.architectures import architecture_comparison, newcombe
from tests.analysis.statistics.samples import JACCARD, results


def at_different_rates(seeds=(1, 2, 3), gain=0.05, spread=0.005):
    """Each architecture has its own best learning rate; at the common rate 1e-3 the order is another one."""
    frame = results(seeds, spread=spread)
    best = frame["architecture"].map({"UNet": 1e-4, "Attention_UNet": 1e-3, "Attention_ResUNet": 5e-3})
    level = frame["architecture"].map({"UNet": gain, "Attention_UNet": 0.0, "Attention_ResUNet": -gain})
    frame[JACCARD] += np.where(frame["learning_rate"] == best, 0.1 + level, 0.0)
    return frame


def compared(frame):
    return architecture_comparison(frame, ranking(frame))


def test_each_is_compared_at_its_own_best_rate():
    found = compared(at_different_rates())
    assert [one.architecture for one in found.architectures] == [
        "UNet",
        "Attention_UNet",
        "Attention_ResUNet",
    ]
    assert [one.settings.split()[2] for one in found.architectures] == ["0.0001", "0.001", "0.005"]
    assert [one.may_be_best for one in found.architectures] == [True, False, False]
    low, high = found.architectures[0].difference_to_best
    assert 0 < low < 0.05 < high
    assert found.architectures[2].difference_to_best[1] < 0


def test_the_probability_of_outperforming_is_the_share_of_pairs_that_are_won():
    frame = at_different_rates(gain=0.005)
    found = compared(frame)
    pair = found.pairs[0]
    a, b = (frame.loc[frame["name"].isin(names), JACCARD] for names in _names(frame, pair))
    statistic = stats.mannwhitneyu(a, b).statistic
    assert pair.probability == pytest.approx(statistic / (len(a) * len(b))) and pair.pairs == 9


def _names(frame, pair):
    by_settings = {one.settings: one.names for one in ranking(frame).configurations}
    return by_settings[pair.a], by_settings[pair.b]


def test_three_runs_are_too_few_to_be_sure_and_ten_are_not():
    few = compared(at_different_rates()).pairs[0]
    assert few.probability == 1.0 and few.ci[0] < 0.75
    many = compared(at_different_rates(seeds=range(1, 11))).pairs[0]
    assert many.verdict == "better" and many.pairs == 10 and many.ci[0] > 0.65


def test_a_diverged_run_loses():
    frame = at_different_rates(spread=0.001)
    row = frame.index[(frame["architecture"] == "UNet") & (frame["learning_rate"] == 1e-4)]
    frame.loc[row[::3], ["successful", "status", JACCARD]] = [False, "diverged", np.nan]
    found = compared(frame.assign(chance_jaccard=0.55))
    pair = next(one for one in found.pairs if "UNet lr 0.0001" in one.a + one.b)
    assert 0.3 < pair.probability < 0.7


def test_without_repeats_there_is_no_probability():
    found = compared(at_different_rates(seeds=(1,)))
    assert found.computed and found.pairs == () and "no repeats" in found.reason
    one = results().query("architecture == 'UNet'").reset_index(drop=True)
    assert not compared(one).computed


def test_the_interval_is_newcombes_and_covers():
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(300):
        a, b = rng.normal(0.8, 1, 4), rng.normal(0, 1, 4)
        low, high = newcombe(float((a[:, None] > b).mean()), 4, 4)
        covered.append(low <= stats.norm.cdf(0.8 / 2**0.5) <= high)
    assert 0.92 <= np.mean(covered) <= 1.0
    assert newcombe(1.0, 3, 3)[1] == 1.0 and newcombe(0.0, 3, 3)[0] == 0.0
