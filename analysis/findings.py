"""All findings of a summary, computed once: the content of ``analysis_summary.json``.

The text report and the page only show them. :mod:`analysis.schema` defines their types, and ``docs/statistics.md``
explains the methods.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pandas as pd

from analysis.agreement import validation_against_test
from analysis.axes import fictitious_axes
from analysis.cautions import cautions
from analysis.conclusions import best, best_by_architecture, noise_words
from analysis.configurations import ranking
from analysis.devices import device_caution
from analysis.metrics import KEY_METRICS, WORDS
from analysis.next_steps import next_steps
from analysis.ranking import near_chance, pareto_front, ranked
from analysis.resources import resources
from analysis.schema import SCHEMA, Failure, Findings, NotComputed, Outcome, Pareto, Survival
from analysis.statistics.anova import anova, marginal_means, pairwise
from analysis.statistics.architectures import architecture_comparison
from analysis.statistics.assumptions import assumptions
from analysis.statistics.best_of import best_of_curves
from analysis.statistics.failures import failure_tests
from analysis.statistics.hypotheses import hypotheses
from analysis.statistics.importance import importance
from analysis.statistics.ranks import correlations, rank_tests
from analysis.statistics.response import responses
from analysis.statistics.sensitivity import sensitivity
from analysis.statistics.survival import METRIC as EPOCHS
from analysis.statistics.survival import survival
from analysis.summary import common_text, extra_axes, reading
from jobs.common.states import STATES

MOST_CONFIGURATIONS = 1000  # in the JSON, best first
LISTED = 200  # failures in the JSON and the reports; the summary contains all


def findings(
    frame: pd.DataFrame,
    *,
    summary: str,
    root: Path | None = None,
    output: Path | None = None,
    histories: Mapping[str, Sequence[Mapping[str, float]]] | None = None,
) -> Findings:
    """The findings of ``frame`` (:func:`analysis.summary.load_summary`), read from the file ``summary``.

    ``root`` is the run directory, if there is one, and ``output`` the folder of the report. ``histories`` are the
    epochs of its points by their names, if they have been read (:func:`analysis.figures.run_files.read_histories`).
    Never raises for the contents of a summary: a finding that cannot be computed has a reason.
    """
    counts = Counter(frame["status"])
    factors = ["learning_rate", "batch_size", "architecture", *extra_axes(frame)]
    times = survival(frame)
    uncensored = _without_censored(frame, times)
    variances = {metric: anova(uncensored, metric) for metric in KEY_METRICS}
    differences = {
        metric: {factor: pairwise(uncensored, metric, factor) for factor in factors} for metric in KEY_METRICS
    }
    centres = {
        metric: {factor: marginal_means(uncensored, metric, factor) for factor in factors}
        for metric in KEY_METRICS
    }
    checks = {metric: assumptions(uncensored, metric) for metric in KEY_METRICS}
    ranks = {metric: rank_tests(uncensored, metric, checks[metric]) for metric in KEY_METRICS}
    shares = {metric: importance(uncensored, metric) for metric in KEY_METRICS}
    related = correlations(frame)
    used = resources(frame, root)
    order = ranking(frame)
    leading = best(frame, order)
    fictitious = fictitious_axes(frame)
    agreement = validation_against_test(order)
    compared = architecture_comparison(frame, order)
    choices = sensitivity(frame, variances["best_val_jaccard"], last_scores(histories or {}))
    bad = frame[~frame["successful"]]

    def outcomes() -> Iterator[tuple[str, Outcome]]:
        for metric in KEY_METRICS:
            words = WORDS[metric]
            yield f"analysis of variance of {words}", variances[metric]
            yield f"importance for {words}", shares[metric]
            yield f"rank tests of {words}", ranks[metric]
            for factor, pairs in differences[metric].items():
                yield f"pairwise differences of {words} by {factor.replace('_', ' ')}", pairs
        yield "comparison of validation and test scores", agreement
        yield "comparison of the architectures", compared
        yield "survival analysis of the epochs to the best score", times
        yield "resources requested and used", used
        for one in related:
            yield f"correlation of {WORDS[one.a]} and {WORDS[one.b]}", one

    return Findings(
        schema=SCHEMA,
        summary=summary,
        points=len(frame),
        successful=int(frame["successful"].sum()),
        status={state: counts[state] for state in STATES if counts[state]},
        dropped=reading(frame).dropped,
        data_source=common_text(frame, "data_source"),
        split=common_text(frame, "split"),
        seeds=int(frame["seed"].nunique()),
        fictitious=fictitious,
        cautions=cautions(
            frame,
            order,
            fictitious=fictitious,
            agreement=agreement,
            sensitivity=choices,
            devices=device_caution(frame, root),
        ),
        next_steps=next_steps(frame, order, leading.indistinguishable, root, output),
        near_chance=tuple(frame.loc[near_chance(frame), "name"]),
        noise=noise_words(frame, order.means),
        best=leading,
        best_overall=leading.overall,
        best_by_architecture=best_by_architecture(frame, order),
        configurations=order.configurations[:MOST_CONFIGURATIONS],
        configurations_total=len(order.configurations),
        pareto=Pareto(
            stability=tuple(pareto_front(ranked(frame), "val_loss_stability")["name"]),
            time=tuple(pareto_front(ranked(frame), "training_time_seconds")["name"]),
        ),
        hypotheses=hypotheses(frame),
        anova=variances,
        adjusted_means=centres,
        sensitivity=choices,
        validation_against_test=agreement,
        architectures=compared,
        best_of=best_of_curves(frame),
        response=responses(frame, order),
        survival=times,
        failure_tests=failure_tests(frame),
        pairwise=differences,
        assumptions=checks,
        rank_tests=ranks,
        correlations=related,
        importance=shares,
        resources=used,
        failures=tuple(
            Failure(
                name=row["name"],
                status=row["status"],
                reason=row["reason"] or STATES[row["status"]].meaning,
            )
            for _, row in bad.head(LISTED).iterrows()
        ),
        failures_total=len(bad),
        not_computed=tuple(
            NotComputed(what=what, why=outcome.reason) for what, outcome in outcomes() if not outcome.computed
        ),
    )


def _without_censored(frame: pd.DataFrame, times: Survival) -> pd.DataFrame:
    """``frame`` without the epochs to the best score if some are censored, so that no mean of them is computed."""
    if not times.censored:
        return frame
    return frame.drop(columns=[column for column in (EPOCHS,) if column in frame])


def last_scores(histories: Mapping[str, Sequence[Mapping[str, float]]]) -> dict[str, float]:
    """The validation Jaccard index of the last epoch by the name of the point."""
    return {name: epochs[-1]["val_jaccard"] for name, epochs in histories.items()}
