"""Whether the residuals of the model bear an F test, and what follows where they do not."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from scipy import special, stats

from analysis.models import NotComputed, fit, label, plain

ALPHA = 0.05
_SHAPIRO_MOST = 5000  # rows for which the approximation of p was made (Royston 1995)


def assumptions(frame: pd.DataFrame, metric: str) -> dict[str, Any]:
    """Whether the residuals of the model look normal (Shapiro and Wilk 1965) and of one variance (Brown and Forsythe
    1974, by each factor), at 0.05; ``consequence`` in plain words. Few residual df find little either way.
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
    for name, codes in model.data.codes.items():
        row = {"factor": name, "label": label(name)} | _brown_forsythe(residuals, codes)
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


def _brown_forsythe(residuals: np.ndarray, codes: np.ndarray) -> dict[str, Any]:
    """Analysis of variance of the absolute deviations from the median of each level."""
    groups = [residuals[codes == code] for code in np.unique(codes)]
    away = [np.abs(group - np.median(group)) for group in groups]
    n, k = len(residuals), len(groups)
    centre = float(np.concatenate(away).mean())
    between = sum(len(group) * (float(group.mean()) - centre) ** 2 for group in away)
    within = sum(float(((group - group.mean()) ** 2).sum()) for group in away)
    if n <= k or within <= 1e-20 * n:
        return {"F": None, "p": None, "df": [k - 1, n - k], "reason": "too few residuals in the groups"}
    f = between / (k - 1) / (within / (n - k))
    return {"F": plain(f), "p": plain(special.fdtrc(k - 1, n - k, f)), "df": [k - 1, n - k], "reason": ""}
