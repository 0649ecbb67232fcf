"""``report.html``: one file that can be read anywhere, on paper too, and asks no network for anything.

The answer comes first, then what forbids believing it, then everything else. No value of the findings, the
summary or the provenance is markup (:mod:`analysis.report.page_parts`), and nothing in them is needed: a part that
lacks its findings says so.
"""

from __future__ import annotations

import base64
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.figures.catalogue import FIGURES
from analysis.report.page_parts import (
    as_dict,
    as_list,
    badge,
    bullets,
    code,
    dicts,
    duration,
    esc,
    finite,
    folded,
    label,
    number,
    pairs,
    paragraph,
    section,
    state_badge,
    table,
)
from analysis.report.page_points import all_links, failures_of, failures_table, points_table, records_of
from analysis.report.page_resources import resources_part
from analysis.report.page_statistics import refusals, statistics
from analysis.report.page_style import SCRIPT, STYLE
from jobs.common.states import STATES

SHOWN = 10  # best configurations
NAMED = 4  # names within a sentence
LISTED = 60  # names in a list of their own
MANY_SEEDS = 1000  # where the analysis stops counting
TITLE = "U-Net hyperparameter search"
_PNG = b"\x89PNG\r\n\x1a\n"
_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\.png")
_VERDICTS = {"supported": "good", "not supported": "bad", "cannot be judged": "warn"}
# What a whole analysis_summary.json has, in the words of the last part of the page.
_EXPECTED = {
    "noise": "run-to-run noise",
    "best": "best configuration",
    "best_by_architecture": "best configuration of each architecture",
    "pareto": "trade-offs (Pareto sets)",
    "hypotheses": "hypotheses",
    "anova": "analysis of variance",
    "pairwise": "pairwise comparisons",
    "assumptions": "checks of assumptions",
    "rank_tests": "rank tests",
    "correlations": "correlations",
    "importance": "importance",
}
_NOT_HERE = paragraph(
    'Not computed; see <a href="#not-computed">what was not computed, and why</a>.', "muted"
)


def html_page(
    findings: dict[str, Any],
    frame: pd.DataFrame,
    pictures: Mapping[str, bytes],
    run_root: Path | None,
    output_dir: Path,
    provenance: Mapping[str, Any] | None,
) -> str:
    """The page as text.

    ``findings`` is the content of ``analysis_summary.json``, ``frame`` the summary
    (:func:`analysis.summary.load_summary`), ``pictures`` PNG files by the name under which they stand beside the
    page. ``run_root`` is where the points' files are (``None``: nothing is linked), ``output_dir`` where the page
    will stand, ``provenance`` the content of the run's ``provenance.json``.
    """
    records = records_of(frame)
    links = all_links(records, run_root, output_dir)
    title = esc(findings.get("title") or TITLE, 200)
    parts = (
        ("read-this-first", "Read this first", _cautions(findings)),
        ("hypotheses", "Hypotheses", _hypotheses(findings)),
        ("pictures", "Pictures", _pictures(pictures)),
        ("best", "Best configurations", _best(findings, records)),
        ("statistics", "Statistics", statistics(findings) or _NOT_HERE),
        ("points", "All points", points_table(frame, records, links, in_run=run_root is not None)),
        ("failures", "Points without success", _failures(findings, records, links)),
        ("resources", "Resources: asked and used", resources_part(findings)),
        ("provenance", "Where this comes from", _provenance(provenance, findings, records)),
        ("not-computed", "What was not computed, and why", _not_computed(findings, records)),
    )
    contents = "".join(f'<li><a href="#{identity}">{name}</a></li>' for identity, name, _ in parts)
    body = "\n".join(section(identity, name, content) for identity, name, content in parts)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<link rel="icon" href="data:,">
