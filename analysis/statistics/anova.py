"""Effects of the hyperparameters: analysis of variance, adjusted means and their differences.

Every public function but :func:`effect_of_term` takes the frame of :func:`analysis.summary.load_summary` and returns a
record of :mod:`analysis.schema`. A result that cannot be computed is ``None``, with a reason; no summary raises an error.
``docs/statistics.md`` explains every number.
"""

from __future__ import annotations

import math
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from msgspec.structs import replace
from scipy import special

from analysis.schema import (
    AdjustedMean,
    AdjustedMeans,
    Anova,
    Block,
    Difference,
    Effect,
    Interval,
    Pairwise,
    Residual,
)
from analysis.statistics.factors import NotComputed, Term, label, plain, plain_level, prepare
from analysis.statistics.intervals import (
    LEVEL,
    bootstrap_noncentrality,
    hedges_factor,
    holm,
    noncentral_f_interval,
    noncentral_t_interval,
    studentized_range_ppf,
    studentized_range_sf,
)
from analysis.statistics.linear_model import Fit, fit, resampled

MOST_LEVELS = 20  # of a factor: more would give hundreds of pairs, which nobody reads
MANY_ROWS, FEW_DRAWS = 2000, 200
_CONTRAST = "not estimable: some combinations of values have no point"
_EXACT = "the model reproduces every value exactly: there is no residual variation for a test"


def anova(frame: pd.DataFrame, metric: str, *, draws: int = 1000, seed: int = 0) -> Anova:
    """Factorial analysis of variance with Type II sums of squares and effect sizes with 95 % intervals.

    ``sum_sq`` is in squared units of the metric. ``p`` is that of the F test, ``p_holm`` is corrected for the number of
    terms. Effect sizes are from 0 to 1; a negative omega squared means that no effect was seen. Both intervals are for
    the same share in the population, noncentrality / (noncentrality + n). ``draws`` is the number of bootstrap samples,
    at most 200 for more than 2,000 rows, and ``seed`` that of their random generator.
    """
    try:
        data = prepare(frame, metric)
    except NotComputed as reason:
        return Anova(metric=metric, computed=False, reason=str(reason))
    try:
        model = fit(frame, metric)
    except NotComputed as reason:
        return Anova(
            metric=metric,
            computed=False,
            reason=str(reason),
            n=len(data.y),
            cells=data.cells,
            replicates=data.replicated,
            balanced=data.balanced(),
            notes=tuple(data.notes),
        )
    if model.data.replicated and model.order < min(3, len(model.data.codes)):
        model.notes.append("the error contains interactions and the variation between repeats")
    error = model.error
    if len(model.data.y) > MANY_ROWS and draws > FEW_DRAWS:
        draws = FEW_DRAWS
        model.notes.append(f"only {draws} bootstrap draws, because there are more than {MANY_ROWS} rows")
    square = model.data.scale * model.data.scale
    errors = error_squares = None
    if error > 0 and draws > 0:
        errors = resampled(model, draws, seed)
        error_squares = (model.design.residuals(errors) ** 2).sum(axis=0)
    terms = [
        effect_of_term(model, term, basis, errors, error_squares)
        for term, basis in model.design.term_bases.items()
    ]
    corrected = holm([term.p for term in terms])
    return Anova(
        metric=metric,
        computed=error != 0,
        reason=_EXACT if error == 0 else "",
        n=len(data.y),
        cells=data.cells,
        replicates=data.replicated,
        balanced=data.balanced(),
        terms=tuple(replace(term, p_holm=p) for term, p in zip(terms, corrected, strict=True)),
        model=model.words,
        draws=draws,
        notes=tuple(model.notes),
        block=_block(model),
        residual=Residual(
            sum_sq=plain(error * model.df * square), df=model.df, mean_sq=plain(error * square)
        ),
    )


def _block(model: Fit) -> Block | None:
    basis = model.design.block_basis
    if basis is None or model.data.block_name is None:
        return None
    df = basis.shape[1]
    squares = float(((basis.T @ model.data.y) ** 2).sum())
    f = squares / df / model.error if df and model.error > 0 else None
    return Block(
        term=model.data.block_name,
        sum_sq=plain(squares * model.data.scale * model.data.scale) if df else None,
        df=df,
        f=None if f is None else plain(f),
        p=None if f is None else plain(special.fdtrc(df, model.df, f)),
    )


def effect_of_term(
    model: Fit, term: Term, basis: np.ndarray, errors: np.ndarray | None, error_squares: np.ndarray | None
) -> Effect:
    """A row of the table: F test and effect sizes of the ``term`` with the orthonormal ``basis``."""
    df, n, data = basis.shape[1], len(model.data.y), model.data
    full = math.prod(len(data.levels[name]) - 1 for name in term)
    name, words = ":".join(term), label(term)
    if df == 0:
        note = "not estimable: the existing points do not separate it from the other terms"
        return Effect(term=name, label=words, df=0, note=note)
    note = ""
    if df < full:
        note = f"only {df} of {full} degrees of freedom can be estimated: some combinations of values have no point"
    direction = basis.T @ data.y
    squares = float(direction @ direction)
    found = Effect(
        term=name,
        label=words,
        df=df,
        note=note,
        sum_sq=plain(squares * data.scale * data.scale),
        mean_sq=plain(squares / df * data.scale * data.scale),
    )
    error = model.error
    if error == 0:
        return found
    f = squares / df / error
    exact = noncentral_f_interval(f, df, model.df)
    interval: Interval | None = None
    if errors is not None and error_squares is not None:
        low, high = bootstrap_noncentrality(direction, f, model.df, basis, errors, error_squares)
        interval = low / (low + n), high / (high + n)
    return replace(
        found,
        f=plain(f),
        p=plain(special.fdtrc(df, model.df, f)),
        partial_eta_sq=plain(squares / (squares + error * model.df)),
        partial_eta_sq_ci=interval,
        partial_eta_sq_exact_ci=None
        if exact is None
        else (exact[0] / (exact[0] + n), exact[1] / (exact[1] + n)),
        omega_sq=plain(df * (f - 1) / (df * (f - 1) + n)),
        omega_sq_ci=interval,
    )


