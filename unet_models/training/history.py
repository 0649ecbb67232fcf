"""What an epoch left behind, and the metrics of a whole training computed from it.

No TensorFlow: the definitions can be checked and reused by anyone who reads a history file.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
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


def history_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """The history file: a header, then one line for each epoch; ``rows`` have :data:`COLUMNS`."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([row[column] for column in COLUMNS] for row in rows)
    return text.getvalue()


def read_history(path: Path) -> list[dict[str, float]]:
    """The epochs of a history file, in order of ``epoch``: what of it can be understood, and nothing else.

    Lines with another number of cells, without a whole epoch number from 1, or with a cell that is no number
    are left out, and so is a last line without its end; of two lines for one epoch the later counts. Never
    raises for what the file holds; ``FileNotFoundError`` where there is none.
    """
    text = path.read_bytes().decode("utf-8", errors="replace")
    whole = text[: text.rfind("\n") + 1].replace("\0", "")
    try:
        lines = list(csv.reader(io.StringIO(whole)))
    except csv.Error:
        return []
    if not lines or lines[0] != list(COLUMNS):
        return []
    rows: dict[int, dict[str, float]] = {}
    for cells in lines[1:]:
        try:
            row = dict(zip(COLUMNS, map(float, cells), strict=True))
        except ValueError:
            continue
        if 1 <= row["epoch"] < 1e9 and row["epoch"] == int(row["epoch"]):
            rows[int(row["epoch"])] = row
    return [rows[epoch] for epoch in sorted(rows)]


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
