"""The best configurations in sentences, and the warnings that limit what follows from them."""

from __future__ import annotations

import pandas as pd
from msgspec.structs import replace

from analysis.configurations import Ranking, indistinguishable, ranking
from analysis.ranking import point
from analysis.schema import Best, BestOfArchitecture, Configuration, Indistinguishable, Noise, Point
from analysis.statistics.configuration_means import Means
from analysis.statistics.noise import noise, seeds_to_settle
from analysis.summary import architectures
from jobs.common.units import plural

RELEVANT = 0.01  # the smallest difference in the Jaccard index that matters in practice
CAP = 1000  # seeds: a larger number is not computed


def _seeds(count: int | None) -> str:
    return "more than 1,000 seeds" if count is None or count >= CAP else plural(count, "seed")


def best(frame: pd.DataFrame, found: Ranking | None = None) -> Best:
    """The best configuration, those that may be as good, and the number of seeds to separate them.

    ``seeds_needed`` separates the first from the second, ``seeds_for_relevant`` detects a difference of
    :data:`RELEVANT`. Both are seeds per configuration, for a two-sided t test at 0.05 with power 0.8. ``found``: the
    :func:`analysis.configurations.ranking` of the frame, if it is known.
    """
    found = ranking(frame) if found is None else found
    scored = [one for one in found.configurations if one.mean_with_failures is not None]
    if not scored:
        return Best(text="No point was successful, so there is no best configuration.")
    first = scored[0]
    may_be_best = indistinguishable(found)
    provisional = not found.repeated
    sd = may_be_best.sd
    difference = _difference(first, scored[1]) if len(scored) > 1 else None
    needed = relevant = None
    if sd and difference is not None:
        needed = seeds_to_settle(difference, sd) if difference > 0 else CAP
        relevant = seeds_to_settle(RELEVANT, sd)
    parts = [
        _what(first),
        _rivals(scored, may_be_best),
    ]
    if may_be_best.unreliable:
        parts.append(
            f"As good in their successful points, but with diverged ones: {', '.join(may_be_best.unreliable[:4])}"
            f"{' and others' if len(may_be_best.unreliable) > 4 else ''}."
        )
    sensitivity = _sensitivity(scored)
    if sensitivity:
        parts.append(sensitivity)
    if provisional:
        parts.append(
            "The ranking is provisional: with only one seed per configuration, the variation of a score by chance is not "
            "known."
        )
    if needed is not None and difference is not None:
        basis = (
            "the residual of the model, because the noise is not known"
            if provisional
            else "the observed run-to-run variation"
        )
        parts.append(
            f"Based on {basis} (SD {sd:.4f}): distinguishing the first from the second (difference {difference:.4f}) "
            f"takes {_seeds(needed)} per configuration, and detecting a difference of {RELEVANT:g} takes {_seeds(relevant)}."
        )
    return Best(
        configuration=first,
        overall=_example(frame, found, first),
        text=" ".join(parts),
        provisional=provisional,
        indistinguishable=may_be_best,
        difference_to_second=difference,
        seeds_needed=needed,
        seeds_for_relevant=relevant,
        sensitivity=sensitivity,
    )


def _difference(first: Configuration, second: Configuration) -> float:
    return (first.mean_with_failures or 0.0) - (second.mean_with_failures or 0.0)


def _what(first: Configuration) -> str:
    mean = first.estimate
    what = (
        f"{first.settings} has the highest mean validation Jaccard index, {mean:.4f} over {plural(first.seeds, 'run')}"
        if first.seeds > 1
        else f"{first.settings} has the highest validation Jaccard index, {mean:.4f}"
    )
    if first.shrunken_mean is not None:
        what += f" ({first.shrunken_mean:.4f} corrected for the selection of the best)"
    failures = [
        f"{count} {word}" for count, word in ((first.diverged, "diverged"), (first.failed, "failed")) if count
    ]
    if failures:
        runs = first.seeds + first.diverged + first.failed
        what += f"; {' and '.join(failures)} of {plural(runs, 'point')} with these settings"
        if first.diverged:
            what += f", with each diverged one at chance level the mean is {first.mean_with_failures:.4f}"
    return what + "."


def _rivals(scored: list[Configuration], found: Indistinguishable) -> str:
    if len(scored) == 1:
        return "It is the only configuration with a result."
    if not found.computed:
        return f"The configurations that are distinguishable from it could not be computed ({found.reason})."
    others = found.configurations - 1
    if others == 0:
        return "Every other configuration is worse by more than the noise."
    if found.of == 2:
        return "The other configuration is not distinguishable from it."
    verb = "is" if others == 1 else "are"
    return (
        f"{others} of the other {found.of - 1} configurations {verb} not distinguishable from it (multiple comparisons with "
        "the best, 95 %)."
    )


def _sensitivity(scored: list[Configuration]) -> str:
    """What would be first if diverged points did not count; empty if it is the same."""
    without = max(
        scored,
        key=lambda one: one.estimate or 0.0,
    )
    if without is scored[0] or not without.diverged:
        return ""
    mean = without.estimate
    points = without.seeds + without.diverged
    return (
        f"A diverged point counts as one at chance level. If it did not count, {without.settings} would be first with "
        f"{mean:.4f}, of which {without.diverged} of {plural(points, 'point')} diverged."
    )


def _example(frame: pd.DataFrame, found: Ranking, one: Configuration) -> Point:
    """The point of the configuration whose score is nearest to its mean; ties by the name."""
    rows = frame.iloc[found.rows[found.configurations.index(one)]]
    away = (rows["best_val_jaccard"] - (one.mean or 0.0)).abs().round(12)
    return point(rows.assign(_away=away).sort_values(["_away", "name"], kind="stable").iloc[0])


def best_by_architecture(frame: pd.DataFrame, found: Ranking | None = None) -> dict[str, BestOfArchitecture]:
    """For each architecture with a result: its best configuration, and those that may be as good.

    The error is that of all configurations: with the few of one architecture, it would be hardly known.
    """
    found = ranking(frame) if found is None else found
    result = {}
    for name in architectures(frame):
        one = best(frame, found.of(name))
        if one.overall is not None and one.indistinguishable is not None and one.configuration is not None:
            result[name] = BestOfArchitecture(
                configuration=one.configuration,
                record=one.overall,
                text=one.text,
                indistinguishable=one.indistinguishable,
            )
    return result


def noise_words(frame: pd.DataFrame, means: Means | None = None) -> Noise:
    """The result of :func:`analysis.statistics.noise.noise` with ``text``, a sentence for the reports."""
    found = noise(frame, means)
    if not found.known:
        words = f"Run-to-run noise is not known: {found.reason}."
    else:
        words = (
            f"Run-to-run standard deviation of the validation Jaccard index: {found.sd:.4f} "
            f"({plural(found.df or 0, 'degree of freedom', 'degrees of freedom')}, "
            f"{plural(found.cells or 0, 'configuration')})."
        )
    return replace(found, text=words)