<style>{STYLE}</style>
</head>
<body>
<header>
<h1>{title}</h1>
{_answer(findings, records)}
<nav aria-label="Contents"><ul>{contents}</ul></nav>
</header>
<main>
{body}
</main>
<script>{SCRIPT}</script>
</body>
</html>
"""


def _answer(findings: dict[str, Any], records: list[dict[str, Any]]) -> str:
    """The answer in one paragraph, with the figures that belong to it."""
    best = as_dict(findings.get("best"))
    overall = as_dict(best.get("overall"))
    counts = _counts(findings, records)
    total = sum(counts.values())
    unfinished = counts["waiting"] + counts["running"]
    if not records and not overall:
        sentences = ["The summary has no usable point, so there is no answer."]
    elif not overall:
        sentences = [esc(best.get("text")) or "There is no best configuration: none is in the findings."]
    else:
        sentences = [
            esc(best.get("text")) or _plain_answer(overall),
            _set_words(best, overall),
            _chance_words(overall),
        ]
        test = finite(overall.get("test_jaccard"))
        if test is not None:
            sentences.append(
                f"On the test part, scored once and never used to choose, it has {number(test)}."
            )
    if unfinished:
        sentences.append(f"{unfinished} of {total} points have not ended yet, so this may change.")
    figures = [
        ("points", f"{total:,}"),
        ("successful", f"{_successful(findings, records):,}"),
        ("best val Jaccard", number(overall.get("best_val_jaccard"), "{:.3f}")),
        ("chance", number(overall.get("chance_jaccard"), "{:.3f}")),
        ("test Jaccard", number(overall.get("test_jaccard"), "{:.3f}")),
    ]
    badges = _standing(findings, best, overall, unfinished) + [
        state_badge(state, count) for state, count in counts.items() if count
    ]
    data = [(word, esc(findings.get(key))) for key, word in (("data_source", "Data"), ("split", "split"))]
    facts = [f"{word}: {text}" for word, text in data if text]
    dropped = finite(findings.get("dropped"))
    if dropped:
        facts.append(f"{dropped:,.0f} rows of the summary have no usable hyperparameters and were left out")
    return "\n".join(
        (
            paragraph("; ".join(facts) + ".", "muted") if facts else "",
            paragraph(" ".join(filter(None, sentences)), "panel answer"),
            pairs(figures, "figures"),
            paragraph(" ".join(badges)) if badges else "",
        )
    )


def _counts(findings: dict[str, Any], records: list[dict[str, Any]]) -> Counter[str]:
    """Points by class in the order of :data:`STATES`; of the summary's rows where the findings have none."""
    found = {
        str(key): int(n) for key, value in as_dict(findings.get("status")).items() if (n := finite(value))
    }
    counted = found or Counter(str(record.get("status")) for record in records)
    order = [*(state for state in STATES if state in counted), *sorted(set(counted) - set(STATES))]
    return Counter({state: counted[state] for state in order})


def _successful(findings: dict[str, Any], records: list[dict[str, Any]]) -> int:
    said = finite(findings.get("successful"))
    return int(said) if said is not None else sum(bool(record.get("successful")) for record in records)


def _plain_answer(overall: dict[Any, Any]) -> str:
    score = number(overall.get("best_val_jaccard"))
    return f"{esc(overall.get('name'))} has the highest validation Jaccard index, {score}."


def _set_words(best: dict[Any, Any], overall: dict[Any, Any]) -> str:
    """The names that cannot be told apart from the best one, as many as a sentence bears."""
    found = as_dict(best.get("indistinguishable"))
    names = [name for name in as_list(found.get("names")) if name != overall.get("name")]
    if not names:
        return ""
    listed = ", ".join(code(name) for name in names[:NAMED])
    more = f', and <a href="#best">{len(names) - NAMED} more</a>' if len(names) > NAMED else ""
    return f"Not to be told apart from it: {listed}{more}."


def _chance_words(overall: dict[Any, Any]) -> str:
    chance = finite(overall.get("chance_jaccard"))
    if chance is None:
        return "The chance level is not recorded."
    return f"Chance level: calling every pixel a mitochondrion scores {number(chance, '{:.3f}')} there."


def _standing(
    findings: dict[str, Any], best: dict[Any, Any], overall: dict[Any, Any], unfinished: int
) -> list[str]:
    """Badges: whether the ranking is provisional, and the run partial."""
    found = []
    if overall:
        known = as_dict(findings.get("noise")).get("known")
        provisional = best.get("provisional", None if known is None else not known)
        found.append(
            badge("not said whether the ranking is provisional", "warn")
            if provisional is None
            else badge("ranking provisional: one seed", "warn")
            if provisional
            else badge("ranking backed by repeats", "good")
        )
    return [*found, badge("partial run", "warn")] if unfinished else found


def _cautions(findings: dict[str, Any]) -> str:
    if findings.get("cautions") is None:
        return _NOT_HERE
    cautions = [paragraph(esc(text), "panel caution") for text in as_list(findings["cautions"])]
    return _cards(cautions) or paragraph("Nothing to warn of.")


def _cards(panels: list[str]) -> str:
    return '<div class="cards">' + "\n".join(panels) + "</div>" if panels else ""


def _verdict(value: Any) -> str:
    return badge(value or "no verdict", _VERDICTS.get(value, "plain") if isinstance(value, str) else "plain")


