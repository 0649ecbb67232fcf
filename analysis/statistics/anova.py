"""What the hyperparameters do: analysis of variance, adjusted means, their differences, checks, shares of variance.

Every function takes the frame of :func:`analysis.summary.load_summary` and returns plain JSON types, never NaN: what
cannot be computed is ``None`` beside a reason. Data never raise. docs/statistics.md explains every number.
"""

from __future__ import annotations

import math
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from analysis.statistics.assumptions import assumptions
from analysis.statistics.importance import importance
from analysis.statistics.intervals import (
    LEVEL,
    bootstrap_noncentrality,
    hedges_factor,
    noncentral_f_interval,
    noncentral_t_interval,
    studentized_range_ppf,
    studentized_range_sf,
)
from analysis.statistics.linear_model import (
    Fit,
    NotComputed,
    Term,
    fit,
    label,
    plain,
    plain_level,
    prepare,
    resampled,
)
from analysis.statistics.noise import indistinguishable, noise, seeds_to_settle
from analysis.statistics.ranks import correlations, rank_tests

__all__ = [
    "anova",
    "assumptions",
    "correlations",
    "importance",
    "indistinguishable",
    "marginal_means",
    "noise",
    "pairwise",
    "rank_tests",
    "seeds_to_settle",
]

MOST_LEVELS = 20  # of a factor: more give hundreds of pairs, which nobody reads
MANY_ROWS, FEW_DRAWS = 2000, 200
_CONTRAST = "inestimable: whole combinations of values have no point"


def anova(frame: pd.DataFrame, metric: str, *, draws: int = 1000, seed: int = 0) -> dict[str, Any]:
    """Factorial analysis of variance with Type II sums of squares and effect sizes with 95 % intervals.

    ``sum_sq`` in squared units of the metric; ``p`` of the F test; effect sizes from 0 to 1 (omega squared may be
    negative: no effect seen). Both intervals are of the same population share, noncentrality / (noncentrality + n).
    ``draws``: bootstrap samples, at most 200 beyond 2,000 rows; ``seed``: of their generator.
    """
    found: dict[str, Any] = {
        "metric": metric,
        "n": 0,
        "cells": 0,
        "replicates": False,
        "model": "",
        "type": "II",
        "balanced": False,
        "terms": [],
        "block": None,
        "residual": None,
        "draws": 0,
        "notes": [],
        "computed": False,
        "reason": "",
    }
    try:
        data = prepare(frame, metric)
        found |= {"n": len(data.y), "cells": data.cells, "replicates": data.replicated}
        found |= {"balanced": data.balanced(), "notes": list(data.notes)}
        model = fit(frame, metric)
    except NotComputed as reason:
        return found | {"reason": str(reason)}
    if model.data.replicated and model.order < min(3, len(model.data.codes)):
        model.notes.append("the error contains interactions beside the variation between repeats")
    error = model.error
    if len(model.data.y) > MANY_ROWS and draws > FEW_DRAWS:
        draws = FEW_DRAWS
        model.notes.append(f"{draws} bootstrap draws only, for more than {MANY_ROWS} rows")
    square = model.data.scale * model.data.scale
    errors = error_squares = None
    if error > 0 and draws > 0:
        errors = resampled(model, draws, seed)
        error_squares = (model.design.residuals(errors) ** 2).sum(axis=0)
    for term, basis in model.design.term_bases.items():
        found["terms"].append(effect_of_term(model, term, basis, errors, error_squares))
    found |= {
        "model": model.words,
        "draws": draws,
        "notes": model.notes,
        "block": _block(model),
        "residual": {
            "sum_sq": plain(error * model.df * square),
            "df": model.df,
            "mean_sq": plain(error * square),
        },
    }
    if error == 0:
        return found | {
            "reason": "the model reproduces every value exactly: no variation is left to test against"
        }
    return found | {"computed": True}