def marginal_means(frame: pd.DataFrame, metric: str, factor: str) -> AdjustedMeans:
    """Adjusted (estimated marginal) means of a factor's levels, with equal weights for all other levels and seeds.

    ``mean``, ``se``, ``ci`` (95 %, t with the residual df of the model) and the ``raw_mean`` of the ``n`` points are in
    units of the metric. Source: Searle, Speed and Milliken (1980), The American Statistician 34:216.
    """
    try:
        model = _model_with(frame, metric, factor)
    except NotComputed as reason:
        return AdjustedMeans(metric=metric, factor=factor, computed=False, reason=str(reason))
    data = model.data
    rows, estimable = model.design.contrasts(factor)
    centre, variance = model.design.estimates(rows, data.y)
    reach = float(special.stdtrit(model.df, 0.5 + LEVEL / 2))
    means = []
    for place, level in enumerate(data.levels[factor]):
        here = data.y[data.codes[factor] == place]
        mean = float(centre[place]) * data.scale + data.shift
        error = math.sqrt(model.error * float(variance[place])) * data.scale
        good = bool(estimable[place])
        means.append(
            AdjustedMean(
                level=plain_level(level),
                n=len(here),
                mean=plain(mean) if good else None,
                se=plain(error) if good and model.error > 0 else None,
                ci=_interval(mean, reach * error) if good and model.error > 0 else None,
                raw_mean=plain(float(here.mean()) * data.scale + data.shift),
                note="" if good else _CONTRAST,
            )
        )
    return AdjustedMeans(
        metric=metric, factor=factor, means=tuple(means), **_estimability(estimable), **_model_words(model)
    )


def _estimability(estimable: np.ndarray) -> dict[str, Any]:
    any_of_them = bool(estimable.any())
    return {"computed": any_of_them, "reason": "" if any_of_them else _CONTRAST}


def _model_words(model: Fit) -> dict[str, Any]:
    square = model.data.scale * model.data.scale
    return {
        "model": model.words,
        "df": model.df,
        "mean_sq": plain(model.error * square),
        "notes": tuple(model.notes),
    }


def _interval(centre: float, half: float) -> Interval | None:
    low, high = plain(centre - half), plain(centre + half)
    return None if low is None or high is None else (low, high)


def _model_with(frame: pd.DataFrame, metric: str, factor: str) -> Fit:
    model = fit(frame, metric)
    if factor not in model.data.codes:
        raise NotComputed(f"{label(factor)} has fewer than two values with a successful point")
    levels = len(model.data.levels[factor])
    if levels > MOST_LEVELS:
        raise NotComputed(f"{label(factor)} has {levels} values, more than the limit of {MOST_LEVELS}")
    return model


def pairwise(frame: pd.DataFrame, metric: str, factor: str) -> Pairwise:
    """Differences between the adjusted means of all pairs of levels (``a`` minus ``b``), Tukey-adjusted.

    ``p`` and ``ci`` (simultaneous 95 %) are from the studentized range with the mean square and residual df of the model
    (Tukey 1953; Kramer 1956 if unbalanced). ``hedges_g`` is in residual standard deviations (Hedges 1981); its 95 %
    interval, for a single pair, is by inversion of the noncentral t.
    """
    try:
        model = _model_with(frame, metric, factor)
    except NotComputed as reason:
        return Pairwise(metric=metric, factor=factor, computed=False, reason=str(reason))
    data, df, count = model.data, model.df, len(model.data.levels[factor])
    pairs = list(combinations(range(count), 2))
    means, _ = model.design.contrasts(factor)
    rows = np.array([means[a] - means[b] for a, b in pairs])
    estimable = model.design.estimable(rows)
    difference, variance = model.design.estimates(rows, data.y)
    spread = math.sqrt(model.error)
    if spread == 0:
        return Pairwise(metric=metric, factor=factor, computed=False, reason=_EXACT, **_model_words(model))
    errors = spread * np.sqrt(np.maximum(variance, 0))
    t = np.divide(difference, errors, out=np.zeros(len(pairs)), where=errors > 0)
    p = studentized_range_sf(math.sqrt(2) * t, count, df)
    reach = studentized_range_ppf(LEVEL, count, df) / math.sqrt(2)
    factor_g = hedges_factor(df)
    found = []
    for place, (a, b) in enumerate(pairs):
        pair = Difference(
            a=plain_level(data.levels[factor][a]),
            b=plain_level(data.levels[factor][b]),
            estimable=bool(estimable[place]),
            note="" if estimable[place] else _CONTRAST,
        )
        if estimable[place]:
            size, error, ratio = float(difference[place]), float(errors[place]), float(t[place])
            low, high = noncentral_t_interval(ratio, df)
            pair = replace(
                pair,
                difference=plain(size * data.scale),
                se=plain(error * data.scale),
                t=plain(ratio),
                p=plain(p[place]),
                ci=_interval(size * data.scale, reach * error * data.scale),
                hedges_g=plain(factor_g * size / spread),
                hedges_g_ci=(factor_g * low * error / spread, factor_g * high * error / spread),
            )
        found.append(pair)
    return Pairwise(
        metric=metric, factor=factor, pairs=tuple(found), **_estimability(estimable), **_model_words(model)
    )
