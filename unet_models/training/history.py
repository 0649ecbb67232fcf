"""The history of a training: its file, and the metrics that are computed from its epochs.

No TensorFlow is needed, so anyone who reads a history file can check and reuse the definitions.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from unet_models.stored_files import open_regular

_LARGEST = 64 * 2**20  # bytes of a history file; ten thousand epochs have 2 MB

# ``epoch`` counts from 1. ``loss`` and ``jaccard`` are running means over the epoch in training mode; the ``val_``
# columns are measured after it in inference mode. Positives and negatives are pixels; ``seconds`` include the validation.
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
STABILITY_EPOCHS = 10  # epochs at the end of a training over which the stability is computed


def history_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """The text of a history file: a header, then one line per epoch. ``rows`` have the keys :data:`COLUMNS`."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([row[column] for column in COLUMNS] for row in rows)
    return text.getvalue()


def read_history(path: Path) -> list[dict[str, float]]:
    """The valid lines of a history file, in order of ``epoch``, as dictionaries with the keys :data:`COLUMNS`.

    A line is left out if it has another number of cells, a cell that is not a number, or an epoch that is not a whole
    number from 1, and so is a last line without a line end. If an epoch has two lines, the later one counts. A damaged
    file gives fewer lines or none, never an exception.

    Raises:
        FileNotFoundError: there is no such file.
    """
    with open_regular(path, _LARGEST) as stream:
        text = stream.read().decode("utf-8", errors="replace")
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
    """The metrics of one training, from its epochs (dictionaries with the keys :data:`COLUMNS`).

    * ``epochs_requested``, ``epochs_completed``: numbers of epochs.
    * ``best_val_jaccard``: the maximum of ``val_jaccard``, 0 to 1, over the epochs whose ``val_jaccard`` and ``val_loss``
      are finite; ``best_epoch`` and ``epochs_to_best``: the first epoch that reaches it, from 1.
    * ``epochs_to_best_censored``: whether the best epoch is one of the last two epochs requested, so that the score was
      probably still rising.
    * ``final_val_loss``, ``final_train_loss``: ``val_loss`` and ``loss`` of the last epoch.
    * ``val_loss_stability``: population standard deviation of ``val_loss`` over the last min(10, n) epochs; lower is
      more stable.
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