def _block(model: Fit) -> dict[str, Any] | None:
    basis = model.design.block_basis
    if basis is None or model.data.block_name is None:
        return None
    df = basis.shape[1]
    squares = float(((basis.T @ model.data.y) ** 2).sum())
    f = squares / df / model.error if df and model.error > 0 else None
    return {
        "term": model.data.block_name,
        "sum_sq": plain(squares * model.data.scale * model.data.scale) if df else None,
        "df": df,
        "F": None if f is None else plain(f),
        "p": None if f is None else plain(special.fdtrc(df, model.df, f)),
    }


def effect_of_term(
    model: Fit, term: Term, basis: np.ndarray, errors: np.ndarray | None, error_squares: np.ndarray | None
) -> dict[str, Any]:
    """A row of the table: F test and effect sizes of one term, whose directions are ``basis``."""
    df, n, data = basis.shape[1], len(model.data.y), model.data
    full = math.prod(len(data.levels[name]) - 1 for name in term)
    found: dict[str, Any] = {
        "term": ":".join(term),
        "label": label(term),
        "sum_sq": None,
        "df": df,
        "mean_sq": None,
        "F": None,
        "p": None,
        "partial_eta_sq": None,
        "partial_eta_sq_ci": None,
        "partial_eta_sq_exact_ci": None,
        "omega_sq": None,
        "omega_sq_ci": None,
        "note": "",
    }
    if df == 0:
        return found | {"note": "inestimable: the existing points do not tell it from the other terms"}
    if df < full:
        found["note"] = (
            f"{df} of {full} degrees of freedom are estimable: combinations of values have no point"
        )
    direction = basis.T @ data.y
    squares = float(direction @ direction)
    found["sum_sq"] = plain(squares * data.scale * data.scale)
    found["mean_sq"] = plain(squares / df * data.scale * data.scale)
    error = model.error
    if error == 0:
        return found
    f = squares / df / error
    found |= {
        "F": plain(f),
        "p": plain(special.fdtrc(df, model.df, f)),
        "partial_eta_sq": plain(squares / (squares + error * model.df)),
        "omega_sq": plain(df * (f - 1) / (df * (f - 1) + n)),
    }
    exact = noncentral_f_interval(f, df, model.df)
    found["partial_eta_sq_exact_ci"] = None if exact is None else [at / (at + n) for at in exact]
    if errors is not None and error_squares is not None:
        limits = bootstrap_noncentrality(direction, f, model.df, basis, errors, error_squares)
        found["partial_eta_sq_ci"] = [at / (at + n) for at in limits]
        found["omega_sq_ci"] = list(found["partial_eta_sq_ci"])
    return found


def marginal_means(frame: pd.DataFrame, metric: str, factor: str) -> dict[str, Any]:
    """Adjusted (estimated marginal) means of a factor's levels: all other levels and seeds with equal weights.

    ``mean``, ``se``, ``ci`` (95 %, t with the model's residual df) in units of the metric; ``raw_mean`` of ``n``
    points beside it. Source: Searle, Speed and Milliken (1980), The American Statistician 34:216.
    """
    found: dict[str, Any] = {"metric": metric, "factor": factor, "means": [], "model": "", "df": None}
    found |= {"mean_sq": None, "notes": [], "computed": False, "reason": ""}
    try:
        model = _model_with(frame, metric, factor)
    except NotComputed as reason:
        return found | {"reason": str(reason)}
    data = model.data
    rows, estimable = model.design.contrasts(factor)
    centre, variance = model.design.estimates(rows, data.y)
    reach = float(special.stdtrit(model.df, 0.5 + LEVEL / 2))
    for place, level in enumerate(data.levels[factor]):
        here = data.y[data.codes[factor] == place]
        mean = float(centre[place]) * data.scale + data.shift
        error = math.sqrt(model.error * float(variance[place])) * data.scale
        good = bool(estimable[place])
        found["means"].append(
            {
                "level": plain_level(level),
                "n": len(here),
                "mean": plain(mean) if good else None,
                "se": plain(error) if good and model.error > 0 else None,
                "ci": _interval(mean, reach * error) if good and model.error > 0 else None,
                "raw_mean": plain(float(here.mean()) * data.scale + data.shift),
                "note": "" if good else _CONTRAST,
            }
        )
    return (
        found | _model_words(model) | {"computed": bool(estimable.any())} | _none_estimable(estimable.any())
    )


