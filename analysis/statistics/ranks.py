"""Rank statistics: Friedman over blocks of the design, Wilcoxon pairs, Kruskal-Wallis, Spearman correlations."""

from __future__ import annotations

import math
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from scipy import special, stats

from analysis.statistics.assumptions import assumptions
from analysis.statistics.intervals import holm
from analysis.statistics.linear_model import (
    FACTORS,
    MOST_COLUMNS,
    Design,
    NotComputed,
    design_columns,
    label,
    levels_of,
    metric_values,
    plain,
    plain_level,
    prepare,
    replicate_column,
    terms_up_to,
)

HIGHER_IS_BETTER = ("best_val_jaccard", "test_jaccard")
KEY_METRICS = (
    "best_val_jaccard",
    "val_loss_stability",
    "overfitting_gap",
    "epochs_to_best",
    "training_time_seconds",
    "test_jaccard",
)
MOST_LEVELS = 20
_EXACT_MOST = 50  # pairs of a Wilcoxon test up to which its distribution is enumerated
_LEAST_ROWS = 5
_TIE = 1e-12  # relative difference below which two numbers tie: what arithmetic leaves of equal ones


def friedman(table: np.ndarray) -> dict[str, Any]:
    """Friedman's (1937) test of the columns over the rows (blocks), corrected for ties, and Kendall's W.

    ``p`` from chi squared; ``p_F``: Iman and Davenport (1980), better with few blocks. ``NotComputed`` for all ties.
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
    return {
        "statistic": plain(statistic),
        "df": k - 1,
        "p": plain(special.chdtrc(k - 1, statistic)),
        "p_F": p_f,
        "kendall_w": plain(w),
        "mean_ranks": [float(rank) for rank in ranks.mean(axis=0)],
    }


def signed_rank(differences: np.ndarray) -> tuple[float | None, str]:
    """Two-sided p of Wilcoxon's (1945) signed-rank test and how it was found; zeros are dropped.

    Exact by enumeration of the signs up to 50 pairs, ties included; beyond, the normal approximation.
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
    """Values of all rows, minus infinity for a diverged point that counts as the worst, NaN for a missing one."""
    values = metric_values(frame, metric)
    found = values.to_numpy(copy=True)
    if metric not in HIGHER_IS_BETTER or not values.notna().any():
        return found, 0
    diverged = (frame["status"] == "diverged").to_numpy() & np.isnan(found)
    found[diverged] = -math.inf
    return found, int(diverged.sum())


def _repeats(frame: pd.DataFrame, cell: pd.Series) -> pd.Series:
    """What tells the repeats of a cell apart in a block: the seed, where cells share seeds, else their number."""
    name = replicate_column(frame)
    if name is not None:
        seed = frame[name].fillna(-1.0)
        together = pd.DataFrame({"cell": cell, "seed": seed})
        if (
            not together.duplicated().any()
            and (together.groupby("seed")["cell"].transform("nunique") > 1).mean() > 0.5
        ):
            return seed
    return cell.groupby(cell).cumcount()


def _untied(table: np.ndarray) -> np.ndarray:
    """Equal but for rounding becomes equal: such values tie."""
    finite = np.abs(table[np.isfinite(table)])
    size = float(finite.max()) if len(finite) else 0.0
    if size == 0:
        return table
    return np.where(np.isfinite(table), np.round(table / size, 12), table)


