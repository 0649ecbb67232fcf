"""Whether the residuals of the model bear an F test, and what follows where they do not."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from analysis.statistics.linear_model import NotComputed, fit, label, plain, resampled

ALPHA = 0.05
_SHAPIRO_MOST = 5000  # rows for which the approximation of p was made (Royston 1995)
_DRAWS, _FEW_DRAWS, _MANY_ROWS = 999, 199, 2000


def assumptions(frame: pd.DataFrame, metric: str) -> dict[str, Any]:
    """Whether the residuals of the model look normal (Shapiro and Wilk 1965) and of one variance (Brown and Forsythe
    1974, by each factor), at 0.05; ``consequence`` in plain words. Few residual df find little either way.

    The p of Brown and Forsythe is a bootstrap one: residuals of a model with many terms are not independent, and in
    simulated grids without any difference of variance the F distribution called 6 to 30 % of them significant.
    """
    found: dict[str, Any] = {
        "metric": metric,
        "model": "",
        "shapiro": None,
        "brown_forsythe": [],
        "fails": None,
    }
    found |= {"failed": [], "consequence": "", "notes": [], "computed": False, "reason": ""}
    try:
        model = fit(frame, metric)
        if model.error == 0:
            raise NotComputed("the model reproduces every value exactly: there are no residuals to check")
    except NotComputed as reason:
        return found | {"reason": str(reason), "consequence": "Not checked."}
    residuals = model.residuals / math.sqrt(model.error)
    checked = residuals
    if len(residuals) > _SHAPIRO_MOST:
        checked = np.sort(residuals)[np.linspace(0, len(residuals) - 1, _SHAPIRO_MOST).astype(int)]
        model.notes.append(
            f"Shapiro-Wilk on {_SHAPIRO_MOST} evenly spaced order statistics of {len(residuals)}"
        )
    shapiro = stats.shapiro(checked)
    found["shapiro"] = {"W": plain(shapiro.statistic), "p": plain(shapiro.pvalue), "n": len(checked)}
    failed = ["normality of the residuals"] if shapiro.pvalue < ALPHA else []
    draws = resampled(model, _DRAWS if len(residuals) <= _MANY_ROWS else _FEW_DRAWS, seed=0)
    reference = model.design.residuals(draws)
    for name, codes in model.data.codes.items():
        row = {"factor": name, "label": label(name)} | _brown_forsythe(residuals, codes, reference)
        found["brown_forsythe"].append(row)
        if row["p"] is not None and row["p"] < ALPHA:
            failed.append(f"equal variance over {label(name)}")
    if failed:
        words = f"In doubt: {'; '.join(failed)}. The rank tests come first; F tests and intervals are approximate."
    else:
        words = (
            f"Nothing speaks against normal errors of one variance ({model.df} residual df: a weak check)."
        )
    return found | {
        "model": model.words,
        "fails": bool(failed),
        "failed": failed,
        "consequence": words,
        "notes": model.notes,
        "computed": True,
    }


def _brown_forsythe(residuals: np.ndarray, codes: np.ndarray, reference: np.ndarray) -> dict[str, Any]:
    """F of the absolute deviations from the median of each level, and its place among the ``reference`` residuals."""
    f = brown_forsythe_statistic(residuals[:, None], codes)[0]
    k = len(np.unique(codes))
    if not math.isfinite(f):
        return {
            "F": None,
            "p": None,
            "df": [k - 1, len(codes) - k],
            "reason": "too few residuals in the groups",
        }
    by_chance = brown_forsythe_statistic(reference, codes)
    p = (1 + np.count_nonzero(by_chance >= f)) / (1 + reference.shape[1])
    return {"F": plain(f), "p": plain(p), "df": [k - 1, len(codes) - k], "reason": ""}


def brown_forsythe_statistic(residuals: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """The statistic of each column of ``residuals``, grouped by ``codes``; NaN where nothing varies in the groups."""
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
    return ratio * df / (len(groups) - 1)
