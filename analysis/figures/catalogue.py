"""All figures of a report: files, titles, captions, and the functions that draw them. Add a new figure here."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd

from analysis.figures.best_of_curves import best_of_curves
from analysis.figures.best_predictions import best_predictions
from analysis.figures.budget import scores_against_budget
from analysis.figures.comprehensive import comprehensive_analysis
from analysis.figures.drawn import Drawn, Material, NotDrawn, Plot
from analysis.figures.failures import failures_by_hyperparameter
from analysis.figures.heatmaps import detailed_heatmaps
from analysis.figures.interaction import interaction
from analysis.figures.intervals import adjusted_means, differences
from analysis.figures.learning_curves import learning_curves
from analysis.figures.look import COLUMN, DOUBLE_COLUMN, PAGE, Look, for_dark, look_of, own_settings, saved
from analysis.figures.parallel_coordinates import parallel_coordinates
from analysis.figures.response_curves import response_curves
from analysis.figures.run_files import read_histories
from analysis.figures.scores_on_test import scores_on_test
from analysis.figures.seed_bands import seed_bands
from analysis.figures.settings_heatmaps import score_heatmap, stability_heatmap
from jobs.common.errors import one_line

PAPER_FOLDER = "figures"  # of the figures for a paper, in the folder of the report


@dataclass(frozen=True)
class Sheet:
    """A large PNG figure of the report.

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


@dataclass(frozen=True)
class Chart:
    """A small figure, for the page and for a paper. ``draw`` returns ``None`` if there is nothing to show.

    ``wide``: in a paper it takes two columns.
    """

    name: str
    title: str
    caption: str
    draw: Callable[[Material, Look], Plot | None]
    wide: bool = False

    @property
    def file(self) -> str:
        """The name of the figure's file for the page."""
        return f"{self.name}.svg"


def _heatmaps(frame: pd.DataFrame, _run_root: Path) -> bytes:
    return detailed_heatmaps(frame)


def _comprehensive(frame: pd.DataFrame, _run_root: Path) -> bytes:
    return comprehensive_analysis(frame)


def _curves(frame: pd.DataFrame, run_root: Path) -> bytes:
    return learning_curves(frame, read_histories(run_root, frame))


SHEETS = (
    Sheet(
        "detailed_heatmaps.png",
        "Performance and stability of every setting",
        "Best validation Jaccard index and stability by learning rate and batch size for each architecture. "
        "A hatched cell has no value and contains the reason.",
        _heatmaps,
    ),
    Sheet(
        "comprehensive_analysis.png",
        "Trends and comparisons",
        "How the scores change with each hyperparameter, how the architectures compare, and how certain both are.",
        _comprehensive,
    ),
    Sheet(
        "learning_curves.png",
        "Learning curves of all points",
        "Scores and losses by epoch, as recorded during training.",
        _curves,
        needs_run=True,
    ),
    Sheet(
        "best_predictions.png",
        "Predictions of the best points",
        "Predictions of the best point of each architecture, next to image and mask.",
        best_predictions,
        needs_run=True,
    ),
)
CHARTS = (
    Chart(
        "score_heatmap",
        "Score of every setting",
        "Mean best validation Jaccard index of the successful points. Bright is better. A star marks a mean of which "
        "other points failed; a hatched cell has no value.",
        score_heatmap,
        wide=True,
    ),
    Chart(
        "stability_heatmap",
        "Stability of every setting",
        "Mean standard deviation of the validation loss over the last 10 epochs. Bright is more stable.",
        stability_heatmap,
        wide=True,
    ),
    Chart(
        "interaction",
        "Learning rate and batch size together",
        "Mean score over the learning rate, one line for each batch size. Parallel lines: no interaction. "
        "Small dots: single seeds; tick upwards: still rising at the last epoch; cross: a point failed.",
        interaction,
        wide=True,
    ),
    Chart(
        "adjusted_means",
        "Adjusted means",
        "Mean score at each level, with all other hyperparameters balanced, and its 95 % interval. "
        "The highest of each hyperparameter is blue.",
        adjusted_means,
    ),
    Chart(
        "differences",
        "Differences between levels",
        "Tukey's simultaneous 95 % intervals. Blue: zero is outside the interval. The grey band is 0.01 to both sides "
        "of zero; a difference inside it does not matter.",
        differences,
    ),
    Chart(
        "response",
        "Optimum of the learning rate",
        "Quadratic of the logarithm of the learning rate. Dots: mean scores; dashed: optimum; band: its 95 % interval.",
        response_curves,
        wide=True,
    ),
    Chart(
        "learning_curves_by_seed",
        "Learning curves",
        "Validation score by epoch: mean over the seeds of the best 16 configurations of each architecture. "
        "The best three have a band from the lowest to the highest seed.",
        seed_bands,
        wide=True,
    ),
    Chart(
        "parallel_coordinates",
        "All points in one view",
        "One line per point, from its hyperparameters to its results. Short times, low standard deviations of the "
        "validation loss and high scores are at the top; orange lines (yellow on a dark page) are the best ones.",
        parallel_coordinates,
        wide=True,
    ),
    Chart(
        "scores_on_test",
        "Validation and test scores",
        "Means of the configurations. On the dashed line both scores are equal; the circle marks the best configuration.",
        scores_on_test,
    ),
    Chart(
        "budget",
        "Scores against updates and time",
        "At a fixed number of epochs, a larger batch means fewer updates of the weights.",
        scores_against_budget,
        wide=True,
    ),
    Chart(
        "best_of",
        "What more points would bring",
        "Expected best score after so many points of the grid, tried at random (Dodge et al. 2019).",
        best_of_curves,
    ),
    Chart(
        "failures",
        "Failures by hyperparameter",
        "Percent of the points of each level that diverged or failed otherwise.",
        failures_by_hyperparameter,
    ),
)
FIGURES = (*CHARTS, *SHEETS)  # in the order of the page


