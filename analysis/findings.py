"""Everything that a report says, computed once, as JSON types: the content of ``analysis_summary.json``.

The text report and the page only render it. ``docs/statistics.md`` documents the schema and the methods.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
from statsmodels.stats.multitest import multipletests

from analysis.conclusions import best, best_by_architecture, cautions, noise_words
from analysis.ranking import near_chance, pareto_front, ranked
from analysis.resources import resources
from analysis.statistics.anova import anova, assumptions, correlations, importance, pairwise, rank_tests
from analysis.statistics.hypotheses import hypotheses
from analysis.summary import common_text, extra_axes
from jobs.common.records import without_nan
from jobs.common.states import STATES

SCHEMA = 2
# The guide's key metrics; the first is the one that decides.
KEY_METRICS = ("best_val_jaccard", "val_loss_stability", "overfitting_gap", "epochs_to_best")
WORDS = {
    "best_val_jaccard": "best validation Jaccard index",
    "val_loss_stability": "stability (SD of validation loss, last 10 epochs)",
    "overfitting_gap": "overfitting gap (validation - training loss)",
    "epochs_to_best": "epochs to best",
    "training_time_seconds": "training time",
    "test_jaccard": "test Jaccard index",
}
LISTED = 200  # failures in the JSON and the reports; the summary has all


def _not_computed(found: dict[str, Any]) -> list[dict[str, str]]:
    missing = []

    def look(what: str, content: Any) -> None:
        if isinstance(content, dict) and content.get("computed") is False:
            missing.append({"what": what, "why": str(content.get("reason") or "not said")})

    for metric in KEY_METRICS:
        words = WORDS[metric]
        look(f"analysis of variance of {words}", found["anova"][metric])
        look(f"importance for {words}", found["importance"][metric])
        look(f"rank tests of {words}", found["rank_tests"][metric])
        for factor, content in found["pairwise"][metric].items():
            look(f"pairwise differences of {words} by {factor.replace('_', ' ')}", content)
    look("resources asked and used", found["resources"])
    for item in found["correlations"]:
        look(f"correlation of {item.get('a')} and {item.get('b')}", item)
    return missing


def _correct_terms(content: dict[str, Any]) -> dict[str, Any]:
    """``content`` of :func:`analysis.statistics.anova.anova` with ``p_holm``: six effects are six chances to see one."""
    tested = [term for term in content["terms"] if term.get("p") is not None]
    if tested:
        corrected = multipletests([term["p"] for term in tested], method="holm")[1]
        for term, value in zip(tested, corrected, strict=True):
            term["p_holm"] = float(value)
    return content


def findings(frame: pd.DataFrame, *, summary: str, root: Path | None = None) -> dict[str, Any]:
    """All that can be said of ``frame`` (:func:`analysis.summary.load_summary`), of the file ``summary``; ``root`` is the run
    directory, where there is one.

    Never raises for what a summary holds; what cannot be computed says why.
    """
    counts = Counter(frame["status"])
    factors = ["learning_rate", "batch_size", "architecture", *extra_axes(frame)]
    variances = {metric: _correct_terms(anova(frame, metric)) for metric in KEY_METRICS}
    leading = best(frame)
    bad = frame[~frame["successful"]]
    found: dict[str, Any] = {
        "schema": SCHEMA,
        "summary": summary,
        "points": len(frame),
        "successful": int(frame["successful"].sum()),
        "status": {state: counts[state] for state in STATES if counts[state]},
        "dropped": frame.attrs.get("dropped", 0),
        "data_source": common_text(frame, "data_source"),
        "split": common_text(frame, "split"),
        "seeds": int(frame["seed"].nunique()),
        "cautions": cautions(frame),
        "near_chance": list(frame.loc[near_chance(frame), "name"]),
        "noise": noise_words(frame),
        "best": leading,
        "best_overall": leading["overall"],
        "best_by_architecture": best_by_architecture(frame),
        "pareto": {
            "stability": list(pareto_front(ranked(frame), "val_loss_stability")["name"]),
            "time": list(pareto_front(ranked(frame), "training_time_seconds")["name"]),
        },
        "hypotheses": hypotheses(frame, variances["best_val_jaccard"]),
        "anova": variances,
        "pairwise": {
            metric: {factor: pairwise(frame, metric, factor) for factor in factors} for metric in KEY_METRICS
        },
        "assumptions": {metric: assumptions(frame, metric) for metric in KEY_METRICS},
        "rank_tests": {metric: rank_tests(frame, metric) for metric in KEY_METRICS},
        "correlations": correlations(frame),
        "importance": {metric: importance(frame, metric) for metric in KEY_METRICS},
        "resources": resources(frame, root),
        "failures": [
            {
                "name": row["name"],
                "status": row["status"],
                "reason": row["reason"] or STATES[row["status"]].meaning,
            }
            for _, row in bad.head(LISTED).iterrows()
        ],
        "failures_total": len(bad),
    }
    found["not_computed"] = _not_computed(found)
    return without_nan(found)
