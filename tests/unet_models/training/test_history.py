"""The metrics of a training follow the design's definitions."""

from __future__ import annotations

import math
import statistics

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from unet_models.training.history import COLUMNS, history_csv, read_history, summarise


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


def written(count=3):
    return [dict.fromkeys(COLUMNS, 0.1) | {"epoch": n, "loss": 0.1 + n / 3} for n in range(1, count + 1)]


def test_a_history_file_comes_back_as_it_was_written(tmp_path):
    path = tmp_path / "h.csv"
    path.write_text(history_csv(written()))
    assert path.read_text().splitlines()[0] == ",".join(COLUMNS)
    assert read_history(path) == written()


@pytest.mark.parametrize(
    ("damage", "epochs"),
    [
        (lambda text: "", []),
        (lambda text: text.replace("epoch", "Epoch", 1), []),
        (lambda text: text[:-2], [1, 2]),  # its last line has no end
        (lambda text: text.replace("2,", "x,", 1), [1, 3]),
        (lambda text: text.replace("2,", "nan,", 1), [1, 3]),
        (lambda text: text + "3,1\n-1" + ",0" * 9 + "\n", [1, 2, 3]),
        (lambda text: text + "\n\n4" + ",0" * 9 + "\n", [1, 2, 3, 4]),
    ],
)
def test_of_a_damaged_history_what_can_be_understood_is_read(tmp_path, damage, epochs):
    path = tmp_path / "h.csv"
    path.write_text(damage(history_csv(written())))
    assert [row["epoch"] for row in read_history(path)] == epochs


@given(cut=st.integers(0, 400), place=st.integers(0, 400), junk=st.binary(max_size=6))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=120)
def test_no_history_file_crashes_its_reader(tmp_path, cut, place, junk):
    path = tmp_path / "h.csv"
    whole = history_csv(written()).encode()
    path.write_bytes(whole[:cut])
    assert read_history(path) == [row for row in written() if row["epoch"] <= whole[:cut].count(b"\n") - 1]
    path.write_bytes(whole[:place] + junk + whole[place:])
    for row in read_history(path):
        assert set(row) == set(COLUMNS) and all(isinstance(value, float) for value in row.values())


def test_the_final_losses_are_those_of_the_last_epoch():
    found = summarise(rows([0.5, 0.4], [9.0, 0.25], train=0.75), 30)
    assert (found["final_val_loss"], found["final_train_loss"]) == (0.25, 0.75)
    assert found["overfitting_gap"] == -0.5
    assert (found["epochs_completed"], found["epochs_requested"]) == (2, 30)


def test_an_epoch_whose_validation_loss_is_not_a_number_is_not_the_best():
    found = summarise(rows([0.5, 0.9, 0.6], [0.3, math.inf, 0.2]), 30)
    assert (found["best_val_jaccard"], found["best_epoch"]) == (0.6, 3)
    assert found["epochs_to_best_censored"] is False


def test_of_two_lines_for_one_epoch_the_later_counts_and_epochs_are_in_order(tmp_path):
    first, second = written(2)
    path = tmp_path / "h.csv"
    path.write_text(history_csv([second, first, second | {"loss": 0.75}]))
    assert [(row["epoch"], row["loss"]) for row in read_history(path)] == [(1, first["loss"]), (2, 0.75)]
