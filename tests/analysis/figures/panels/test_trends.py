"""Trends: scales, units, and confidence bands that are exact and correctly labelled."""

from __future__ import annotations

import pandas as pd
import pytest

from analysis.figures.comprehensive import comprehensive_figure
from analysis.figures.panels.trends import confidence
from tests.analysis.figures.samples import loaded, panel, texts, with_seeds
from tests.analysis.report.test_report import frame


def test_axes_have_their_scale_and_their_units(tmp_path):
    figure = comprehensive_figure(loaded(tmp_path, frame().assign(val_loss_stability=[0.001, 0.1, 1.0] * 4)))
    for letter, column, ticks in (
        ("a", "learning rate", ["0.0001", "0.001", "0.005"]),
        ("b", "batch size (patches", ["8", "16"]),
    ):
        axes = panel(figure, letter)
        assert axes.get_xscale() == "log" and axes.get_xlabel().startswith(column)
        assert [label.get_text() for label in axes.get_xticklabels()] == ticks
        assert axes.get_ylabel() == "best validation Jaccard index (0 to 1)"
    assert panel(figure, "b").xaxis.get_transform().base == 2
    assert panel(figure, "c").get_yscale() == "log" and "loss units" in panel(figure, "c").get_ylabel()


def test_a_stability_within_a_factor_of_ten_has_a_linear_axis(tmp_path):
    figure = comprehensive_figure(loaded(tmp_path, frame()))
    assert panel(figure, "c").get_yscale() == panel(figure, "f").get_xscale() == "linear"


@pytest.mark.parametrize(("content", "repeated"), [(frame(), False), (with_seeds(), True)])
def test_a_band_is_labelled_as_run_to_run_noise_or_not(tmp_path, content, repeated):
    figure = comprehensive_figure(loaded(tmp_path, content))
    title = " ".join(panel(figure, "a").get_title(loc="left").split())
    assert ("run-to-run (repeats of equal settings)" in title) == repeated
    assert ("BETWEEN settings, no repeats: not run-to-run noise" in title) == (not repeated)


def test_confidence_without_repeats_is_students_interval_over_settings():
    rows = frame(architectures=("UNet",), batches=(8, 16, 32))
    one = confidence(rows, "learning_rate", "best_val_jaccard", repeated=False)
    scores = rows.loc[rows["learning_rate"] == 1e-3, "best_val_jaccard"]
    assert one.loc[1e-3, "mean"] == pytest.approx(scores.mean())
    assert one.loc[1e-3, "half"] == pytest.approx(4.302653 * scores.std() / 3**0.5)


def test_confidence_with_repeats_excludes_the_spread_between_settings():
    rows = pd.concat([frame(architectures=("UNet",), rates=(1e-3,))] * 2, ignore_index=True)
    rows["best_val_jaccard"] = [0.1, 0.9, 0.2, 0.9]  # batch sizes 8, 16, 8, 16
    one = confidence(rows, "learning_rate", "best_val_jaccard", repeated=True).loc[1e-3]
    assert one["mean"] == pytest.approx(0.525)
    # Pooled variance 0.005 / 2 with 2 degrees of freedom; two means of two points each.
    assert one["half"] == pytest.approx(4.302653 * (0.0025 * (1 / 2 + 1 / 2)) ** 0.5 / 2)


def test_a_mean_without_a_degree_of_freedom_has_no_band(tmp_path):
    rows = frame(batches=(8,))
    assert confidence(rows, "learning_rate", "best_val_jaccard", repeated=True)["half"].isna().all()
    said = texts(comprehensive_figure(loaded(tmp_path, rows)))
    assert "no confidence band" in said and "Only one batch size: there is no trend over it." in said
