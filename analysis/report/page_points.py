"""The points in ``report.html``: links to their files, the table of all of them, and those without success."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd

from analysis.report.page_parts import (
    NONE,
    breakable,
    code,
    dicts,
    duration,
    esc,
    finite,
    number,
    paragraph,
    scrolling,
    state_badge,
)
from analysis.summary import extra_axes
from jobs.common.states import STATES
from jobs.grid.points import stem_of_name
from jobs.run.paths import RunPaths

MOST_CHECKED = 2000  # points whose files are looked for: each costs five questions to a shared file system
LONGEST_REASON = 300
# Title, column of the summary, format, whether it is text. "axes" and "links" are put in their places.
_BEFORE = (
    ("index", "index", "{:.0f}", False),
    ("name", "name", "", True),
    ("architecture", "architecture", "", True),
    ("learning rate", "learning_rate", "{:g}", False),
    ("batch size", "batch_size", "{:g}", False),
)
_AFTER = (
    ("seed", "seed", "{:.0f}", False),
    ("status", "status", "", True),
    ("val Jaccard", "best_val_jaccard", "{:.4f}", False),
    ("chance", "chance_jaccard", "{:.3f}", False),
    ("test", "test_jaccard", "{:.4f}", False),
    ("best epoch", "best_epoch", "{:.0f}", False),
    ("stability", "val_loss_stability", "{:.2e}", False),
    ("gap", "overfitting_gap", "{:+.4f}", False),
)


def href(path: Path, output_dir: Path) -> str:
    """The relative address of ``path`` from a page in ``output_dir``, quoted."""
    # As bytes: a path need not be valid UTF-8. A colon is quoted too, or a folder "a:b" would be a protocol.
    relative = os.path.relpath(os.path.abspath(path), os.path.abspath(output_dir))  # noqa: PTH100 - resolves no links
    return quote(os.fsencode(relative), safe="/")


def _is(path: Path, kind: Any) -> bool:
    try:
        return bool(kind(path.lstat().st_mode))
    except (OSError, ValueError):
        return False


def point_links(name: Any, run_root: Path, output_dir: Path) -> dict[str, str]:
    """Word and address of those files of a point that exist now.

    None for a name that is no point's, and none through a symbolic link: it may lead out of the run.
    """
    stem = stem_of_name(name)
    if stem is None:
        return {}
    files = RunPaths(run_root).point(name, stem)
    if not _is(files.folder, stat.S_ISDIR):
        return {}
    wanted = {
        "log": files.log,
        "curves": files.curves,
        "predictions": files.predictions,
        "history": files.history,
    }
    return {word: href(path, output_dir) for word, path in wanted.items() if _is(path, stat.S_ISREG)}


def all_links(
    records: list[dict[str, Any]], run_root: Path | None, output_dir: Path
) -> dict[str, dict[str, str]]:
    """:func:`point_links` by name, of the first :data:`MOST_CHECKED` points."""
    if run_root is None:
        return {}
    names = [record["name"] for record in records[:MOST_CHECKED] if isinstance(record.get("name"), str)]
    return {name: point_links(name, run_root, output_dir) for name in names}


def linked(words: Mapping[str, str], name: Any, only: str = "") -> str:
    """The links of a point; ``only`` one of them."""
    return " ".join(
        f'<a href="{esc(address)}" aria-label="{word} of {esc(name, 300)}">{word}</a>'
        for word, address in words.items()
        if only in ("", word)
    )


def records_of(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The points as dictionaries, in the order of the index; those without one last."""
    if "index" in frame.columns:
        frame = frame.sort_values("index", kind="stable", na_position="last")
    return frame.to_dict("records")


def _cell(value: Any, pattern: str) -> str:
    """A number for people, with the number itself beside it where sorting by the text would lose digits."""
    found = finite(value)
    if found is None:
        return f"<td>{NONE}</td>"
    text = number(found, pattern)
    return f"<td>{text}</td>" if float(text) == found else f'<td data-v="{found:.6g}">{text}</td>'


