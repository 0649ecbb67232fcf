"""Checks of the assumptions of an F test on the residuals of the model."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from scipy import stats

from analysis.schema import Assumptions, BrownForsythe, Shapiro
from analysis.statistics.factors import NotComputed, label, plain
from analysis.statistics.linear_model import Fit, fit, resampled

ALPHA = 0.05
_SHAPIRO_MOST = 5000  # rows: the approximation of p is valid up to this number (Royston 1995)
_DRAWS, _FEW_DRAWS, _MANY_ROWS = 999, 199, 2000


def _fit_with_residuals(frame: pd.DataFrame, metric: str) -> Fit:
    """The model of ``metric``. Raises :class:`NotComputed` if it leaves no residuals."""
    model = fit(frame, metric)
    if model.error == 0:
        raise NotComputed("the model reproduces every value exactly: there are no residuals to check")
    return model


def assumptions(frame: pd.DataFrame, metric: str) -> Assumptions:
    """Test at 0.05 whether the residuals of the model are normal and have equal variances.

    Normality is tested by Shapiro and Wilk (1965), equal variances over the levels of each factor by Brown and Forsythe
    (1974). ``consequence`` is a sentence for people. With few residual degrees of freedom both tests have little power.

    The p of Brown and Forsythe comes from a bootstrap, because the residuals of a model with many terms are not
    independent: in simulated grids with equal variances, the F distribution rejected 6 to 30 % of the time.
    """
    try:
        model = _fit_with_residuals(frame, metric)
    except NotComputed as reason:
        return Assumptions(metric=metric, computed=False, reason=str(reason), consequence="Not checked.")
    residuals = model.residuals / math.sqrt(model.error)
    checked = residuals
    if len(residuals) > _SHAPIRO_MOST:
        checked = np.sort(residuals)[np.linspace(0, len(residuals) - 1, _SHAPIRO_MOST).astype(int)]
        model.notes.append(
            f"Shapiro-Wilk test of {_SHAPIRO_MOST} evenly spaced order statistics of {len(residuals)} residuals"
        )
    shapiro = stats.shapiro(checked)
    failed = ["normality of the residuals"] if shapiro.pvalue < ALPHA else []
    draws = resampled(model, _DRAWS if len(residuals) <= _MANY_ROWS else _FEW_DRAWS, seed=0)
    reference = model.design.residuals(draws)
    variances = tuple(
        _brown_forsythe(name, residuals, codes, reference) for name, codes in model.data.codes.items()
    )
    failed += [f"equal variance over {row.label}" for row in variances if row.p is not None and row.p < ALPHA]
    if failed:
        words = f"Violated: {'; '.join(failed)}. Read the rank tests first; F tests and intervals are approximate."
    else:
        words = (
            f"No evidence against normal errors with equal variances ({model.df} residual df: a weak check)."
        )
    return Assumptions(
        metric=metric,
        computed=True,
        model=model.words,
        shapiro=Shapiro(w=plain(shapiro.statistic), p=plain(shapiro.pvalue), n=len(checked)),
        brown_forsythe=variances,
        fails=bool(failed),
        failed=tuple(failed),
        consequence=words,
        notes=tuple(model.notes),
    )


def _brown_forsythe(
    factor: str, residuals: np.ndarray, codes: np.ndarray, reference: np.ndarray
) -> BrownForsythe:
    """F of the absolute deviations from the median of each level, and its p value from the ``reference`` residuals."""
    f = float(brown_forsythe_statistic(residuals[:, None], codes)[0])
    k = len(np.unique(codes))
    df = (k - 1, len(codes) - k)
    if not math.isfinite(f):
        return BrownForsythe(
            factor=factor, label=label(factor), df=df, reason="too few residuals in the groups"
        )
    by_chance = brown_forsythe_statistic(reference, codes)
    p = (1 + int(np.count_nonzero(by_chance >= f))) / (1 + reference.shape[1])
    return BrownForsythe(factor=factor, label=label(factor), df=df, f=f, p=p)


def brown_forsythe_statistic(residuals: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """The statistic of each column of ``residuals``, grouped by ``codes``; NaN if nothing varies within the groups."""
    n, groups = len(codes), np.unique(codes)
    away = np.empty_like(residuals)
    for code in groups:
        rows = codes == code
        away[rows] = np.abs(residuals[rows] - np.median(residuals[rows], axis=0))
    centre = away.mean(axis=0)
    between = within = np.zeros(residuals.shape[1])
    for code in groups:
        rows = away[codes == code]
        mean = rows.mean(axis=0)
        between = between + len(rows) * (mean - centre) ** 2
        within = within + ((rows - mean) ** 2).sum(axis=0)
    df = n - len(groups)
    usable = (within > 1e-20 * n) & (df > 0)
    ratio = np.divide(between, within, out=np.full(len(within), math.nan), where=usable)
    found: np.ndarray = ratio * df / (len(groups) - 1)
    return found
