"""What a training passes to its caller: its state after each epoch, and its outcome. No TensorFlow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


class ResumeError(Exception):
    """A checkpoint does not fit the network that was built; start the training from the first epoch."""


@dataclass(frozen=True)
class TrainingState:
    """Everything that the rest of a training depends on, after a complete epoch.

    Shuffling and augmentation depend only on the seed and the epoch, so they have no state of their own.

    Attributes:
        epoch: number of completed epochs, from 1.
        ended: true if no epoch follows (last epoch, or stopped early).
        rows: the history, one dictionary per epoch.
        model: every variable of the network in Keras' order (weights, running statistics, the states of
            dropout's random generators).
        optimizer: every variable of the optimizer (moments, step count, current learning rate, loss scale).
        best: ``model`` as it was after ``best_epoch``.
        best_epoch: the epoch with the best validation score, from 1.
        schedules: the counters of ReduceLROnPlateau and EarlyStopping, by class name.
        seconds: time spent on this training so far, including earlier attempts.
    """

    epoch: int
    ended: bool
    rows: list[dict[str, Any]]
    model: list[np.ndarray]
    optimizer: list[np.ndarray]
    best: list[np.ndarray]
    best_epoch: int
    schedules: dict[str, dict[str, float | None]]
    seconds: float


@dataclass(frozen=True)
class Trained:
    """The outcome of a training.

    Attributes:
        outcome: ``done`` or ``diverged``.
        reason: why the training diverged, in words; empty if it is done.
        history: one dictionary per epoch, with the keys
            :data:`unet_models.training.history.COLUMNS`.
        metrics: the scores; see :func:`unet_models.training.history.summarise` and
            :func:`unet_models.training.training.train`.
        effective: what was built, as :func:`unet_models.training.read_back.read_back` found it.
        shown: indices of the validation patches that are drawn, int (n,).
        probabilities: what the best weights predict for them, float32 (n, P, P), 0 to 1.
        startup: seconds before the first step: ``build`` (network and optimizer) and ``first_step``
            (tracing, compiling, and the step itself).
    """

    outcome: str
    reason: str
    history: list[dict[str, Any]]
    metrics: dict[str, Any]
    effective: dict[str, Any]
    shown: np.ndarray
    probabilities: np.ndarray
    startup: dict[str, float]
