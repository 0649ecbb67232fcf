"""Read ``hyperparameter_summary.csv``, which may be incomplete, edited by hand, or written by the predecessor."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.axes import is_effective
from analysis.cell_values import is_failed_formula, is_missing
from analysis.summary_file import Cells, read_cells
from jobs.common.errors import UserError, one_line
from jobs.common.states import STATES
from jobs.grid.settings import POINT, Setting
from jobs.monitor.summary import LEADING, METRICS, TRAILING
from jobs.monitor.usage import Usage

NEEDED = ("architecture", "learning_rate", "batch_size", "training_successful", "best_val_jaccard")
LARGEST = 1e100  # larger numbers count as missing, so that differences and means are finite
_SHARES = (
    "best_val_jaccard",
    "test_jaccard",
    "chance_jaccard",
)  # Jaccard indices
_ORDER = ("UNet", "Attention_UNet", "Attention_ResUNet")
_ARCHITECTURES = {name.casefold(): name for name in _ORDER}
_HYPERPARAMETERS = ["architecture", "learning_rate", "batch_size"]
_NAME = re.compile(r"exp_\d+_(?P<architecture>\w+?)_lr(?P<rate>\d[\d.e+-]*)_bs(?P<batch>\d+)(_.*)?")
_WORDS = ("architecture", "training_successful", "epochs_to_best_censored")
_USED = ("attempts", "parameters", "peak_memory_mb", *(name for name in Usage._fields if name != "job_id"))
_TEXTS = ("reason", "name", "data_source", "split")
# Where a day or a time may have become a number in a spreadsheet.
_TIMES = ("date", "datum", "day", "time", "datetime", "timestamp")
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
    ``left_out``: columns that are not hyperparameters: they contain text or times, nearly every row has a value of its
    own, or their value follows from the hyperparameters.
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
    cells = read_cells(path, NEEDED, (*KNOWN, *POINT), (*NUMBERS, *_USED))
    count = len(cells.rows)
    frame = pd.DataFrame({column: cells.texts(column) for column in cells.columns}, dtype=str)
    for column in NUMBERS:
        frame[column] = _numbers(cells, column) if column in cells.columns else np.full(count, math.nan)
    whole = _whole(cells, frame)
    marked = _marked(cells, frame, whole)
    _check_shares(cells, frame, marked)
    _make_plain(cells, frame)
    for column in NUMBERS:
        frame.loc[~frame[column].abs().le(LARGEST), column] = math.nan
        frame.loc[frame[column].abs() < 1 / LARGEST, column] = 0.0  # so that ratios and logarithms are finite
    if frame["seed"].isna().all() and "repeat" in frame:  # the predecessor's name for it
        frame["seed"] = _numbers(cells, "repeat")
    frame["successful"] = np.array([bool(one) for one in marked], bool) & frame["best_val_jaccard"].notna()
    frame["training_successful"] = _strings(["True" if one else "False" for one in marked])
    frame["status"] = _strings(_statuses(cells, frame, whole))
    _read_words(cells, frame)
    unscored = np.array([bool(one) for one in marked], bool) & ~frame["successful"] & (frame["reason"] == "")
    frame.loc[unscored, "reason"] = "marked as successful, but the summary has no score for it"
    frame["accumulated"] = _accumulated(frame)
    frame["architecture"] = _strings([_architecture(text) for text in frame["architecture"]])
    _check_names(cells, frame, whole)
    dropped = int((~whole).sum())
    frame = frame[whole]
    left_out = _not_axes(frame)
    empty = [column for column in left_out if not (frame[column] != "").any()]
    frame = _sorted(frame.drop(columns=left_out))
    left_out = [column for column in left_out if column not in empty]
    unnamed = frame["name"] == ""
    frame.loc[unnamed, "name"] = [
        f"{row.architecture}_lr{row.learning_rate:g}_bs{row.batch_size:g}"
        for row in frame[unnamed].itertuples()
    ]
    frame, duplicates, contradicting = _without_duplicates(frame)
    frame.attrs["reading"] = Reading(dropped, duplicates, contradicting, cells.headers, tuple(left_out))
    return frame


def _make_plain(cells: Cells, frame: pd.DataFrame) -> None:
    """Give all settings and other numbers that stay texts the form that the summary of a run has."""
    others = _other_columns(frame)
    for column in map(str, frame.columns):
        if column in POINT and column not in NUMBERS and column != "architecture":
            frame[column] = _strings(_settings(cells, column, POINT[column]))
        elif column in (*_USED, "gradient_accumulation_steps", *others) or is_effective(column):
            frame[column] = _strings(_plain_texts(cells, column))


def _read_words(cells: Cells, frame: pd.DataFrame) -> None:
    if "epochs_to_best_censored" in frame:
        known = [cells.truth(row, "epochs_to_best_censored") for row in range(len(frame))]
        frame["epochs_to_best_censored"] = _strings(
            ["" if one is None else "yes" if one else "no" for one in known]
        )
    for column in _TEXTS:
        frame[column] = _strings(
            [_word(text) for text in frame[column]] if column in frame else [""] * len(frame)
        )
    for column in ("job_id", "host", "device"):
        if column in frame:
            frame[column] = _strings([_word(text) for text in frame[column]])


def _strings(texts: list[str]) -> pd.Series:
    """A column of texts, also of none: pandas takes an empty list for numbers."""
    return pd.Series(texts, dtype=str)


def _numbers(cells: Cells, column: str) -> np.ndarray:
    """The numbers of a column; NaN where there is none. Raises :class:`UserError` for any other text."""
    numbers: np.ndarray = np.array([number for _text, number in _read(cells, column)], float)
    return numbers


def _read(cells: Cells, column: str) -> list[tuple[str, float]]:
    """The text and the number of each cell of a column. Raises :class:`UserError` for any other text."""
    texts = cells.texts(column)
    read = {
        text: row for row, text in reversed(list(enumerate(texts)))
    }  # each text once: there are few of them
    numbers = {text: cells.number(row, column) for text, row in read.items()}
    return [(text, numbers[text]) for text in texts]


def _plain_texts(cells: Cells, column: str) -> list[str]:
    """The cells of a column whose numbers have a decimal point; texts, if any cell is none and no ``none`` either."""
    try:
        return [
            text if text == "none" else "" if math.isnan(number) else _shortest(number)
            for text, number in _read(cells, column)
        ]
    except UserError:
        return cells.texts(column)


def _shortest(number: float) -> str:
    return str(int(number)) if number.is_integer() and abs(number) < 1e15 else repr(number)


def _settings(cells: Cells, column: str, setting: Setting) -> list[str]:
    """The cells of a column of a setting, as :meth:`jobs.grid.settings.Setting.to_text` writes them."""
    found: dict[str, str] = {}
    texts = cells.texts(column)
    for row, text in enumerate(texts):
        if text in found:
            continue
        if setting.nullable and text.casefold() in ("none", "null"):
            found[text] = "none"
        elif is_failed_formula(text):
            raise cells.refuse(row, column, setting.expected)
        elif is_missing(text):
            found[text] = ""
        elif setting.kind is bool:
            found[text] = setting.to_text(cells.truth(row, column))
        elif setting.kind is str:
            found[text] = text.casefold() if setting.accepts(text.casefold()) else one_line(text, 100)
        else:
            number = cells.number(row, column)
            found[text] = _shortest(number) if setting.kind is int else repr(number)
    return [found[text] for text in texts]


def _word(text: str) -> str:
    return "" if is_missing(text) else one_line(text)


def _architecture(text: str) -> str:
    """The name of an architecture: spreadsheets correct the two capitals at its beginning."""
    return _ARCHITECTURES.get(text.casefold(), one_line(text, 40))


def _whole(cells: Cells, frame: pd.DataFrame) -> np.ndarray:
    """Which rows have the three hyperparameters. Raises :class:`UserError` for a value that is none."""
    whole: np.ndarray = frame["architecture"].to_numpy(str) != ""
    for column, expected in (
        ("learning_rate", "a positive number"),
        ("batch_size", "a positive whole number"),
    ):
        values = frame[column].to_numpy(float)
        for row in np.flatnonzero(np.isnan(values)):
            text = cells.rows[row][column].strip()
            if is_failed_formula(text) or not is_missing(text):
                raise cells.refuse(int(row), column, expected)
        good = (values > 0) & (values <= LARGEST) & (values >= 1 / LARGEST)
        if column == "batch_size":
            good &= values == np.floor(values)
        for row in np.flatnonzero(~good & ~np.isnan(values)):
            raise cells.refuse(int(row), column, expected)
        whole &= good
    return whole


def _marked(cells: Cells, frame: pd.DataFrame, whole: np.ndarray) -> list[bool | None]:
    """Whether each point is marked as successful. Raises :class:`UserError` where only a guess is possible."""
    found = []
    for row in range(len(frame)):
        good = cells.truth(row, "training_successful")
        status = cells.rows[row].get("status", "").strip().casefold()
        if good is None and whole[row] and (status not in STATES or STATES[status].successful):
            raise cells.refuse(row, "training_successful", "True or False")
        found.append(good)
    return found


def _statuses(cells: Cells, frame: pd.DataFrame, whole: np.ndarray) -> list[str]:
    """The class of each point. Raises :class:`UserError` for one that is unknown or contradicts the success."""
    found = []
    for row, good in enumerate(frame["successful"]):
        text = cells.rows[row].get("status", "").strip()
        status = text.casefold()
        if is_missing(text):
            status = "done" if good else "error"
        elif whole[row] and status not in STATES:
            raise cells.refuse(row, "status", f"one of {', '.join(STATES)}")
        elif whole[row] and good and not STATES[status].successful:
            raise cells.refuse(row, "status", "done, because training_successful is true")
        found.append("error" if status == "done" and not good else status)
    return found


def _check_shares(cells: Cells, frame: pd.DataFrame, marked: list[bool | None]) -> None:
    """Raise :class:`UserError` for a Jaccard index that is none, and for a successful point whose score is unreadable."""
    for column in _SHARES:
        values = frame[column].to_numpy(float)
        for wrong in np.flatnonzero((values < 0) | (values > 1)):
            raise cells.refuse(int(wrong), column, "a Jaccard index from 0 to 1")
    missing = frame["best_val_jaccard"].isna().to_numpy()
    for row, good in enumerate(marked):
        if good and missing[row] and cells.rows[row]["best_val_jaccard"].strip():
            raise cells.refuse(row, "best_val_jaccard", "the score of a point that was successful")


def _check_names(cells: Cells, frame: pd.DataFrame, whole: np.ndarray) -> None:
    """Raise :class:`UserError` for a hyperparameter that is not the one in the name of the point.

    A spreadsheet may round a learning rate, take its point for a separator, or sort one column without the others.
    """
    columns = ("name", "architecture", "learning_rate", "batch_size")
    for row, (name, architecture, rate, batch) in enumerate(
        zip(*(frame[column] for column in columns), strict=True)
    ):
        match = _NAME.fullmatch(name) if whole[row] else None
        if match is None:
            continue
        if match["architecture"] != architecture:
            raise cells.refuse(row, "architecture", f"{match['architecture']}, as in the point's name {name}")
        if not math.isclose(float(match["rate"]), rate, rel_tol=1e-4):
            raise cells.refuse(row, "learning_rate", f"{match['rate']}, as in the point's name {name}")
        if float(match["batch"]) != batch:
            raise cells.refuse(row, "batch_size", f"{match['batch']}, as in the point's name {name}")


def _other_columns(frame: pd.DataFrame) -> list[str]:
    """Columns that are neither known nor the effective values of an axis."""
    known = (*KNOWN, "successful", "accumulated")
    return [str(column) for column in frame.columns if column not in known and not is_effective(str(column))]


def _may_be_axis(column: str, values: pd.Series) -> bool:
    """Whether a column can be a hyperparameter: a setting of the grid, or numbers. Comments and dates are not."""
    if column in POINT:
        return True
    filled = values[(values != "") & (values != "none")]
    if not len(filled) or column.casefold() in _TIMES:
        return False
    return bool(pd.to_numeric(filled, errors="coerce").notna().all())


def _not_axes(frame: pd.DataFrame) -> list[str]:
    """The columns of ``frame`` that are neither known nor hyperparameters, in the order of their names.

    Numbers that a user computed are none, such as a rank or the logarithm of the learning rate: nearly every row has its
    own, or the hyperparameters determine them. A factor of them would hide the repeats, or the learning rate itself.
    """
    others = sorted(_other_columns(frame))
    left_out = [column for column in others if not _may_be_axis(column, frame[column])]
    numbers = [column for column in others if column not in left_out and column not in POINT]
    kept = [*_HYPERPARAMETERS, *(column for column in others if column in POINT)]
    for column in numbers:
        rest = [*kept, *(other for other in numbers if other > column)]
        count = frame[column].nunique()
        if count > max(2, len(frame) / 2) or (
            count > 1 and frame.groupby(rest, dropna=False)[column].nunique().max() == 1
        ):
            left_out.append(column)
        else:
            kept.append(column)
    return sorted(left_out)


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
