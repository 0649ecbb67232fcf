"""What the analysis says about a frame. The only place that depends on the version of the product.

``--tree`` runs another checkout, which may lack a function; :class:`Lacking` is raised then.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import pandas as pd

from analysis import conclusions, schema
from analysis.statistics.anova import anova
from analysis.statistics.hypotheses import hypotheses
from analysis.statistics.noise import noise
from analysis.statistics.ranks import rank_tests
from benchmarks.calibration.summaries import CONFIGURATION, EPOCHS, SCORE

_SHOWS_OMEGA = 4  # the schema since which omega squared is shown instead of partial eta squared


class Lacking(Exception):
    """The product has no such function."""


def _function(module: str, name: str) -> Callable[..., Any]:
    try:
        found: Callable[..., Any] = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise Lacking(f"{module}.{name}") from error
    return found


def verdicts(frame: pd.DataFrame) -> dict[str, list[str]]:
    """The verdicts on each hypothesis: that on the whole, then those on its claims."""
    needs_anova = len(inspect.signature(hypotheses).parameters) > 1
    arguments = (anova(frame, SCORE, draws=0),) if needs_anova else ()
    return {
        one.id: [one.verdict, *(part.verdict for part in one.parts)] for one in hypotheses(frame, *arguments)
    }


@dataclass(frozen=True)
class Winner:
    """The best configuration and its rivals. Configurations are those of the rows: ``rows`` are any points of each.

    ``members``: names of all points of the configurations that may be the best. ``raw``, ``corrected``: the mean of the
    winner, and the one corrected for selection, if there is one. ``sd``: the SD of a run that the comparison used.
    """

    point: str
    members: frozenset[str]
    count: int
    raw: float
    corrected: float | None
    sd: float | None
    critical: float | None


def _winner(frame: pd.DataFrame, best: Any) -> Winner:
    found = best.indistinguishable
    point = best.overall.name
    row = frame[frame["name"] == point].iloc[0]
    own = frame[(frame[CONFIGURATION] == row[CONFIGURATION]).all(axis=1) & frame["successful"]]
    one = getattr(best, "configuration", None)
    return Winner(
        point=point,
        members=frozenset(found.names) | {point},
        count=found.configurations or 1,
        raw=float(own[SCORE].mean()),
        corrected=None if one is None else one.shrunken_mean,
        sd=found.sd,
        critical=found.critical_difference,
    )


def winner(frame: pd.DataFrame) -> Winner:
    """The best configuration of all."""
    return _winner(frame, conclusions.best(frame))


def winners(frame: pd.DataFrame) -> dict[str, Winner]:
    """The best configuration of each architecture."""
    best: dict[str, Any] = conclusions.best_by_architecture(frame)
    if not any(hasattr(one, "record") and hasattr(one, "configuration") for one in best.values()):
        return {
            name: _winner(
                frame, schema.Best(text="", overall=one.record, indistinguishable=one.indistinguishable)
            )
            for name, one in best.items()
        }
    return {
        name: _winner(
            frame,
            schema.Best(
                text="",
                overall=one.record,
                configuration=one.configuration,
                indistinguishable=one.indistinguishable,
            ),
        )
        for name, one in best.items()
    }


def noise_sd(frame: pd.DataFrame) -> float:
    """The SD between repeats, without the effect of the seeds if the product can remove it."""
    found = noise(frame)
    sd = found.sd if found.sd_within_seed is None else found.sd_within_seed
    return float("nan") if sd is None else float(sd)


def rank_p(frame: pd.DataFrame) -> dict[str, float]:
    """The p value of the rank test of each hyperparameter, not corrected for their number."""
    found = {}
    for test in rank_tests(frame, SCORE).factors:
        p = test.p if test.p_f is None else test.p_f
        found[test.factor] = float("nan") if p is None else float(p)
    return found


def failure_p(frame: pd.DataFrame) -> dict[str, float]:
    """The p value with which the product sees that points diverge by a hyperparameter, corrected for their number.

    Versions without a test of failures see them only in the rank tests, where a diverged point is the worst one.
    """
    try:
        tests = _function("analysis.statistics.failures", "failure_tests")(frame)
    except Lacking:
        return rank_p(frame)
    return {one.factor: 1.0 if one.p_holm is None else float(one.p_holm) for one in tests}


def epochs_p(frame: pd.DataFrame) -> dict[str, float]:
    """The p value with which the epochs to the best score depend on each hyperparameter, not corrected."""
    try:
        tests = _function("analysis.statistics.survival", "survival")(frame).factors
    except Lacking:
        return {
            term.term: float("nan") if term.p is None else float(term.p)
            for term in anova(frame, EPOCHS, draws=0).terms
            if ":" not in term.term
        }
    return {one.factor: float("nan") if one.p is None else float(one.p) for one in tests}


def shown_effects(frame: pd.DataFrame) -> list[tuple[float, tuple[float, float]]]:
    """The effect size of each term that stands beside an interval, and that interval."""
    kind = "omega_sq" if schema.SCHEMA >= _SHOWS_OMEGA else "partial_eta_sq"
    found = []
    for term in anova(frame, SCORE).terms:
        value, interval = getattr(term, kind), getattr(term, f"{kind}_ci")
        if value is not None and interval is not None:
            found.append((float(value), (float(interval[0]), float(interval[1]))))
    return found


def test_disagrees(frame: pd.DataFrame) -> tuple[bool, bool]:
    """Whether the product says that the test part does not agree: by the size of the gap, and by the order."""
    compare = _function("analysis.agreement", "validation_against_test")
    found = compare(_function("analysis.configurations", "ranking")(frame))
    return bool(found.gap_is_large), bool(found.order_differs)
