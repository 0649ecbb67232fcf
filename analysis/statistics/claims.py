"""Tests of single claims: which level is the best, a trend, a spread, a difference to a reference.

Each returns a verdict and its evidence. Both verdicts need evidence: *supported* and *not supported* each have an error
rate of at most ``alpha`` if they are wrong, and everything else *cannot be judged*.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special, stats

from analysis.schema import Verdict
from analysis.statistics.configuration_means import Means
from analysis.statistics.factors import NotComputed, combined_codes
from analysis.statistics.multiple_comparisons import Estimates, compared_with_best

SUPPORTED: Verdict = "supported"
NOT_SUPPORTED: Verdict = "not supported"
OPEN: Verdict = "cannot be judged"
MARGIN = 0.01  # of the Jaccard index: settings that differ by less are tied

Judgement = tuple[Verdict, str]  # verdict and evidence


@dataclass(frozen=True)
class Levels:
    """The means of the levels of one factor over the same settings of all other factors.

    ``names``: the levels that have any configuration, ``estimates`` their means. ``settings`` is the number of settings
    of the other factors that all levels have.
    """

    names: tuple[Any, ...]
    estimates: Estimates
    settings: int

    def place(self, wanted: Callable[[Any], bool]) -> np.ndarray:
        """Which levels are ``wanted``."""
        return np.array([wanted(name) for name in self.names], bool)


def level_means(means: Means, factor: str, chosen: np.ndarray | None = None) -> Levels:
    """The means of the levels of ``factor`` over the configurations that are ``chosen`` (by default all).

    Only settings of the other factors with a result at every level are used: a level without its difficult settings
    would look better. Raises :class:`NotComputed` if there is none, or only one level.
    """
    data = means.data
    if factor not in data.codes:
        raise NotComputed(f"there is only one {factor.replace('_', ' ')} with a result")
    kept = np.flatnonzero(np.ones(len(means.counts), bool) if chosen is None else chosen)
    level = means.codes(factor)[kept]
    others = [means.codes(name)[kept] for name in data.codes if name != factor]
    setting = combined_codes(others, len(kept))
    levels = np.unique(level)
    if len(levels) < 2:
        raise NotComputed(f"there is only one {factor.replace('_', ' ')} with a result")
    present = np.bincount(setting, minlength=int(setting.max()) + 1) == len(levels)
    if not present.any():
        raise NotComputed(f"no setting has a result at each {factor.replace('_', ' ')}")
    used = present[setting]
    weights = np.zeros((len(levels), len(means.counts)))
    weights[np.searchsorted(levels, level[used]), kept[used]] = 1 / int(present.sum())
    names = tuple(data.levels[factor][number] for number in levels)
    return Levels(names, means.estimates.combined(weights), int(present.sum()))


def shown_level(value: Any) -> str:
    """A level as text."""
    return value if isinstance(value, str) else f"{float(value):g}"


def best_is_among(levels: Levels, claimed: np.ndarray, alpha: float, *, margin: float | None) -> Judgement:
    """Whether the best level is one of the ``claimed`` ones.

    Supported if all others are excluded from being the best, not supported if all claimed ones are (Hsu 1996). If the
    best of both are equal within ``margin``, with the same confidence, the claim cannot be judged: they are tied.
    """
    found = compared_with_best(levels.estimates, 1 - alpha)
    near = [shown_level(name) for name, may in zip(levels.names, found.may_be_best, strict=True) if may]
    words = ", ".join(
        f"{value:.4g} at {shown_level(name)}"
        for name, value in zip(levels.names, levels.estimates.means, strict=True)
    )
    words += f"; may be the best at {100 * (1 - alpha):.1f} %: {', '.join(near)}"
    outside, inside = found.may_be_best[~claimed].any(), found.may_be_best[claimed].any()
    if margin is not None and _tied(levels.estimates, claimed, alpha, margin):
        return OPEN, f"{words}; tied within {margin:g}"
    if not outside:
        return SUPPORTED, words
    return (OPEN if inside else NOT_SUPPORTED), words


def _tied(estimates: Estimates, claimed: np.ndarray, alpha: float, margin: float) -> bool:
    values = estimates.means
    first = int(np.flatnonzero(claimed)[values[claimed].argmax()])
    second = int(np.flatnonzero(~claimed)[values[~claimed].argmax()])
    error = float(estimates.difference_errors(first)[second])
    reach = error * float(estimates.difference_quantiles(first, alpha)[second])
    return bool(abs(values[first] - values[second]) + reach < margin)


def falls(levels: Levels, scores: np.ndarray, alpha: float) -> tuple[Verdict, float]:
    """Whether the means fall with the ``scores`` of their levels: verdict, and the two-sided p of the linear contrast."""
    weights = scores - scores.mean()
    found = levels.estimates.combined_all(weights)
    p = _upper_tail(-found.value, found.error, found.df)
    verdict = SUPPORTED if p < alpha else NOT_SUPPORTED if 1 - p < alpha else OPEN
    return verdict, 2 * min(p, 1 - p)


def _upper_tail(value: float, error: float, df: float) -> float:
    """P(t >= value / error); 0.5 if there is nothing to compare."""
    if error <= 0:
        return 0.5 if value == 0 else 0.0 if value > 0 else 1.0
    return (
        float(special.stdtr(df, -value / error)) if math.isfinite(df) else float(special.ndtr(-value / error))
    )


@dataclass(frozen=True)
class Spread:
    """The variance of the true means of several settings, without that of their errors, and its standard error."""

    variance: float
    error: float
    df: float

    @property
    def sd(self) -> float:
        """Its root, 0 if the means vary no more than their errors."""
        return math.sqrt(max(0.0, self.variance))


def spread(estimates: Estimates) -> Spread:
    """The variance between the means of ``estimates``, shape (k,) with k >= 2.

    The mean square of ``k`` normal means is a scaled noncentral chi-squared variable; ``error`` is its standard
    deviation with the estimates in the place of the true values.
    """
    k = len(estimates.means)
    noise = float(estimates.own.mean())
    whole = float(((estimates.means - estimates.means.mean()) ** 2).sum()) / (k - 1)
    df = float(np.min(estimates.df))
    variance = whole - noise
    squares = (2 * noise * noise + 4 * noise * max(0.0, variance)) / (k - 1) + 2 * noise * noise / df
    return Spread(variance, math.sqrt(squares), df)


def most_and_least(spreads: dict[str, Spread], most: str, least: str, alpha: float) -> Verdict:
    """Whether ``most`` has the largest spread and ``least`` the smallest.

    Supported if it has against each of the others, at ``alpha`` each; not supported if any other is larger or smaller,
    at ``alpha`` for all of these comparisons.
    """
    pairs = [(most, name) for name in spreads if name != most]
    pairs += [(name, least) for name in spreads if name not in (least, most)]

    def exceeds(a: str, b: str, level: float) -> bool:
        one, other = spreads[a], spreads[b]
        error = math.hypot(one.error, other.error)
        return _upper_tail(one.variance - other.variance, error, min(one.df, other.df)) < level

    if all(exceeds(a, b, alpha) for a, b in pairs):
        return SUPPORTED
    return NOT_SUPPORTED if any(exceeds(b, a, alpha / len(pairs)) for a, b in pairs) else OPEN


def best_settings(estimates: Estimates, alpha: float) -> np.ndarray:
    """Which of the means may be the highest, shape (k,)."""
    return compared_with_best(estimates, 1 - alpha).may_be_best


def agreement_of_repeats(table: np.ndarray, alpha: float) -> tuple[float, float, float]:
    """The mean rank correlation of the columns of ``table``, shape (settings, repeats), and its limits.

    On ranks the mean of Spearman's correlations over all pairs is the intraclass correlation of a two-way model, whose
    limits are those of Shrout and Fleiss (1979, ICC(3, 1)), each at ``alpha``. Columns that are constant are left out.
    Raises :class:`NotComputed` if fewer than two are left.
    """
    varying = table[:, (table != table[:1]).any(axis=0)]
    settings, repeats = varying.shape
    if repeats < 2:
        raise NotComputed("all scores are equal")
    ranks = stats.rankdata(varying, axis=0)
    ranks = (ranks - ranks.mean(axis=0)) / ranks.std(axis=0)
    between = repeats * float((ranks.mean(axis=1) ** 2).sum()) / (settings - 1)
    total = float((ranks**2).sum())
    df = (settings - 1, (settings - 1) * (repeats - 1))
    within = (total - between * (settings - 1)) / df[1]
    if within <= 1e-12 * total:
        return 1.0, 1.0, 1.0
    f = between / within

    def correlation(ratio: float) -> float:
        return float((ratio - 1) / (ratio + repeats - 1))

    low = f / float(stats.f.ppf(1 - alpha, *df))
    high = f / float(stats.f.ppf(alpha, *df))
    return correlation(f), correlation(low), correlation(high)


def together(verdicts: Sequence[Verdict]) -> Verdict:
    """The verdict on several claims: supported if all are, not supported if any is."""
    if NOT_SUPPORTED in verdicts:
        return NOT_SUPPORTED
    return OPEN if OPEN in verdicts else SUPPORTED
