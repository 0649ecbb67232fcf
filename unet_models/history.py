"""What an epoch left behind, and the metrics of a whole training computed from it.

No TensorFlow: the definitions can be checked and reused by anyone who reads a history file.
"""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

COLUMNS = (
    "epoch",
    "loss",
    "jaccard",
    "val_loss",
    "val_jaccard",
    "learning_rate",
    "val_true_positives",
    "val_false_positives",
    "val_false_negatives",
    "seconds",
)
STABILITY_EPOCHS = 10


class HistoryFile:
    """The growing history CSV: a header, then one line for each epoch, on disk when the epoch ends.

    Creating it starts a new file; :meth:`append` adds a line in one write and makes it durable.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o666)
        self._write(COLUMNS)

    def _write(self, row: Sequence[Any]) -> None:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerow(row)
        os.write(self._descriptor, text.getvalue().encode())
        os.fsync(self._descriptor)

    def append(self, row: dict[str, Any]) -> None:
        """Add one epoch; ``row`` has exactly :data:`COLUMNS`."""
        self._write([row[column] for column in COLUMNS])

    def close(self) -> None:
        os.close(self._descriptor)


def summarise(rows: Sequence[dict[str, Any]], epochs_requested: int) -> dict[str, Any]:
    """The design's metrics of one training from its epochs (dictionaries with :data:`COLUMNS`).

    * ``best_val_jaccard``: maximum of ``val_jaccard`` over finite epochs; ``best_epoch`` and
      ``epochs_to_best``: the first epoch that reaches it, from 1.
    * ``epochs_to_best_censored``: the best epoch is the last or last but one of the epochs requested, so
      the score was still rising.
    * ``val_loss_stability``: population standard deviation of ``val_loss`` over the last min(10, n) epochs.
    * ``overfitting_gap``: ``val_loss - loss`` of the last epoch.

    Values that do not exist (no epoch, NaN) are ``None``.
    """
    completed = len(rows)
    scored = [row for row in rows if math.isfinite(row["val_jaccard"]) and math.isfinite(row["val_loss"])]
    best = max(scored, key=lambda row: (row["val_jaccard"], -row["epoch"]), default=None)
    tail = [row["val_loss"] for row in rows[-STABILITY_EPOCHS:]]
    last = rows[-1] if rows else None
    stability = None
    if tail and all(map(math.isfinite, tail)):
        mean = math.fsum(tail) / len(tail)
        stability = math.sqrt(math.fsum((loss - mean) ** 2 for loss in tail) / len(tail))
    return {
        "epochs_requested": epochs_requested,
        "epochs_completed": completed,
        "best_val_jaccard": best["val_jaccard"] if best else None,
        "best_epoch": best["epoch"] if best else None,
        "epochs_to_best": best["epoch"] if best else None,
        "epochs_to_best_censored": best["epoch"] >= epochs_requested - 1 if best else None,
        "final_val_loss": _finite(last["val_loss"]) if last else None,
        "final_train_loss": _finite(last["loss"]) if last else None,
        "val_loss_stability": stability,
        "overfitting_gap": _finite(last["val_loss"] - last["loss"]) if last else None,
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
