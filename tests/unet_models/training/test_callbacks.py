"""Callbacks record what they are given, in the right columns, and the right moments; with a clock of the test's own."""

from __future__ import annotations

import math
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from tests.unet_models.tiny import SETTINGS
from unet_models.training import callbacks
from unet_models.training.callbacks import EpochRecorder, StateRecorder, restore, schedules
from unet_models.training.history import COLUMNS
from unet_models.training.state import ResumeError, TrainingState
from unet_models.training.variables import values


class Clock:
    def __init__(self, monkeypatch):
        self.now = 100.0
        monkeypatch.setattr(callbacks, "time", SimpleNamespace(monotonic=lambda: self.now))


class Counts:
    """A metric with fixed counts."""

    def __init__(self, true_positives, false_positives, false_negatives):
        self.fixed = true_positives, false_positives, false_negatives

    def counts(self):
        return self.fixed


@pytest.fixture
def model():
    inputs = keras.Input((1,))
    network = keras.Model(inputs, keras.layers.Dense(1)(inputs))
    network.compile(keras.optimizers.SGD(0.1), "mse")
    return network


def recorder(model, counts=(5, 3, 2)):
    epochs = EpochRecorder(Counts(*counts), lambda row: None, lambda: None)
    epochs.set_model(model)
    return epochs


def finish(epochs, number, val_jaccard, val_loss=0.3):
    epochs.on_epoch_begin(number)
    epochs.on_epoch_end(
        number, {"loss": 0.5, "jaccard": 0.1, "val_loss": val_loss, "val_jaccard": val_jaccard}
    )


def test_a_row_has_the_numbers_of_its_epoch(model, monkeypatch):
    clock = Clock(monkeypatch)
    epochs = recorder(model)
    epochs.on_epoch_begin(6)
    clock.now += 2.5
    model.optimizer.learning_rate = 0.05  # reduced at the end of the epoch: counts from the next one
    epochs.on_epoch_end(6, {"loss": 0.4, "jaccard": 0.6, "val_loss": 0.3, "val_jaccard": 0.7})
    assert tuple(epochs.rows[0]) == COLUMNS
    assert list(epochs.rows[0].values()) == [7, 0.4, 0.6, 0.3, 0.7, 0.1, 5, 3, 2, 2.5]


def test_the_best_weights_are_those_of_the_first_of_equal_epochs(model):
    epochs = recorder(model)
    for number, score in enumerate([0.2, 0.6, 0.6, 0.5]):
        model.set_weights([np.full((1, 1), number), np.zeros(1)])
        finish(epochs, number, score)
    assert (epochs.best_epoch, epochs.best) == (2, 0.6)
    assert epochs.best_values[0].tolist() == [[1.0]]
    model.set_weights([np.full((1, 1), 9), np.zeros(1)])
    assert epochs.best_values[0].tolist() == [[1.0]]  # a copy


def test_the_first_step_is_timed_once(model, monkeypatch):
    clock = Clock(monkeypatch)
    epochs = recorder(model)
    assert epochs.first_step is None
    for _ in range(3):
        clock.now += 4
        epochs.on_train_batch_end(0, {"loss": 0.5})
    assert epochs.first_step == 104.0


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_a_training_loss_that_is_not_finite_stops_the_training(model, loss):
    batches = []
    epochs = EpochRecorder(Counts(0, 0, 0), lambda row: None, lambda: batches.append(1))
    epochs.set_model(model)
    epochs.on_train_batch_end(3, {"loss": 1e30})
    assert not epochs.diverged and not model.stop_training
    epochs.on_train_batch_end(4, {"loss": loss})
    assert model.stop_training and len(batches) == 2
    assert epochs.diverged == f"the training loss became {loss} in batch 5 of epoch 1"


def test_a_validation_loss_that_is_not_finite_stops_the_training(model):
    epochs = recorder(model)
    finish(epochs, 0, 0.3)
    finish(epochs, 1, 0.9, math.nan)
    assert model.stop_training
    assert epochs.diverged == "the validation loss became nan in epoch 2"
    assert (epochs.best_epoch, len(epochs.rows)) == (1, 2)


def test_an_epoch_without_validation_counts_no_pixels(model):
    epochs = recorder(model)
    epochs.on_epoch_begin(0)
    epochs.on_epoch_end(0, {"loss": math.nan})
    row = epochs.rows[0]
    assert [row[f"val_{name}"] for name in ("true_positives", "false_positives", "false_negatives")] == [
        0,
        0,
        0,
    ]


def test_the_schedules_have_the_settings():
    reduce, stop = schedules(
        {
            **SETTINGS,
            "reduce_lr_patience": 3,
            "reduce_lr_factor": 0.25,
            "reduce_lr_min_lr": 1e-5,
            "reduce_lr_min_delta": 0.02,
            "early_stopping_patience": 7,
            "early_stopping_min_delta": 0.01,
        }
    )
    assert (type(reduce).__name__, reduce.monitor, reduce.mode) == ("ReduceLROnPlateau", "val_jaccard", "max")
    assert (reduce.patience, reduce.factor, reduce.min_lr, reduce.min_delta) == (3, 0.25, 1e-5, 0.02)
    assert (type(stop).__name__, stop.monitor, stop.patience) == ("EarlyStopping", "val_jaccard", 7)
    assert abs(stop.min_delta) == 0.01 and not stop.restore_best_weights
    off = {**SETTINGS, "reduce_lr_patience": None, "early_stopping_patience": None}
    assert schedules(off) == []
    assert len(schedules({**off, "early_stopping_patience": 1})) == 1


