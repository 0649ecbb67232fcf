"""Keras callbacks: the history and best weights, the learning-rate and stopping schedules, and the state to resume from."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from unet_models.training.metrics import Jaccard
from unet_models.training.read_back import learning_rate
from unet_models.training.state import ResumeError, TrainingState
from unet_models.training.variables import assign, network_variables, values


class EpochRecorder(keras.callbacks.Callback):
    """Records the history and the best weights, and stops the training as soon as the loss is not finite.

    It must be the first callback: it reads the counts of the validation before anything resets them.

    Attributes:
        rows: the history, one dictionary per epoch (:data:`unet_models.training.history.COLUMNS`).
        best_epoch: the first epoch with the highest validation Jaccard index, from 1; 0 before there is one.
        best_values: every variable of the network as it was after ``best_epoch``.
        diverged: which loss was not finite and when; empty if all were.
        first_step: ``time.monotonic()`` at the end of the first step; ``None`` before it.
    """

    def __init__(
        self, metric: Jaccard, on_epoch: Callable[[dict[str, Any]], None], on_batch: Callable[[], None]
    ) -> None:
        super().__init__()
        self.metric = metric
        self.on_epoch = on_epoch
        self.on_batch = on_batch
        self.rows: list[dict[str, Any]] = []
        self.best = -math.inf
        self.best_epoch = 0
        self.best_values: list[np.ndarray] | None = None
        self.diverged = ""
        self.first_step: float | None = None
        self._started = time.monotonic()
        self._rate = math.nan

    def on_epoch_begin(self, _epoch: int, _logs: dict[str, float] | None = None) -> None:
        """Note the time and the learning rate of the epoch."""
        self._started = time.monotonic()
        self._rate = learning_rate(self.model.optimizer)

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Stop if the running training loss is not finite. ``batch`` counts from 0."""
        loss = float((logs or {}).get("loss", 0.0))
        self.first_step = self.first_step or time.monotonic()
        if not math.isfinite(loss):
            self.diverged = (
                f"the training loss became {loss} in batch {batch + 1} of epoch {len(self.rows) + 1}"
            )
            self.model.stop_training = True
        self.on_batch()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Add a row to the history, and keep the weights if they are the best. ``epoch`` counts from 0."""
        scores = logs or {}
        positives = self.metric.counts() if "val_loss" in scores else (0, 0, 0)
        row = {
            "epoch": epoch + 1,
            **{
                key: float(scores.get(key, math.nan))
                for key in ("loss", "jaccard", "val_loss", "val_jaccard")
            },
            "learning_rate": self._rate,
            "val_true_positives": positives[0],
            "val_false_positives": positives[1],
            "val_false_negatives": positives[2],
            "seconds": time.monotonic() - self._started,
        }
        self.rows.append(row)
        if not self.diverged and not math.isfinite(row["val_loss"]):
            self.diverged = f"the validation loss became {row['val_loss']} in epoch {row['epoch']}"
        if self.diverged:
            self.model.stop_training = True
        elif row["val_jaccard"] > self.best:
            self.best, self.best_epoch = row["val_jaccard"], epoch + 1
            self.best_values = values(network_variables(self.model))
        self.on_epoch(row)


def schedules(settings: Mapping[str, Any]) -> list[keras.callbacks.Callback]:
    """ReduceLROnPlateau and EarlyStopping on the validation Jaccard index, as far as ``settings`` switch them on."""
    chosen: list[keras.callbacks.Callback] = []
    if settings["reduce_lr_patience"] is not None:
        chosen.append(
            keras.callbacks.ReduceLROnPlateau(
                monitor="val_jaccard",
                mode="max",
                patience=settings["reduce_lr_patience"],
                factor=settings["reduce_lr_factor"],
                min_lr=settings["reduce_lr_min_lr"],
                min_delta=settings["reduce_lr_min_delta"],
            )
        )
    if settings["early_stopping_patience"] is not None:
        # EpochRecorder keeps the best weights, at the exact maximum: Keras would ignore gains below min_delta.
        chosen.append(
            keras.callbacks.EarlyStopping(
                monitor="val_jaccard",
                mode="max",
                patience=settings["early_stopping_patience"],
                min_delta=settings["early_stopping_min_delta"],
                restore_best_weights=False,
            )
        )
    return chosen


# The counters of both schedules. Keras resets them in on_train_begin.
_COUNTERS = {
    "ReduceLROnPlateau": ("best", "wait", "cooldown_counter"),
    "EarlyStopping": ("best", "wait", "best_epoch", "stopped_epoch"),
}


class StateRecorder(keras.callbacks.Callback):
    """Passes the state of the training to ``on_state`` after each epoch that did not diverge.

    It must be the last callback: at the beginning it restores the counters that the schedules have just reset, and
    at the end of an epoch it reads what they have counted.
    """

    def __init__(
        self,
        settings: Mapping[str, Any],
        epochs: EpochRecorder,
        schedules: Sequence[keras.callbacks.Callback],
        resume: TrainingState | None,
        on_state: Callable[[TrainingState], None],
    ) -> None:
        super().__init__()
        self.settings = settings
        self.epochs = epochs
        self.schedules = {type(schedule).__name__: schedule for schedule in schedules}
        self.resume = resume
        self.on_state = on_state
        self._started = time.monotonic()

    def on_train_begin(self, _logs: dict[str, float] | None = None) -> None:
        """Restore the counters of the schedules."""
        for name, counters in (self.resume.schedules if self.resume else {}).items():
            # Keras 3.0 chooses the direction at the end of the first epoch, and resets the best value then.
            if getattr(self.schedules[name], "monitor_op", True) is None:
                self.schedules[name]._set_monitor_op()
            for key, value in counters.items():
                setattr(self.schedules[name], key, value)

    def on_epoch_end(self, epoch: int, _logs: dict[str, float] | None = None) -> None:
        """Pass the state on. ``epoch`` counts from 0."""
        best = self.epochs.best_values
        if self.epochs.diverged or best is None:
            return
        current = values(network_variables(self.model))
        newest_is_best = self.epochs.best_epoch == epoch + 1
        self.on_state(
            TrainingState(
                epoch=epoch + 1,
                ended=bool(self.model.stop_training) or epoch + 1 == self.settings["epochs"],
                rows=list(self.epochs.rows),  # the list grows with the next epoch
                model=current,
                optimizer=values(self.model.optimizer.variables),
                best=current if newest_is_best else best,
                best_epoch=self.epochs.best_epoch,
                schedules={
                    name: {key: _counter(getattr(schedule, key)) for key in _COUNTERS[name]}
                    for name, schedule in self.schedules.items()
                },
                seconds=self.seconds(),
            )
        )

    def seconds(self) -> float:
        """Time spent on this training, including earlier attempts."""
        return (self.resume.seconds if self.resume else 0.0) + time.monotonic() - self._started


def _counter(value: Any) -> float | None:
    """A counter as a plain number: Keras and NumPy keep some as arrays."""
    if value is None:
        return None
    return value if isinstance(value, int) else float(value)


def restore(
    model: keras.Model,
    epochs: EpochRecorder,
    state: TrainingState,
    schedules: Sequence[keras.callbacks.Callback],
) -> None:
    """Set a network and optimizer that were just built, and ``epochs``, to ``state``.

    Raises:
        ResumeError: the state belongs to another network, optimizer or set of schedules.
    """
    known = {type(schedule).__name__: set(_COUNTERS[type(schedule).__name__]) for schedule in schedules}
    if {name: set(counters) for name, counters in state.schedules.items()} != known:
        raise ResumeError(
            f"the checkpoint has the counters of {sorted(state.schedules)}, expected those of {sorted(known)}"
        )
    assign(network_variables(model), state.best, "best network")
    assign(network_variables(model), state.model, "network")
    assign(model.optimizer.variables, state.optimizer, "optimizer")
    epochs.rows = [dict(row) for row in state.rows]
    epochs.best_epoch, epochs.best_values = state.best_epoch, state.best
    epochs.best = state.rows[state.best_epoch - 1]["val_jaccard"]
