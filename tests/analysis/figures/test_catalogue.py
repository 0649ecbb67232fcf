"""The catalogue draws every figure of a report, and those that need a run only if there is one."""

from __future__ import annotations

from analysis.figures.catalogue import FIGURES, drawing_tasks
from tests.analysis.figures.samples import loaded, make_run, named, opened
from tests.analysis.report.test_report import frame


def test_every_figure_is_drawn_for_a_run(tmp_path):
    content = named(frame())
    tasks = drawing_tasks(loaded(tmp_path, content), make_run(tmp_path, content))
    assert list(tasks) == [
        *(
            "detailed_heatmaps.png",
            "comprehensive_analysis.png",
            "learning_curves.png",
            "best_predictions.png",
        ),
    ]
    for draw in tasks.values():
        opened(draw())
    assert all(figure.title and figure.caption.endswith(".") for figure in FIGURES)


def test_without_a_run_no_figure_reads_its_files(tmp_path):
    tasks = drawing_tasks(loaded(tmp_path, frame()), None)
    assert list(tasks) == ["detailed_heatmaps.png", "comprehensive_analysis.png"]


def test_without_points_nothing_is_drawn(tmp_path):
    assert drawing_tasks(loaded(tmp_path, frame().head(0)), tmp_path) == {}