def rank_tests(frame: pd.DataFrame, metric: str) -> dict[str, Any]:
    """Rank tests of each hyperparameter, and which of F and rank tests comes first (``primary``).

    Friedman over blocks of the other hyperparameters and the seed; blocks without a value for every level are
    dropped and counted. A diverged point is the worst of its block for a Jaccard index; other failures are missing.
    Pairs of levels: Wilcoxon over blocks that have both, Holm-adjusted within the factor; ``median_difference`` in
    units of the metric. Kruskal-Wallis where fewer than two blocks are complete.
    """
    found: dict[str, Any] = {"metric": metric, "primary": "F", "why": "", "diverged": 0, "factors": []}
    found |= {"notes": [], "computed": False, "reason": ""}
    checks = assumptions(frame, metric)
    diverged = int((frame["status"] == "diverged").sum())
    if diverged:
        found |= {"primary": "rank", "why": f"{diverged} points diverged; an F test cannot see them"}
    elif checks["fails"]:
        found |= {"primary": "rank", "why": checks["consequence"]}
    elif not checks["computed"]:
        found["why"] = f"the assumptions of the F test were not checked: {checks['reason']}"
    else:
        found["why"] = checks["consequence"]
    try:
        scores, worst = _scores(frame, metric)
        if not np.isfinite(scores).any():
            raise NotComputed(f"no successful point has a value of {metric}")
    except NotComputed as reason:
        return found | {"reason": str(reason)}
    found["diverged"] = worst
    columns, found["notes"] = design_columns(frame)
    codes = pd.DataFrame(
        {name: pd.factorize(column)[0] for name, column in columns.items()}, index=frame.index
    )
    cell = codes.groupby(list(codes.columns), sort=False).ngroup()
    repeat = _repeats(frame, cell)
    for name in columns:
        levels = levels_of(columns[name])
        row: dict[str, Any] = {
            "factor": name,
            "label": label(name),
            "test": None,
            "computed": False,
            "reason": "",
        }
        try:
            row |= _factor(scores, codes.drop(columns=name).assign(_repeat=repeat), columns[name], levels)
        except NotComputed as reason:
            row["reason"] = str(reason)
        if len(levels) > 1 or name in FACTORS:
            found["factors"].append(row)
    done = any(row["computed"] for row in found["factors"])
    return found | {"computed": done, "reason": "" if done else "no hyperparameter could be tested"}


def _factor(scores: np.ndarray, others: pd.DataFrame, column: pd.Series, levels: list[Any]) -> dict[str, Any]:
    block = others.groupby(list(others.columns), sort=False).ngroup().to_numpy()
    code = column.map({level: number for number, level in enumerate(levels)}).to_numpy(int)
    table = np.full((int(block.max()) + 1, len(levels)), math.nan)
    table[block, code] = scores
    known = ~np.isnan(table)
    used = np.flatnonzero(known.any(axis=0))
    if len(used) < 2:
        raise NotComputed("fewer than two values of it have a result")
    if len(used) > MOST_LEVELS:
        raise NotComputed(f"{len(used)} values, more than {MOST_LEVELS}")
    table = table[known.any(axis=1)][:, used]
    units, table = table, _untied(table)
    whole = ~np.isnan(table).any(axis=1)
    names = [plain_level(levels[place]) for place in used]
    found: dict[str, Any] = {"levels": names, "levels_without_result": len(levels) - len(used)}
    found |= {"blocks": int(whole.sum()), "dropped_blocks": int((~whole).sum())}
    if whole.sum() > 1:
        found |= {"test": "Friedman"} | friedman(table[whole])
    else:
        found |= {"test": "Kruskal-Wallis"} | _kruskal(table)
    found["pairs"] = _pairs(table, units, names)
    return found | {"computed": True}


def _kruskal(table: np.ndarray) -> dict[str, Any]:
    """Kruskal and Wallis (1952), corrected for ties; it ignores the other hyperparameters."""
    values = table[~np.isnan(table)]
    group = np.broadcast_to(np.arange(table.shape[1]), table.shape)[~np.isnan(table)]
    ranks = stats.rankdata(values)
    n, middle = len(values), (len(values) + 1) / 2
    if n <= table.shape[1]:
        raise NotComputed("one result only for each of its values")
    spread = float(((ranks - middle) ** 2).sum())
    if spread == 0:
        raise NotComputed("all values tie")
    counts = np.bincount(group)
    means = np.bincount(group, ranks) / counts
    statistic = (n - 1) * float((counts * (means - middle) ** 2).sum()) / spread
    df = len(counts) - 1
    return {
        "statistic": plain(statistic),
        "df": df,
        "p": plain(special.chdtrc(df, statistic)),
        "p_F": None,
        "kendall_w": None,
        "mean_ranks": [float(mean) for mean in means],
    }


