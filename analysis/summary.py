"""Read ``hyperparameter_summary.csv``, which may be incomplete, edited by hand, or written by the predecessor."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.axes import is_effective
from analysis.summary_file import Cells, read_cells
from jobs.common.errors import one_line
from jobs.common.states import STATES
from jobs.grid.settings import POINT
from jobs.monitor.summary import LEADING, METRICS, TRAILING

NEEDED = ("architecture", "learning_rate", "batch_size", "training_successful", "best_val_jaccard")
LARGEST = 1e100  # larger numbers count as missing, so that differences and means are finite
_SHARES = (
    "best_val_jaccard",
    "test_jaccard",
    "chance_jaccard",
)  # Jaccard indices
_ORDER = ("UNet", "Attention_UNet", "Attention_ResUNet")
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


@dataclass(frozen=True)
class Reading:
    """What the reader did to the rows of a summary; in ``frame.attrs["reading"]``.

    ``dropped``: rows without the three hyperparameters. ``duplicates``: rows with the configuration and the seed of
    another row, ``contradicting`` of them with another score. ``headers``: headers in the middle of the file.
    ``left_out``: columns that are not hyperparameters, because they hold text.
    """

    dropped: int = 0
    duplicates: int = 0
    contradicting: int = 0
    headers: int = 0
    left_out: tuple[str, ...] = ()


def reading(frame: pd.DataFrame) -> Reading:
    """What the reader did; nothing for a frame that was not read from a file."""
    found = frame.attrs.get("reading")
    return found if isinstance(found, Reading) else Reading()


def load_summary(path: Path) -> pd.DataFrame:
    """The summary in ``path`` as a frame with one row per point, in the order of the index.

    The columns ``successful``, ``accumulated`` (both bool) and ``status`` always exist. Numeric columns contain floats,
    NaN for a value that is missing or too large. Texts are one line each. A point is successful if
    ``training_successful`` is true and it has a ``best_val_jaccard``. Rows without the three hyperparameters, and rows
    with the configuration and seed of another one, are dropped; :func:`reading` says how many.

    The order of the rows and columns of the file has no effect.

    Raises :class:`UserError` if the file is missing, is not a CSV file, lacks a required column, or has a cell that
    cannot be understood.
    """
    cells = read_cells(path, NEEDED, KNOWN)
    count = len(cells.rows)
    frame = pd.DataFrame(
        {column: [row[column].strip() for row in cells.rows] for column in cells.columns}, dtype=str
    )
    marked = [cells.truth(row, "training_successful") for row in range(count)]
    for column in NUMBERS:
        frame[column] = _numbers(cells, column) if column in cells.columns else np.full(count, math.nan)
    _check_shares(cells, frame, marked)
    for column in NUMBERS:
        frame.loc[~frame[column].abs().le(LARGEST), column] = math.nan
        frame.loc[frame[column].abs() < 1 / LARGEST, column] = 0.0  # so that ratios and logarithms are finite
    if frame["seed"].isna().all() and "repeat" in frame:  # the predecessor's name for it
        frame["seed"] = _numbers(cells, "repeat")
    frame["successful"] = np.array([bool(one) for one in marked], bool) & frame["best_val_jaccard"].notna()
    if "status" not in frame:
        frame["status"] = ["done" if good else "error" for good in frame["successful"]]
    frame["status"] = [status if status in STATES else "error" for status in frame["status"]]
    frame.loc[~frame["successful"] & (frame["status"] == "done"), "status"] = "error"
    for column in ("reason", "name", "data_source", "split"):
        frame[column] = frame[column].map(one_line) if column in frame else ""
    frame["accumulated"] = _accumulated(frame)
    frame["architecture"] = frame["architecture"].map(lambda text: one_line(text, 40))
    left_out = tuple(
        sorted(column for column in _other_columns(frame) if not _may_be_axis(column, frame[column]))
    )
    frame = frame.drop(columns=list(left_out))
    whole = (frame["architecture"] != "") & frame["learning_rate"].gt(0) & frame["batch_size"].gt(0)
    dropped = int((~whole).sum())
    frame = _sorted(frame[whole])
    unnamed = frame["name"] == ""
    frame.loc[unnamed, "name"] = [
        f"{row.architecture}_lr{row.learning_rate:g}_bs{row.batch_size:g}"
        for row in frame[unnamed].itertuples()
    ]
    frame, duplicates, contradicting = _without_duplicates(frame)
    frame.attrs["reading"] = Reading(dropped, duplicates, contradicting, cells.headers, left_out)
    return frame


def _numbers(cells: Cells, column: str) -> np.ndarray:
    """The numbers of a column; NaN where there is none. Raises :class:`UserError` for any other text."""
    texts = [row[column] for row in cells.rows]
    numbers = pd.to_numeric(pd.Series(texts, dtype=object), errors="coerce").to_numpy(float, copy=True)
    for row in np.flatnonzero(
        ~np.isfinite(numbers)
    ):  # pandas reads plain numbers only, but a hundred times as fast
        numbers[row] = cells.number(int(row), column)
    return numbers


def _check_shares(cells: Cells, frame: pd.DataFrame, marked: list[bool | None]) -> None:
    """Raise :class:`UserError` for a Jaccard index that is none, and for a successful point whose score is unreadable."""
    for column in _SHARES:
        values = frame[column].to_numpy(float)
        for wrong in np.flatnonzero((values < 0) | (values > 1)):
            raise cells.refuse(int(wrong), column, "a Jaccard index from 0 to 1")
    missing = frame["best_val_jaccard"].isna().to_numpy()
    for row, good in enumerate(marked):
        text = cells.rows[row]["best_val_jaccard"].strip()
        if good and missing[row] and text:
            raise cells.refuse(row, "best_val_jaccard", "the score of a point that was successful")
        status = cells.rows[row].get("status", "done").strip()
        if good is None and not missing[row] and status == "done":
            raise cells.refuse(row, "training_successful", "True or False")


def _other_columns(frame: pd.DataFrame) -> list[str]:
    """Columns that are neither known nor the effective values of an axis."""
    known = (*KNOWN, "successful", "accumulated")
    return [str(column) for column in frame.columns if column not in known and not is_effective(str(column))]


def _may_be_axis(column: str, values: pd.Series) -> bool:
    """Whether a column can be a hyperparameter: a setting of the grid, or numbers. Comments and dates are not."""
    if column in POINT:
        return True
    filled = values[values.str.strip() != ""]
    return bool(len(filled)) and bool(pd.to_numeric(filled, errors="coerce").notna().all())


def _sorted(frame: pd.DataFrame) -> pd.DataFrame:
    """``frame`` in the order of the index, then of the configurations, and with its axes in the order of their names.

    Everything that depends on an order, such as which of two equal points comes first, is then the same whatever was
    done to the file.
    """
    axes = sorted(extra_axes(frame))
    frame = frame[[*(column for column in frame.columns if column not in axes), *axes]]
    place = frame["architecture"].map(lambda name: _ORDER.index(name) if name in _ORDER else len(_ORDER))
    rest = sorted(column for column in frame.columns if not pd.api.types.is_numeric_dtype(frame[column]))
    keyed = frame.assign(_place=place)
    keys = [
        "index",
        "_place",
        "architecture",
        "learning_rate",
        "batch_size",
        *axes,
        "seed",
        "best_val_jaccard",
    ]
    keys += [column for column in rest if column not in keys]
    return (
        keyed.sort_values(keys, kind="stable", na_position="last")
        .drop(columns="_place")
        .reset_index(drop=True)
    )


def _without_duplicates(frame: pd.DataFrame) -> tuple[pd.DataFrame, int, int]:
    """The rows without those that repeat a configuration with its seed, their number, and how many had other scores.

    A finished point is kept before one that is not, then the highest index, which is the newest. Without a seed, rows
    may be repeats whose seed is not known, so only rows that are equal in everything are duplicates.
    """
    keys = ["architecture", "learning_rate", "batch_size", *extra_axes(frame), "seed"]
    ended = frame["successful"].astype(int) * 2 + (frame["status"] == "diverged").astype(int)
    ranked = frame.assign(_ended=ended, _index=frame["index"].fillna(-1.0)).sort_values(
        ["_ended", "_index"], ascending=False, kind="stable"
    )
    again = ranked.duplicated(keys) & ranked["seed"].notna()
    again |= (
        ranked.duplicated([column for column in frame.columns if column != "_index"]) & ranked["seed"].isna()
    )
    kept = ranked.groupby(keys, dropna=False, sort=False)["best_val_jaccard"].transform("first")
    contradicting = int((again & ranked["successful"] & (ranked["best_val_jaccard"] != kept)).sum())
    again = again.reindex(frame.index)
    return frame[~again].reset_index(drop=True), int(again.sum()), contradicting


def _accumulated(frame: pd.DataFrame) -> pd.Series[bool]:
    """Which points accumulated their gradients over parts of a batch.

    Summaries of older versions have no column for this, only a sentence in the reason.
    """
    if "gradient_accumulation_steps" in frame:
        return pd.to_numeric(frame["gradient_accumulation_steps"], errors="coerce").gt(1)
    return frame["reason"].str.contains("batch normalisation sees batches of", regex=False)


def extra_axes(frame: pd.DataFrame) -> list[str]:
    """Columns of axes beyond learning rate, batch size, architecture and seed."""
    return [column for column in _other_columns(frame) if _may_be_axis(column, frame[column].astype(str))]


def architectures(frame: pd.DataFrame) -> list[str]:
    """Architectures in the order in which they first appear."""
    return list(dict.fromkeys(frame["architecture"]))


def common_text(frame: pd.DataFrame, column: str) -> str:
    """The distinct values of a text column, in order, joined by " and "; empty if there are none."""
    return " and ".join(sorted({value for value in frame[column] if isinstance(value, str) and value}))
