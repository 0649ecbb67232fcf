"""Model matrices and what is estimable in them.

Sums of squares come from orthonormal bases of the differences between nested models, so that one design serves many
responses (bootstrap, simulation) and degrees of freedom are ranks. Sources: Searle (1971), Linear Models, ch. 5
(estimability, marginal means); Langsrud (2003), Statistics and Computing 13:163 (Type II sums of squares).

Kept instead of statsmodels: where every combination of values exists, both agree within 1e-8; with one combination
missing, its ``anova_lm`` counts 4 degrees of freedom for an interaction of which 3 are estimable, and it has no
adjusted means.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cached_property
from itertools import combinations
from typing import Any, ClassVar

import numpy as np

from analysis.statistics.factors import Data, Term

MOST_DESIGNS = 4  # kept: one for each of the metrics, where they lack different rows
_RANK = 1e-9  # eigenvalue relative to the largest: below it is no direction


def terms_up_to(names: list[str], order: int) -> list[Term]:
    """Main effects, then interactions of two, and so on up to ``order`` factors."""
    return [term for size in range(1, order + 1) for term in combinations(names, size)]


def _coded(codes: np.ndarray, count: int) -> np.ndarray:
    """Sum-to-zero columns: the mean over all levels of whatever stands in them is zero."""
    found: np.ndarray = np.vstack([np.eye(count - 1), -np.ones(count - 1)])[codes]
    return found


def _basis(columns: np.ndarray, largest: float | None = None) -> np.ndarray:
    """Orthonormal columns that span ``columns``; ``largest``: eigenvalue against which a direction is nothing."""
    if not columns.shape[1]:
        return columns
    values, vectors = np.linalg.eigh(columns.T @ columns)
    kept = values > _RANK * max(largest or values[-1], 1e-300)
    basis: np.ndarray = columns @ (vectors[:, kept] / np.sqrt(values[kept]))
    if not basis.shape[1]:
        return basis
    values, vectors = np.linalg.eigh(basis.T @ basis)  # a second pass restores what squaring lost
    found: np.ndarray = basis @ (vectors / np.sqrt(values))
    return found


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
        return int(self.n - self.basis.shape[1])

    def residuals(self, y: np.ndarray) -> np.ndarray:
        """Of one response, or of a column each."""
        rest = y - self.basis @ (self.basis.T @ y)
        clean: np.ndarray = rest - self.basis @ (self.basis.T @ rest)
        return clean

    def _beyond(self, base: np.ndarray, columns: np.ndarray) -> np.ndarray:
        own = float(np.linalg.eigvalsh(columns.T @ columns)[-1])
        rest = columns - base @ (base.T @ columns)
        rest = rest - base @ (base.T @ rest)
        found = _basis(rest, own)
        clean: np.ndarray = found - base @ (base.T @ found)
        return clean

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
        found: np.ndarray = np.linalg.norm(rest, axis=1) <= 1e-7 * np.linalg.norm(rows, axis=1)
        return found

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