def _pairs(table: np.ndarray, units: np.ndarray, names: list[Any]) -> list[dict[str, Any]]:
    found = []
    for a, b in combinations(range(len(names)), 2):
        both = ~np.isnan(table[:, a]) & ~np.isnan(table[:, b])
        left, right = table[both, a], table[both, b]
        equal = left == right
        finite = np.isfinite(left) & np.isfinite(right)
        # Values from 0 to 1 in size: 3 exceeds every real difference, so a divergence takes the highest rank.
        difference = np.where(left > right, 3.0, -3.0)
        difference[finite] = np.round(left[finite] - right[finite], 12)
        difference[equal] = 0.0
        p, method = signed_rank(difference)
        plainly = units[both][finite]
        found.append(
            {
                "a": names[a],
                "b": names[b],
                "n": int(both.sum()),
                "median_difference": plain(np.median(plainly[:, a] - plainly[:, b]))
                if len(plainly)
                else None,
                "p": p,
                "method": method if both.any() else "no block has both",
            }
        )
    for row, adjusted in zip(found, holm([row["p"] for row in found]), strict=True):
        row["p_holm"] = adjusted
    return found


def correlations(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Spearman's rank correlations of the key metrics over the successful points, from -1 to 1.

    ``kind`` "plain", and "partial": of the ranks less what the additive model of the hyperparameters explains. ``ci``:
    95 %, Fisher's z with the standard error of Bonett and Wright (2000); ``p`` from t; ``p_holm`` within each kind.
    Repeats of a configuration count as points of their own.
    """
    frame = frame.copy()
    if "best_epoch" in frame and ("epochs_to_best" not in frame or frame["epochs_to_best"].isna().all()):
        frame["epochs_to_best"] = frame["best_epoch"]  # the same number by the predecessor's name
    values = {}
    for metric in KEY_METRICS:
        try:
            values[metric] = metric_values(frame, metric)
        except NotComputed:
            continue
    found = []
    for kind in ("plain", "partial"):
        family = []
        for a, b in combinations(
            [metric for metric in values if metric != "test_jaccard" or values[metric].notna().any()], 2
        ):
            row: dict[str, Any] = {"a": a, "b": b, "kind": kind, "n": 0}
            row |= dict.fromkeys(("rho", "ci", "p", "p_holm")) | {"computed": False, "reason": ""}
            try:
                row |= _correlation(frame, values[a], values[b], kind) | {"computed": True}
            except NotComputed as reason:
                row["reason"] = str(reason)
            row["n"] = int((values[a].notna() & values[b].notna()).sum())
            family.append(row)
        for row, adjusted in zip(family, holm([row["p"] for row in family]), strict=True):
            row["p_holm"] = adjusted
        found += family
    return found


def _correlation(frame: pd.DataFrame, a: pd.Series, b: pd.Series, kind: str) -> dict[str, Any]:
    both = (a.notna() & b.notna()).to_numpy()
    n = int(both.sum())
    if n < _LEAST_ROWS:
        raise NotComputed(f"{n} points have both values; at least {_LEAST_ROWS} are needed")
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
            raise NotComputed("the hyperparameters determine one of the two entirely")
    free = n - 2 - used
    if free < 2:
        raise NotComputed(f"{n} points leave {max(free, 0)} degrees of freedom; at least 2 are needed")
    sizes = np.sqrt((ranks**2).sum(axis=0))
    rho = float(np.clip(ranks[:, 0] @ ranks[:, 1] / (sizes[0] * sizes[1]), -1, 1))
    if abs(rho) > 1 - 1e-12:
        return {
            "rho": round(rho),
            "ci": None,
            "p": 0.0,
            "reason": "perfect agreement of the ranks: no interval",
        }
    t = abs(rho) * math.sqrt(free / (1 - rho * rho))
    half = float(special.ndtri(0.975)) * math.sqrt((1 + rho * rho / 2) / max(free - 1, 1))
    return {
        "rho": rho,
        "ci": [math.tanh(math.atanh(rho) - half), math.tanh(math.atanh(rho) + half)],
        "p": float(2 * special.stdtr(free, -t)),
    }
