"""The linear-model core of the statistics: a summary's rows as factors, a model matrix, and what is estimable in it.

Sums of squares come from orthonormal bases of the differences between nested models, so that one design serves many
responses (bootstrap, simulation) and degrees of freedom are ranks. Sources: Searle (1971), Linear Models, ch. 5
(estimability, marginal means); Langsrud (2003), Statistics and Computing 13:163 (Type II sums of squares).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import combinations
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from analysis.summary import extra_axes

FACTORS = ("learning_rate", "batch_size", "architecture")
MOST_COLUMNS = 500  # of a model matrix: more are no grid, and would take minutes
MOST_DESIGNS = 4  # kept: one for each of the metrics, where they lack different rows
LEAST_RESIDUAL_DF = 5  # below it an F test has hardly any power, and the model is made smaller
_CONSTANT = 1e-12  # spread relative to the size of the numbers: below it is rounding
_EXACT = 1e-22  # residual relative to the total sum of squares: below it is rounding
_RANK = 1e-9  # eigenvalue relative to the largest: below it is no direction

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
            notes.append(f"{column} has nearly one value for each row: it is no factor and was left out")
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


def terms_up_to(names: list[str], order: int) -> list[Term]:
    """Main effects, then interactions of two, and so on up to ``order`` factors."""
    return [term for size in range(1, order + 1) for term in combinations(names, size)]


def _coded(codes: np.ndarray, count: int) -> np.ndarray:
    """Sum-to-zero columns: the mean over all levels of whatever stands in them is zero."""
    return np.vstack([np.eye(count - 1), -np.ones(count - 1)])[codes]


def _basis(columns: np.ndarray, largest: float | None = None) -> np.ndarray:
    """Orthonormal columns that span ``columns``; ``largest``: eigenvalue against which a direction is nothing."""
    if not columns.shape[1]:
        return columns
    values, vectors = np.linalg.eigh(columns.T @ columns)
    kept = values > _RANK * max(largest or values[-1], 1e-300)
    basis = columns @ (vectors[:, kept] / np.sqrt(values[kept]))
    if not basis.shape[1]:
        return basis
    values, vectors = np.linalg.eigh(basis.T @ basis)  # a second pass restores what squaring lost
    return basis @ (vectors / np.sqrt(values))


class Design:
    """Model matrix of intercept, seed blocks and terms; answers for any response on the same rows.

    :meth:`of` makes one, or gives the one that was made for the same rows: a report asks about four metrics again
    and again, and at 10,000 rows nearly all of its time went into making the same bases thirty times.
    """

    _kept: ClassVar[dict[Any, Design]] = {}

    def __init__(self, data: Data, terms: list[Term]):
        self.data, self.terms = data, terms
        self.n = len(data.y)
        coded = {name: _coded(codes, len(data.levels[name])) for name, codes in data.codes.items()}
        one = np.ones((self.n, 1))
        block = None if data.block is None else _coded(data.block, int(data.block.max()) + 1)
        self._blocks = one if block is None else np.hstack([one, block])
        self._columns: dict[Term, np.ndarray] = {}
        for term in terms:
            found = one
            for name in term:
                found = (found[:, :, None] * coded[name][:, None, :]).reshape(self.n, -1)
            self._columns[term] = found
        self.matrix = np.hstack([self._blocks, *self._columns.values()])

    @classmethod
    def of(cls, data: Data, terms: list[Term]) -> Design:
        """The design of ``terms`` on the rows of ``data``; it depends on their levels and seeds, not on their values."""
        block = None if data.block is None else data.block.tobytes()
        codes = tuple((name, len(data.levels[name]), code.tobytes()) for name, code in data.codes.items())
        key = len(data.y), tuple(terms), block, codes
        found = cls._kept.pop(key, None) or cls(data, terms)
        cls._kept[key] = found  # last: the newest
        while len(cls._kept) > MOST_DESIGNS:
            del cls._kept[next(iter(cls._kept))]
        return found

    @staticmethod
    def width(data: Data, terms: list[Term]) -> int:
        """Columns of the model matrix."""
        block = 0 if data.block is None else int(data.block.max())
        return 1 + block + sum(math.prod(len(data.levels[name]) - 1 for name in term) for term in terms)

    @cached_property
    def basis(self) -> np.ndarray:
        return _basis(self.matrix)

    @property
    def residual_df(self) -> int:
        return self.n - self.basis.shape[1]

    def residuals(self, y: np.ndarray) -> np.ndarray:
        """Of one response, or of a column each."""
        rest = y - self.basis @ (self.basis.T @ y)
        return rest - self.basis @ (self.basis.T @ rest)

    def _beyond(self, base: np.ndarray, columns: np.ndarray) -> np.ndarray:
        own = float(np.linalg.eigvalsh(columns.T @ columns)[-1])
        rest = columns - base @ (base.T @ columns)
        rest = rest - base @ (base.T @ rest)
        found = _basis(rest, own)
        return found - base @ (base.T @ found)

    @cached_property
    def term_bases(self) -> dict[Term, np.ndarray]:
        """For each term the directions by which it widens the largest model without any term that contains it."""
        found = {}
        for term in self.terms:
            without = [self._columns[other] for other in self.terms if not set(term) <= set(other)]
            found[term] = self._beyond(_basis(np.hstack([self._blocks, *without])), self._columns[term])
        return found

    @cached_property
    def block_basis(self) -> np.ndarray | None:
        """The directions of the seeds beyond all terms."""
        if self._blocks.shape[1] == 1:
            return None
        base = _basis(np.hstack([self._blocks[:, :1], *self._columns.values()]))
        return self._beyond(base, self._blocks[:, 1:])

    def tests(self, y: np.ndarray) -> Iterator[tuple[Term, int, np.ndarray, np.ndarray]]:
        """Term, df, Type II sum of squares and F, of one response or of many (a column each)."""
        error = (self.residuals(y) ** 2).sum(axis=0) / self.residual_df
        for term, basis in self.term_bases.items():
            squares = ((basis.T @ y) ** 2).sum(axis=0)
            df = basis.shape[1]
            yield term, df, squares, squares / max(df, 1) / error

    @cached_property
    def _spectrum(self) -> tuple[np.ndarray, np.ndarray]:
        values, vectors = np.linalg.eigh(self.matrix.T @ self.matrix)
        kept = values > _RANK * values[-1]
        return values[kept], vectors[:, kept]

    def contrasts(self, factor: str) -> tuple[np.ndarray, np.ndarray]:
        """Rows that give the adjusted mean of each level from the coefficients, and which of them are estimable.

        With sum-to-zero columns every other effect averages to zero over its levels, so equal weights need no table.
        """
        start = self._blocks.shape[1]
        for term, columns in self._columns.items():
            if term == (factor,):
                break
            start += columns.shape[1]
        count = len(self.data.levels[factor])
        rows = np.zeros((count, self.matrix.shape[1]))
        rows[:, 0] = 1
        rows[:, start : start + count - 1] = _coded(np.arange(count), count)
        return rows, self.estimable(rows)

    def estimable(self, rows: np.ndarray) -> np.ndarray:
        """Whether each combination of coefficients follows from the expected values of the points that exist."""
        vectors = self._spectrum[1]
        rest = rows - (rows @ vectors) @ vectors.T
        return np.linalg.norm(rest, axis=1) <= 1e-7 * np.linalg.norm(rows, axis=1)

    def estimates(self, rows: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Estimates (one for each row, of each response), and variances in units of the error variance."""
        values, vectors = self._spectrum
        turned = rows @ vectors
        # Through the residuals of a first solution: the normal equations alone lose half of the digits.
        weights = turned / values
        first = vectors @ ((vectors.T @ (self.matrix.T @ y)).T / values).T
        left = y - self.matrix @ first
        found = rows @ first + weights @ (vectors.T @ (self.matrix.T @ left))
        return found, (turned**2 / values).sum(axis=1)


