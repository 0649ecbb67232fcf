"""Multiple comparisons with the best: which of several means may be the highest (Hsu 1984, 1996).

Each mean is compared with the best of the others. The intervals hold for all of them together, so they also hold for the
one that was chosen because it is the highest. They are shorter than those of all pairwise differences, because fewer
comparisons are made.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import optimize, special, stats

from analysis.statistics.intervals import LEVEL

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(96)
_Z = 8.0 * _NODES  # a standard normal variable, from -8 to 8
_DENSITY = np.exp(-_Z * _Z / 2) / math.sqrt(2 * math.pi) * 8.0 * _WEIGHTS
_MANY = (
    200  # means with different variances: with more, the correlations are neglected, which is conservative
)
_LARGEST_LOADING = 0.98
_LARGEST = 40.0  # standard errors
_CHUNK = 500
_AT_ONCE = 500  # limits times groups in one array


@dataclass(frozen=True)
class Contrast:
    """A linear combination of means, its standard error and the degrees of freedom of that."""

    value: float
    error: float
    df: float


@dataclass(frozen=True)
class Estimates:
    """Estimates of ``k`` means, higher is better.

    ``means``: shape (k,). ``own``: shape (k,), the variance of each that is independent of the others. ``shared``:
    shape (k, r), so that the covariance matrix is ``diag(own) + shared @ shared.T``. ``df``: shape (k,), the degrees of
    freedom of each variance. ``equal``: all variances are multiples of one error variance with ``df[0]`` degrees of
    freedom.
    """

    means: np.ndarray
    own: np.ndarray
    shared: np.ndarray
    df: np.ndarray
    equal: bool

    def combined(self, weights: np.ndarray) -> Estimates:
        """The linear combinations of the means in the rows of ``weights``, shape (m, k).

        No mean may be in two of the combinations, so that these are independent. Degrees of freedom are Satterthwaite's
        (1946) if the variances are not equal.
        """
        if (np.count_nonzero(weights, axis=0) > 1).any():
            raise ValueError("a mean is in two of the combinations; expected each in at most one")
        parts = weights**2 * self.own
        own = parts.sum(axis=1)
        df = np.full(len(weights), float(self.df[0]) if len(self.df) else math.nan)
        if not self.equal:
            below = (parts**2 / self.df).sum(axis=1)
            df = np.divide(own**2, below, out=np.full(len(own), np.inf), where=below > 0)
        return Estimates(weights @ self.means, own, weights @ self.shared, df, self.equal)

    def combined_all(self, weights: np.ndarray) -> Contrast:
        """The linear combination of all means with ``weights``, shape (k,)."""
        one = self.combined(weights[None, :])
        variance = float(one.own[0] + (one.shared[0] ** 2).sum())
        return Contrast(float(one.means[0]), math.sqrt(variance), float(one.df[0]))

    def chosen(self, places: np.ndarray) -> Estimates:
        """Only the means at ``places``."""
        return Estimates(
            self.means[places], self.own[places], self.shared[places], self.df[places], self.equal
        )

    def difference_errors(self, row: int) -> np.ndarray:
        """The standard errors of the differences between the mean at ``row`` and each mean, shape (k,)."""
        squares = self.own[row] + self.own + ((self.shared - self.shared[row]) ** 2).sum(axis=1)
        squares[row] = 0.0
        found: np.ndarray = np.sqrt(squares)
        return found

    def difference_quantiles(self, row: int, tail: float) -> np.ndarray:
        """The value that the difference between the mean at ``row`` and each mean exceeds with probability ``tail``.

        In standard errors, shape (k,). The quantiles of t of the two means are weighted by their variances (Cochran
        1964), which is conservative; Satterthwaite's degrees of freedom are too high for a few heavy tails.
        """
        own = np.where(np.isfinite(self.df), np.minimum(self.df, 1e6), 1e6)
        quantiles = -special.stdtrit(own, tail)
        weights = self.own[row] + self.own
        found: np.ndarray = np.divide(
            self.own[row] * quantiles[row] + self.own * quantiles,
            weights,
            out=np.full(len(own), float(quantiles[row])),
            where=weights > 0,
        )
        return found


@dataclass(frozen=True)
class WithBest:
    """The intervals of the difference between each mean and the best of the others, shape (k,) each.

    An ``upper`` limit of 0 excludes a mean from being the best; a ``lower`` limit of 0 says that it is.
    ``may_be_best`` are those that are not excluded; there is at least one. ``critical`` is the number of standard errors
    for a mean with the usual variance.
    """

    lower: np.ndarray
    upper: np.ndarray
    may_be_best: np.ndarray
    critical: float


def compared_with_best(found: Estimates, level: float = LEVEL) -> WithBest:
    """Hsu's constrained intervals at the simultaneous ``level``.

    With equal variances, the critical values are Dunnett's (1955) one-sided ones, exact for independent means with any
    numbers of values. Otherwise each difference has its own quantile of t, and the dependence of the differences is
    that of a Gaussian copula with the correlations of the estimates. The part of the covariance that means ``share``
    enters the standard errors, not the correlations.
    """
    k = len(found.means)
    if k == 1:
        return WithBest(np.zeros(1), np.zeros(1), np.ones(1, bool), 0.0)
    critical = _critical_values(found, level)
    upper = np.full(k, np.inf)
    lower = np.full(k, np.inf)
    reach = [critical[row] * found.difference_errors(row) for row in range(k)] if k <= _CHUNK else None

    def reach_of(row: int) -> np.ndarray:
        product: np.ndarray = critical[row] * found.difference_errors(row) if reach is None else reach[row]
        return product

    for row in range(k):
        limits = found.means[row] - found.means + reach_of(row)
        limits[row] = np.inf
        upper[row] = limits.min()
    # The estimated best is never excluded: its differences are positive, and so are their limits. Equal values without
    # any error would have limits of 0.
    may_be_best = (upper > 0) | (found.means == found.means.max())
    for rival in np.flatnonzero(may_be_best):
        limits = found.means - found.means[rival] - reach_of(int(rival))
        limits[rival] = np.inf
        lower = np.minimum(lower, limits)
    if may_be_best.sum() == 1:
        lower[may_be_best] = 0.0
    return WithBest(
        np.minimum(lower, 0.0),
        np.maximum(upper, 0.0),
        may_be_best,
        float(np.median([np.median(row) for row in critical[: min(k, _CHUNK)]])),
    )


def _critical_values(found: Estimates, level: float) -> list[np.ndarray]:
    """For each mean, the critical values of its differences to all means, in standard errors."""
    k = len(found.means)
    own = found.own
    if found.equal:
        known: dict[float, float] = {}
        values, counts = np.unique(own, return_counts=True)
        for value in values:
            rivals = counts - (values == value)
            correlations = _loadings(value, values)
            known[float(value)] = dunnett_quantile(level, _grouped(correlations, rivals), float(found.df[0]))
        return [np.full(k, known[float(value)]) for value in own]
    result = []
    for row in range(k):
        if k > _MANY:
            z = float(special.ndtri(level ** (1 / (k - 1))))
        else:
            others = np.arange(k) != row
            z = normal_quantile(level, _grouped(_loadings(own[row], own[others]), np.ones(k - 1, int)))
        result.append(found.difference_quantiles(row, float(special.ndtr(-z))))
    return result


def _loadings(variance: float, others: np.ndarray) -> np.ndarray:
    """The differences between one mean and ``others`` have a common part; its share is the square of these numbers."""
    whole = variance + others
    found: np.ndarray = np.sqrt(np.divide(variance, whole, out=np.full(len(whole), 0.5), where=whole > 0))
    return found


def _grouped(loadings: np.ndarray, counts: np.ndarray) -> tuple[tuple[float, int], ...]:
    """The ``loadings`` rounded down to three digits, which is conservative, and how many there are of each.

    They are at most :data:`_LARGEST_LOADING`: above it the integrand is a step that the nodes cannot follow.
    """
    groups: dict[float, int] = {}
    for value, count in zip(
        np.floor(np.minimum(loadings, _LARGEST_LOADING) * 1000) / 1000, counts, strict=True
    ):
        if count:
            groups[float(value)] = groups.get(float(value), 0) + int(count)
    return tuple(sorted(groups.items()))


def _all_below(limits: np.ndarray, groups: tuple[tuple[float, int], ...]) -> np.ndarray:
    """P(all of the correlated standard normal variables are below each of ``limits``)."""
    loadings, counts = np.array(groups, float).T
    below = np.ones((len(limits), len(_Z)))
    # All groups in one call: a hundred groups with one limit are common, as are a hundred limits with one group.
    step = max(1, _AT_ONCE // len(limits))
    for start in range(0, len(loadings), step):
        own, powers = loadings[start : start + step, None, None], counts[start : start + step, None, None]
        rest = np.sqrt(np.maximum(1 - own * own, 1e-12))
        one = special.ndtr((limits[:, None] + own * _Z) / rest)
        below *= np.prod(one if (powers == 1).all() else one**powers, axis=0)
    found: np.ndarray = below @ _DENSITY
    return found


@lru_cache(maxsize=4096)
def normal_quantile(level: float, groups: tuple[tuple[float, int], ...]) -> float:
    """The value below which all of several standard normal variables are with probability ``level``.

    ``groups``: pairs of a loading, from 0 to 1, and the number of variables with it; two variables have the product of
    their loadings as correlation.
    """

    def excess(z: float) -> float:
        return float(_all_below(np.array([z]), groups)[0]) - level

    # Between the quantile of one variable and Bonferroni's, with room for the error of the integration.
    count = sum(number for _, number in groups)
    low, high = float(special.ndtri(level)), float(special.ndtri(1 - (1 - level) / count))
    return float(optimize.brentq(excess, low - 0.5, high + 0.5, xtol=1e-9))


@lru_cache(maxsize=4096)
def dunnett_quantile(level: float, groups: tuple[tuple[float, int], ...], df: float) -> float:
    """The same for variables that are divided by one estimated standard deviation with ``df`` degrees of freedom.

    Dunnett (1955); used instead of ``scipy.stats.dunnett``, which takes raw samples and integrates by random numbers.
    """
    if not math.isfinite(df) or df > 1e6:
        return normal_quantile(level, groups)
    low, high = (math.sqrt(float(stats.chi2.ppf(p, df)) / df) for p in (1e-13, 1 - 1e-13))
    spread = low + (high - low) * (_NODES + 1) / 2
    density = 2 * spread * df * stats.chi2.pdf(spread * spread * df, df) * (high - low) / 2 * _WEIGHTS

    def excess(d: float) -> float:
        return float(_all_below(d * spread, groups) @ density) - level

    top = _LARGEST
    while excess(top) < 0:
        top *= 4
    return float(optimize.brentq(excess, -_LARGEST, top, xtol=1e-9))