def state(**changes):
    usual = {
        "epoch": 2,
        "ended": False,
        "rows": [{"epoch": 1, "val_jaccard": 0.4}, {"epoch": 2, "val_jaccard": 0.3}],
        "model": [np.full((1, 1), 2, np.float32), np.zeros(1, np.float32)],
        "optimizer": [],
        "best": [np.full((1, 1), 1, np.float32), np.zeros(1, np.float32)],
        "best_epoch": 1,
        "schedules": {
            "ReduceLROnPlateau": {"best": 0.4, "wait": 1, "cooldown_counter": 0},
            "EarlyStopping": {"best": 0.4, "wait": 1, "best_epoch": 0, "stopped_epoch": 0},
        },
        "seconds": 60.0,
    }
    return TrainingState(**{**usual, **changes})


def test_seconds_include_earlier_attempts(model, monkeypatch):
    clock = Clock(monkeypatch)
    epochs = recorder(model)
    fresh = StateRecorder(SETTINGS, epochs, [], None, lambda state: None)
    resumed = StateRecorder(SETTINGS, epochs, [], state(), lambda state: None)
    clock.now += 7.5
    assert (fresh.seconds(), resumed.seconds()) == (7.5, 67.5)


def test_a_state_has_the_counters_the_best_and_the_newest_weights(model, monkeypatch):
    clock = Clock(monkeypatch)
    epochs, states, settings = recorder(model), [], {**SETTINGS, "epochs": 3}
    scheduled = schedules(settings)
    last = StateRecorder(settings, epochs, scheduled, None, states.append)
    every = [*scheduled, last]
    for callback in every:
        callback.set_model(model)
        callback.on_train_begin()
    for number, score in enumerate([0.5, 0.2, 0.4]):
        clock.now += 10
        model.set_weights([np.full((1, 1), number), np.zeros(1)])
        finish(epochs, number, score)
        for callback in every:
            callback.on_epoch_end(number, {"val_jaccard": score})
    assert [one.epoch for one in states] == [1, 2, 3]
    assert [one.ended for one in states] == [False, False, True]
    assert [one.seconds for one in states] == [10, 20, 30]
    assert [float(one.model[0][0, 0]) for one in states] == [0, 1, 2]
    assert [float(one.best[0][0, 0]) for one in states] == [0, 0, 0]
    assert [one.best_epoch for one in states] == [1, 1, 1]
    assert [one.schedules["EarlyStopping"]["wait"] for one in states] == [0, 1, 2]
    assert states[1].schedules == {
        "ReduceLROnPlateau": {"best": 0.5, "wait": 1, "cooldown_counter": 0},
        "EarlyStopping": {"best": 0.5, "wait": 1, "best_epoch": 0, "stopped_epoch": 0},
    }


def test_a_diverged_epoch_gives_no_state(model):
    epochs, states = recorder(model), []
    last = StateRecorder(SETTINGS, epochs, [], None, states.append)
    last.set_model(model)
    finish(epochs, 0, 0.3)
    last.on_epoch_end(0)
    finish(epochs, 1, 0.4, math.nan)
    last.on_epoch_end(1)
    assert [one.epoch for one in states] == [1]


def test_a_state_is_restored_with_the_counters_that_keras_resets(model):
    epochs, scheduled = recorder(model), schedules(SETTINGS)
    wanted = state(optimizer=values(model.optimizer.variables))
    restore(model, epochs, wanted, scheduled)
    last = StateRecorder(SETTINGS, epochs, scheduled, wanted, lambda state: None)
    for callback in (*scheduled, last):
        callback.set_model(model)
        callback.on_train_begin()
    assert float(model.get_weights()[0][0, 0]) == 2
    assert (epochs.best, epochs.best_epoch, epochs.best_values[0].tolist()) == (0.4, 1, [[1.0]])
    reduce, stop = scheduled
    assert (reduce.best, reduce.wait, reduce.cooldown_counter) == (0.4, 1, 0)
    assert (stop.best, stop.wait, stop.best_epoch, stop.stopped_epoch) == (0.4, 1, 0, 0)
    epochs.rows[0]["val_jaccard"] = 0.0
    assert wanted.rows[0]["val_jaccard"] == 0.4  # a copy


def test_a_state_of_another_network_or_of_other_schedules_is_refused(model):
    epochs, scheduled = recorder(model), schedules(SETTINGS)
    with pytest.raises(ResumeError, match=r"checkpoint's 1 arrays of the best network .* expected 2 arrays"):
        restore(model, epochs, state(best=state().best[:1]), scheduled)
    with pytest.raises(ResumeError, match="arrays of the network do not fit"):
        restore(model, epochs, state(model=[one.astype(np.float64) for one in state().model]), scheduled)
    with pytest.raises(ResumeError, match="arrays of the optimizer do not fit"):
        restore(model, epochs, state(optimizer=[np.zeros(3)]), scheduled)
    with pytest.raises(ResumeError, match=r"counters of \['EarlyStopping', 'Red"):
        restore(model, epochs, state(), scheduled[:1])
