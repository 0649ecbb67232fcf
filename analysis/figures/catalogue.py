"""All figures of a report: files, titles, captions, and the functions that draw them. Add a new figure here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd

from analysis.figures.best_predictions import best_predictions
from analysis.figures.comprehensive import comprehensive_analysis
from analysis.figures.heatmaps import detailed_heatmaps
from analysis.figures.learning_curves import learning_curves
from analysis.figures.run_files import read_histories


@dataclass(frozen=True)
class FigureEntry:
    """A figure of the report.

    ``title`` and ``caption`` are shown below it on the page, and read aloud instead of it. ``draw`` takes the frame of
    :func:`analysis.summary.load_summary` and the run directory, and returns a PNG file, or ``None`` if there is nothing
    to show. With ``needs_run`` the figure is left out for a summary outside a run directory; otherwise ``draw`` must
    not use the directory.
    """

    file: str
    title: str
    caption: str
    draw: Callable[[pd.DataFrame, Path], bytes | None]
    needs_run: bool = False


def _heatmaps(frame: pd.DataFrame, _run_root: Path) -> bytes:
    return detailed_heatmaps(frame)


def _comprehensive(frame: pd.DataFrame, _run_root: Path) -> bytes:
    return comprehensive_analysis(frame)


def _curves(frame: pd.DataFrame, run_root: Path) -> bytes:
    return learning_curves(frame, read_histories(run_root, frame))


FIGURES = (
    FigureEntry(
        "detailed_heatmaps.png",
        "Performance and stability of every setting",
        "Best validation Jaccard index and stability by learning rate and batch size for each architecture. "
        "A hatched cell has no value and contains the reason.",
        _heatmaps,
    ),
    FigureEntry(
        "comprehensive_analysis.png",
        "Trends and comparisons",
        "How the scores change with each hyperparameter, how the architectures compare, and how certain both are.",
        _comprehensive,
    ),
    FigureEntry(
        "learning_curves.png",
        "Learning curves of all points",
        "Scores and losses by epoch, as recorded during training.",
        _curves,
        needs_run=True,
    ),
    FigureEntry(
        "best_predictions.png",
        "Predictions of the best points",
        "Predictions of the best point of each architecture, next to image and mask.",
        best_predictions,
        needs_run=True,
    ),
)


def drawing_tasks(frame: pd.DataFrame, run_root: Path | None) -> dict[str, Callable[[], bytes | None]]:
    """The functions that draw the figures of ``frame`` in ``run_root``, by file name; none for an empty frame."""
    if frame.empty:
        return {}
    root = run_root or Path()
    return {
        figure.file: partial(figure.draw, frame, root)
        for figure in FIGURES
        if run_root is not None or not figure.needs_run
    }