def _row(record: dict[str, Any], axes: list[str], links: Mapping[str, str] | None) -> str:
    cells = []
    for title, column, pattern, is_text in (*_BEFORE, *((axis, axis, None, False) for axis in axes), *_AFTER):
        value = record.get(column)
        if title == "index":
            cells.append(f'<th scope="row">{number(value, pattern)}</th>')
        elif title == "name":
            cells.append(f'<td class="t name">{breakable(value)}</td>')
        elif title == "status":
            cells.append(f'<td class="t">{state_badge(value)}</td>')
        elif is_text:
            cells.append(f'<td class="t">{esc(value, 100)}</td>')
        elif pattern is None:  # an axis that the user added: a text in the summary, whatever it means
            cells.append(f"<td>{esc(value, 100) or NONE}</td>")
        else:
            cells.append(_cell(value, pattern))
    seconds = finite(record.get("training_time_seconds"))
    cells.append(
        f"<td>{NONE}</td>" if seconds is None else f'<td data-v="{seconds:.6g}">{duration(seconds)}</td>'
    )
    attempts = record.get("attempts")
    cells.append(f"<td>{number(attempts, '{:g}') if finite(attempts) is not None else _text(attempts)}</td>")
    if links is not None:
        cells.append(f'<td class="t links screen-only">{linked(links, record.get("name"))}</td>')
    return f"<tr>{''.join(cells)}</tr>"


def _text(value: Any) -> str:
    return esc(value, 20) if isinstance(value, str) and value else NONE


def points_table(
    frame: pd.DataFrame, records: list[dict[str, Any]], links: dict[str, dict[str, str]], *, in_run: bool
) -> str:
    """All points, ordered by the index. ``in_run``: there is a run directory, so the links have a column."""
    if not records:
        return paragraph("The summary has no usable point, so there is no table.", "muted")
    axes = [str(axis) for axis in extra_axes(frame)]
    header = [
        *((title, is_text) for title, _, _, is_text in _BEFORE),
        *((axis, False) for axis in axes),
        *((title, is_text) for title, _, _, is_text in _AFTER),
        ("time", False),
        ("attempts", False),
    ]
    head = "".join(
        f'<th scope="col" class="t">{esc(title, 60)}</th>'
        if is_text
        else f'<th scope="col">{esc(title, 60)}</th>'
        for title, is_text in header
    )
    if in_run:
        head += '<th scope="col" class="t screen-only">files</th>'
    body = "\n".join(
        _row(record, axes, links.get(str(record.get("name")), {}) if in_run else None) for record in records
    )
    notes = [
        "val, chance, test: Jaccard index of the validation part at the best epoch, of calling every pixel a "
        "mitochondrion, and of the test part. stability: standard deviation of the last validation losses, lower is "
        "better. gap: final validation loss minus training loss."
    ]
    if in_run and len(records) > MOST_CHECKED:
        notes.append(
            f"Files were looked for, and are linked, for the first {MOST_CHECKED:,} of {len(records):,} points only; the "
            "others have theirs in the run directory, in the folder of their name."
        )
    if not in_run:
        notes.append("No run directory is known for this summary, so no files are linked.")
    content = (
        f'<table class="points sortable"><thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table>'
    )
    return (
        paragraph(esc(" ".join(notes)), "small muted")
        + paragraph(
            "Choose a heading to sort by it; again to turn the order round.", "small muted scripted-only"
        )
        + scrolling(content, "All points", "tall")
    )


def failures_of(findings: dict[str, Any], records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """``findings["failures"]``; where the findings have no such entry, or not all, the points that are not done."""
    listed = dicts(findings.get("failures"))
    if findings.get("failures") is not None and len(listed) >= (finite(findings.get("failures_total")) or 0):
        return listed
    return [record for record in records if record.get("status") != "done"]


def failures_table(failures: list[dict[str, Any]], links: dict[str, dict[str, str]]) -> str:
    """Name, class and reason of the points without success; there is at least one."""
    rows = []
    for failure in failures:
        name, status = failure.get("name"), failure.get("status")
        state = STATES.get(status) if isinstance(status, str) else None
        reason = failure.get("reason")
        words = (
            reason if isinstance(reason, str) and reason else state.meaning if state else "no reason recorded"
        )
        log = linked(links.get(str(name), {}), name, "log")
        rows.append(
            f'<tr><th scope="row">{code(name)}</th><td class="t">{state_badge(status)}</td>'
            f'<td class="t why">{esc(words, LONGEST_REASON)}{f" ({log})" if log else ""}</td></tr>'
        )
    content = (
        '<table class="failures"><thead><tr><th scope="col" class="t">point</th><th scope="col" class="t">class</th>'
        '<th scope="col" class="t">reason</th></tr></thead>\n<tbody>\n'
        + "\n".join(rows)
        + "\n</tbody></table>"
    )
    return scrolling(content, "Points without success, with reasons", "tall")
