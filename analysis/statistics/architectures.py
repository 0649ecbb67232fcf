"""The architectures, each at its own best settings: intervals of the differences, and the probability of outperforming."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pandas as pd
from scipy import optimize, special

from analysis.configurations import Ranking
from analysis.schema import ArchitectureAtBest, ArchitectureComparison, Interval, Outperformance
from analysis.statistics.factors import replicate_column
from analysis.statistics.intervals import LEVEL
from analysis.statistics.multiple_comparisons import compared_with_best

MEANINGFUL = 0.75  # probability of outperforming, as recommended by Bouthillier et al. (2021)
LEAST_PAIRS = 5  # shared seeds: with fewer, all pairs of runs say more than those that share a seed
_Z = float(special.ndtri(0.5 + LEVEL / 2))


def architecture_comparison(frame: pd.DataFrame, ranking: Ranking) -> ArchitectureComparison:
    """Compare the best configurations of the architectures in ``ranking``, which is that of ``frame``.

    Compared at one common setting, an architecture would be judged by a learning rate that suits another one. The
    intervals have the critical value of comparisons with the best of all configurations, so they allow for the choice
    of the settings. With repeats, each pair gets the probability that a run of one scores higher than a run of the
    other, at their best settings.
    """
    best: dict[str, int] = {}
    for number, one in enumerate(ranking.configurations):
        if one.mean_with_failures is not None:
            best.setdefault(one.architecture, number)
    if len(best) < 2:
        return ArchitectureComparison(computed=False, reason="fewer than two architectures have a result")
    places = list(best.values())
    intervals = _intervals(ranking, places)
    rows = tuple(
        ArchitectureAtBest(
            architecture=name,
            settings=ranking.configurations[place].settings,
            seeds=ranking.configurations[place].seeds,
            mean=ranking.configurations[place].estimate,
            shrunken_mean=ranking.configurations[place].shrunken_mean,
            difference_to_best=intervals[number],
            may_be_best=any(one.may_be_best for one in ranking.configurations if one.architecture == name),
        )
        for number, (name, place) in enumerate(best.items())
    )
    pairs = tuple(
        outperformance(frame, ranking, a, b)
        for a, b in combinations(places, 2)
        if min(ranking.configurations[a].seeds, ranking.configurations[b].seeds) > 1
    )
    reason = "" if pairs else "no repeats, so the probability of outperforming is not known"
    return ArchitectureComparison(computed=True, reason=reason, architectures=rows, pairs=pairs)


def _intervals(ranking: Ranking, places: list[int]) -> list[Interval | None]:
    """The difference between each architecture and the best of the others, with its simultaneous interval."""
    means = ranking.means
    if means is None or min(ranking.places[places]) < 0:
        return [None] * len(places)
    critical = compared_with_best(means.estimates.chosen(ranking.places[ranking.places >= 0])).critical
    estimates = means.estimates.chosen(ranking.places[places])
    scores = np.array([ranking.configurations[place].mean_with_failures for place in places], float)
    found: list[Interval | None] = []
    for row in range(len(places)):
        others = np.where(np.arange(len(places)) == row, -np.inf, scores)
        rival = int(others.argmax())
        difference = float(scores[row] - scores[rival])
        reach = critical * float(estimates.difference_errors(row)[rival])
        found.append((difference - reach, difference + reach))
    return found


def _runs(frame: pd.DataFrame, ranking: Ranking, place: int) -> pd.Series:
    """The scores of the runs of a configuration by their seed; minus infinity for a diverged one, whose seed is lost."""
    rows = frame.iloc[ranking.rows[place]]
    name = replicate_column(frame)
    seeds = rows[name] if name is not None else pd.Series(np.nan, index=rows.index)
    scores = pd.Series(rows["best_val_jaccard"].to_numpy(float), index=seeds.to_numpy())
    diverged = pd.Series(-math.inf, index=[math.nan] * ranking.configurations[place].diverged, dtype=float)
    return pd.concat([scores, diverged]) if len(diverged) else scores


def outperformance(frame: pd.DataFrame, ranking: Ranking, a: int, b: int) -> Outperformance:
    """The probability that a run of configuration ``a`` scores higher than one of ``b`` (places in the ranking).

    A tie counts half, a diverged run loses. Runs with the same seed are compared if there are at least five pairs of
    them (interval: Wilson 1927), otherwise all runs of one with all of the other (Newcombe 2006, Statistics in Medicine
    25:559, method 5).
    """
    first, second = _runs(frame, ranking, a), _runs(frame, ranking, b)
    shared = first.index.dropna().intersection(second.index.dropna())
    unique = first.index.dropna().is_unique and second.index.dropna().is_unique
    if unique and len(shared) >= LEAST_PAIRS:
        wins = _wins(first[shared].to_numpy(), second[shared].to_numpy())
        probability, pairs = float(wins.mean()), len(shared)
        ci = _wilson(probability, pairs)
    else:
        wins = _wins(first.to_numpy()[:, None], second.to_numpy()[None, :])
        probability, pairs = float(wins.mean()), wins.size
        ci = newcombe(probability, len(first), len(second))
    one, other = (ranking.configurations[place] for place in (a, b))
    return Outperformance(
        a=one.settings,
        b=other.settings,
        probability=probability,
        ci=ci,
        pairs=pairs,
        verdict=_verdict(probability, ci),
    )


def _wins(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    found: np.ndarray = np.where(first == second, 0.5, first > second)
    return found


def _verdict(probability: float, ci: Interval) -> str:
    if ci[0] > 0.5:
        return "better" if probability >= MEANINGFUL else "better, by little"
    return "worse" if ci[1] < 0.5 else "not distinguishable"


def _wilson(share: float, n: int) -> Interval:
    middle = (share + _Z * _Z / (2 * n)) / (1 + _Z * _Z / n)
    half = _Z * math.sqrt(share * (1 - share) / n + _Z * _Z / (4 * n * n)) / (1 + _Z * _Z / n)
    return max(0.0, middle - half), min(1.0, middle + half)


def newcombe(probability: float, m: int, n: int) -> Interval:
    """The 95 % interval of P(A > B) from all pairs of ``m`` and ``n`` values, by Newcombe's method 5."""
    star = (m + n) / 2 - 1

    def excess(theta: float) -> float:
        spread = (
            theta * (1 - theta) * (1 + star * ((1 - theta) / (2 - theta) + theta / (1 + theta))) / (m * n)
        )
        return abs(probability - theta) - _Z * math.sqrt(spread)

    # At 0 and 1 the variance is zero, so the limit on the other side is looked for from just beside them.
    inside = min(max(probability, 1e-9), 1 - 1e-9)
    low = float(optimize.brentq(excess, 0.0, inside)) if probability > 0 else 0.0
    high = float(optimize.brentq(excess, inside, 1.0)) if probability < 1 else 1.0
    return low, high
