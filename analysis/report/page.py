"""``report.html``: one file that can be read anywhere and printed, and requests nothing from a network.

The answer comes first, then the reasons not to trust it, then everything else. The texts are in ``templates/``, one
file for each section; :mod:`analysis.report.page_filters` formats and escapes the values.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from markupsafe import Markup

from analysis.figures.drawn import Drawn
from analysis.report.page_filters import environment
from analysis.report.page_points import MOST_LINKED, best_points, point_rows
from analysis.resources import advice
from analysis.schema import Findings
from analysis.summary import extra_axes
from jobs.common.schema import ProvenanceRecord
from jobs.common.units import plural

SHOWN = 10  # best configurations, and names in a list that is not folded away
# The id of each section, which is also the name of its template, and its title.
SECTIONS = (
    ("read-this-first", "Read this first"),
    ("hypotheses", "Hypotheses"),
    ("pictures", "Pictures"),
    ("best", "Best configurations"),
    ("statistics", "Statistics"),
    ("points", "All points"),
    ("failures", "Points without success"),
    ("resources", "Resources: requested and used"),
    ("provenance", "Where this comes from"),
    ("not-computed", "What was not computed, and why"),
)
_LIMITS = {
    "few_names": 4,  # names in a sentence
    "shown_names": SHOWN,
    "most_names": 60,  # names in a list
    "most_rows": 200,  # rows of a statistics table
    "most_linked": MOST_LINKED,
}


@dataclass(frozen=True)
class _Picture:
    """A figure on the page; ``data`` is its PNG file in base64, ``width`` and ``height`` are in pixels."""

    file: str
    title: str
    caption: str
    data: Markup
    width: int
    height: int


@dataclass(frozen=True)
class _Answer:
    """What the first paragraph needs besides the findings.

    ``facts`` describe the data, ``similar`` are the names not distinguishable from the best one, ``unfinished`` is the
    number of points that wait or run.
    """

    facts: list[str]
    similar: list[str]
    unfinished: int


def html_page(
    findings: Findings,
    frame: pd.DataFrame,
    pictures: Mapping[str, Drawn],
    run_root: Path | None,
    output_dir: Path,
    provenance: ProvenanceRecord | None,
) -> str:
    """The page as text.

    ``frame`` is the summary (:func:`analysis.summary.load_summary`) of the ``findings``; ``pictures`` are the
    figures by the names of their files, in the order of the page; PNG files are in ``output_dir`` like the page. ``run_root`` contains the points' files; without it nothing
    is linked.
    """
    rows = point_rows(frame, run_root, output_dir)
    return (
        environment()
        .get_template("report.html")
        .render(
            _LIMITS,
            sections=SECTIONS,
            findings=findings,
            overall=findings.best.overall,
            answer=_answer(findings),
            pictures=_pictures(pictures),
            rows=rows,
            best_rows=best_points(rows, SHOWN),
            axes=extra_axes(frame),
            in_run=run_root is not None,
            advice=advice(findings.resources),
            provenance=provenance,
            seen=[("hosts", _counted(frame, "host")), ("devices", _counted(frame, "device"))],
        )
    )


def _answer(findings: Findings) -> _Answer:
    facts = [
        f"{title}: {text}"
        for title, text in (("Data", findings.data_source), ("split", findings.split))
        if text
    ]
    if findings.dropped:
        rows = plural(findings.dropped, "row")
        facts.append(
            f"{rows} of the summary without usable hyperparameters {'was' if findings.dropped == 1 else 'were'} left out"
        )
    best = findings.best
    names = best.indistinguishable.names if best.indistinguishable else ()
    similar = [name for name in names if best.overall is None or name != best.overall.name]
    unfinished = findings.status.get("waiting", 0) + findings.status.get("running", 0)
    return _Answer(facts, similar, unfinished)


def _pictures(pictures: Mapping[str, Drawn]) -> list[_Picture]:
    """The large figures. Their sizes keep the page from jumping while it loads."""
    found = []
    for figure in pictures.values():
        if figure.file.endswith(".png"):
            data = Markup(base64.b64encode(figure.light).decode("ascii"))  # noqa: S704 - base64 has no markup
            width, height = (int.from_bytes(figure.light[start : start + 4], "big") for start in (16, 20))
            found.append(_Picture(figure.file, figure.title, figure.caption, data, width, height))
    return found


def _counted(frame: pd.DataFrame, column: str) -> list[tuple[str, int]]:
    """The texts of ``column`` and how often each occurs, most frequent first."""
    if column not in frame:
        return []
    return Counter(text for text in frame[column] if text).most_common()