def _hypotheses(findings: dict[str, Any]) -> str:
    found = []
    for entry in dicts(findings.get("hypotheses")):
        claims = dicts(entry.get("parts"))
        evidence = (
            bullets(
                f"{esc(part.get('claim'))}: {_verdict(part.get('verdict'))} {esc(part.get('evidence'))}"
                for part in claims
            )
            if claims
            else paragraph(esc(entry.get("evidence")) or "No evidence is given.")
        )
        rule = esc(entry.get("rule"))
        found.append(
            f'<article class="panel"><h3>{esc(entry.get("id"))}: {esc(entry.get("title"))}</h3>'
            + paragraph(_verdict(entry.get("verdict")))
            + evidence
            + (paragraph(f"Rule: {rule}", "muted small") if rule else "")
            + "</article>"
        )
    return _cards(found) or _NOT_HERE


def _pictures(pictures: Mapping[str, bytes]) -> str:
    return "\n".join(_picture(name, content) for name, content in pictures.items()) or paragraph(
        "None were drawn.", "muted"
    )


def _picture(name: str, content: bytes) -> str:
    title, words = next(((f.title, f.caption) for f in FIGURES if f.file == name), (name, ""))
    if not content.startswith(_PNG) or len(content) < 24:
        return paragraph(f"{code(name)} could not be drawn.", "muted")
    # The size (from the PNG's first chunk) keeps the page from jumping while it loads.
    width, height = (int.from_bytes(content[start : start + 4], "big") for start in (16, 20))
    data = base64.b64encode(content).decode("ascii")
    alt = f"{title}. {words}" if words else f"Figure {title}"
    image = f'<img src="data:image/png;base64,{data}" alt="{esc(alt)}" width="{width}" height="{height}">'
    if _FILE.fullmatch(name):
        image = f'<a href="{name}" title="Open {name} alone">{image}</a>'
    return f"<figure>{image}<figcaption><strong>{esc(title)}</strong>{'. ' if words else ''}{esc(words)}</figcaption></figure>"


def _record_cells(record: dict[Any, Any]) -> list[str]:
    return [
        code(record.get("name")),
        esc(record.get("architecture"), 100),
        number(record.get("learning_rate"), "{:g}"),
        number(record.get("batch_size"), "{:g}"),
        number(record.get("seed"), "{:.0f}"),
        number(record.get("best_val_jaccard")),
        number(record.get("chance_jaccard"), "{:.3f}"),
        number(record.get("test_jaccard")),
        number(record.get("best_epoch"), "{:.0f}"),
        number(record.get("val_loss_stability"), "{:.2e}"),
        number(record.get("overfitting_gap"), "{:+.4f}"),
        duration(record.get("training_time_seconds")),
    ]


_RECORD_HEADER = (
    *(
        "configuration",
        "architecture",
        "learning rate",
        "batch size",
        "seed",
        "val Jaccard",
        "chance",
        "test",
    ),
    *("best epoch", "stability", "gap", "time"),
)


def _best(findings: dict[str, Any], records: list[dict[str, Any]]) -> str:
    # sorted() is stable: ties stay in the order of the index, as everywhere else.
    good = [r for r in records if r.get("successful") and finite(r.get("best_val_jaccard")) is not None]
    good = sorted(good, key=lambda record: -record["best_val_jaccard"])
    parts = []
    if good:
        title = (
            f"Highest validation scores: the first {min(SHOWN, len(good))} of {len(good)} successful points"
        )
        parts.append(table(title, _RECORD_HEADER, map(_record_cells, good[:SHOWN]), text=(1,)))
    else:
        below = ' The reasons stand under <a href="#failures">points without success</a>.' if records else ""
        parts.append(paragraph(f"No point was successful, so there is none.{below}"))
    best = as_dict(findings.get("best"))
    parts.append(_set("Cannot be told apart from the best", best.get("indistinguishable")))
    seeds = finite(best.get("seeds_needed"))
    if seeds is not None:
        many = "more than 1,000" if seeds >= MANY_SEEDS else f"{seeds:,.0f}"
        parts.append(paragraph(f"Seeds for each configuration to tell the first from the second: {many}."))
    by_architecture = {name: as_dict(v) for name, v in as_dict(findings.get("best_by_architecture")).items()}
    rows = [
        _record_cells(as_dict(value.get("record")))
        for value in by_architecture.values()
        if value.get("record")
    ]
    if rows:
        parts.append(table("Best of each architecture", _RECORD_HEADER, rows, text=(1,)))
    for name, value in by_architecture.items():
        parts.append(_set(f"Cannot be told apart from the best of {name}", value.get("indistinguishable")))
    for key, names in as_dict(findings.get("pareto")).items():
        title = f"Best trade-offs of score and {key} (no other point is better in both)"
        parts.append(_names(title, as_list(names)))
    return "\n".join(filter(None, parts))