def sheet_tasks(
    frame: pd.DataFrame, run_root: Path | None
) -> dict[str, Callable[[], Drawn | NotDrawn | None]]:
    """The functions that draw the sheets of ``frame`` in ``run_root``, by file name; none for an empty frame."""
    if frame.empty:
        return {}
    root = run_root or Path()
    return {
        sheet.file: partial(_sheet, sheet, frame, root)
        for sheet in SHEETS
        if run_root is not None or not sheet.needs_run
    }


def chart_tasks(material: Material) -> dict[str, Callable[[], Drawn | NotDrawn | None]]:
    """The functions that draw the charts for the page, by file name; none for an empty frame."""
    if material.frame.empty:
        return {}
    return {chart.file: partial(_chart, chart, material) for chart in CHARTS}


def paper_tasks(
    material: Material, formats: Iterable[str]
) -> dict[str, Callable[[], dict[str, bytes] | NotDrawn]]:
    """The functions that draw the charts for a paper, each of which returns files by name."""
    if material.frame.empty:
        return {}
    return {chart.name: partial(_for_paper, chart, material, tuple(formats)) for chart in CHARTS}


def _sheet(sheet: Sheet, frame: pd.DataFrame, root: Path) -> Drawn | NotDrawn | None:
    try:
        with own_settings():
            content = sheet.draw(frame, root)
    except Exception as error:  # noqa: BLE001 - whatever fails in one figure must not withhold the report
        return _not_drawn(sheet.file, error)
    if content is None:
        return None
    return Drawn(sheet.file, sheet.title, sheet.caption, f"{sheet.title}. {sheet.caption}", content)


def _chart(chart: Chart, material: Material) -> Drawn | NotDrawn | None:
    try:
        with look_of(PAGE):
            plot = chart.draw(material, PAGE)
            content = None if plot is None else saved(plot.figure, "svg")
    except Exception as error:  # noqa: BLE001 - as above
        return _not_drawn(chart.file, error)
    if plot is None or content is None:
        return None
    return Drawn(chart.file, chart.title, chart.caption, plot.alt, content, for_dark(content))


def _for_paper(chart: Chart, material: Material, formats: tuple[str, ...]) -> dict[str, bytes] | NotDrawn:
    look = DOUBLE_COLUMN if chart.wide else COLUMN
    try:
        with look_of(look):
            plot = chart.draw(material, look)
            if plot is None:
                return {}
            return {f"{chart.name}.{kind}": saved(plot.figure, kind) for kind in formats}
    except Exception as error:  # noqa: BLE001 - as above
        return _not_drawn(chart.name, error)


def _not_drawn(file: str, error: Exception) -> NotDrawn:
    return NotDrawn(file, f"{type(error).__name__}: {one_line(error, 200)}")
