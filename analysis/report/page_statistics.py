"""The statistics in ``report.html``: known tables as tables, whatever else the findings hold as lists."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from analysis.report.page_parts import (
    MOST_ROWS,
    NONE,
    as_dict,
    as_list,
    bullets,
    dicts,
    esc,
    finite,
    folded,
    interval,
    label,
    number,
    p_value,
    pairs,
    paragraph,
    table,
    words,
)

_BY_METRIC = ("anova", "pairwise", "assumptions", "rank_tests")
_DEEPEST = 4  # levels of what the page has no table for
_MOST_COLUMNS = 12


def _scalar(key: Any, value: Any) -> str:
    if value is None:
        return NONE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if key in ("p", "p_value", "p_adjusted"):
        return p_value(value)
    if finite(value) is not None:
        return number(value, "{:.4g}")
    return esc(value)


def _is_number(value: Any) -> bool:
    return finite(value) is not None or interval(value) != NONE


def _columns(rows: list[dict[Any, Any]]) -> list[Any]:
    """The keys that have a value in any row; not ``factor`` where ``label`` says the same in words."""
    found = dict.fromkeys(key for row in rows for key, value in row.items() if value not in (None, ""))
    if "label" in found:
        found.pop("factor", None)
    return list(found)[:_MOST_COLUMNS]


def anything(value: Any, key: Any = None, depth: int = 0) -> str:
    """JSON of any shape as HTML: dictionaries as terms, lists of dictionaries as tables, the rest as text."""
    if isinstance(value, dict) and value and depth < _DEEPEST:
        shown = list(value.items())[:MOST_ROWS]
        return pairs((label(k), anything(v, k, depth + 1)) for k, v in shown)
    rows = dicts(value)
    if rows and depth < _DEEPEST:
        columns = _columns(rows)
        cells = ([anything(row.get(column), column, _DEEPEST) for column in columns] for row in rows)
        text = [n for n, column in enumerate(columns) if not any(_is_number(row.get(column)) for row in rows)]
        return table(words(key or "values"), [label(column) for column in columns], cells, text)
    if isinstance(value, (list, tuple)):
        if interval(value) != NONE and str(key).endswith("ci"):
            return interval(value, "{:.4g}")
        return ", ".join(_scalar(key, entry) for entry in value[:MOST_ROWS]) or NONE
    return _scalar(key, value)


def _refusal(result: dict[Any, Any]) -> str:
    """Why something was not computed, or nothing if it was."""
    if result.get("computed", True):
        return ""
    reason = esc(result.get("reason")).rstrip(".") or "no reason was given"
    return paragraph(f"Not computed: {reason}.", "muted")


def _rest(result: dict[Any, Any], known: Iterable[str]) -> str:
    left = {
        key: value for key, value in result.items() if key not in known and value not in (None, [], {}, "")
    }
    return anything(left) if left else ""


def _anova(result: dict[Any, Any], metric: Any) -> str:
    refusal = _refusal(result)
    if refusal:
        return refusal
    rows = [
        [
            esc(term.get("label")),
            number(term.get("df"), "{:g}"),
            number(term.get("F"), "{:.2f}"),
            p_value(term.get("p")),
            p_value(term.get("p_holm")),
            number(term.get("partial_eta_sq"), "{:.3f}"),
            interval(term.get("partial_eta_sq_ci")),
            number(term.get("omega_sq"), "{:.3f}"),
            esc(term.get("note")),
        ]
        for term in dicts(result.get("terms"))
    ]
    residual = as_dict(result.get("residual"))
    if residual:
        mean = f"mean square {number(residual.get('mean_sq'), '{:.3g}')}"
        rows.append(
            ["residual", number(residual.get("df"), "{:g}"), NONE, NONE, NONE, NONE, NONE, NONE, mean]
        )
    facts = [
        f"{word}: {_scalar(key, result[key])}"
        for key, word in (("model", "model"), ("type", "sums of squares of type"), ("n", "points"))
        if result.get(key) is not None
    ]
    header = [
        "term",
        "df",
        "F",
        "p",
        "p (Holm)",
        "partial &eta;&sup2;",
        "its confidence interval",
        "&omega;&sup2;",
        "note",
    ]
    content = paragraph("; ".join(facts), "small") if facts else ""
    content += table(f"Analysis of variance: {words(metric)}", header, rows, text=(7,)) if rows else ""
    notes = [esc(note) for note in as_list(result.get("notes"))]
    known = ("computed", "reason", "model", "type", "n", "terms", "residual", "notes", "metric")
    return content + (bullets(notes) if notes else "") + _rest(result, known)


def _pairwise(factors: dict[Any, Any], metric: Any) -> str:
    parts = []
    for factor, value in factors.items():
        result = as_dict(value)
        rows = [
            [
                esc(row.get("a")),
                esc(row.get("b")),
                number(row.get("difference"), "{:+.4f}"),
                interval(row.get("ci"), "{:+.4f}"),
                p_value(row.get("p_adjusted", row.get("p"))),
                number(row.get("hedges_g"), "{:+.2f}"),
            ]
            for row in dicts(result.get("rows") or result.get("pairs"))
        ]
        header = ["a", "b", "a - b", "its confidence interval", "p (adjusted)", "Hedges' g"]
        name = f"{words(factor)}: differences of the {words(metric)}"
        content = _refusal(result) or (
            (table(name, header, rows, text=(1,)) if rows else paragraph("No pair to compare.", "muted"))
            + _rest(result, ("computed", "reason", "rows", "pairs", "metric", "factor"))
        )
        parts.append(f"<h4>{label(factor)}</h4>{content}")
    return "".join(parts)


def _general(result: dict[Any, Any], _metric: Any) -> str:
    return _refusal(result) or _rest(result, ("computed", "reason", "metric"))


def _metrics(findings: dict[str, Any]) -> list[Any]:
    return list(dict.fromkeys(metric for part in _BY_METRIC for metric in as_dict(findings.get(part))))


def _of_metric(findings: dict[str, Any], metric: Any) -> str:
    parts = []
    for key, title, show in (
        ("anova", "Analysis of variance", _anova),
        ("pairwise", "Pairwise comparisons", _pairwise),
        ("assumptions", "Assumptions", _general),
        ("rank_tests", "Rank tests", _general),
    ):
        result = as_dict(as_dict(findings.get(key)).get(metric))
        content = show(result, metric) if result else ""
        if content:
            parts.append(f"<h3>{title}</h3>{content}")
    return "".join(parts)


def _correlations(entries: list[dict[Any, Any]]) -> str:
    rows = [
        [
            label(row.get("a")),
            label(row.get("b")),
            esc(row.get("kind")),
            number(row.get("n"), "{:g}"),
            number(row.get("rho"), "{:+.3f}"),
            interval(row.get("ci"), "{:+.3f}"),
            p_value(row.get("p_adjusted")),
        ]
        for row in entries
    ]
    header = ["a", "b", "kind", "n", "rho", "its confidence interval", "p (adjusted)"]
    return table("Rank correlations", header, rows, text=(1, 2))


def _bar(share: Any) -> str:
    found = finite(share)
    if found is None:
        return ""
    # The number is ours, so a style may hold it; negative shares (of an unbiased estimate) have no bar.
    return f'<span class="track"><span class="fill" style="width:{100 * min(1.0, max(0.0, found)):.1f}%"></span></span>'


def _importance(by_metric: dict[Any, Any]) -> str:
    parts = []
    for metric, value in by_metric.items():
        result = as_dict(value)
        rows = [
            [esc(row.get("label")), number(row.get("share"), "{:.3f}"), _bar(row.get("share"))]
            for row in dicts(result.get("shares"))
        ]
        content = _refusal(result) or (
            table("Shares of the variance", ["source", "share", "of the whole"], rows, text=(2,))
            if rows
            else ""
        )
        parts.append(
            f"<h4>{label(metric)}</h4>{content}{_rest(result, ('computed', 'reason', 'shares', 'metric'))}"
        )
    return "".join(parts)


def statistics(findings: dict[str, Any]) -> str:
    """Noise, then a part for each metric, correlations and importance; each can be folded away."""
    parts = []
    noise = as_dict(findings.get("noise"))
    if noise.get("text"):
        parts.append(paragraph(esc(noise["text"])))
    for metric in _metrics(findings):
        content = _of_metric(findings, metric)
        parts.append(folded(label(metric), content or paragraph("Not computed.", "muted")))
    correlations = dicts(findings.get("correlations"))
    if correlations:
        parts.append(folded("Correlations", _correlations(correlations)))
    importance = as_dict(findings.get("importance"))
    if importance:
        parts.append(folded("Importance", _importance(importance)))
    return "\n".join(parts)


def refusals(findings: dict[str, Any]) -> list[tuple[str, str]]:
    """What says of itself that it was not computed, and its reason (texts, not HTML)."""
    found = []
    for key in (*_BY_METRIC, "importance"):
        for metric, value in as_dict(findings.get(key)).items():
            parts = as_dict(value).items() if key == "pairwise" else [("", value)]
            for factor, value_of_factor in parts:
                result = as_dict(value_of_factor)
                if not result.get("computed", True):
                    what = ", ".join(words(part) for part in (key, metric, factor) if part)
                    found.append((what, str(result.get("reason") or "no reason was given")))
    return found
