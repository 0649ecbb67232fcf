"""The order of the points, the Pareto front, and the checks of the best points."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis.ranking import NEAR_CHANCE, by_value, near_chance, pareto_front

SCORE, LOSS = "best_val_jaccard", "val_loss_stability"


@pytest.mark.parametrize(
    ("scores", "losses", "front"),
    [
        ([0.9, 0.9, 0.8, 0.7, 0.6], [3.0, 3.0, 2.0, 2.5, 1.0], [0, 1, 2, 4]),
        ([0.5, 0.7, 0.6, 0.7, 0.4, 0.9], [1.0, 2.0, 3.0, 2.0, 1.0, np.nan], [1, 3, 0]),
        ([0.5, 0.5], [2.0, 1.0], [1]),
        ([0.5, np.nan], [np.nan, 1.0], []),
        ([], [], []),
    ],
)
def test_the_pareto_front_contains_all_rows_that_no_other_row_dominates(scores, losses, front):
    rows = pd.DataFrame({SCORE: scores, LOSS: losses}, dtype=float)
    assert list(pareto_front(rows, LOSS).index) == front


def test_the_pareto_front_is_that_of_comparing_every_pair():
    generator = np.random.default_rng(0)
    for _ in range(50):
        rows = pd.DataFrame(generator.integers(0, 6, (12, 2)) / 10, columns=[SCORE, LOSS])
        beaten = {
            one
            for one, (score, loss) in rows.iterrows()
            for _, (other, less) in rows.iterrows()
            if other >= score and less <= loss and (other, less) != (score, loss)
        }
        assert set(pareto_front(rows, LOSS).index) == set(rows.index) - beaten


def test_means_are_those_of_the_successful_points_even_where_a_failed_one_has_a_score():
    rows = pd.DataFrame({"batch_size": [8, 8, 8, 16], SCORE: [0.5, 0.7, 0.9, 0.4]})
    rows["successful"] = [True, True, False, True]
    found = by_value(rows, "batch_size")
    assert found.loc[8].to_dict() == pytest.approx({"count": 2, "mean": 0.6, "min": 0.5, "max": 0.7})
    assert found.loc[16].to_dict() == pytest.approx({"count": 1, "mean": 0.4, "min": 0.4, "max": 0.4})


def test_near_chance_is_at_most_0_05_above_it_and_only_for_successful_points():
    rows = pd.DataFrame({"chance_jaccard": 0.25, SCORE: [0.25 + NEAR_CHANCE, 0.3000001, 0.1, 0.1]})
    rows["successful"] = [True, True, True, False]
    assert list(near_chance(rows)) == [True, False, True, False]
