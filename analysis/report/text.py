"""The findings as ``comprehensive_analysis_report.txt``: plain, complete, at most :data:`WIDTH` columns wide."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from analysis.findings import KEY_METRICS, WORDS
from analysis.ranking import best_of_each_architecture, by_value, near_chance, ranked
from analysis.report.page_parts import duration
from analysis.resources import advice
from analysis.summary import common_text
from jobs.common.errors import one_line

WIDTH = 100
SHOWN = 10
PAIRS = 30  # pairwise rows of one factor; the JSON has all


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


def _number(value: Any, pattern: str = "{:.4f}") -> str:
    if value is None or pd.isna(value):
        return "-"
    text = pattern.format(value)
    return text if len(text) <= 9 else f"{value:.2e}"  # a column is not wider


def _p(value: Any) -> str:
    return "-" if value is None else "<0.0001" if value < 1e-4 else f"{value:.4f}"


def _interval(bounds: Any, pattern: str = "{:.2f}") -> str:
    if not isinstance(bounds, Sequence) or len(bounds) != 2 or None in bounds:
        return "-"
    return f"[{pattern.format(bounds[0])}, {pattern.format(bounds[1])}]"


def _short(text: Any, width: int) -> str:
    text = one_line(text)
    return text if len(text) < width else text[: width - 4] + "..."


def _configurations(rows: pd.DataFrame) -> list[str]:
    lines = [
        f"  {'configuration':<40}{'val':>8}{'chance':>8}{'test':>8}{'epoch':>7}{'stability':>11}{'gap':>10}"
    ]
    close = near_chance(rows)
    for place, row in rows.iterrows():
        lines.append(
            f"  {_short(row['name'], 40):<40}{_number(row['best_val_jaccard']):>8}"
            f"{_number(row['chance_jaccard'], '{:.3f}'):>8}{_number(row['test_jaccard']):>8}"
            f"{_number(row['best_epoch'], '{:.0f}'):>7}{_number(row['val_loss_stability'], '{:.2e}'):>11}"
            f"{_number(row['overfitting_gap'], '{:+.4f}'):>10}"
        )
        if close[place]:
            lines.append("      ^ near chance: it learned nothing")
    return lines


def _names(names: Sequence[str], most: int = 12) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _best(found: Mapping[str, Any], frame: pd.DataFrame) -> list[str]:
    lines = _heading("Best configurations") + _paragraph(found["best"]["text"])
    good = frame[frame["successful"]]
    if good.empty:
        return lines + _paragraph("The reasons stand below.")
    same = found["best"].get("indistinguishable") or {}
    if len(same.get("settings") or []) > 1:
        lines += _paragraph(f"Cannot be told apart from each other: {_names(same['settings'])}.")
    if same.get("basis"):
        critical = same.get("critical_difference")
        least = f"; a difference below {critical:.4f} may be chance" if critical else ""
        lines += _paragraph(f"Basis: {same['basis']}{least}.")
    lines += [""]
    lines += _paragraph(
        "val, chance, test: Jaccard index of the validation part at the best epoch, of calling every pixel foreground, and "
        "of the test part (never used to choose). stability: standard deviation of the validation loss over the last 10 "
        "epochs, lower is better. gap: final validation loss minus training loss."
    )
    lines += ["", f"overall (first {min(SHOWN, len(good))} of {len(good)})"]
    lines += _configurations(ranked(frame).head(SHOWN))
    lines += ["", "of each architecture", *_configurations(best_of_each_architecture(frame))]
    for name, one in found["best_by_architecture"].items():
        settings = (one["indistinguishable"] or {}).get("settings") or []
        if len(settings) > 1:
            lines += _paragraph(f"{name}: cannot be told apart: {_names(settings, 6)}.", "    ", "  ")
    front = found["pareto"]
    lines += [
        "",
        *_paragraph(f"Pareto front of score and stability: {_names(front['stability']) or 'none'}."),
        *_paragraph(f"Pareto front of score and training time: {_names(front['time']) or 'none'}."),
    ]
    return lines


def _hypotheses(found: Mapping[str, Any]) -> list[str]:
    lines = _heading("Hypotheses")
    for item in found["hypotheses"]:
        lines += ["", *_paragraph(f"{item['id']}: {item['title']}: {item['verdict'].upper()}", "    ", "")]
        lines += _paragraph(f"rule: {item['rule']}", "    ", "  ")
        for part in item["parts"]:
            lines += _paragraph(f"{part['verdict']}: {part['claim']}: {part['evidence']}", "    ", "  - ")
    return lines


def _means(frame: pd.DataFrame) -> list[str]:
    lines = _heading("Means by hyperparameter")
    lines += _paragraph(
        "Means of the best validation Jaccard index over all other hyperparameters, of the points that there are."
    )
    for column in ("architecture", "learning_rate", "batch_size"):
        lines += ["", f"  {column:<24}{'points':>8}{'mean':>9}{'least':>9}{'largest':>9}"]
        for value, row in by_value(frame, column).iterrows():
            text = value if isinstance(value, str) else f"{value:g}"
            lines.append(
                f"  {text:<24}{row['count']:>8.0f}{row['mean']:>9.4f}{row['min']:>9.4f}{row['max']:>9.4f}"
            )
    return lines


def _anova(content: Mapping[str, Any]) -> list[str]:
    if not content.get("computed"):
        return _paragraph(f"not computed: {content.get('reason')}", "  ")
    balance = "balanced" if content.get("balanced") else "not balanced"
    lines = _paragraph(
        f"{content['n']} points, {balance}, type {content.get('type')} sums of squares; {content.get('model')}",
        "  ",
    )
    lines.append(
        f"  {'effect':<32}{'df':>4}{'F':>9}{'p':>9}{'p Holm':>9}{'p. eta2':>9}{'omega2':>9}  95 % interval"
    )
    for term in content["terms"]:
        lines.append(
            f"  {_short(term['label'], 32):<32}{_number(term['df'], '{:.0f}'):>4}{_number(term.get('F'), '{:.2f}'):>9}"
            f"{_p(term.get('p')):>9}{_p(term.get('p_holm')):>9}{_number(term.get('partial_eta_sq'), '{:.2f}'):>9}"
            f"{_number(term.get('omega_sq'), '{:.2f}'):>9}  {_interval(term.get('partial_eta_sq_ci'))}"
        )
        if term.get("note"):
            lines += _paragraph(str(term["note"]), "      ")
    rest = content["residual"]
    mean_square = _number(rest.get("mean_sq"), "{:.3g}")
    lines.append(f"  {'residual':<32}{_number(rest.get('df'), '{:.0f}'):>4}   mean square {mean_square}")
    for note in content.get("notes") or []:
        lines += _paragraph(f"note: {note}", "  ")
    return lines


def _ranks(content: Mapping[str, Any]) -> list[str]:
    if content.get("computed") is False:
        return _paragraph(f"rank tests: not computed: {content.get('reason')}", "  ")
    lines = []
    primary = content.get("primary")
    if primary:
        words = "the rank tests come first here" if primary == "rank" else "the F tests come first here"
        lines += _paragraph(f"{words}{': ' + str(content['why']) if content.get('why') else ''}", "  ")
    for test in content.get("factors") or []:
        label = str(test.get("label") or test.get("factor"))
        if test.get("computed") is False:
            lines += _paragraph(f"{label}: no rank test: {test.get('reason')}", "    ", "  ")
            continue
        size = test.get("kendall_w")
        strength = f", Kendall's W {size:.2f}" if size is not None else ""
        blocks = f" over {test['blocks']} blocks" if test.get("blocks") else ""
        lines += _paragraph(
            f"{label}: {test.get('test')}{blocks}: p = {_p(test.get('p'))}{strength}", "    ", "  "
        )
    return lines


def _assumptions(content: Mapping[str, Any]) -> list[str]:
    text = content.get("consequence") or content.get("text") or content.get("reason")
    return _paragraph(f"assumptions: {text}", "    ", "  ") if text else []


def _pairwise(content: Mapping[str, Any], factor: str) -> list[str]:
    label = factor.replace("_", " ")
    if content.get("computed") is False:
        return _paragraph(f"{label}: not computed: {content.get('reason')}", "    ", "  ")
    rows = content.get("pairs") or []
    lines = [f"  {label:<46}{'difference':>11}  {'95 % interval':<20}{'p (Tukey)':>9}{'g':>8}"]
    for row in rows[:PAIRS]:
        pair = _short(f"{row['a']} - {row['b']}", 44)
        lines.append(
            f"    {pair:<44}{_number(row.get('difference'), '{:+.4f}'):>11}  "
            f"{_interval(row.get('ci'), '{:+.4f}'):<20}{_p(row.get('p')):>9}{_number(row.get('hedges_g'), '{:+.2f}'):>8}"
        )
    if len(rows) > PAIRS:
        lines.append(f"    and {len(rows) - PAIRS} more in analysis_summary.json")
    return lines


def _statistics(found: Mapping[str, Any]) -> list[str]:
    lines = _heading("Effects of the hyperparameters")
    lines += _paragraph(found["noise"]["text"])
    lines += _paragraph(
        "p Holm: corrected for the number of effects. p. eta2, omega2: partial eta squared and partial omega squared, with one 95 % bootstrap interval of the share in the "
        "population that both estimate. Partial eta squared is biased upward and may lie above the interval; omega squared "
        "is not, and below zero it says that no effect was seen."
    )
    for metric in KEY_METRICS:
        exploratory = "" if metric == KEY_METRICS[0] else " (exploratory)"
        lines += ["", f"{WORDS[metric]}{exploratory}", *_anova(found["anova"][metric])]
        lines += _assumptions(found["assumptions"][metric]) + _ranks(found["rank_tests"][metric])
        shares = found["importance"][metric].get("shares") or []
        if shares:
            text = ", ".join(
                f"{one['label']} {100 * one['share']:.0f} %" for one in shares[:8] if one["share"] is not None
            )
            lines += _paragraph(f"share of the variance (descriptive): {text}", "    ", "  ")
    lines += ["", f"pairwise differences of adjusted means, {WORDS[KEY_METRICS[0]]}; g: Hedges g"]
    for factor, content in found["pairwise"][KEY_METRICS[0]].items():
        lines += _pairwise(content, factor)
    lines += ["", "rank correlations (Spearman), p corrected by Holm"]
    for item in found["correlations"]:
        pair = f"{WORDS.get(item['a'], item['a'])} and {WORDS.get(item['b'], item['b'])}"
        kind = f" ({item['kind']})" if item.get("kind") else ""
        if item.get("computed") is False or item.get("rho") is None:
            lines += _paragraph(f"{pair}{kind}: not computed: {item.get('reason')}", "    ", "  ")
        else:
            lines += _paragraph(
                f"{pair}{kind}: {item['rho']:+.2f} {_interval(item.get('ci'))}, p = {_p(item.get('p_holm'))}, n = {item['n']}",
                "    ",
                "  ",
            )
    return lines


def _resources(found: Mapping[str, Any]) -> list[str]:
    content = found["resources"]
    lines = _heading("Resources: asked and used")
    if not content["computed"]:
        return lines + _paragraph(f"Not computed: {content['reason']}.")
    kind = "GPU hours" if content["gpu"] else "hours (on CPU)"
    lines += _paragraph(
        f"{content['hours_used']:.2f} {kind} used, {content['hours_lost']:.2f} of them without a result."
    )
    if content["rows"]:
        lines += _paragraph(one_line(advice(content)))
        lines += ["", f"  {'':<34}{'walltime':>10}{'used':>12}{'used':>12}{'mem':>8}{'host':>11}{'GPU':>11}"]
        lines.append(
            f"  {'architecture':<18}{'batch':>9}{'points':>7}{'asked':>10}{'median':>12}{'longest':>12}"
            f"{'asked':>8}{'peak':>11}{'peak':>11}"
        )
    for row in content["rows"]:
        lines.append(
            f"  {_short(row['architecture'], 18):<18}{_number(row['batch_size'], '{:.0f}'):>9}{row['points']:>7}"
            f"{_short(row['walltime_asked'] or '-', 12):>10}{_duration(row['seconds_median']):>12}"
            f"{_duration(row['seconds_longest']):>12}{_short(row['mem_asked'] or '-', 8):>8}"
            f"{_gb(row['host_memory_mb']):>11}{_gb(row['gpu_memory_mb']):>11}"
        )
    return lines + _items(content["notes"])


def _duration(value: Any) -> str:
    return "-" if value is None else duration(value) if value < 1e7 else f"{value / 86400:.0f} days"


def _gb(value: Any) -> str:
    return "-" if value is None else f"{value / 1024:.1f} GB"


def report_text(found: Mapping[str, Any], frame: pd.DataFrame) -> str:
    """The plain report of ``found`` (:func:`analysis.findings.findings`), with tables from ``frame``."""
    lines = ["U-NET HYPERPARAMETER SEARCH", "=" * 27]
    lines += _paragraph(one_line(f"summary: {found['summary']}"))
    lines += _paragraph(f"data: {common_text(frame, 'data_source') or 'source not recorded'}")
    lines += _paragraph(f"split: {common_text(frame, 'split') or 'not recorded'}")
    counts = ", ".join(f"{count} {state}" for state, count in found["status"].items())
    lines.append(f"points: {found['points']}: {counts}")
    if found["dropped"]:
        lines += _paragraph(
            f"{found['dropped']} rows of the summary have no usable hyperparameters; left out."
        )
    lines += _heading("Read this first")
    lines += _items(found["cautions"] or ["Nothing to warn of."])
    lines += _best(found, frame)
    lines += _hypotheses(found)
    if frame["successful"].any():
        lines += _means(frame) + _statistics(found)
    lines += _resources(found)
    if found["not_computed"]:
        lines += _heading("What could not be computed")
        lines += _items(f"{item['what']}: {item['why']}" for item in found["not_computed"])
    if found["failures"]:
        lines += _heading("Points without success")
        for item in found["failures"]:
            lines += _paragraph(
                one_line(f"{item['name']}: {item['status']}: {item['reason'][:300]}"), "    ", "  "
            )
        rest = found["failures_total"] - len(found["failures"])
        if rest:
            lines.append(f"  and {rest} more in the summary")
    return "\n".join(lines) + "\n"
