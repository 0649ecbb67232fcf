"""The points on the page: their rows, their details, and links to their files."""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pandas as pd

from analysis.report.page_details import MOST_DETAILED, Details, point_details
from analysis.summary import extra_axes
from jobs.common.states import STATES
from jobs.grid.points import stem_of_name
from jobs.run.paths import RunPaths

MOST_LINKED = 2000  # points whose files are looked for: each costs five requests to a shared file system


@dataclass(frozen=True)
class PointRow:
    """One point. Numbers are ``None`` if missing. ``axes`` are the values of the axes that the user added.

    ``reason`` is never empty for an unsuccessful point. ``links`` are the addresses of its files by a word for each.
    ``details`` are ``None`` if the table has too many points for them.
    """

    name: str
    architecture: str
    status: str
    successful: bool
    reason: str
    attempts: str
    axes: tuple[str, ...]
    links: Mapping[str, str]
    details: Details | None
    learning_rate: float | None
    batch_size: float | None
    index: float | None
    seed: float | None
    best_val_jaccard: float | None
    chance_jaccard: float | None
    test_jaccard: float | None
    best_epoch: float | None
    val_loss_stability: float | None
    overfitting_gap: float | None
    training_time_seconds: float | None


_NUMBERS = (
    *("learning_rate", "batch_size", "index", "seed", "best_val_jaccard", "chance_jaccard", "test_jaccard"),
    *("best_epoch", "val_loss_stability", "overfitting_gap", "training_time_seconds"),
)


def point_rows(frame: pd.DataFrame, run_root: Path | None, output_dir: Path) -> list[PointRow]:
    """The rows of ``frame`` (:func:`analysis.summary.load_summary`) in the order of the index.

    Their files are in ``run_root`` (``None``: no links) and linked from a page in ``output_dir``; only those of the
    first :data:`MOST_LINKED` points are looked for. Details are read if there are at most :data:`MOST_DETAILED` points.
    """
    frame = frame.sort_values("index", kind="stable", na_position="last")
    numbers = zip(*([_number(value) for value in frame[column]] for column in _NUMBERS), strict=True)
    axes = zip(*(frame[axis] for axis in extra_axes(frame)), strict=True) if extra_axes(frame) else None
    attempts = frame["attempts"] if "attempts" in frame else [""] * len(frame)
    texts = zip(frame["name"], frame["architecture"], frame["status"], frame["reason"], attempts, strict=True)
    detailed = run_root if len(frame) <= MOST_DETAILED else None
    rows: list[PointRow] = []
    for (name, architecture, status, reason, tries), successful, values in zip(
        texts, frame["successful"], numbers, strict=True
    ):
        rows.append(
            PointRow(
                name,
                architecture,
                status,
                bool(successful),
                reason or STATES[status].meaning,
                str(tries),
                () if axes is None else tuple(map(str, next(axes))),
                point_links(name, run_root, output_dir) if run_root and len(rows) < MOST_LINKED else {},
                point_details(name, detailed) if detailed else None,
                *values,
            )
        )
    return rows


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def href(path: Path, output_dir: Path) -> str:
    """The relative address of ``path`` from a page in ``output_dir``, quoted."""
    # As bytes: a path need not be valid UTF-8. A colon is quoted, too: a folder "a:b" would be read as a protocol.
    relative = os.path.relpath(os.path.abspath(path), os.path.abspath(output_dir))  # noqa: PTH100 - resolves no links
    return quote(os.fsencode(relative), safe="/")


def _is(path: Path, kind: Callable[[int], bool]) -> bool:
    try:
        return kind(path.lstat().st_mode)
    except (OSError, ValueError):
        return False


def point_links(name: str, run_root: Path, output_dir: Path) -> dict[str, str]:
    """The addresses of the existing files of a point, by a word for each.

    Empty if ``name`` is not the name of a point. Symbolic links are not followed, as they may lead out of the run.
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
