"""The comprehensive analysis is valid for odd summaries, and contains the reason for a panel that cannot be drawn."""

from __future__ import annotations

import pytest

from analysis.figures.comprehensive import comprehensive_analysis, comprehensive_figure
from analysis.figures.heatmaps import heatmap_figure
from analysis.figures.learning_curves import curves_figure
from analysis.summary import load_summary
from tests.analysis.figures.samples import ODD, failed, loaded, opened, panel, several_classes, texts
from tests.analysis.report.test_report import PREDECESSOR, frame


@pytest.mark.parametrize("content", ODD.values(), ids=ODD.keys())
def test_the_comprehensive_analysis_is_valid_on(tmp_path, content):
    rows = loaded(tmp_path, content)
    assert opened(comprehensive_analysis(rows)).size[0] == 1500


def test_failed_points_are_counted_by_class(tmp_path):
    said = texts(comprehensive_figure(loaded(tmp_path, several_classes())))
    assert (
        "12 points, 5 successful; failed: 1 diverged, 1 oom, 1 timeout, 1 cancelled, 1 error, 1 lost" in said
    )
    assert "not finished: 1 waiting" in said


def test_without_successful_points_every_panel_contains_the_reason(tmp_path):
    figure = comprehensive_figure(loaded(tmp_path, failed(12)))
    for letter in "abcdefg":
        said = " ".join(text.get_text() for text in panel(figure, letter).texts)
        assert "12 diverged" in " ".join(said.split())
    assert "no point was successful (12 diverged)" in texts(heatmap_figure(loaded(tmp_path, failed(12))))


def test_every_figure_shows_source_and_split(tmp_path):
    rows = loaded(tmp_path, frame().assign(data_source="/data/" + "em" * 500, split="random"))
    for figure in (heatmap_figure(rows), comprehensive_figure(rows), curves_figure(rows, {})):
        said = texts(figure)
        assert "data: /data/em" in said and "split: random" in said


def test_the_predecessors_results_are_drawn():
    if not PREDECESSOR.is_file():
        pytest.skip(f"the predecessor's results are not at {PREDECESSOR}")
    rows = load_summary(PREDECESSOR)
    opened(comprehensive_analysis(rows))
    assert "The chance level was not recorded." in texts(comprehensive_figure(rows))
