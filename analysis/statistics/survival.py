"""The epochs to the best score, where points that were still rising at the end of the budget are censored.

The best epoch of such a point is only a lower limit, so an analysis of variance would treat the budget as a result.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from msgspec.structs import replace
from statsmodels.duration.survfunc import SurvfuncRight, survdiff

from analysis.schema import Survival, SurvivalLevel, SurvivalTest
from analysis.statistics.factors import (
    NotComputed,
    combined_codes,
    design_columns,
    label,
    levels_of,
    plain_level,
)
from analysis.statistics.intervals import holm

METRIC = "epochs_to_best"
LAST = 2  # epochs: the best score in the last ones means that it was still rising


def epochs_to_best(frame: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    """The best epoch of each successful point (NaN for others), and whether it is censored.

    Older summaries do not say whether a point was still rising; it was if it used all its epochs and the best is one of
    the last two.
    """
    times = frame[METRIC] if METRIC in frame else pd.Series(math.nan, index=frame.index)
    if times.isna().all() and "best_epoch" in frame:
        times = frame["best_epoch"]  # the predecessor's name for it
    times = times.where(frame["successful"] & (times > 0))
    if "epochs_to_best_censored" in frame and frame["epochs_to_best_censored"].isin(["yes", "no"]).any():
        return times, frame["epochs_to_best_censored"] == "yes"
    if "epochs_completed" in frame and "epochs_requested" in frame:
        last = frame["epochs_completed"]
        return times, (times > last - LAST) & (last >= frame["epochs_requested"])
    return times, pd.Series(data=False, index=frame.index)


def survival(frame: pd.DataFrame) -> Survival:
    """Kaplan-Meier medians by level, and the log-rank test of each hyperparameter, stratified by the others.

    The estimates are those of statsmodels (Kaplan and Meier 1958; interval of the median by Brookmeyer and Crowley
    1982; log-rank test by Mantel 1966). ``p_holm`` is corrected for the hyperparameters.
    """
    times, censored = epochs_to_best(frame)
    known = times.notna().to_numpy()
    if known.sum() < 2:
        return Survival(computed=False, reason="fewer than two successful points have a best epoch")
    columns, _ = design_columns(frame)
    used = {name: column[known] for name, column in columns.items()}
    event = (~censored[known]).to_numpy(int)
    time = times[known].to_numpy(float)
    factors = []
    for name, column in used.items():
        levels = levels_of(column)
        if len(levels) < 2:
            continue
        others = [pd.factorize(other)[0] for key, other in used.items() if key != name]
        code = column.map({level: number for number, level in enumerate(levels)}).to_numpy(int)
        one = SurvivalTest(
            factor=name,
            label=label(name),
            computed=False,
            reason="not tested yet",
            levels=tuple(
                _level(plain_level(level), time[code == number], event[code == number])
                for number, level in enumerate(levels)
            ),
        )
        try:
            factors.append(_tested(one, time, event, code, others))
        except NotComputed as reason:
            factors.append(replace(one, reason=str(reason)))
    corrected = holm([one.p for one in factors])
    return Survival(
        computed=bool(factors),
        reason="" if factors else "no hyperparameter has two values with a successful point",
        points=int(known.sum()),
        censored=int((1 - event).sum()),
        factors=tuple(replace(one, p_holm=p) for one, p in zip(factors, corrected, strict=True)),
    )


def _level(level: float | str, time: np.ndarray, event: np.ndarray) -> SurvivalLevel:
    limits: tuple[float | None, float | None] | None = None
    # statsmodels divides by zero where nobody is left at risk; the limits are then infinite or not a number.
    with np.errstate(all="ignore"):
        found = SurvfuncRight(time, event)
        median = float(found.quantile(0.5))
        if event.sum() > 1:
            low, high = (float(value) for value in found.quantile_ci(0.5))
            limits = (_finite(low), _finite(high))
    return SurvivalLevel(
        level=level, n=len(time), censored=int((1 - event).sum()), median=_finite(median), ci=limits
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _tested(
    one: SurvivalTest, time: np.ndarray, event: np.ndarray, code: np.ndarray, others: list[np.ndarray]
) -> SurvivalTest:
    if not event.any():
        raise NotComputed("all points were still rising at the end")
    stratum = combined_codes(others, len(time))
    # A stratum with a single level, or without an event, says nothing about the levels.
    table = pd.DataFrame({"code": code, "event": event}).groupby(stratum)
    useful = ((table["code"].transform("nunique") > 1) & (table["event"].transform("sum") > 0)).to_numpy()
    if len(np.unique(code[useful])) < len(np.unique(code)):
        raise NotComputed("a value shares no setting of the other hyperparameters with another value")
    strata = np.unique(stratum[useful])
    try:
        with np.errstate(all="ignore"):  # of 0 / 0 at times with a single point at risk
            statistic, p = survdiff(
                time[useful], event[useful], code[useful], strata=stratum[useful] if len(strata) > 1 else None
            )
    except np.linalg.LinAlgError:
        p = math.nan
    if not math.isfinite(p):
        raise NotComputed("the best epochs do not vary within the settings of the other hyperparameters")
    return replace(
        one,
        computed=True,
        reason="",
        strata=len(strata),
        statistic=float(statistic),
        df=len(np.unique(code)) - 1,
        p=float(p),
    )
