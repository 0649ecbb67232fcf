"""``report.html``: one file that can be read anywhere and printed, and requests nothing from a network.

The answer comes first, then the reasons not to trust it, then everything else. The texts are in ``templates/``, one
file for each section. :mod:`analysis.report.page_answer` and :mod:`analysis.report.page_effects` choose what is shown,
and :mod:`analysis.report.page_filters` formats and escapes the values.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from pathlib import Path

import pandas as pd

from analysis.figures.drawn import Drawn
from analysis.report.page_answer import answer
from analysis.report.page_charts import any_failure, of_failures
from analysis.report.page_details import MOST_DETAILED
from analysis.report.page_effects import effects, sizes
from analysis.report.page_figures import shown_figures
from analysis.report.page_filters import environment
from analysis.report.page_points import MOST_LINKED, href, point_rows
from analysis.resources import advice
from analysis.schema import Findings
from analysis.summary import extra_axes
from jobs.common.schema import ProvenanceRecord

# The id of each section, which is also the name of its template, and its title.
SECTIONS = (
    ("cautions", "Read this first"),
    ("best", "Best configurations"),
    ("figures", "Figures"),
    ("effects", "Effects of the hyperparameters"),
    ("failures", "Failures"),
    ("hypotheses", "Hypotheses"),
    ("points", "All points"),
    ("statistics", "Statistics in full"),
    ("more", "Resources, origin and files"),
    ("glossary", "What the numbers mean"),
)
_LIMITS = {
    "shown_rows": 10,  # configurations, cases of a caution, and reasons of failures before "and more"
    "most_names": 60,  # names in a list
    "most_rows": 200,  # rows of a statistics table
    "most_linked": MOST_LINKED,
    "most_detailed": MOST_DETAILED,
}


def html_page(
    findings: Findings,
    frame: pd.DataFrame,
    pictures: Iterable[Drawn],
    run_root: Path | None,
    output_dir: Path,
    provenance: ProvenanceRecord | None,
    files: Collection[str] = (),
) -> str:
    """The page as text.

    ``frame`` is the summary (:func:`analysis.summary.load_summary`) of the ``findings``; ``pictures`` are in
    the order of the page. ``files`` are the names of other files in ``output_dir``, where the page is; they are linked.
    ``run_root`` contains the points' files; without it none is linked.
    """
    rows = point_rows(frame, run_root, output_dir)
    return (
        environment()
        .get_template("report.html")
        .render(
            _LIMITS,
            sections=SECTIONS,
            findings=findings,
            answer=answer(findings),
            figures=shown_figures(pictures),
            effects=effects(findings),
            sizes=sizes(findings),
            any_failure=any_failure(findings.failure_tests),
            failure_bars=of_failures,
            rows=rows,
            detailed=any(row.details for row in rows),
            reasons=_reasons(
                rows_of_reasons := [(row.status, row.reason) for row in rows if not row.successful]
            ),
            failures=len(rows_of_reasons),
            axes=extra_axes(frame),
            in_run=run_root is not None,
            advice=advice(findings.resources),
            provenance=provenance,
            seen=[("hosts", _counted(frame, "host")), ("devices", _counted(frame, "device"))],
            summary_link=href(Path(findings.summary), output_dir),
            files=files,
        )
    )


def _reasons(found: list[tuple[str, str]]) -> list[tuple[str, str, int]]:
    """Status, reason and number of points, most frequent first."""
    return [(status, reason, count) for (status, reason), count in Counter(found).most_common()]


def _counted(frame: pd.DataFrame, column: str) -> list[tuple[str, int]]:
    """The texts of ``column`` and how often each occurs, most frequent first."""
    if column not in frame:
        return []
    return Counter(text for text in frame[column] if text).most_common()
