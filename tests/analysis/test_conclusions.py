"""The best configuration has the set that is not distinguishable from it, and the warnings that limit it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis.conclusions import best, best_by_architecture
from analysis.summary import load_summary
from tests.analysis.report.test_report import PREDECESSOR, frame


def load(tmp_path, content):
    path = tmp_path / "summary.csv"
    content.to_csv(path, index=False)
    return load_summary(path)


def repeats(spread, *, effect=0.0, seeds=4, seed=0):
    generator = np.random.default_rng(seed)
    content = pd.concat([frame().assign(seed=n) for n in range(seeds)], ignore_index=True)
    content["best_val_jaccard"] = 0.6 + generator.normal(0, spread, len(content))
    content.loc[(content["learning_rate"] == 1e-3) & (content["batch_size"] == 8), "best_val_jaccard"] += (
        effect
    )
    return content


def test_noise_alone_gives_no_winner(tmp_path):
    found = best(load(tmp_path, repeats(0.02)))
    assert not found.provisional and len(found.indistinguishable.settings) > 6
    assert "are not distinguishable from it" in found.text and found.seeds_needed > 4


def test_a_clear_winner_is_reported_with_those_as_good(tmp_path):
    found = best(load(tmp_path, repeats(0.002, effect=0.1)))
    assert len(found.indistinguishable.settings) == 2  # one of each architecture
    assert found.overall.learning_rate == 1e-3 and found.overall.batch_size == 8


def test_with_repeats_the_best_is_the_best_mean_not_the_best_single_point(tmp_path):
    content = repeats(0.001, effect=0.05)
    lucky = content.index[(content["learning_rate"] == 1e-4)][0]
    content.loc[lucky, "best_val_jaccard"] = 0.66
    assert best(load(tmp_path, content)).overall.learning_rate == 1e-3


def test_with_one_seed_the_best_is_provisional_and_the_seeds_needed_are_given(tmp_path):
    content = frame()
    content["best_val_jaccard"] += np.random.default_rng(1).normal(0, 0.01, len(content))
    found = best(load(tmp_path, content))
    assert found.provisional and "the residual of the model, because the noise is not known" in found.text
    assert found.seeds_needed >= 2 and found.seeds_for_relevant >= 2


@pytest.mark.parametrize("rows", [0, 1, 2, 5])
def test_few_points_give_a_sentence(tmp_path, rows):
    found = best(load(tmp_path, frame().head(rows)))
    assert found.text and (found.overall is None) == (rows == 0)
    assert set(best_by_architecture(load(tmp_path, frame().head(rows)))) == set(
        frame().head(rows)["architecture"]
    )


def test_the_predecessors_winner_is_one_of_nine_configurations_that_may_be_as_good():
    if not PREDECESSOR.is_file():
        pytest.skip(f"the predecessor's results are not at {PREDECESSOR}")
    found = best(load_summary(PREDECESSOR))
    # Its learning rates were ignored, so there are nine configurations; each may be the best.
    assert (found.indistinguishable.of, found.indistinguishable.configurations) == (9, 9)
    assert found.configuration.settings == "UNet bs 16" and found.configuration.learning_rate == 0.001


def test_a_configuration_that_mostly_diverges_is_not_the_best(tmp_path):
    content = repeats(0.005, seeds=3)
    chosen = (
        (content["learning_rate"] == 1e-3)
        & (content["batch_size"] == 8)
        & (content["architecture"] == "UNet")
    )
    content.loc[chosen, "best_val_jaccard"] = 0.95
    rows = content.index[chosen][:2]
    content["status"] = ["diverged" if n in rows else "done" for n in content.index]
    content.loc[rows, ["training_successful", "best_val_jaccard"]] = ["False", np.nan]
    content["chance_jaccard"] = 0.07
    found = best(load(tmp_path, content))
    assert found.configuration.settings != "UNet lr 0.001 bs 8"
    assert found.indistinguishable.unreliable == ("UNet lr 0.001 bs 8",)
    assert "If it did not count, UNet lr 0.001 bs 8 would be first" in found.sensitivity
    assert "2 of 3 points diverged" in found.sensitivity and found.sensitivity in found.text


def test_a_diverged_point_of_the_best_is_named_beside_its_score(tmp_path):
    content = repeats(0.001, effect=0.2, seeds=5)
    chosen = (
        (content["learning_rate"] == 1e-3)
        & (content["batch_size"] == 8)
        & (content["architecture"] == "UNet")
    )
    content.loc[chosen, "best_val_jaccard"] = 0.99
    row = content.index[chosen][0]
    content["status"] = ["diverged" if n == row else "done" for n in content.index]
    content.loc[row, ["training_successful", "best_val_jaccard"]] = ["False", np.nan]
    content["chance_jaccard"] = 0.5
    found = best(load(tmp_path, content))
    assert found.configuration.diverged == 1 and "1 diverged of 5 points with these settings" in found.text
    assert found.configuration.mean_with_failures == pytest.approx((4 * 0.99 + 0.5) / 5, abs=1e-3)


def test_the_best_of_an_architecture_is_compared_with_the_error_of_all(tmp_path):
    loaded = load(tmp_path, repeats(0.01))
    whole, one = best(loaded), best_by_architecture(loaded)["UNet"]
    assert one.indistinguishable.sd == whole.indistinguishable.sd
    assert one.indistinguishable.df == whole.indistinguishable.df and one.indistinguishable.of == 6
    assert one.indistinguishable.critical_difference < whole.indistinguishable.critical_difference


def test_the_example_of_the_best_is_a_typical_run_not_the_luckiest(tmp_path):
    content = repeats(0.001, effect=0.05, seeds=3)
    chosen = content.index[
        (content["learning_rate"] == 1e-3)
        & (content["batch_size"] == 8)
        & (content["architecture"] == "UNet")
    ]
    content.loc[chosen, "best_val_jaccard"] = [0.70, 0.72, 0.71]
    found = best(load(tmp_path, content))
    assert found.overall.best_val_jaccard == 0.71 and found.configuration.mean == pytest.approx(0.71)