def _set(title: str, found: Any) -> str:
    """A set of names, and what says that they cannot be told apart."""
    found = as_dict(found)
    difference = finite(found.get("critical_difference"))
    basis = esc(found.get("basis"))
    if difference is not None:
        basis += f"{'; ' if basis else ''}critical difference {number(difference)}"
    names = as_list(found.get("names"))
    if names:
        return _names(title, names, paragraph(f"Basis: {basis}.", "small muted") if basis else "")
    return paragraph(f"{esc(title)}: not computed ({basis}).", "small muted") if basis else ""


def _names(title: str, names: list[Any], before: str = "") -> str:
    if not names:
        return ""
    more = [f"and {len(names) - LISTED} more, in analysis_summary.json"] if len(names) > LISTED else []
    content = bullets([*(code(name) for name in names[:LISTED]), *more], "names")
    return folded(f"{esc(title)}: {len(names)}", before + content, is_open=len(names) <= SHOWN)


def _failures(
    findings: dict[str, Any], records: list[dict[str, Any]], links: dict[str, dict[str, str]]
) -> str:
    failures = failures_of(findings, records)
    if failures:
        return failures_table(failures, links)
    return paragraph("None: every point was successful." if records else "No point is known.", "muted")


def _entry(entry: dict[Any, Any]) -> str:
    """One entry of ``provenance.json``: what was known when the run was made or grown."""
    command = entry.get("command")
    git = as_dict(entry.get("git"))
    dirty = {True: " (with uncommitted changes)", False: ""}.get(
        git.get("dirty"), " (not known whether clean)"
    )
    packages = ", ".join(
        f"{esc(name)} {esc(version)}" for name, version in as_dict(entry.get("packages")).items()
    )
    shown = [
        ("date", esc(entry.get("made"))),
        (
            "command",
            code(" ".join(map(str, command)) if isinstance(command, list) else command) if command else "",
        ),
        ("git commit", code(git["commit"]) + dirty if git.get("commit") else ""),
        ("Python", esc(entry.get("python"))),
        ("packages", packages),
        ("host", esc(entry.get("host"))),
        ("user", esc(entry.get("user"))),
        ("data fingerprint", code(entry["data_fingerprint"]) if entry.get("data_fingerprint") else ""),
    ]
    return pairs((term, value or "not recorded") for term, value in shown)


def _provenance(
    provenance: Mapping[str, Any] | None, findings: dict[str, Any], records: list[dict[str, Any]]
) -> str:
    content = dict(provenance) if isinstance(provenance, Mapping) else {}
    entries = dicts(content.get("made")) or ([content] if isinstance(content.get("made"), str) else [])
    parts = []
    if entries:
        parts += ["<h3>The run was made by</h3>", _entry(entries[0])]
        for entry in entries[1:]:
            parts.append(folded(f"grown {esc(entry.get('made'))}", _entry(entry), is_open=len(entries) < 5))
    else:
        parts.append(
            paragraph("No provenance is known: there is no provenance.json with this summary.", "muted")
        )
    data = as_dict(content.get("data"))
    if data:
        parts += ["<h3>Data</h3>", pairs((label(key), _fact(value)) for key, value in data.items())]
    facts = [("summary", code(findings["summary"]))] if findings.get("summary") else []
    facts += [("seeds", _fact(findings["seeds"]))] if findings.get("seeds") is not None else []
    facts += [
        (word, seen)
        for word, key in (("hosts", "host"), ("devices", "device"))
        if (seen := _seen(records, key))
    ]
    if facts:
        parts += ["<h3>The points</h3>", pairs(facts)]
    return "\n".join(parts)


def _fact(value: Any) -> str:
    """A value of the provenance in a line."""
    if isinstance(value, dict):
        return ", ".join(f"{esc(key)} {esc(item)}" for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return "; ".join(esc(item) for item in value) or "none"
    return esc(value) or "not recorded"


def _seen(records: list[dict[str, Any]], column: str) -> str:
    """The texts of a column with their counts, most frequent first."""
    counts = Counter(v for record in records if isinstance(v := record.get(column), str) and v)
    shown = [f"{esc(value, 200)} ({count:,})" for value, count in counts.most_common(20)]
    more = [f"and {len(counts) - 20} more"] if len(counts) > 20 else []
    return ", ".join(shown + more)


def _not_computed(findings: dict[str, Any], records: list[dict[str, Any]]) -> str:
    found = [(str(entry.get("what")), str(entry.get("why"))) for entry in dicts(findings.get("not_computed"))]
    if findings.get("not_computed") is None:
        found = refusals(findings)
    items = [f"<strong>{esc(what)}</strong>: {esc(why)}" for what, why in found]
    absent = [word for key, word in _EXPECTED.items() if findings.get(key) is None]
    if absent:
        why = "the summary has no usable point" if not records else "the analysis left no result for them"
        items.append(f"<strong>{esc(', '.join(absent))}</strong>: {why}")
    return bullets(items) if items else paragraph("Everything was computed.")
