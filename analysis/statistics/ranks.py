"""Rank statistics: Friedman over blocks of the design, Wilcoxon pairs, Kruskal-Wallis, Spearman correlations."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal

import numpy as np
import pandas as pd
from msgspec.structs import replace
from scipy import special, stats

from analysis.metrics import CORRELATED, HIGHER_IS_BETTER, WORDS
from analysis.schema import Assumptions, Correlation, Interval, Level, RankPair, RankTest, RankTests
from analysis.statistics.assumptions import assumptions
from analysis.statistics.design_matrix import Design, terms_up_to
from analysis.statistics.factors import (
    FACTORS,
    MOST_COLUMNS,
    NotComputed,
    design_columns,
    label,
    levels_of,
    metric_values,
    plain,
    plain_level,
    prepare,
    replicate_column,
)
from analysis.statistics.intervals import holm
from jobs.common.units import plural

MOST_LEVELS = 20
_EXACT_MOST = 50  # pairs: up to this number the distribution of a Wilcoxon test is enumerated
_LEAST_ROWS = 5
_Kind = Literal["plain", "partial"]
_KINDS: tuple[_Kind, ...] = ("plain", "partial")


@dataclass(frozen=True)
class Statistic:
    """A rank test of several levels. ``p`` is from chi squared with ``df`` degrees of freedom."""

    test: Literal["Friedman", "Kruskal-Wallis"]
    statistic: float
    df: int
    p: float
    mean_ranks: tuple[float, ...]
    p_f: float | None = None
    kendall_w: float | None = None


def friedman(table: np.ndarray) -> Statistic:
    """Friedman's (1937) test of the columns over the rows (blocks), corrected for ties, and Kendall's W.

    ``p`` is from chi squared; ``p_f`` is that of Iman and Davenport (1980), which is better with few blocks. Raises
    :class:`NotComputed` if all values tie.

    Used instead of ``scipy.stats.friedmanchisquare``, which rejects two columns (two batch sizes are common) and does
    not return W. On 2,000 random tables with ties both agree within 1e-12.
    """
    blocks, k = table.shape
    ranks = stats.rankdata(table, axis=1)
    middle = (k + 1) / 2
    spread = float(((ranks - middle) ** 2).sum())
    if spread == 0:
        raise NotComputed("all values tie within every block")
    statistic = (k - 1) * float(((ranks.sum(axis=0) - blocks * middle) ** 2).sum()) / spread
    w = min(1.0, statistic / (blocks * (k - 1)))
    f = (blocks - 1) * w / (1 - w) if w < 1 - 1e-12 else None
    df = (k - 1, (k - 1) * (blocks - 1))
    p_f = None if blocks < 2 else 0.0 if f is None else plain(special.fdtrc(*df, f))
    return Statistic(
        "Friedman",
        statistic,
        k - 1,
        float(special.chdtrc(k - 1, statistic)),
        tuple(map(float, ranks.mean(axis=0))),
        p_f,
        w,
    )


def signed_rank(differences: np.ndarray) -> tuple[float | None, str]:
    """Two-sided p of Wilcoxon's (1945) signed-rank test, and the method; zeros are dropped.

    Exact by enumeration of the signs for up to 50 pairs, also with ties; otherwise the normal approximation.

    Used instead of ``scipy.stats.wilcoxon``, whose exact method is exact only without ties.
    """
    differences = differences[differences != 0]
    n = len(differences)
    if n == 0:
        return None, "no pair differs"
    doubled = np.rint(2 * stats.rankdata(np.abs(differences))).astype(int)
    positive = int(doubled[differences > 0].sum())
    total = int(doubled.sum())
    if n <= _EXACT_MOST:
        ways = np.zeros(total + 1)
        ways[0] = 1.0
        for rank in doubled:
            ways[rank:] = (ways[rank:] + ways[: total + 1 - rank]) / 2 if rank else ways[rank:]
            ways[:rank] /= 2
        tail = float(ways[: min(positive, total - positive) + 1].sum())
        return min(1.0, 2 * tail), "exact"
    spread = math.sqrt(float((doubled.astype(float) ** 2).sum())) / 2
    return float(min(1.0, 2 * special.ndtr(-abs(positive - total / 2) / spread))), "normal approximation"


def _scores(frame: pd.DataFrame, metric: str) -> tuple[np.ndarray, int]:
    """The values of all rows, NaN if missing, and the number of diverged points with a value of minus infinity.

    A diverged point gets this value, the worst one, if higher values are better. Raises :class:`NotComputed` if no
    successful point has a value.
    """
    values = metric_values(frame, metric)
    found = values.to_numpy(copy=True)
    if not np.isfinite(found).any():
        raise NotComputed(f"no successful point has a value of {WORDS.get(metric, metric)}")
    if metric not in HIGHER_IS_BETTER:
        return found, 0
    diverged = (frame["status"] == "diverged").to_numpy() & np.isnan(found)
    found[diverged] = -math.inf
    return found, int(diverged.sum())


def _blocks(frame: pd.DataFrame, cell: pd.Series, scores: np.ndarray) -> tuple[pd.Series | None, np.ndarray]:
    """The seed of each row if the cells share seeds, and the scores; otherwise no seed, and one score for each cell.

    Repeats that have nothing in common must not be paired: their number in the file is accidental, and another order of
    the rows would give other blocks. The score of a cell is then the mean of its repeats, in its first row; minus
    infinity if one of them diverged, since the mean of the others would be too good.
    """
    name = replicate_column(frame)
    if name is not None:
        seed = frame[name].fillna(-1.0)
        together = pd.DataFrame({"cell": cell, "seed": seed})
        shared = (together.groupby("seed")["cell"].transform("nunique") > 1).mean() > 0.5
        if shared and not together.duplicated().any():
            return seed, scores
    if not cell.duplicated().any():
        return None, scores
    series = pd.Series(scores, index=cell.index)
    lowest = series.groupby(cell).transform("min")
    means = series.replace(-math.inf, math.nan).groupby(cell).transform("mean")
    means = means.where(lowest > -math.inf, lowest)
    return None, means.where(~cell.duplicated()).to_numpy()


def _untied(table: np.ndarray) -> np.ndarray:
    """``table`` scaled and rounded, so that values that differ only by rounding error tie."""
    finite = np.abs(table[np.isfinite(table)])
    size = float(finite.max()) if len(finite) else 0.0
    if size == 0:
        return table
    return np.where(np.isfinite(table), np.round(table / size, 12), table)


def rank_tests(frame: pd.DataFrame, metric: str, checks: Assumptions | None = None) -> RankTests:
    """Rank tests of each hyperparameter, and whether to read the F tests or the rank tests first (``primary``).

    Friedman's test over blocks of the other hyperparameters and the seed. Blocks without a value for every level are
    dropped and counted. For a Jaccard index a diverged point is the worst of its block; other failures are missing.
    With fewer than two complete blocks, Kruskal-Wallis is used instead. Repeats without shared seeds are averaged first.
    ``p_holm`` is corrected for the hyperparameters, from ``p_F`` where there is one. Pairs of levels: Wilcoxon over the blocks with
    both, Holm-adjusted within the factor; ``median_difference`` is in units of the metric. ``checks``: the
    :func:`analysis.statistics.assumptions.assumptions` of the same metric, if they are known.
    """
    checks = assumptions(frame, metric) if checks is None else checks
    primary: Literal["F", "rank"] = "F"
    why = checks.consequence
    diverged = int((frame["status"] == "diverged").sum())
    if diverged:
        primary, why = "rank", f"{plural(diverged, 'point')} diverged, which F tests leave out."
    elif checks.fails:
        primary = "rank"
    elif not checks.computed:
        why = f"The assumptions of the F test were not checked: {checks.reason}."
    try:
        scores, worst = _scores(frame, metric)
    except NotComputed as reason:
        return RankTests(metric=metric, primary=primary, why=why, computed=False, reason=str(reason))
    columns, notes = design_columns(frame)
    codes = pd.DataFrame(
        {name: pd.factorize(column)[0] for name, column in columns.items()}, index=frame.index
    )
    cell = codes.groupby(list(codes.columns), sort=False).ngroup()
    repeat, scores = _blocks(frame, cell, scores)
    if repeat is None and cell.duplicated().any():
        notes.append("repeats have no seeds in common: the tests compare the means of the configurations")
    factors = []
    for name, column in columns.items():
        levels = levels_of(column)
        if len(levels) > 1 or name in FACTORS:
            others = codes.drop(columns=name).assign(_repeat=0.0 if repeat is None else repeat)
            try:
                factors.append(_factor(name, scores, others, column, levels))
            except NotComputed as reason:
                factors.append(RankTest(factor=name, label=label(name), computed=False, reason=str(reason)))
    corrected = holm([row.p_f if row.p_f is not None else row.p for row in factors])
    factors = [replace(row, p_holm=p) for row, p in zip(factors, corrected, strict=True)]
    done = any(row.computed for row in factors)
    return RankTests(
        metric=metric,
        primary=primary,
        why=why,
        diverged=worst,
        factors=tuple(factors),
        notes=tuple(notes),
        computed=done,
        reason="" if done else "no hyperparameter could be tested",
    )


def _factor(
    name: str, scores: np.ndarray, others: pd.DataFrame, column: pd.Series, levels: list[Any]
) -> RankTest:
    block = others.groupby(list(others.columns), sort=False).ngroup().to_numpy()
    code = column.map({level: number for number, level in enumerate(levels)}).to_numpy(int)
    table = np.full((int(block.max()) + 1, len(levels)), math.nan)
    there = ~np.isnan(scores)
    table[block[there], code[there]] = scores[there]
    known = ~np.isnan(table)
    used = np.flatnonzero(known.any(axis=0))
    if len(used) < 2:
        raise NotComputed("fewer than two of its values have a result")
    if len(used) > MOST_LEVELS:
        raise NotComputed(f"{len(used)} values, more than the limit of {MOST_LEVELS}")
    table = table[known.any(axis=1)][:, used]
    units, table = table, _untied(table)
    whole = ~np.isnan(table).any(axis=1)
    names = [plain_level(levels[place]) for place in used]
    found = friedman(table[whole]) if whole.sum() > 1 else _kruskal(table)
    return RankTest(
        factor=name,
        label=label(name),
        computed=True,
        test=found.test,
        levels=tuple(names),
        levels_without_result=len(levels) - len(used),
        blocks=int(whole.sum()),
        dropped_blocks=int((~whole).sum()),
        statistic=plain(found.statistic),
        df=found.df,
        p=plain(found.p),
        p_f=found.p_f,
        kendall_w=found.kendall_w,
        mean_ranks=found.mean_ranks,
        pairs=_pairs(table, units, names),
    )


def _kruskal(table: np.ndarray) -> Statistic:
    """The test of Kruskal and Wallis (1952), corrected for ties, which ignores the other hyperparameters."""
    groups = [column[~np.isnan(column)] for column in table.T]
    values = np.concatenate(groups)
    if len(values) <= len(groups):
        raise NotComputed("each of its values has only one result")
    if (values == values[0]).all():
        raise NotComputed("all values tie")
    found = stats.kruskal(*groups)
    ranks = np.split(stats.rankdata(values), np.cumsum([len(group) for group in groups])[:-1])
    return Statistic(
        "Kruskal-Wallis",
        float(found.statistic),
        len(groups) - 1,
        float(found.pvalue),
        tuple(float(own.mean()) for own in ranks),
    )


def _pairs(table: np.ndarray, units: np.ndarray, names: list[Level]) -> tuple[RankPair, ...]:
    found = []
    for a, b in combinations(range(len(names)), 2):
        both = ~np.isnan(table[:, a]) & ~np.isnan(table[:, b])
        left, right = table[both, a], table[both, b]
        equal = left == right
        finite = np.isfinite(left) & np.isfinite(right)
        # The values are between -1 and 1. A difference to a diverged point is 3, larger than any other, so it ranks highest.
        difference = np.where(left > right, 3.0, -3.0)
        difference[finite] = np.round(left[finite] - right[finite], 12)
        difference[equal] = 0.0
        p, method = signed_rank(difference)
        plainly = units[both][finite]
        found.append(
            RankPair(
                a=names[a],
                b=names[b],
                n=int(both.sum()),
                median_difference=plain(np.median(plainly[:, a] - plainly[:, b])) if len(plainly) else None,
                p=p,
                p_holm=None,
                method=method if both.any() else "no block has both",
            )
        )
    corrected = holm([row.p for row in found])
    return tuple(replace(row, p_holm=p) for row, p in zip(found, corrected, strict=True))


def correlations(frame: pd.DataFrame) -> tuple[Correlation, ...]:
    """Spearman's rank correlations of the key metrics over the successful points, from -1 to 1.

    ``kind`` is "plain", or "partial" for the residuals of the ranks in the additive model of the hyperparameters.
    ``ci``: 95 %, Fisher's z with the standard error of Bonett and Wright (2000); ``p`` is from t, ``p_holm`` within each
    kind. Repeats of a configuration count as separate points.
    """
    frame = frame.copy()
    if "best_epoch" in frame and ("epochs_to_best" not in frame or frame["epochs_to_best"].isna().all()):
        frame["epochs_to_best"] = frame["best_epoch"]  # the predecessor's name for the same number
    values = {}
    for metric in CORRELATED:
        try:
            values[metric] = metric_values(frame, metric)
        except NotComputed:
            continue
    names = [metric for metric in values if metric != "test_jaccard" or values[metric].notna().any()]
    found: list[Correlation] = []
    for kind in _KINDS:
        family = [_correlation(frame, values[a], values[b], kind) for a, b in combinations(names, 2)]
        corrected = holm([row.p for row in family])
        found += [replace(row, p_holm=p) for row, p in zip(family, corrected, strict=True)]
    return tuple(found)


def _correlation(frame: pd.DataFrame, a: pd.Series, b: pd.Series, kind: _Kind) -> Correlation:
    both = (a.notna() & b.notna()).to_numpy()
    found = Correlation(
        a=str(a.name), b=str(b.name), kind=kind, n=int(both.sum()), computed=False, reason="not yet"
    )
    try:
        rho, free = _rank_correlation(frame, a, b, both, kind)
    except NotComputed as reason:
        return replace(found, reason=str(reason))
    if abs(rho) > 1 - 1e-12:
        why = "the ranks agree perfectly, so there is no interval"
        return replace(found, computed=True, rho=round(rho), p=0.0, reason=why)
    t = abs(rho) * math.sqrt(free / (1 - rho * rho))
    half = float(special.ndtri(0.975)) * math.sqrt((1 + rho * rho / 2) / max(free - 1, 1))
    interval: Interval = (math.tanh(math.atanh(rho) - half), math.tanh(math.atanh(rho) + half))
    return replace(
        found, computed=True, reason="", rho=rho, ci=interval, p=float(2 * special.stdtr(free, -t))
    )


def _rank_correlation(
    frame: pd.DataFrame, a: pd.Series, b: pd.Series, both: np.ndarray, kind: _Kind
) -> tuple[float, int]:
    """The correlation and its degrees of freedom. Raises :class:`NotComputed`."""
    n = int(both.sum())
    if n < _LEAST_ROWS:
        raise NotComputed(f"{plural(n, 'point')} with both values; at least {_LEAST_ROWS} are needed")
    ranks = np.column_stack([stats.rankdata(_untied(series.to_numpy()[both])) for series in (a, b)])
    ranks -= (n + 1) / 2
    for series, column in zip((a, b), ranks.T, strict=True):
        if not column.any():
            raise NotComputed(f"{series.name} is constant")
    used = 0
    if kind == "partial":
        data = prepare(frame[both].assign(successful=True, best_val_jaccard=np.arange(n)), "best_val_jaccard")
        terms = terms_up_to(list(data.codes), 1)
        if Design.width(data, terms) > MOST_COLUMNS:
            raise NotComputed("too many values of the hyperparameters")
        design = Design.of(data, terms)
        used = design.basis.shape[1] - 1
        before = (ranks**2).sum(axis=0)
        ranks = design.residuals(ranks)
        if ((ranks**2).sum(axis=0) <= 1e-12 * before).any():
            raise NotComputed("the hyperparameters determine one of the two completely")
    free = n - 2 - used
    if free < 2:
        raise NotComputed(
            f"{plural(n, 'point')}: {plural(max(free, 0), 'degree of freedom', 'degrees of freedom')} left, at least 2 are needed"
        )
    sizes = np.sqrt((ranks**2).sum(axis=0))
    rho = float(np.clip(ranks[:, 0] @ ranks[:, 1] / (sizes[0] * sizes[1]), -1, 1))
    return rho, free
