"""The rows of a summary as coded factors: levels, configurations, seeds, and the values of one metric."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from analysis.axes import fictitious_axes
from analysis.metrics import WORDS
from analysis.summary import extra_axes
from jobs.common.units import plural

FACTORS = ("learning_rate", "batch_size", "architecture")
MOST_COLUMNS = 500  # of a model matrix: more take minutes, and no grid needs them
_CONSTANT = 1e-12  # a spread below this, relative to the size of the numbers, is rounding error

Term = tuple[str, ...]


class NotComputed(Exception):
    """A statistic cannot be computed from these rows. The message is the reason that the report shows."""


def plain(value: Any) -> float | None:
    """``value`` as a float for JSON; ``None`` if it is not finite."""
    number = float(value)
    return number if math.isfinite(number) else None


def label(term: Term | str) -> str:
    """A term as text, such as ``learning rate x batch size``."""
    return " x ".join(part.replace("_", " ") for part in ((term,) if isinstance(term, str) else term))


def plain_level(value: Any) -> float | int | str:
    """A level of a factor as a JSON type; a whole number is an ``int``."""
    if isinstance(value, str):
        return value
    number = float(value)
    return int(number) if number.is_integer() else number


def metric_values(frame: pd.DataFrame, metric: str) -> pd.Series:
    """The metric of the successful rows; NaN for other rows and for values that are not finite numbers.

    Raises :class:`NotComputed` if the frame has no such column.
    """
    if metric not in frame.columns:
        if metric == "epochs_to_best":
            raise NotComputed(
                "points that were still rising have no epochs to best; see the survival analysis"
            )
        raise NotComputed(f"the summary has no column {metric}")
    numbers = pd.to_numeric(frame[metric], errors="coerce").astype(float)
    return numbers.where(frame["successful"].astype(bool) & np.isfinite(numbers))


def levels_of(column: pd.Series) -> list[Any]:
    """The distinct values of a factor: numbers in ascending order, texts in order of appearance."""
    values = list(dict.fromkeys(column))
    numbers = pd.to_numeric(pd.Series(values, dtype=object), errors="coerce")
    if values and numbers.notna().all():
        return [values[place] for place in np.argsort(numbers.to_numpy(float), kind="stable")]
    return values


def design_columns(frame: pd.DataFrame) -> tuple[dict[str, pd.Series], list[str]]:
    """The hyperparameters that can be used as factors, and notes on those that cannot."""
    notes = []
    constant = {axis.axis: axis for axis in fictitious_axes(frame) if axis.constant}
    for name, axis in constant.items():
        notes.append(
            f"{label(name)} was left out: all points trained at {axis.effective[0]}, whatever the grid asked for"
        )
    found: dict[str, pd.Series] = {column: frame[column] for column in FACTORS if column not in constant}
    for column in extra_axes(frame):
        if column in constant:
            continue
        values = frame[column].map(lambda value: "" if pd.isna(value) else str(value))
        if values.nunique() > max(2, len(frame) / 2):
            notes.append(
                f"{column} was left out: it is not a factor, because nearly every row has a different value"
            )
        else:
            found[column] = values
    return found, notes


def replicate_column(frame: pd.DataFrame) -> str | None:
    """The column with the number of the repeat: ``seed`` or ``repeat``, the first with more than one value."""
    for column in ("seed", "repeat"):
        if column in frame and len(frame[column].dropna().unique()) > 1:
            return column
    return None


@dataclass(frozen=True)
class Data:
    """The rows with a value, coded. ``y`` is centred and scaled to at most 1: the values are ``y * scale + shift``."""

    y: np.ndarray
    scale: float
    shift: float
    places: np.ndarray  # positions of the rows in the frame
    codes: dict[str, np.ndarray]  # factors with two levels or more
    levels: dict[str, list[Any]]
    cell: np.ndarray  # the number of each row's combination of hyperparameters
    block: np.ndarray | None  # codes of the seed, if the cells share seeds
    block_name: str | None
    notes: list[str] = field(default_factory=list)

    @property
    def cells(self) -> int:
        """The number of combinations of hyperparameters."""
        return int(self.cell.max()) + 1

    @property
    def replicated(self) -> bool:
        """Whether any combination of hyperparameters has several rows."""
        return len(self.y) > self.cells

    def balanced(self) -> bool:
        """Whether every combination of levels occurs equally often (also with each seed, if seeds are shared)."""
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
        raise NotComputed(
            f"{plural(len(places), 'successful point')} with a value of {WORDS.get(metric, metric)}; at least 2 are needed"
        )
    raw = values.to_numpy()[places]
    size = float(np.abs(raw).max()) or 1.0
    y = raw / size
    shift = float(y.mean())
    y = y - shift
    spread = float(np.abs(y).max())
    if spread <= _CONSTANT:
        raise NotComputed(f"{metric} is constant: all {len(places)} values are {raw[0]:g}")
    rows = frame.iloc[places]
    columns, notes = design_columns(rows)
    codes, levels = {}, {}
    for name, column in columns.items():
        found = levels_of(column)
        all_levels = frame[name].nunique()
        if len(found) < 2:
            if name in FACTORS or all_levels > 1:
                notes.append(f"{label(name)} was left out: it has only one value")
            continue
        if name in FACTORS and len(found) < all_levels:
            notes.append(
                f"{label(name)}: no successful point for {all_levels - len(found)} of {all_levels} values"
            )
        numbers = {level: number for number, level in enumerate(found)}
        codes[name], levels[name] = column.map(numbers).to_numpy(int), found
    cell = combined_codes(list(codes.values()), len(y))
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


def combined_codes(codes: list[np.ndarray], length: int) -> np.ndarray:
    """A number for each combination of ``codes``, shape (length,); all 0 if there are no codes."""
    if not codes:
        return np.zeros(length, int)
    return np.unique(np.column_stack(codes), axis=0, return_inverse=True)[1].reshape(-1)
