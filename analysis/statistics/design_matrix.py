"""Model matrices, Type II sums of squares, and estimable functions.

Sums of squares are computed from orthonormal bases of the differences between nested models. The degrees of freedom are
ranks, and one design can be used for many responses (bootstrap, simulation). Sources: Searle (1971), Linear Models,
ch. 5 (estimability, marginal means); Langsrud (2003), Statistics and Computing 13:163 (Type II sums of squares).

Used instead of statsmodels. If every combination of values exists, both agree within 1e-8. If a combination is missing,
``anova_lm`` of statsmodels counts 4 degrees of freedom for an interaction of which 3 are estimable, and it has no
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

MOST_DESIGNS = 4  # in the cache: one for each metric, which may lack different rows
_RANK = 1e-9  # an eigenvalue below this, relative to the largest, counts as zero


def terms_up_to(names: list[str], order: int) -> list[Term]:
    """All main effects, then all interactions of two factors, and so on up to ``order`` factors."""
    return [term for size in range(1, order + 1) for term in combinations(names, size)]


def _coded(codes: np.ndarray, count: int) -> np.ndarray:
    """Sum-to-zero columns: the sum of each over all levels is zero."""
    found: np.ndarray = np.vstack([np.eye(count - 1), -np.ones(count - 1)])[codes]
    return found


def _basis(columns: np.ndarray, largest: float | None = None) -> np.ndarray:
    """Orthonormal columns that span ``columns``. Eigenvalues are compared with ``largest``, by default their own."""
    if not columns.shape[1]:
        return columns
    values, vectors = np.linalg.eigh(columns.T @ columns)
    kept = values > _RANK * max(largest or values[-1], 1e-300)
    basis: np.ndarray = columns @ (vectors[:, kept] / np.sqrt(values[kept]))
    if not basis.shape[1]:
        return basis
    values, vectors = np.linalg.eigh(basis.T @ basis)  # a second pass, because the squares lost precision
    found: np.ndarray = basis @ (vectors / np.sqrt(values))
    return found


class Design:
    """The model matrix of intercept, seed blocks and terms, for any response on the same rows.

    :meth:`of` returns a cached design for the same rows if there is one. A report needs the same designs about thirty
    times; without the cache, computing them took nearly all of its time at 10,000 rows.
    """

    _kept: ClassVar[dict[Any, Design]] = {}

    def __init__(self, data: Data, terms: list[Term]) -> None:
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
        """The design of ``terms`` on the rows of ``data``. It depends on their levels and seeds, not on their values."""
        block = None if data.block is None else data.block.tobytes()
        codes = tuple((name, len(data.levels[name]), code.tobytes()) for name, code in data.codes.items())
        key = len(data.y), tuple(terms), block, codes
        found = cls._kept.pop(key, None) or cls(data, terms)
        cls._kept[key] = found  # the newest is last
        while len(cls._kept) > MOST_DESIGNS:
            del cls._kept[next(iter(cls._kept))]
        return found

    @staticmethod
    def width(data: Data, terms: list[Term]) -> int:
        """The number of columns of the model matrix."""
        block = 0 if data.block is None else int(data.block.max())
        return 1 + block + sum(math.prod(len(data.levels[name]) - 1 for name in term) for term in terms)

    @cached_property
    def basis(self) -> np.ndarray:
        """Orthonormal columns that span the model, shape (rows, rank)."""
        return _basis(self.matrix)

    @property
    def residual_df(self) -> int:
        """Residual degrees of freedom: rows minus rank."""
        return int(self.n - self.basis.shape[1])

    def residuals(self, y: np.ndarray) -> np.ndarray:
        """The residuals of one response, shape (rows,), or of one per column, shape (rows, responses)."""
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
        """For each term, an orthonormal basis of what it adds to the largest model without the terms that contain it."""
        found = {}
        for term in self.terms:
            without = [self._columns[other] for other in self.terms if not set(term) <= set(other)]
            found[term] = self._beyond(_basis(np.hstack([self._blocks, *without])), self._columns[term])
        return found

    @cached_property
    def block_basis(self) -> np.ndarray | None:
        """An orthonormal basis of what the seeds add to all terms; ``None`` if there are no seed blocks."""
        if self._blocks.shape[1] == 1:
            return None
        base = _basis(np.hstack([self._blocks[:, :1], *self._columns.values()]))
        return self._beyond(base, self._blocks[:, 1:])

    def tests(self, y: np.ndarray) -> Iterator[tuple[Term, int, np.ndarray, np.ndarray]]:
        """Term, df, Type II sum of squares and F, of one response or of one per column."""
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
        """One row per level, whose product with the coefficients is its adjusted mean, and which of them are estimable.

        With sum-to-zero columns all other effects average to zero over their levels, so their coefficients are 0.
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
        """Whether each row is a linear combination of the rows of the model matrix."""
        vectors = self._spectrum[1]
        rest = rows - (rows @ vectors) @ vectors.T
        found: np.ndarray = np.linalg.norm(rest, axis=1) <= 1e-7 * np.linalg.norm(rows, axis=1)
        return found

    def estimates(self, rows: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The estimate for each row (and each response), and its variance in units of the error variance."""
        values, vectors = self._spectrum
        turned = rows @ vectors
        # Refine a first solution by its residuals: the normal equations alone lose half of the digits.
        weights = turned / values
        first = vectors @ ((vectors.T @ (self.matrix.T @ y)).T / values).T
        left = y - self.matrix @ first
        found = rows @ first + weights @ (vectors.T @ (self.matrix.T @ left))
        return found, (turned**2 / values).sum(axis=1)
