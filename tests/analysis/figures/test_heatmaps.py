"""The heatmaps are valid for complete, partial and odd summaries, and a cell without a value contains the reason."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.figures.heatmaps import detailed_heatmaps, heatmap_figure
from tests.analysis.figures.samples import ODD, loaded, opened, several_classes, texts, with_seeds
from tests.analysis.report.test_report import fail, frame


@pytest.mark.parametrize(
    "case",
    (
        "several classes of failure",
        "all diverged",
        "no point",
        "all metrics constant",
        "some stability zero",
        "enormous stability",
        "no stability",
        "many batch sizes",
        "many learning rates",
        "extreme values",
        "names that are formulas",
    ),
)
def test_heatmaps_are_valid_on(tmp_path, case):
    opened(detailed_heatmaps(loaded(tmp_path, ODD[case])))


def test_heatmap_cells_are_marked_with_the_class_of_their_failure(tmp_path):
    said = texts(heatmap_figure(loaded(tmp_path, several_classes())))
    for status in ("oom", "diverged", "timeout", "lost", "cancelled", "error", "waiting"):
        assert status in said
    partly = texts(heatmap_figure(loaded(tmp_path, fail(with_seeds(), 0, "oom"))))
    assert "1 oom" in partly and "means of up to 3 points (over seeds)" in partly
    missing = texts(heatmap_figure(loaded(tmp_path, frame().drop(index=[3]))))
    assert "not in the grid" in missing


def test_heatmaps_share_one_colour_scale(tmp_path):
    figure = heatmap_figure(loaded(tmp_path, frame()))
    norms = [axes.collections[0].norm for axes in figure.axes[:4]]
    assert norms[0] is norms[1] and norms[2] is norms[3]
    assert (norms[0].vmin, norms[0].vmax) == pytest.approx((0.49, 0.7))


@pytest.mark.parametrize("rates", [4, 16])
def test_a_heatmap_is_no_wider_than_a_page(tmp_path, rates):
    content = frame(("a", "b", "c"), tuple(np.geomspace(1e-5, 1, rates)), (8, 16, 32))
    assert opened(detailed_heatmaps(loaded(tmp_path, content))).size[0] <= 1500
