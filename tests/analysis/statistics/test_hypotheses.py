"""The verdicts follow the fixed rules: a simulated effect is found, noise supports nothing, gaps are reported."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.statistics.claims import NOT_SUPPORTED, OPEN, SUPPORTED, agreement_of_repeats
from analysis.statistics.factors import NotComputed
from analysis.statistics.hypotheses import CONSISTENT, hypotheses
from analysis.summary import load_summary
from tests.analysis.report.test_report import PREDECESSOR, frame

ARCHITECTURES = ("UNet", "Attention_UNet", "Attention_ResUNet")


def grid(tmp_path, change, *, seeds=(1, 2, 3), noise=0.003, original=False):
    """The guide's grid with scores made by ``change``, which edits a row given its settings; noise on top."""
    generator = np.random.default_rng(0)
    content = pd.concat(
        [frame(ARCHITECTURES, (1e-4, 5e-4, 1e-3, 5e-3), (8, 16, 32)).assign(seed=n) for n in seeds]
    )
    if original:
        extra = content[(content["learning_rate"] == 5e-3) & (content["batch_size"] == 8)]
        content = pd.concat([content, extra.assign(learning_rate=1e-2)])
    content = content.reset_index(drop=True)
    content["index"] = range(1, len(content) + 1)
    content["name"] = [f"exp_{n:02d}_point" for n in content["index"]]
    content["best_val_jaccard"], content["val_loss_stability"] = 0.7, 0.02
    content = content.apply(change, axis=1)
    content["best_val_jaccard"] += generator.normal(0, noise, len(content))
    content["val_loss_stability"] *= np.exp(generator.normal(0, 0.05, len(content)))
    path = tmp_path / "summary.csv"
    content.to_csv(path, index=False)
    return load_summary(path)


def verdicts(loaded):
    found = {item.id: item for item in hypotheses(loaded)}
    return {key: item.verdict for key, item in found.items()}, found


def as_the_guide_says(row):
    best = 5e-4 if row["architecture"] == "UNet" else 1e-3
    distance = abs(np.log10(row["learning_rate"] / best))
    slope = {"UNet": 0.2, "Attention_UNet": 0.1, "Attention_ResUNet": 0.06}[row["architecture"]]
    row["best_val_jaccard"] -= slope * distance
    gain = 1.5 if row["architecture"] == "UNet" else 0.5
    row["val_loss_stability"] *= (8 / row["batch_size"]) ** gain * (1 + distance)
    return row


def test_the_guides_hypotheses_are_supported_by_data_that_follow_them(tmp_path):
    found, items = verdicts(grid(tmp_path, as_the_guide_says, original=True))
    assert found == {"H1": SUPPORTED, "H2": SUPPORTED, "H3": SUPPORTED, "success criteria": SUPPORTED}, items


def test_the_opposite_is_not_supported(tmp_path):
    def opposite(row):
        distance = min(abs(np.log10(row["learning_rate"] / rate)) for rate in (5e-4, 1e-3))
        row["best_val_jaccard"] += {"UNet": 0.0, "Attention_UNet": 0.05, "Attention_ResUNet": 0.1}[
            row["architecture"]
        ] * distance
        row["val_loss_stability"] *= row["batch_size"] / 8
        return row

    found, _ = verdicts(grid(tmp_path, opposite))
    assert found["H1"] == found["H2"] == found["H3"] == NOT_SUPPORTED


def test_noise_supports_nothing(tmp_path):
    supported = 0
    for seed in range(20):
        generator = np.random.default_rng(seed)

        def noise(row, generator=generator):
            row["best_val_jaccard"] += generator.normal(0, 0.01)
            row["val_loss_stability"] *= np.exp(generator.normal(0, 0.5))
            return row

        found, _ = verdicts(grid(tmp_path, noise, seeds=(1,)))
        supported += sum(verdict == SUPPORTED for verdict in found.values())
    assert supported == 0


def test_with_one_seed_an_improvement_over_the_original_cannot_be_judged(tmp_path):
    found, items = verdicts(grid(tmp_path, as_the_guide_says, seeds=(1,), original=True))
    assert found["success criteria"] == OPEN and "only one seed" in items["success criteria"].evidence