def _none_estimable(any_of_them: bool) -> dict[str, str]:
    return {} if any_of_them else {"reason": _CONTRAST}


def _model_words(model: Fit) -> dict[str, Any]:
    square = model.data.scale * model.data.scale
    return {
        "model": model.words,
        "df": model.df,
        "mean_sq": plain(model.error * square),
        "notes": model.notes,
    }


def _interval(centre: float, half: float) -> list[float] | None:
    low, high = plain(centre - half), plain(centre + half)
    return None if low is None or high is None else [low, high]


def _model_with(frame: pd.DataFrame, metric: str, factor: str) -> Fit:
    model = fit(frame, metric)
    if factor not in model.data.codes:
        raise NotComputed(f"{label(factor)} has fewer than two values with a successful point")
    levels = len(model.data.levels[factor])
    if levels > MOST_LEVELS:
        raise NotComputed(f"{label(factor)} has {levels} values, more than {MOST_LEVELS}")
    return model


def pairwise(frame: pd.DataFrame, metric: str, factor: str) -> dict[str, Any]:
    """Differences of the adjusted means of every two levels (``a`` minus ``b``), Tukey-adjusted.

    ``p`` and ``ci`` (simultaneous 95 %) from the studentized range with the model's mean square and residual df
    (Tukey 1953; Kramer 1956 when unbalanced); ``hedges_g`` in residual standard deviations (Hedges 1981), its 95 %
    interval (one at a time) by inverting the noncentral t.
    """
    found: dict[str, Any] = {"metric": metric, "factor": factor, "pairs": [], "model": "", "df": None}
    found |= {"mean_sq": None, "notes": [], "computed": False, "reason": ""}
    try:
        model = _model_with(frame, metric, factor)
    except NotComputed as reason:
        return found | {"reason": str(reason)}
    data, df, count = model.data, model.df, len(model.data.levels[factor])
    pairs = list(combinations(range(count), 2))
    means, _ = model.design.contrasts(factor)
    rows = np.array([means[a] - means[b] for a, b in pairs])
    estimable = model.design.estimable(rows)
    difference, variance = model.design.estimates(rows, data.y)
    spread = math.sqrt(model.error)
    found |= _model_words(model)
    if spread == 0:
        return found | {
            "reason": "the model reproduces every value exactly: no variation is left to test against"
        }
    errors = spread * np.sqrt(np.maximum(variance, 0))
    t = np.divide(difference, errors, out=np.zeros(len(pairs)), where=errors > 0)
    p = studentized_range_sf(math.sqrt(2) * t, count, df)
    reach = studentized_range_ppf(LEVEL, count, df) / math.sqrt(2)
    factor_g = hedges_factor(df)
    for place, (a, b) in enumerate(pairs):
        pair: dict[str, Any] = {
            "a": plain_level(data.levels[factor][a]),
            "b": plain_level(data.levels[factor][b]),
        }
        pair |= dict.fromkeys(("difference", "se", "t", "p", "ci", "hedges_g", "hedges_g_ci"))
        pair |= {"estimable": bool(estimable[place]), "note": "" if estimable[place] else _CONTRAST}
        if estimable[place]:
            size, error, ratio = float(difference[place]), float(errors[place]), float(t[place])
            limits = noncentral_t_interval(ratio, df)
            pair |= {
                "difference": plain(size * data.scale),
                "se": plain(error * data.scale),
                "t": plain(ratio),
                "p": plain(p[place]),
                "ci": _interval(size * data.scale, reach * error * data.scale),
                "hedges_g": plain(factor_g * size / spread),
                "hedges_g_ci": [factor_g * at * error / spread for at in limits],
            }
        found["pairs"].append(pair)
    return found | {"computed": bool(estimable.any())} | _none_estimable(estimable.any())
