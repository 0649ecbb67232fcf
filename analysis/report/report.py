"""Write the report of a summary: figures, text report, page and ``analysis_summary.json``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from analysis.figures.background import in_background
from analysis.figures.catalogue import PAPER_FOLDER, chart_tasks, paper_tasks, sheet_tasks
from analysis.figures.drawn import Drawn, Material, NotDrawn
from analysis.figures.point_pictures import draw_missing_curves
from analysis.figures.run_files import check_readable_points, read_histories
from analysis.findings import findings
from analysis.report.methods import methods
from analysis.report.page import html_page
from analysis.report.text import report_text
from analysis.schema import Configuration, Point
from analysis.summary import load_summary
from jobs.common.errors import UserError, denied
from jobs.common.files import write_bytes_atomically, write_text_atomically
from jobs.common.folders import make_folder
from jobs.common.records import DamagedRecord, read
from jobs.common.schema import ProvenanceRecord
from jobs.common.visible import visible
from jobs.run.paths import RunPaths
from jobs.run.sharing import written_into

TEXT, PAGE, JSON = "comprehensive_analysis_report.txt", "report.html", "analysis_summary.json"


@dataclass(frozen=True)
class Report:
    """The files written, the number of points, and the best one (``None`` if no point was successful).

    ``configuration`` is the one that is best; ``best`` is an example of it.

    ``not_drawn`` are the figures that could not be drawn, and why. ``said`` are sentences on pictures of points that were
    missing.
    """

    files: tuple[Path, ...]
    points: int
    successful: int
    best: Point | None
    configuration: Configuration | None = None
    not_drawn: tuple[NotDrawn, ...] = ()
    said: tuple[str, ...] = ()


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


def write_report(
    summary_file: Path, output_dir: Path, *, processes: int = 1, formats: Sequence[str] = ()
) -> Report:
    """Read the summary and write figures, text report, page and JSON into ``output_dir``, each atomically.

    The figures are drawn in ``processes`` processes, the large ones while this one computes the statistics. With
    ``formats`` (of :data:`analysis.figures.look.FORMATS`) every chart is also written for a paper. A figure that cannot
    be drawn is left out. Raises :class:`UserError` if the summary cannot be used or the folder cannot be written.
    """
    frame = load_summary(summary_file)
    root = _run_of(summary_file)
    if root is not None:
        check_readable_points(root, frame)
    with in_background(sheet_tasks(frame, root), processes) as drawn:
        histories = read_histories(root, frame) if root is not None else {}
        found = findings(frame, summary=str(summary_file), root=root, output=output_dir, histories=histories)
        sheets = drawn()
    material = Material(frame, found, histories)
    with in_background(chart_tasks(material), processes) as drawn:
        every = [*drawn().values(), *sheets.values()]
    with in_background(paper_tasks(material, formats) if formats else {}, processes) as written:
        papers = list(written().values())
    pictures = {one.file: one for one in every if isinstance(one, Drawn)}
    contents: dict[str, bytes | str] = {
        **{one.file: one.light for one in pictures.values() if one.file.endswith(".png")},
        **{step.file: step.content for step in found.next_steps if step.file},
        TEXT: report_text(found, frame),
        JSON: json.dumps(found.fields(), indent=1, sort_keys=True, allow_nan=False) + "\n",
    }
    provenance = _provenance(root)
    contents |= methods(found, frame, root, provenance)
    for paper in papers:
        if not isinstance(paper, NotDrawn):
            contents |= {f"{PAPER_FOLDER}/{name}": content for name, content in paper.items()}
    contents[PAGE] = html_page(
        found, frame, pictures.values(), root, output_dir, provenance, files=tuple(contents)
    )
    with written_into(output_dir, root):
        _write(output_dir, contents, root)
    said: tuple[str, ...] = ()
    if root is not None:
        with written_into(root, root):
            said = tuple(draw_missing_curves(root, frame, histories))
    return Report(
        tuple(output_dir / name for name in contents),
        len(frame),
        found.successful,
        found.best_overall,
        found.best.configuration,
        tuple(one for one in (*every, *papers) if isinstance(one, NotDrawn)),
        said,
    )


def _write(output_dir: Path, contents: Mapping[str, bytes | str], root: Path | None) -> None:
    try:
        for name, content in contents.items():
            path = output_dir / name
            make_folder(path.parent)
            if isinstance(content, bytes):
                write_bytes_atomically(path, content)
            else:
                write_text_atomically(path, visible(content))
    except PermissionError as error:
        where = Path(error.filename or output_dir)
        raise UserError(
            f"{denied(error, where, whole=root)}; or choose another folder with --output_dir"
        ) from error
    except OSError as error:
        raise UserError(
            f"{output_dir} cannot be written ({error}); choose another folder with --output_dir"
        ) from error