@pytest.mark.parametrize(
    "keep",
    [
        lambda loaded: loaded.head(0),
        lambda loaded: loaded.head(1),
        lambda loaded: loaded[loaded["architecture"] == "UNet"],
        lambda loaded: loaded[loaded["learning_rate"] == 1e-3],
        lambda loaded: loaded[loaded["batch_size"] == 8],
        lambda loaded: loaded.assign(best_val_jaccard=0.5, val_loss_stability=0.0),
        lambda loaded: loaded.assign(val_loss_stability=np.nan),
        lambda loaded: loaded.assign(successful=False),
        lambda loaded: loaded.assign(architecture="Something_else"),
        lambda loaded: loaded.assign(base_filters="8"),
        *(lambda loaded, n=n: loaded.sample(36 - n, random_state=n) for n in (1, 7, 20, 33, 35)),
    ],
)
def test_gaps_of_a_grid_are_reported_and_never_crash(tmp_path, keep):
    loaded = keep(grid(tmp_path, as_the_guide_says, seeds=(1,))).reset_index(drop=True)
    found, items = verdicts(loaded)
    assert len(found) == 4 and set(found.values()) <= {SUPPORTED, NOT_SUPPORTED, OPEN}
    assert all(part.evidence for item in items.values() for part in item.parts)


def test_the_predecessors_grids_support_nothing_about_a_learning_rate_that_did_not_exist():
    if not PREDECESSOR.is_file():
        pytest.skip(f"the predecessor's results are not at {PREDECESSOR}")
    loaded = load_summary(PREDECESSOR)
    for repeats in ([1, 2], [3], [1, 2, 3]):
        grid = loaded[loaded["seed"].isin(repeats)].reset_index(drop=True)
        found, items = verdicts(grid)
        assert found["H1"] == found["H3"] == OPEN and SUPPORTED not in found.values()
        for part in items["H1"].parts:
            assert "learning_rate_logged_epoch1: 0.001" in part.evidence


def test_an_axis_that_some_points_did_not_follow_has_no_verdict(tmp_path):
    loaded = grid(tmp_path, as_the_guide_says)
    effective = loaded["learning_rate"].where(loaded["learning_rate"] < 5e-3, 1e-3)
    found, _ = verdicts(loaded.assign(learning_rate_effective=effective))
    assert found["H1"] == OPEN
    assert verdicts(loaded.assign(learning_rate_effective=loaded["learning_rate"]))[0]["H1"] == SUPPORTED


@pytest.mark.parametrize("repeats", [2, 3, 7])
def test_the_mean_rank_correlation_is_that_of_all_pairs_of_repeats(repeats):
    generator = np.random.default_rng(repeats)
    # Rounded, so that there are ties; the last repeat is constant and is left out.
    table = np.round(generator.normal(size=(9, 1)) + generator.normal(size=(9, repeats)), 1)
    pairs = [stats.spearmanr(table[:, a], table[:, b]).statistic for a, b in combinations(range(repeats), 2)]
    mean, low, high = agreement_of_repeats(table, 0.05)
    assert mean == pytest.approx(np.mean(pairs), abs=1e-12) and low < mean < high
    constant = np.hstack([table, np.full((9, 1), 0.3)])
    assert agreement_of_repeats(constant, 0.05)[0] == pytest.approx(np.mean(pairs), abs=1e-12)
    with pytest.raises(NotComputed):
        agreement_of_repeats(constant[:, -2:], 0.05)


def claim(loaded, identity, place):
    return verdicts(loaded)[1][identity].parts[place]


def test_points_without_a_seed_are_judged_like_those_of_one_seed(tmp_path):
    loaded = grid(tmp_path, as_the_guide_says, seeds=(1,))
    without = loaded.assign(seed=np.nan)
    one, other = verdicts(loaded)[1], verdicts(without)[1]
    assert [one[key].parts for key in ("H1", "H2", "H3")] == [other[key].parts for key in ("H1", "H2", "H3")]


def two_rates(tmp_path, difference, *, noise=0.002):
    """For UNet 5e-4 is better than 1e-3 by ``difference``; all other rates are much worse."""

    def scores(row):
        row["best_val_jaccard"] -= 0.1 * (row["learning_rate"] not in (5e-4, 1e-3))
        row["best_val_jaccard"] -= difference * (row["learning_rate"] == 1e-3)
        return row

    return grid(tmp_path, scores, noise=noise)


@pytest.mark.parametrize(("difference", "verdict"), [(0.03, SUPPORTED), (-0.03, NOT_SUPPORTED), (0.0, OPEN)])
def test_a_rate_is_the_best_if_all_others_are_excluded(tmp_path, difference, verdict):
    assert claim(two_rates(tmp_path, difference), "H1", 1).verdict == verdict


def test_rates_that_differ_by_less_than_the_margin_are_tied(tmp_path):
    part = claim(two_rates(tmp_path, 0.004, noise=0.0005), "H1", 1)
    assert part.verdict == OPEN and "tied within 0.01" in part.evidence


