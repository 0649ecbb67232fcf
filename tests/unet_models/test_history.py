"""The metrics of a training follow the design's definitions."""

from __future__ import annotations

import math
import statistics

import pytest

from unet_models.history import COLUMNS, HistoryFile, summarise


def rows(jaccards, losses=None, train=0.1):
    losses = losses or [0.5] * len(jaccards)
    return [
        dict.fromkeys(COLUMNS, 0) | {"epoch": n, "loss": train, "val_loss": loss, "val_jaccard": score}
        for n, (score, loss) in enumerate(zip(jaccards, losses, strict=True), start=1)
    ]


def test_the_best_epoch_is_the_first_of_equal_ones():
    found = summarise(rows([0.2, 0.7, 0.7, 0.6]), 30)
    assert (found["best_val_jaccard"], found["best_epoch"], found["epochs_to_best"]) == (0.7, 2, 2)


@pytest.mark.parametrize(("best", "censored"), [(8, False), (9, True), (10, True)])
def test_censored_when_best_is_the_last_or_last_but_one_of_the_budget(best, censored):
    scores = [0.5] * 10
    scores[best - 1] = 0.9
    assert summarise(rows(scores), 10)["epochs_to_best_censored"] is censored


def test_stability_is_the_population_deviation_of_the_last_ten():
    losses = [100.0, 50.0, *(0.1 * n for n in range(10))]
    found = summarise(rows([0.5] * 12, losses), 30)
    assert found["val_loss_stability"] == pytest.approx(statistics.pstdev(losses[-10:]))
    assert summarise(rows([0.5], [0.3]), 30)["val_loss_stability"] == 0.0


def test_the_gap_is_of_the_last_epoch():
    assert summarise(rows([0.5, 0.5], [9.0, 0.4], train=0.1), 30)["overfitting_gap"] == pytest.approx(0.3)


def test_what_does_not_exist_is_none():
    assert summarise([], 30)["best_val_jaccard"] is None
    found = summarise(rows([0.5, 0.9], [0.3, math.nan]), 30)
    assert found["best_epoch"] == 1
    assert found["final_val_loss"] is found["val_loss_stability"] is found["overfitting_gap"] is None


def test_every_epoch_is_on_disk_when_it_is_appended(tmp_path):
    file = HistoryFile(tmp_path / "h.csv")
    for number, row in enumerate(rows([0.1, 0.2]), start=2):
        file.append(row)
        lines = (tmp_path / "h.csv").read_text().splitlines()
        assert len(lines) == number and lines[0] == ",".join(COLUMNS)
    file.close()
