"""The files of a run that a figure reads: only plain files of a limited size inside the run directory."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pandas as pd

from analysis.figures.drawing import best_first
from jobs.common.permissions import check_readable
from jobs.grid.points import stem_of_name
from jobs.run.paths import PointPaths, RunPaths
from unet_models.training.history import read_history

MOST_HISTORIES = 2000
LARGEST_HISTORY = 20_000_000  # bytes: ten times the history of ten thousand epochs


def point_paths(run_root: Path, name: object) -> PointPaths | None:
    """The files of the point called ``name``; ``None`` if that is not the name of a point."""
    stem = stem_of_name(name)
    return None if stem is None else RunPaths(run_root).point(str(name), stem)


def is_readable(path: Path, run_root: Path, largest: int) -> bool:
    """Whether ``path`` leads, also through links, to a plain file of at most ``largest`` bytes inside the run."""
    try:
        found = path.resolve(strict=True)
        state = found.stat()
        inside = found.is_relative_to(run_root.resolve(strict=True))
    except (OSError, RuntimeError):  # RuntimeError: a circle of links
        return False
    return inside and stat.S_ISREG(state.st_mode) and state.st_size <= largest


def read_histories(run_root: Path, frame: pd.DataFrame) -> dict[str, list[dict[str, float]]]:
    """The epochs of each point of ``frame`` by its name; an epoch has :data:`unet_models.training.history.COLUMNS`.

    Left out are points whose history is missing, damaged, empty, too large or outside the run, and all but the best
    :data:`MOST_HISTORIES` points. Does not raise for anything that the files contain.
    """
    histories: dict[str, list[dict[str, float]]] = {}
    for name in list(dict.fromkeys(best_first(frame)["name"]))[:MOST_HISTORIES]:
        paths = point_paths(run_root, name)
        if paths is None or not is_readable(paths.history, run_root, LARGEST_HISTORY):
            continue
        try:
            rows = read_history(paths.history)
        except OSError:
            continue
        if rows:
            histories[name] = rows
    return histories


def check_readable_points(run_root: Path, frame: pd.DataFrame) -> None:
    """Raise :class:`jobs.common.errors.UnreadableError` where this user may not read files of points that the report uses.

    Without them it would be a worse report, and replace a better one.
    """
    check_readable(RunPaths(run_root).provenance, whole=run_root)
    for name in list(dict.fromkeys(best_first(frame)["name"]))[:MOST_HISTORIES]:
        paths = point_paths(run_root, name)
        if paths is None or (os.access(paths.history, os.R_OK) and os.access(paths.log, os.R_OK)):
            continue
        for path in (paths.folder, paths.history, paths.log, paths.predictions, paths.curves):
            check_readable(path, whole=run_root)