def test_a_claimed_rate_at_which_points_diverged_is_not_supported_as_the_best(tmp_path):
    loaded = two_rates(tmp_path, 0.03)
    rows = loaded.index[(loaded["learning_rate"] == 5e-4) & (loaded["architecture"] == "UNet")][:2]
    loaded.loc[rows, ["successful", "status", "best_val_jaccard"]] = [False, "diverged", np.nan]
    part = claim(loaded, "H1", 1)
    assert part.verdict == OPEN and "2 points at the claimed rate diverged" in part.evidence


def test_a_level_without_its_difficult_settings_does_not_look_better(tmp_path):
    def difficult(row):
        row["best_val_jaccard"] -= 0.2 * (row["batch_size"] == 8)
        return row

    loaded = grid(tmp_path, difficult)
    missing = (loaded["learning_rate"] == 1e-3) & (loaded["batch_size"] == 8)
    found, _ = verdicts(loaded[~missing].reset_index(drop=True))
    assert found["H1"] == OPEN


@pytest.mark.parametrize(("slope", "verdict"), [(-0.5, SUPPORTED), (0.5, NOT_SUPPORTED), (0.0, OPEN)])
def test_the_stability_must_fall_with_the_batch_size(tmp_path, slope, verdict):
    def stability(row):
        row["val_loss_stability"] *= (row["batch_size"] / 8) ** slope
        return row

    assert claim(grid(tmp_path, stability), "H2", 0).verdict == verdict


@pytest.mark.parametrize(
    ("gain", "verdict"), [("UNet", SUPPORTED), ("Attention_UNet", NOT_SUPPORTED), (None, OPEN)]
)
def test_the_improvement_must_be_the_largest_for_unet(tmp_path, gain, verdict):
    def stability(row):
        row["val_loss_stability"] *= (8 / row["batch_size"]) ** (0.8 if row["architecture"] == gain else 0.2)
        return row

    assert claim(grid(tmp_path, stability), "H2", 1).verdict == verdict


def test_architectures_with_one_and_the_same_best_setting_do_not_differ(tmp_path):
    def same(row):
        row["best_val_jaccard"] += 0.1 * ((row["learning_rate"] == 1e-3) & (row["batch_size"] == 16))
        return row

    assert claim(grid(tmp_path, same), "H3", 0).verdict == NOT_SUPPORTED


def against_the_original(tmp_path, *, ratio=0.4, lower=0.0, seeds=(1, 2, 3)):
    """Every setting is equal but for the original one, which has ``ratio`` times the best stability's inverse."""
    loaded = grid(tmp_path, lambda row: row, seeds=seeds, noise=0.0, original=True)
    rng = np.random.default_rng(8)
    noise = rng.normal(0, 1, (2, len(loaded)))
    original = loaded["learning_rate"] == 1e-2
    best = (loaded["learning_rate"] == 1e-3) & (loaded["batch_size"] == 16)
    scores = np.where(original, 0.7 + lower, np.where(best, 0.7, 0.6)) + 0.001 * noise[0]
    stability = np.where(original, 0.01, 0.01 * ratio) * np.exp(0.05 * noise[1])
    return loaded.assign(best_val_jaccard=scores, val_loss_stability=stability)


@pytest.mark.parametrize(("ratio", "verdict"), [(0.4, SUPPORTED), (0.5, OPEN), (0.65, NOT_SUPPORTED)])
def test_stability_must_be_more_than_twice_as_good_as_the_original(tmp_path, ratio, verdict):
    assert claim(against_the_original(tmp_path, ratio=ratio), "success criteria", 0).verdict == verdict


@pytest.mark.parametrize(("lower", "verdict"), [(0.0, SUPPORTED), (0.005, OPEN), (0.012, NOT_SUPPORTED)])
def test_the_score_may_be_half_a_hundredth_lower_than_the_originals(tmp_path, lower, verdict):
    assert claim(against_the_original(tmp_path, lower=lower), "success criteria", 1).verdict == verdict


@pytest.mark.parametrize(("share", "verdict"), [(0.98, SUPPORTED), (0.5**0.5, OPEN), (0.0, NOT_SUPPORTED)])
def test_repeats_must_agree_in_their_ranks(tmp_path, share, verdict):
    rng = np.random.default_rng(9)
    loaded = grid(tmp_path, lambda row: row, noise=0.0)
    common = np.tile(rng.standard_normal(36), 3)
    values = share * common + (1 - share**2) ** 0.5 * rng.standard_normal(108)
    part = claim(loaded.assign(best_val_jaccard=0.7 + 0.01 * values), "success criteria", 2)
    assert part.verdict == verdict and "between 3 repeats" in part.evidence and CONSISTENT == 0.5
