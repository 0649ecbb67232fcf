"""What is best, also where two things count."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis.ranking import pareto_front

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
def test_the_pareto_front_holds_what_nothing_beats_and_of_equal_ones_all(scores, losses, front):
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
