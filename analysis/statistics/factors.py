"""The rows of a summary as coded factors: levels, configurations and seeds, with the values of one metric."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from analysis.summary import extra_axes

FACTORS = ("learning_rate", "batch_size", "architecture")
MOST_COLUMNS = 500  # of a model matrix: more are no grid, and would take minutes
_CONSTANT = 1e-12  # spread relative to the size of the numbers: below it is rounding

Term = tuple[str, ...]


class NotComputed(Exception):
    """A statistic cannot be computed from these rows; the message is the reason, for the report."""


def plain(value: Any) -> float | None:
    """A float that JSON can hold; ``None`` for what is not finite."""
    number = float(value)
    return number if math.isfinite(number) else None


def label(term: Term | str) -> str:
    """The words of a term: ``learning rate x batch size``."""
    return " x ".join(part.replace("_", " ") for part in ((term,) if isinstance(term, str) else term))


def plain_level(value: Any) -> float | int | str:
    """A level of a factor as a JSON type; whole numbers as ``int``."""
    if isinstance(value, str):
        return value
    number = float(value)
    return int(number) if number.is_integer() else number


def metric_values(frame: pd.DataFrame, metric: str) -> pd.Series:
    """The metric of the successful rows, NaN elsewhere and for what is not a finite number.

    Raises :class:`NotComputed` for a column that the frame lacks.
    """
    if metric not in frame.columns:
        raise NotComputed(f"the summary has no column {metric}")
    numbers = pd.to_numeric(frame[metric], errors="coerce").astype(float)
    return numbers.where(frame["successful"].astype(bool) & np.isfinite(numbers))


def levels_of(column: pd.Series) -> list[Any]:
    """The distinct values of a factor: numbers in their order, words in order of appearance."""
    values = list(dict.fromkeys(column))
    numbers = pd.to_numeric(pd.Series(values, dtype=object), errors="coerce")
    if len(values) and numbers.notna().all():
        return [values[place] for place in np.argsort(numbers.to_numpy(float), kind="stable")]
    return values


def design_columns(frame: pd.DataFrame) -> tuple[dict[str, pd.Series], list[str]]:
    """Every hyperparameter that can serve as a factor, and sentences on those that cannot."""
    found: dict[str, pd.Series] = {column: frame[column] for column in FACTORS}
    notes = []
    for column in extra_axes(frame):
        values = frame[column].map(lambda value: "" if pd.isna(value) else str(value))
        if values.nunique() > max(2, len(frame) / 2):
            notes.append(f"{column} has nearly one value for each row: it is not a factor and was left out")
        else:
            found[column] = values
    return found, notes


def replicate_column(frame: pd.DataFrame) -> str | None:
    """The column that numbers the repeats: ``seed``, else ``repeat``, where it has more than one value."""
    for column in ("seed", "repeat"):
        if column in frame and frame[column].nunique(dropna=True) > 1:
            return column
    return None


@dataclass(frozen=True)
class Data:
    """Rows with a value, coded. ``y`` is centred and scaled to at most 1; ``y * scale + shift`` are the values."""

    y: np.ndarray
    scale: float
    shift: float
    places: np.ndarray  # positions of the rows in the frame
    codes: dict[str, np.ndarray]  # factors with two levels or more
    levels: dict[str, list[Any]]
    cell: np.ndarray  # number of each row's combination of hyperparameters
    block: np.ndarray | None  # codes of the seed, where the cells share seeds
    block_name: str | None
    notes: list[str] = field(default_factory=list)

    @property
    def cells(self) -> int:
        return int(self.cell.max()) + 1

    @property
    def replicated(self) -> bool:
        return len(self.y) > self.cells

    def balanced(self) -> bool:
        """Whether every combination of levels occurs, each equally often (with each seed, where seeds are shared)."""
        possible = math.prod(len(self.levels[name]) for name in self.codes)
        counts = np.bincount(self.cell)
        if self.cells != possible or bool(counts.min() != counts.max()):
            return False
        if self.block is None:
            return True
        pairs = np.bincount(self.cell * (int(self.block.max()) + 1) + self.block)
        return bool(len(pairs) == possible * (int(self.block.max()) + 1) and pairs.min() == pairs.max())


def prepare(frame: pd.DataFrame, metric: str) -> Data:
    """The rows of ``frame`` with a value of ``metric``, coded. Raises :class:`NotComputed` with the reason."""
    values = metric_values(frame, metric)
    places = np.flatnonzero(values.notna().to_numpy())
    if len(places) < 2:
        raise NotComputed(f"{len(places)} successful points have a value of {metric}; at least 2 are needed")
    raw = values.to_numpy()[places]
    size = float(np.abs(raw).max()) or 1.0
    y = raw / size
    shift = float(y.mean())
    y = y - shift
    spread = float(np.abs(y).max())
    if spread <= _CONSTANT:
        raise NotComputed(f"{metric} is constant: all {len(places)} points have {raw[0]:g}")
    rows = frame.iloc[places]
    columns, notes = design_columns(rows)
    codes, levels = {}, {}
    for name, column in columns.items():
        found = levels_of(column)
        all_levels = frame[name].nunique()
        if len(found) < 2:
            if name in FACTORS or all_levels > 1:
                notes.append(f"{label(name)} has one value only: left out")
            continue
        if name in FACTORS and len(found) < all_levels:
            notes.append(f"{label(name)}: {all_levels - len(found)} of {all_levels} values have no point")
        numbers = {level: number for number, level in enumerate(found)}
        codes[name], levels[name] = column.map(numbers).to_numpy(int), found
    cell = _combine(list(codes.values()), len(y))
    data = Data(y / spread, size * spread, shift * size, places, codes, levels, cell, None, None, notes)
    repeats = replicate_column(rows)
    if repeats is None or not data.replicated:
        return data
    block = pd.factorize(rows[repeats].fillna(-1.0))[0]
    pairs = np.unique(np.column_stack([block, cell]), axis=0)[:, 0]
    shared = np.bincount(pairs, minlength=int(block.max()) + 1)[block] > 1
    if shared.mean() <= 0.5 or block.max() + 1 > MOST_COLUMNS // 2:
        return data
    return replace(data, block=block, block_name=repeats)


def _combine(codes: list[np.ndarray], length: int) -> np.ndarray:
    if not codes:
        return np.zeros(length, int)
    return np.unique(np.column_stack(codes), axis=0, return_inverse=True)[1].reshape(-1)
