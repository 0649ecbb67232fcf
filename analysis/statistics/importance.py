"""The shares of the hyperparameters in the variance of a metric; descriptive."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pandas as pd
from msgspec.structs import replace

from analysis.schema import Importance, Replicates, Share
from analysis.statistics.factors import Data, NotComputed, Term, label, plain, prepare
from analysis.statistics.linear_model import Fit, fit


def _with_factors(frame: pd.DataFrame, metric: str) -> Data:
    """The rows of ``frame``, coded. Raises :class:`NotComputed` if there is no factor."""
    data = prepare(frame, metric)
    if not data.codes:
        raise NotComputed("no hyperparameter has two values with a successful point")
    return data


def importance(frame: pd.DataFrame, metric: str) -> Importance:
    """Shares of the variance between configurations by main effects and interactions; descriptive, no test.

    For a complete grid the shares are those of the functional analysis of variance of the cell means (Hooker 2007),
    which are exact and sum to 1; otherwise Type II sums of squares, normalised. ``share_unbiased`` is the share minus
    its expected value under noise alone, not below 0; it needs repeats. ``replicates`` is the share of all variation
    within configurations, and its variance component.
    """
    try:
        data = _with_factors(frame, metric)
        counts = np.bincount(data.cell)
        means = np.bincount(data.cell, data.y) / counts
        within = float(((data.y - means[data.cell]) ** 2).sum())
        within_df = len(data.y) - data.cells
        error = within / within_df if within_df else None
        complete = data.cells == math.prod(len(data.levels[name]) for name in data.codes)
        if complete and len(data.codes) <= 8:
            shares = _functional(data, means, None if error is None else error * float((1 / counts).mean()))
            method = "functional analysis of variance of the cell means (exact for a complete grid)"
        else:
            shares = _type_two_shares(fit(frame, metric))
            method = "Type II sums of squares, normalised to 1 with the residual (the grid is not complete)"
    except NotComputed as reason:
        return Importance(metric=metric, computed=False, reason=str(reason))
    notes = list(data.notes)
    unbiased = bool(shares) and shares[0].share_unbiased is not None
    replicates = None
    if not unbiased:
        notes.append(
            "every share contains noise, so the share of a term without effect is too high (biased upward)"
        )
    if error is not None:
        between = float((counts * (means - float(data.y.mean())) ** 2).sum())
        usual = (len(data.y) - float((counts**2).sum()) / len(data.y)) / max(data.cells - 1, 1)
        component = max(0.0, (between / max(data.cells - 1, 1) - error) / usual) if data.cells > 1 else 0.0
        total = component + error
        replicates = Replicates(
            share=plain(within / (within + between)),
            variance_share=plain(error / total) if total > 0 else None,
            df=within_df,
        )
    return Importance(
        metric=metric,
        computed=True,
        method=method,
        shares=tuple(shares),
        replicates=replicates,
        biased=not unbiased,
        notes=tuple(notes),
    )


def _functional(data: Data, means: np.ndarray, noise_of_mean: float | None) -> list[Share]:
    """The effect of every subset of the factors, by inclusion and exclusion on the table of cell means."""
    names = list(data.codes)
    table = np.empty([len(data.levels[name]) for name in names])
    table[tuple(data.codes[name] for name in names)] = means[data.cell]
    table = table - table.mean()
    effects: dict[Term, np.ndarray] = {(): np.zeros([1] * len(names))}
    total = float((table**2).sum())
    if total <= 1e-24:
        raise NotComputed("all configurations have the same mean")
    found = []
    for size in range(1, len(names) + 1):
        for term in combinations(names, size):
            away = tuple(place for place, name in enumerate(names) if name not in term)
            effect = table.mean(axis=away, keepdims=True) if away else table
            for smaller, known in effects.items():
                if set(smaller) < set(term):
                    effect = effect - known
            effects[term] = effect
            squares = float((effect**2).sum()) * (table.size / effect.size)
            df = math.prod(len(data.levels[name]) - 1 for name in term)
            clean = None if noise_of_mean is None else max(0.0, squares - df * noise_of_mean)
            found.append(
                Share(
                    term=":".join(term), label=label(term), df=df, share=squares / total, share_unbiased=clean
                )
            )
    if noise_of_mean is None:
        return found
    whole = sum(row.share_unbiased or 0.0 for row in found)
    return [
        replace(row, share_unbiased=(row.share_unbiased or 0.0) / whole if whole > 0 else 0.0)
        for row in found
    ]


def _type_two_shares(model: Fit) -> list[Share]:
    rows: list[tuple[str, str, int, float]] = []
    for term, basis in model.design.term_bases.items():
        squares = float(((basis.T @ model.data.y) ** 2).sum())
        rows.append((":".join(term), label(term), basis.shape[1], squares))
    rows.append(("residual", "residual", model.df, model.error * model.df))
    total = sum(row[-1] for row in rows)
    if total <= 0:
        raise NotComputed("the sums of squares of all terms are 0")
    return [Share(term=term, label=words, df=df, share=squares / total) for term, words, df, squares in rows]
