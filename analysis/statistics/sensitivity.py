"""What other choices of the analysis would change: points near chance, diverged points, the last epoch."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from analysis.ranking import chance_levels, near_chance
from analysis.schema import Anova, Sensitivity, SensitivityTerm
from analysis.statistics.anova import anova
from jobs.common.units import plural

METRIC = "best_val_jaccard"
ALPHA = 0.05
_NO_BOOTSTRAP = 0  # only p values are compared


def sensitivity(
    frame: pd.DataFrame, reported: Anova, last_epoch: Mapping[str, float] | None = None
) -> tuple[Sensitivity, ...]:
    """The analysis of variance of the score under other choices, compared with the ``reported`` one.

    ``last_epoch``: the validation Jaccard index of the last epoch by the name of the point, if the histories are known.
    """
    return (
        _without_chance(frame, reported),
        _with_diverged(frame, reported),
        _last_epoch(frame, reported, last_epoch or {}),
    )


def _without_chance(frame: pd.DataFrame, reported: Anova) -> Sensitivity:
    choice = "without the points near chance level"
    near = near_chance(frame)
    if not near.any():
        return Sensitivity(choice=choice, computed=False, reason="no point is near chance level")
    changed = frame.assign(successful=frame["successful"] & ~near)
    return _compared(choice, reported, changed, f"{plural(int(near.sum()), 'point')} left out")


def _with_diverged(frame: pd.DataFrame, reported: Anova) -> Sensitivity:
    choice = "with diverged points at chance level"
    diverged = frame["status"] == "diverged"
    if not diverged.any():
        return Sensitivity(choice=choice, computed=False, reason="no point diverged")
    changed = frame.assign(
        successful=frame["successful"] | diverged,
        **{METRIC: frame[METRIC].where(~diverged, chance_levels(frame))},
    )
    return _compared(choice, reported, changed, f"{plural(int(diverged.sum()), 'point')} added")


def _last_epoch(frame: pd.DataFrame, reported: Anova, scores: Mapping[str, float]) -> Sensitivity:
    choice = "with the score of the last epoch instead of the best one"
    last = frame["name"].map(scores).astype(float)
    known = frame["successful"] & last.notna()
    if known.sum() < frame["successful"].sum() or not known.any():
        return Sensitivity(choice=choice, computed=False, reason="the histories of the points are not known")
    return _compared(
        choice, reported, frame.assign(**{METRIC: last}), "the maximum over the epochs is optimistic"
    )


def _compared(choice: str, reported: Anova, changed: pd.DataFrame, what: str) -> Sensitivity:
    other = anova(changed, METRIC, draws=_NO_BOOTSTRAP)
    if not reported.computed or not other.computed:
        return Sensitivity(choice=choice, computed=False, reason=reported.reason or other.reason)
    by_term = {term.term: term for term in other.terms}
    terms = []
    for term in reported.terms:
        own = by_term.get(term.term)
        p = own.p_holm if own is not None else None
        agrees = p is None or term.p_holm is None or (p < ALPHA) == (term.p_holm < ALPHA)
        terms.append(
            SensitivityTerm(
                term=term.term, label=term.label, p_holm=term.p_holm, p_holm_other=p, agrees=agrees
            )
        )
    changes = [term.label for term in terms if not term.agrees]
    text = (
        f"Significance would change {choice} for: {', '.join(changes)}."
        if changes
        else f"Nothing changes its significance {choice} ({what})."
    )
    return Sensitivity(choice=choice, computed=True, n=other.n, terms=tuple(terms), text=text)
