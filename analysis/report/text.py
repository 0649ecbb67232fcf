"""The text report, ``comprehensive_analysis_report.txt``: all findings, in lines of at most :data:`WIDTH` columns."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterable, Sequence

import pandas as pd
from rich.table import Table

from analysis.metrics import KEY_METRICS, WORDS
from analysis.ranking import best_of_each_architecture, by_value, near_chance, point, ranked
from analysis.resources import advice
from analysis.schema import (
    Anova,
    Assumptions,
    Correlation,
    Findings,
    Importance,
    Interval,
    Pairwise,
    RankPair,
    RankTest,
    RankTests,
)
from jobs.common.console import SafeConsole
from jobs.common.errors import one_line
from jobs.common.units import gigabytes, plural, whole_duration
from unet_models.wording import first_of

WIDTH = 100
SHOWN = 10
PAIRS = 30  # rows of differences per factor; the JSON contains all
NONE = "-"


def _paragraph(text: str, indent: str = "", first: str | None = None) -> list[str]:
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=indent if first is None else first,
        subsequent_indent=indent,
        break_on_hyphens=False,
    )


def _items(texts: Iterable[str]) -> list[str]:
    return [line for text in texts for line in _paragraph(text, "  ", "* ")]


def _heading(text: str) -> list[str]:
    return ["", text.upper(), "-" * len(text)]


def _table(header: Sequence[str], rows: Iterable[Sequence[str]], indent: int = 2, left: int = 1) -> list[str]:
    """A table as lines. The first ``left`` columns are left-aligned, and wrapped if they are too long."""
    table = Table(box=None, padding=(0, 0, 0, 2), pad_edge=False)
    for place, title in enumerate(header):
        table.add_column(
            title,
            justify="left" if place < left else "right",
            no_wrap=place >= left,
            overflow="fold" if place < left else "ellipsis",
        )
    for row in rows:
        table.add_row(*row)
    text = io.StringIO()
    console = SafeConsole(
        file=text, width=WIDTH - indent, color_system=None, markup=False, emoji=False, highlight=False
    )
    console.print(table)
    return [" " * indent + line.rstrip() for line in text.getvalue().splitlines()]


def _number(value: float | None, pattern: str = "{:.4f}") -> str:
    if value is None or pd.isna(value):
        return NONE
    text = pattern.format(value)
    return text if len(text) <= 9 else f"{value:.2e}"


def _p(value: float | None) -> str:
    return NONE if value is None else "<0.0001" if value < 1e-4 else f"{value:.4f}"


def _interval(bounds: Interval | None, pattern: str = "{:.2f}") -> str:
    return NONE if bounds is None else f"[{pattern.format(bounds[0])}, {pattern.format(bounds[1])}]"


def _configurations(rows: pd.DataFrame) -> list[str]:
    lines = []
    for (_, row), no_better in zip(rows.iterrows(), near_chance(rows), strict=True):
        one = point(row)
        lines.append(
            (
                one_line(one.name) + (" (near chance: nothing was learned)" if no_better else ""),
                _number(one.best_val_jaccard),
                _number(one.chance_jaccard, "{:.3f}"),
                _number(one.test_jaccard),
                _number(one.best_epoch, "{:.0f}"),
                _number(one.val_loss_stability, "{:.2e}"),
                _number(one.overfitting_gap, "{:+.4f}"),
            )
        )
    return _table(("configuration", "val", "chance", "test", "epoch", "stability", "gap"), lines)


def _best(found: Findings, frame: pd.DataFrame) -> list[str]:
    best = found.best
    lines = _heading("Best configurations")
    same = best.indistinguishable
    if same is None:
        return lines + _paragraph('The reasons are under "Points without success".')
    if len(same.settings) > 1:
        lines += _paragraph(f"Not distinguishable from the best: {first_of(same.settings, 12)}.")
    if same.basis:
        critical = same.critical_difference
        least = f"; a difference below {critical:.4f} may be chance" if critical else ""
        lines += _paragraph(f"Basis: {same.basis}{least}.")
    lines += [""]
    lines += _paragraph(
        "val: Jaccard index of the validation part at the best epoch. chance: Jaccard index of predicting foreground for "
        "every pixel. test: Jaccard index of the test part, never used to select. stability: standard deviation of the "
        "validation loss over the last 10 epochs, lower is better. gap: final validation loss minus training loss."
    )
    lines += _ranked(found)
    lines += ["", f"single points (the best {min(SHOWN, found.successful)} of {found.successful})"]
    lines += _configurations(ranked(frame).head(SHOWN))
    lines += ["", "of each architecture", *_configurations(best_of_each_architecture(frame))]
    for name, one in found.best_by_architecture.items():
        settings = one.indistinguishable.settings
        if len(settings) > 1:
            lines += _paragraph(
                f"{name}, not distinguishable from its best: {first_of(settings, 6)}.", "    ", "  "
            )
    front = found.pareto
    lines += [
        "",
        *_paragraph(f"Pareto front of score and stability: {first_of(front.stability, 12) or 'none'}."),
        *_paragraph(f"Pareto front of score and training time: {first_of(front.time, 12) or 'none'}."),
    ]
    return lines


def _next_steps(found: Findings) -> list[str]:
    lines = []
    for step in found.next_steps:
        lines += ["", *_paragraph(f"Next: {step.title}. {step.why}", "  ", "")]
        lines += [f"    {line}" for line in step.command.splitlines()]
    return lines


def _ranked(found: Findings) -> list[str]:
    rows = [
        (
            one_line(one.settings) + (" *" if one.may_be_best else ""),
            f"{one.seeds}",
            f"{one.diverged}",
            f"{one.failed}",
            _number(one.estimate),
            _number(one.shrunken_mean),
            _number(one.test_mean),
            _interval(one.difference_to_best, "{:+.3f}"),
        )
        for one in found.configurations[:SHOWN]
        if one.mean is not None
    ]
    if not rows:
        return []
    header = (
        "configuration",
        "runs",
        "div.",
        "fail.",
        "mean",
        "corrected",
        "test",
        "to the best of the others",
    )
    lines = ["", f"the first {len(rows)} of {found.configurations_total} configurations; * may be the best"]
    return lines + _table(header, rows)


def _checks(found: Findings) -> list[str]:
    """Validation against test, the architectures, the optimum of the learning rate, failures and censored times."""
    lines = _heading("Further comparisons")
    if found.validation_against_test.computed:
        lines += _paragraph(f"Validation and test: {found.validation_against_test.text}")
    for pair in found.architectures.pairs:
        lines += _paragraph(
            f"A run of {pair.a} scores higher than one of {pair.b} with probability {pair.probability:.2f} "
            f"{_interval(pair.ci)}: {pair.verdict}",
            "    ",
            "  ",
        )
    for one in found.response:
        if one.computed and one.optimum is not None:
            limits = (
                " to ".join("none" if limit is None else f"{limit:.2g}" for limit in one.ci)
                if one.ci
                else "none"
            )
            lines += _paragraph(
                f"{one_line(one.architecture)}: fitted optimum of the learning rate {one.optimum:.2g} (limits {limits})",
                "    ",
                "  ",
            )
    for test in found.failure_tests:
        if test.computed:
            counts = ", ".join(
                f"{level.diverged} of {level.points} at {level.level}" for level in test.levels
            )
            lines += _paragraph(
                f"diverged points by {test.label}: {counts}; exact test p = {_p(test.p)}, corrected (Holm) {_p(test.p_holm)}",
                "    ",
                "  ",
            )
    if found.survival.computed and found.survival.censored:
        lines += _paragraph(
            f"epochs to the best score: {found.survival.censored} of {plural(found.survival.points, 'point')} still rising "
            "(censored); stratified log-rank tests, corrected (Holm): "
            + ", ".join(
                f"{one.label} p = {_p(one.p_holm)}" for one in found.survival.factors if one.computed
            ),
            "    ",
            "  ",
        )
    for choice in found.sensitivity:
        if choice.computed:
            lines += _paragraph(choice.text, "    ", "  ")
    return lines if len(lines) > len(_heading("")) else []


def _hypotheses(found: Findings) -> list[str]:
    lines = _heading("Hypotheses")
    for item in found.hypotheses:
        lines += ["", *_paragraph(f"{item.id}: {item.title}: {item.verdict.upper()}", "    ", "")]
        lines += _paragraph(f"rule: {item.rule}", "    ", "  ")
        for part in item.parts:
            lines += _paragraph(f"{part.verdict}: {part.claim}: {part.evidence}", "    ", "  - ")
    return lines


def _means(frame: pd.DataFrame) -> list[str]:
    lines = _heading("Means by hyperparameter")
    lines += _paragraph(
        "Best validation Jaccard index of the successful points, over all other hyperparameters."
    )
    for column in ("architecture", "learning_rate", "batch_size"):
        rows = [
            (
                value if isinstance(value, str) else f"{value:g}",
                f"{row['count']:.0f}",
                *(_number(row[key]) for key in ("mean", "min", "max")),
            )
            for value, row in by_value(frame, column).iterrows()
        ]
        lines += ["", *_table((column.replace("_", " "), "points", "mean", "lowest", "highest"), rows)]
    return lines


def _anova(content: Anova) -> list[str]:
    if not content.computed:
        return _paragraph(f"not computed: {content.reason}", "  ")
    balance = "balanced" if content.balanced else "not balanced"
    lines = _paragraph(
        f"{plural(content.n, 'point')}, {balance}, type {content.type} sums of squares; {content.model}", "  "
    )
    rows = [
        (
            term.label,
            f"{term.df}",
            _number(term.f, "{:.2f}"),
            _p(term.p),
            _p(term.p_holm),
            _number(term.omega_sq, "{:.2f}"),
            _interval(term.omega_sq_ci),
        )
        for term in content.terms
    ]
    lines += _table(("effect", "df", "F", "p", "p Holm", "omega2", "95 % interval"), rows)
    for term in content.terms:
        if term.note:
            lines += _paragraph(f"{term.label}: {term.note}", "      ", "    ")
    if content.residual is not None:
        mean_square = _number(content.residual.mean_sq, "{:.3g}")
        lines += _paragraph(f"residual: {content.residual.df} df, mean square {mean_square}", "  ")
    for note in content.notes:
        lines += _paragraph(f"note: {note}", "  ")
    return lines


def _ranks(content: RankTests) -> list[str]:
    if not content.computed:
        return _paragraph(f"rank tests: not computed: {content.reason}", "  ")
    words = f"read the {'rank' if content.primary == 'rank' else 'F'} tests first"
    lines = _paragraph(f"{words}: {content.why}", "  ")
    for test in content.factors:
        lines += _rank_test(test)
    return lines


def _rank_test(test: RankTest) -> list[str]:
    if not test.computed:
        return _paragraph(f"{test.label}: no rank test: {test.reason}", "    ", "  ")
    strength = f", Kendall's W {test.kendall_w:.2f}" if test.kendall_w is not None else ""
    blocks = f" over {plural(test.blocks, 'block')}" if test.blocks else ""
    lines = _paragraph(
        f"{test.label}: {test.test}{blocks}: p = {_p(test.p)}, corrected (Holm) {_p(test.p_holm)}{strength}",
        "    ",
        "  ",
    )
    return lines + _rank_pairs(test.pairs)


def _rank_pairs(pairs: Sequence[RankPair]) -> list[str]:
    rows = [
        (
            one_line(f"{pair.a} - {pair.b}"),
            f"{pair.n}",
            _number(pair.median_difference, "{:+.4f}"),
            _p(pair.p),
            _p(pair.p_holm),
            pair.method,
        )
        for pair in pairs[:PAIRS]
    ]
    header = ("pair", "blocks", "median difference", "p (Wilcoxon)", "p Holm", "method")
    return _table(header, rows, indent=4) + _more(len(pairs))


def _more(count: int) -> list[str]:
    return [f"    and {count - PAIRS} more in analysis_summary.json"] if count > PAIRS else []


def _assumptions(content: Assumptions) -> list[str]:
    return _paragraph(f"assumptions: {content.consequence}", "    ", "  ")


def _shares(content: Importance) -> list[str]:
    if not content.shares:
        return []
    text = ", ".join(f"{one.label} {100 * one.share:.0f} %" for one in content.shares[:8])
    return _paragraph(f"share of the variance (descriptive): {text}", "    ", "  ")


def _pairwise(content: Pairwise) -> list[str]:
    label = content.factor.replace("_", " ")
    if not content.computed:
        return _paragraph(f"{label}: not computed: {content.reason}", "    ", "  ")
    rows = [
        (
            one_line(f"{row.a} - {row.b}"),
            _number(row.difference, "{:+.4f}"),
            _interval(row.ci, "{:+.4f}"),
            _p(row.p),
            _number(row.hedges_g, "{:+.2f}"),
        )
        for row in content.pairs[:PAIRS]
    ]
    return _table((label, "difference", "95 % interval", "p (Tukey)", "g"), rows) + _more(len(content.pairs))


def _correlation(item: Correlation) -> list[str]:
    pair = f"{WORDS[item.a]} and {WORDS[item.b]} ({item.kind})"
    if item.rho is None:
        return _paragraph(f"{pair}: not computed: {item.reason}", "    ", "  ")
    return _paragraph(
        f"{pair}: {item.rho:+.2f} {_interval(item.ci)}, p = {_p(item.p_holm)}, n = {item.n}", "    ", "  "
    )


def _statistics(found: Findings) -> list[str]:
    lines = _heading("Effects of the hyperparameters")
    lines += _paragraph(found.noise.text)
    lines += _paragraph(
        "p Holm: corrected for the number of effects. omega2: partial omega squared, the share of the variance apart from the "
        "other effects, with its 95 % bootstrap interval; a value below zero means that no effect was seen."
    )
    for metric in KEY_METRICS:
        exploratory = "" if metric == KEY_METRICS[0] else " (exploratory)"
        lines += ["", f"{WORDS[metric]}{exploratory}", *_anova(found.anova[metric])]
        lines += _assumptions(found.assumptions[metric]) + _ranks(found.rank_tests[metric])
        lines += _shares(found.importance[metric])
    lines += ["", f"pairwise differences of adjusted means, {WORDS[KEY_METRICS[0]]}; g: Hedges g"]
    for content in found.pairwise[KEY_METRICS[0]].values():
        lines += _pairwise(content)
    lines += ["", "rank correlations (Spearman), p corrected by Holm"]
    return lines + [line for item in found.correlations for line in _correlation(item)]


def _resources(found: Findings) -> list[str]:
    content = found.resources
    lines = _heading("Resources: requested and used")
    if not content.computed:
        return lines + _paragraph(f"Not computed: {content.reason}.")
    kind = "GPU hours" if content.gpu else "hours (on CPU)"
    lines += _paragraph(
        f"{content.hours_used:.2f} {kind} used, {content.hours_lost:.2f} of them without a result."
    )
    if content.rows:
        lines += _paragraph(one_line(advice(content)))
        rows = [
            (
                one_line(row.architecture),
                _number(row.batch_size, "{:.0f}"),
                f"{row.points}",
                one_line(row.walltime_asked or NONE),
                whole_duration(row.seconds_median),
                whole_duration(row.seconds_longest),
                one_line(row.mem_asked or NONE),
                gigabytes(row.host_memory_mb),
                gigabytes(row.gpu_memory_mb),
            )
            for row in content.rows
        ]
        header = (
            "architecture",
            "batch",
            "points",
            "walltime\nrequested",
            "used,\nmedian",
            "used,\nlongest",
            "mem\nrequested",
            "host\npeak",
            "GPU\npeak",
        )
        lines += ["", *_table(header, rows)]
    return lines + _items(content.notes)


def report_text(found: Findings, frame: pd.DataFrame) -> str:
    """The text report of ``found``, which are the findings of ``frame`` (:func:`analysis.summary.load_summary`)."""
    lines = ["U-NET HYPERPARAMETER SEARCH", "=" * 27]
    lines += _paragraph(one_line(f"summary: {found.summary}"))
    lines += _paragraph(f"data: {found.data_source or 'source not recorded'}")
    lines += _paragraph(f"split: {found.split or 'not recorded'}")
    counts = ", ".join(f"{count} {state}" for state, count in found.status.items())
    lines.append(f"points: {found.points}: {counts}")
    if found.dropped:
        lines += _paragraph(
            f"Left out: {plural(found.dropped, 'row')} of the summary without usable hyperparameters."
        )
    lines += _heading("The answer") + _paragraph(found.best.text)
    lines += _next_steps(found)
    lines += _heading("Read this first")
    for one in found.cautions:
        lines += _paragraph(one.text, "  ", "* ")
        for detail in one.details:
            lines += _paragraph(detail, "      ", "    - ")
    if not found.cautions:
        lines += _items(["No warnings."])
    lines += _best(found, frame)
    lines += _checks(found) + _hypotheses(found)
    if found.successful:
        lines += _means(frame) + _statistics(found)
    lines += _resources(found)
    if found.not_computed:
        lines += _heading("What could not be computed")
        lines += _items(f"{item.what}: {item.why}" for item in found.not_computed)
    if found.failures:
        lines += _heading("Points without success")
        for item in found.failures:
            lines += _paragraph(one_line(f"{item.name}: {item.status}: {item.reason[:300]}"), "    ", "  ")
        rest = found.failures_total - len(found.failures)
        if rest:
            lines.append(f"  and {rest} more in the summary")
    return "\n".join(lines) + "\n"
