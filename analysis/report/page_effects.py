"""The effects of the hyperparameters on the primary metric: their sizes, adjusted means and differences."""

from __future__ import annotations

from dataclasses import dataclass

from analysis.metrics import KEY_METRICS
from analysis.report.page_charts import Chart, Measured, chart, of_differences, of_means
from analysis.report.page_filters import number, p_value, words
from analysis.schema import Findings, RankTest

PRIMARY = KEY_METRICS[0]
FEW = 12  # rows of a chart that is not folded


@dataclass(frozen=True)
class Drawn:
    """A chart, or the ``reason`` why there is none."""

    chart: Chart | None
    reason: str = ""

    @property
    def folded(self) -> bool:
        """Whether the chart is too long to be shown at once."""
        return self.chart is not None and len(self.chart.bars) > FEW


@dataclass(frozen=True)
class Effect:
    """One hyperparameter. ``tests`` is the result of its tests in a line.

    ``rank`` is its rank test if the rank tests come first, else ``None``.
    """

    label: str
    tests: str
    means: Drawn
    differences: Drawn
    rank: RankTest | None


def effects(found: Findings) -> list[Effect]:
    """The effects of all hyperparameters on the validation score, in the order of the findings."""
    ranks = found.rank_tests[PRIMARY]
    by_factor = {one.factor: one for one in ranks.factors}
    shown = []
    for factor, means in found.adjusted_means[PRIMARY].items():
        pairs = found.pairwise[PRIMARY][factor]
        rank = by_factor.get(factor)
        rank_first = ranks.computed and ranks.primary == "rank"
        label = words(factor)
        shown.append(
            Effect(
                label,
                _tests(found, factor, rank, rank_first=rank_first),
                Drawn(of_means(means, f"Adjusted mean by {label}") if means.computed else None, means.reason),
                Drawn(
                    of_differences(pairs, f"Differences by {label}") if pairs.computed else None, pairs.reason
                ),
                rank if rank_first and rank is not None and rank.computed else None,
            )
        )
    return shown


def _tests(found: Findings, factor: str, rank: RankTest | None, *, rank_first: bool) -> str:
    """The results of the F test and the rank test, the one to read first at the beginning."""
    parts = [
        f"F test: p (Holm) {_p(term.p_holm)}"
        for term in found.anova[PRIMARY].terms
        if term.term == factor and term.p_holm is not None
    ]
    if rank is not None and rank.computed and rank.p_holm is not None:
        parts.append(f"{rank.test} rank test: p (Holm) {_p(rank.p_holm)}")
    if rank_first:
        parts.reverse()
    return "; ".join(parts)


def _p(value: float) -> str:
    text = p_value(value)
    return text if text.startswith("<") else f"= {text}"


def sizes(found: Findings) -> Drawn:
    """How much each term of the analysis of variance matters: omega squared. Marked are p values (Holm) below 0.05."""
    table = found.anova[PRIMARY]
    if not table.computed:
        return Drawn(None, table.reason)
    rows = [
        Measured(
            one.label,
            one.omega_sq,
            one.omega_sq_ci,
            number(one.omega_sq, "{:.3f}"),
            one.p_holm is not None and one.p_holm < 0.05,
        )
        for one in table.terms
    ]
    title = "Omega squared: the share of the variance, apart from the other terms"
    return Drawn(chart(title, ("term", "omega squared", "95 % interval"), rows, "{:.3f}", zero=True))
