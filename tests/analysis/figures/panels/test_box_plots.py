"""Box plots show every point and the chance level."""

from __future__ import annotations

from analysis.figures.comprehensive import comprehensive_figure
from tests.analysis.figures.samples import loaded, panel
from tests.analysis.report.test_report import frame


def test_box_plots_show_the_chance_level_and_every_point(tmp_path):
    axes = panel(comprehensive_figure(loaded(tmp_path, frame())), "e")
    assert "dashed: chance 0.070" in axes.get_title(loc="left")
    dots = [line for line in axes.lines if line.get_marker() == "o"]
    assert sorted(len(line.get_ydata()) for line in dots) == [6, 6]
    again = panel(comprehensive_figure(loaded(tmp_path, frame())), "e")
    first = next(line for line in again.lines if line.get_marker() == "o")
    assert list(first.get_xdata()) == list(dots[0].get_xdata())