@dataclass(frozen=True)
class Fit:
    """The model that the rows can bear, in words, and its residuals (in units of ``data.y``)."""

    data: Data
    design: Design
    order: int
    words: str
    notes: list[str]
    residuals: np.ndarray

    @property
    def df(self) -> int:
        return self.design.residual_df

    @property
    def error(self) -> float:
        """Residual mean square, in units of ``data.y``; 0 where only rounding is left."""
        squares = float(self.residuals @ self.residuals)
        return 0.0 if squares <= _EXACT * float(self.data.y @ self.data.y) else squares / self.df


def _words(order: int, count: int, data: Data) -> str:
    if count == 1:
        words = "one factor"
    elif order == 1:
        words = "main effects only (additive)"
    elif order == count:
        words = "full factorial"
    else:
        words = f"main effects and interactions of up to {order} factors"
    if data.block is not None:
        words += f", {data.block_name} as an additive block"
    if data.replicated and order == min(count, 3):
        return f"{words}; error: variation between repeats of a configuration"
    return f"{words}; error: everything beyond (higher interactions and noise cannot be told apart)"


def fit(frame: pd.DataFrame, metric: str) -> Fit:
    """The largest model that leaves enough residual degrees of freedom. Raises :class:`NotComputed`."""
    data = prepare(frame, metric)
    names = list(data.codes)
    if not names:
        raise NotComputed("no hyperparameter has two values with a successful point")
    highest = min(len(names), 3) if data.replicated else max(1, min(2, len(names) - 1))
    notes = list(data.notes)
    for order in range(highest, 0, -1):
        terms = terms_up_to(names, order)
        width = Design.width(data, terms)
        if width > MOST_COLUMNS:
            why = f"{width} columns are more than {MOST_COLUMNS}"
        else:
            design = Design.of(data, terms)
            df = design.residual_df
            if df >= LEAST_RESIDUAL_DF or (order == 1 and df >= 2):
                words = _words(order, len(names), data)
                return Fit(data, design, order, words, notes, design.residuals(data.y))
            why = f"{df} residual degrees of freedom are left"
        if order > 1:
            smaller = "the additive model" if order == 2 else "interactions of up to two factors"
            notes.append(f"interactions of {order} factors left out ({why}): {smaller} instead")
    raise NotComputed(f"even the additive model cannot be tested: {why}")


def resampled(model: Fit, draws: int, seed: int) -> np.ndarray:
    """Errors of unit variance, drawn from the residuals: set free of their leverage, centred, rescaled."""
    leverage = (model.design.basis**2).sum(axis=1)
    free = leverage < 1 - 1e-9
    pool = model.residuals[free] / np.sqrt(1 - leverage[free])
    pool = pool - pool.mean()
    spread = math.sqrt(float(pool @ pool) / len(pool))
    pool = pool / spread if spread > 0 else pool
    return np.random.default_rng(seed).choice(pool, size=(len(model.data.y), draws))
