"""Read ``hyperparameter_summary.csv``, which may be incomplete, edited by hand, or written by the predecessor."""

from __future__ import annotations

import io
from pathlib import Path

import pandas as pd

from analysis.axes import is_effective
from jobs.common.errors import UserError, one_line, shown
from jobs.common.states import STATES
from jobs.monitor.summary import LEADING, METRICS, TRAILING

NEEDED = ("architecture", "learning_rate", "batch_size", "training_successful", "best_val_jaccard")
LARGEST = 1e100  # larger numbers count as missing, so that differences and means are finite
_SHARES = (
    "best_val_jaccard",
    "test_jaccard",
    "chance_jaccard",
)  # Jaccard indices: values outside 0 to 1 count as missing
_WORDS = ("architecture", "training_successful", "epochs_to_best_censored")
NUMBERS = (*(column for column in (*LEADING, *METRICS) if column not in _WORDS), "index", "seed")
# Columns that describe a point or its result, also in summaries of the predecessor.
# Any other column is an axis that the user added.
KNOWN = (
    *LEADING,
    *METRICS,
    *TRAILING,
    "index",
    "name",
    "seed",
    "repeat",
    "images",
)


def load_summary(path: Path) -> pd.DataFrame:
    """The summary in ``path`` as a frame with one row per point.

    The columns ``successful``, ``accumulated`` (both bool) and ``status`` always exist. Numeric columns contain floats,
    NaN for a value that is missing or impossible. Texts are one line each. A point is successful if
    ``training_successful`` is true and its ``best_val_jaccard`` is a number from 0 to 1. Rows without the three
    hyperparameters are dropped; ``frame.attrs["dropped"]`` is their number.

    Raises :class:`UserError` if the file is missing, is not a CSV file, or lacks a required column.
    """
    try:
        # Pass the bytes: given the path, pandas would unpack a file whose name ends in .zip.
        content = io.BytesIO(path.read_bytes())
        frame = pd.read_csv(content, dtype=str, keep_default_na=False, encoding="utf-8", on_bad_lines="error")
    except FileNotFoundError:
        raise UserError(
            f"{path} does not exist; expected the summary of a run. Write it with: python collect.py {path.parent}"
        ) from None
    except (OSError, ValueError, OverflowError) as error:
        raise UserError(
            f"{path} cannot be read as a CSV file ({one_line(error)}); write it again with: python collect.py {path.parent}"
        ) from error
    if not isinstance(frame.index, pd.RangeIndex):
        # pandas uses surplus cells as row labels, which moves every value to a wrong column.
        raise UserError(
            f"{path} cannot be read as a CSV file (rows have more cells than the header); "
            f"write it again with: python collect.py {path.parent}"
        )
    missing = [column for column in NEEDED if column not in frame.columns]
    if missing:
        raise UserError(
            f"{path} has no column {', '.join(missing)} (it has {shown(list(frame.columns)[:8])}); expected a summary "
            f"written by collect.py. Write it again with: python collect.py {path.parent}"
        )
    for column in NUMBERS:
        values = frame[column] if column in frame else pd.Series([""] * len(frame), index=frame.index)
        frame[column] = pd.to_numeric(values, errors="coerce").astype(float)
        possible = frame[column].between(0, 1) if column in _SHARES else frame[column].abs().le(LARGEST)
        frame.loc[~possible, column] = float("nan")
        frame.loc[frame[column].abs() < 1 / LARGEST, column] = 0.0  # so that ratios and logarithms are finite
    if frame["seed"].isna().all() and "repeat" in frame:  # the predecessor's name for it
        frame["seed"] = pd.to_numeric(frame["repeat"], errors="coerce").astype(float)
    marked = frame["training_successful"].str.strip().str.lower() == "true"
    frame["successful"] = marked & frame["best_val_jaccard"].notna()
    if "status" not in frame:
        frame["status"] = ["done" if good else "error" for good in frame["successful"]]
    frame["status"] = [status if status in STATES else "error" for status in frame["status"]]
    frame.loc[~frame["successful"] & (frame["status"] == "done"), "status"] = "error"
    for column in ("reason", "name", "data_source", "split"):
        frame[column] = frame[column].map(one_line) if column in frame else ""
    frame["accumulated"] = _accumulated(frame)
    frame["architecture"] = frame["architecture"].map(lambda text: one_line(text, 40))
    whole = (frame["architecture"] != "") & frame["learning_rate"].gt(0) & frame["batch_size"].gt(0)
    dropped = int((~whole).sum())
    frame = frame[whole].reset_index(drop=True)
    unnamed = frame["name"] == ""
    frame.loc[unnamed, "name"] = [
        f"{row.architecture}_lr{row.learning_rate:g}_bs{row.batch_size:g}"
        for row in frame[unnamed].itertuples()
    ]
    frame.attrs["dropped"] = dropped
    return frame


def _accumulated(frame: pd.DataFrame) -> pd.Series[bool]:
    """Which points accumulated their gradients over parts of a batch.

    Summaries of older versions have no column for this, only a sentence in the reason.
    """
    if "gradient_accumulation_steps" in frame:
        return pd.to_numeric(frame["gradient_accumulation_steps"], errors="coerce").gt(1)
    return frame["reason"].str.contains("batch normalisation sees batches of", regex=False)


def extra_axes(frame: pd.DataFrame) -> list[str]:
    """Columns of axes beyond learning rate, batch size, architecture and seed."""
    known = (*KNOWN, "successful", "accumulated")
    return [column for column in frame.columns if column not in known and not is_effective(str(column))]


def architectures(frame: pd.DataFrame) -> list[str]:
    """Architectures in the order in which they first appear."""
    return list(dict.fromkeys(frame["architecture"]))


def common_text(frame: pd.DataFrame, column: str) -> str:
    """The distinct values of a text column, in order, joined by " and "; empty if there are none."""
    return " and ".join(sorted({value for value in frame[column] if isinstance(value, str) and value}))
