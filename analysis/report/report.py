"""Write the report of a summary: figures, text report, page and ``analysis_summary.json``."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from analysis.figures.background import in_background
from analysis.figures.catalogue import drawing_tasks
from analysis.findings import findings
from analysis.report.page import html_page
from analysis.report.text import report_text
from analysis.schema import Point
from analysis.summary import load_summary
from jobs.common.errors import UserError
from jobs.common.files import write_bytes_atomically, write_text_atomically
from jobs.common.records import DamagedRecord, read
from jobs.common.schema import ProvenanceRecord
from jobs.run.paths import RunPaths

TEXT, PAGE, JSON = "comprehensive_analysis_report.txt", "report.html", "analysis_summary.json"


@dataclass(frozen=True)
class Report:
    """The files written, the number of points, and the best point (``None`` if no point was successful)."""

    files: tuple[Path, ...]
    points: int
    successful: int
    best: Point | None


def _run_of(summary_file: Path) -> Path | None:
    """The run directory of the summary; ``None`` for a summary outside a run directory."""
    paths = RunPaths(summary_file.parent)
    return paths.root if paths.index.is_file() else None


def _provenance(root: Path | None) -> ProvenanceRecord | None:
    """The provenance of the run; ``None`` if it is missing or damaged."""
    if root is None:
        return None
    try:
        return read(RunPaths(root).provenance, ProvenanceRecord)
    except (FileNotFoundError, DamagedRecord):
        return None


def write_report(summary_file: Path, output_dir: Path, *, processes: int = 1) -> Report:
    """Read the summary and write figures, text report, page and JSON into ``output_dir``, each atomically.

    The figures are drawn in ``processes`` processes while this one computes the statistics.
    Raises :class:`UserError` if the summary cannot be used or the folder cannot be written.
    """
    frame = load_summary(summary_file)
    root = _run_of(summary_file)
    with in_background(drawing_tasks(frame, root), processes) as drawn:
        found = findings(frame, summary=str(summary_file), root=root)
        pictures = {name: picture for name, picture in drawn().items() if picture is not None}
    page = html_page(found, frame, pictures, root, output_dir, _provenance(root))
    texts = {
        TEXT: report_text(found, frame),
        JSON: json.dumps(found.fields(), indent=1, sort_keys=True, allow_nan=False) + "\n",
        PAGE: page,
    }
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
        for name, picture in pictures.items():
            write_bytes_atomically(output_dir / name, picture)
        for name, text in texts.items():
            write_text_atomically(output_dir / name, text)
    except OSError as error:
        raise UserError(
            f"{output_dir} cannot be written ({error}); choose another folder with --output_dir"
        ) from error
    files = tuple(output_dir / name for name in (*pictures, *texts))
    return Report(files, len(frame), found.successful, found.best_overall)
