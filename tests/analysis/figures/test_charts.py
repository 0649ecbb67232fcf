"""The charts show what the numbers say, also with many levels, and do not show an axis that nothing followed."""

from __future__ import annotations

import dataclasses
import itertools
import re

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from msgspec.structs import replace

import analyze
from analysis.figures import catalogue
from analysis.figures.best_of_curves import best_of_curves
from analysis.figures.failures import failures_by_hyperparameter
from analysis.figures.interaction import interaction
from analysis.figures.intervals import adjusted_means, differences
from analysis.figures.look import (
    _DARK,
    COLUMN,
    DOUBLE_COLUMN,
    PAGE,
    for_dark,
    look_of,
    ramp,
    rate_axis,
    saved,
)
from analysis.figures.parallel_coordinates import MOST_LINES, parallel_coordinates
from analysis.figures.response_curves import response_curves
from analysis.figures.run_files import read_histories
from analysis.figures.scores_on_test import scores_on_test
from analysis.figures.seed_bands import seed_bands
from analysis.figures.settings_heatmaps import score_heatmap, stability_heatmap
from analysis.schema import BestOfCurve, Response
from tests.analysis.figures.samples import loaded, make_run, named, texts
from tests.analysis.figures.test_catalogue import material, rich
from tests.analysis.report.test_report import frame


def overlapping(labels, figure):
    """Pairs of texts that cover each other."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    boxes = [(label.get_text(), label.get_window_extent(renderer)) for label in labels if label.get_text()]
    return [(a[0], b[0]) for a, b in itertools.combinations(boxes, 2) if a[1].overlaps(b[1])]


def lightness(colour):
    red, green, blue = (int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5))
    parts = [
        value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4
        for value in (red, green, blue)
    ]
    return float(np.dot(parts, [0.2126, 0.7152, 0.0722]))


def test_a_dark_chart_differs_in_its_colours_only_and_keeps_those_of_cells():
    assert for_dark(b"fill: #1f2328; stroke: #123456") == b"fill: #e6edf3; stroke: #123456"
    cells = {to_hex(mpl.colormaps[name](n)) for name in ("viridis", "cividis_r") for n in range(256)}
    assert not cells & set(_DARK)


def test_an_svg_file_does_not_depend_on_the_last_digit_of_a_place():
    """The constrained layout differs in the last digits from process to process."""
    files = []
    for width in (0.8, 0.8 * (1 + 4e-16)):
        with look_of(PAGE):
            figure = mpl.figure.Figure(figsize=(3, 2))
            figure.add_axes((0.1, 0.1, width, 0.8)).plot([1, 2], [1, 2], marker="o")
            files.append(saved(figure, "svg"))
    assert files[0] == files[1]


def test_ids_in_an_svg_file_are_unique_and_those_used_are_there(tmp_path):
    data = material(tmp_path, rich())
    with look_of(PAGE):
        for draw in (interaction, failures_by_hyperparameter):
            svg = saved(draw(data, PAGE).figure, "svg")
            ids = re.findall(rb'\bid="([^"]+)"', svg)
            used = set(re.findall(rb'(?:url\(|href=")#([^")]+)', svg))
            assert len(set(ids)) == len(ids) and used and used <= set(ids)


def test_every_colour_of_a_line_or_text_can_be_seen_on_its_background():
    for light, dark in _DARK.items():
        if light in ("#d0d7de", "#fefefe"):  # rules and the background itself
            continue
        assert (1 + 0.05) / (lightness(light) + 0.05) > 2.95, light
        assert (lightness(dark) + 0.05) / (lightness("#0d1117") + 0.05) > 2.95, dark
    assert len(set(ramp(5))) == 5


def test_the_stable_settings_are_bright_like_those_with_a_high_score(tmp_path):
    content = frame(architectures=("UNet",), batches=(8, 16))  # batch size 8: best score, lowest stability
    data = material(tmp_path, content)
    for draw in (score_heatmap, stability_heatmap):
        with look_of(PAGE):
            axes = draw(data, PAGE).figure.axes[0]
        cells = {
            (patch.get_x(), patch.get_y()): lightness(to_hex(patch.get_facecolor())) for patch in axes.patches
        }
        assert cells[2, 0] > cells[0, 1] + 0.1, draw


def test_two_hundred_learning_rates_have_labels_that_do_not_overlap(tmp_path):
    content = frame(architectures=("UNet",), rates=tuple(np.geomspace(1e-5, 0.1, 200)))
    content["best_val_jaccard"] = np.linspace(0.2, 0.7, len(content))
    data = material(tmp_path, content)
    for look in (PAGE, DOUBLE_COLUMN):
        with look_of(look):
            for draw in (score_heatmap, interaction, adjusted_means, parallel_coordinates):
                plot = draw(data, look)
                plot.figure.draw_without_rendering()  # which settles the ticks
                for axes in plot.figure.axes:
                    for labels in (axes.get_xticklabels(), axes.get_yticklabels(), axes.texts):
                        assert overlapping(labels, plot.figure) == [], (draw, look)


def test_labels_of_a_rate_axis_fit_into_narrow_panels():
    with look_of(DOUBLE_COLUMN):
        figure = mpl.figure.Figure(figsize=(DOUBLE_COLUMN.width, 1.5), layout="constrained")
        for axes in figure.subplots(1, 3):
            rate_axis(axes, [1e-4, 2e-4, 5e-4, 1e-3, 5e-3], DOUBLE_COLUMN, 3)
            figure.draw_without_rendering()
            assert len(axes.get_xticks()) >= 2 and overlapping(axes.get_xticklabels(), figure) == []


def test_an_interaction_is_described_by_its_test_not_by_lines_that_cross(tmp_path):
    content = rich()
    with look_of(PAGE):
        plot = interaction(material(tmp_path, content), PAGE)
        assert re.search(r"p = [\d.e-]+ \(Holm-corrected\)\.$", plot.alt)
        ignored = material(tmp_path, content.assign(learning_rate_logged_epoch1=0.001))
        assert interaction(ignored, PAGE) is None
        assert "asked for, but not used" in texts(score_heatmap(ignored, PAGE).figure)
        assert interaction(material(tmp_path, frame(rates=(1e-3,))), PAGE) is None


def test_intervals_are_those_of_the_findings(tmp_path):
    data = material(tmp_path, rich())
    with look_of(PAGE):
        means, pairs = adjusted_means(data, PAGE), differences(data, PAGE)
    rate = data.findings.adjusted_means["best_val_jaccard"]["learning_rate"]
    top = max(rate.means, key=lambda one: one.mean)
    assert (
        f"learning rate: highest at {top.level:g}, {top.mean:.3f} ({top.ci[0]:.3f} to {top.ci[1]:.3f})"
        in means.alt
    )
    drawn = [tuple(line.get_xdata()) for line in means.figure.axes[0].lines if len(line.get_xdata()) == 2]
    assert drawn == [one.ci for one in rate.means]
    found = data.findings.pairwise["best_val_jaccard"]["learning_rate"].pairs
    clear = sum(one.ci[0] > 0 or one.ci[1] < 0 for one in found)
    assert f"learning rate: {clear} of {len(found)} intervals without zero" in pairs.alt


def test_an_interaction_marks_seeds_failed_points_and_those_still_rising(tmp_path):
    content = rich()
    done = content["training_successful"].astype(str).str.lower() == "true"
    rising = done & (np.arange(len(content)) % 5 == 0)
    content["epochs_to_best_censored"] = np.where(rising, "yes", "no")
    with look_of(PAGE):
        plot = interaction(material(tmp_path, content), PAGE)
    marked = {
        kind: sum(
            len(line.get_xdata())
            for axes in plot.figure.axes
            for line in axes.lines
            if line.get_label() == f"_{kind}"
        )
        for kind in ("seeds", "rising", "failed")
    }
    assert marked == {"seeds": done.sum(), "rising": rising.sum(), "failed": (~done).sum()}
    assert f"Marked: {(~done).sum()} points failed, {rising.sum()} points still rising" in plot.alt


def test_a_narrow_range_of_means_has_labels_that_do_not_overlap(tmp_path):
    content = frame()
    content["best_val_jaccard"] = 0.35 + np.random.default_rng(0).normal(0, 0.002, len(content))
    data = material(tmp_path, content)
    for look in (PAGE, DOUBLE_COLUMN, COLUMN):
        with look_of(look):
            for draw in (adjusted_means, differences):
                figure = draw(data, look).figure
                figure.draw_without_rendering()
                assert overlapping(figure.axes[-1].get_xticklabels(), figure) == [], (draw, look)


def test_parallel_coordinates_have_good_results_at_the_top_and_architectures_in_their_order(tmp_path):
    content = frame()
    content["training_time_seconds"] = np.arange(len(content)) * 60.0 + 60
    content.loc[0, "training_time_seconds"] = np.nan
    with look_of(PAGE):
        figure = parallel_coordinates(material(tmp_path, content), PAGE).figure
        figure.draw_without_rendering()
    axes = figure.axes[0]
    assert overlapping(axes.texts, figure) == []
    titles = [text.get_text() for text in axes.texts if text.get_position()[1] > 1.1]
    assert titles == [
        "learning\nrate",
        "batch\nsize",
        "architecture",
        "time\n(minutes)",
        "SD of\nloss",
        "score",
    ]
    lines = np.array([path.vertices[:, 1] for path in axes.collections[0].get_paths()])
    rows = content.sort_values("best_val_jaccard", kind="stable")
    slowest = rows["training_time_seconds"].to_numpy() == 60.0 * len(content)
    assert lines[slowest, 3] == [0.0] and np.isnan(lines[:, 3]).sum() == 1
    assert np.nanmax(lines[:, 3]) == 1 and lines[-1, 5] == 1
    heights = {text.get_text(): text.get_position()[1] for text in axes.texts}
    assert heights[content["architecture"].iloc[0]] == 1


def test_architectures_keep_their_names_in_parallel_coordinates_of_many_axes(tmp_path):
    content = pd.concat([frame().assign(base_filters=filters) for filters in (8, 16)])
    content["architecture"] = content["architecture"].replace("UNet", "Attention_ResUNet")
    with look_of(PAGE):
        found = texts(parallel_coordinates(material(tmp_path, content), PAGE).figure)
    assert "Attention_UNet" in found and "Attention_ResUNet" in found and "base filters" in found


def test_bands_reach_from_the_lowest_to_the_highest_seed_up_to_the_first_end(tmp_path):
    content = rich()
    run = make_run(tmp_path, content)
    data = material(tmp_path, content, run)
    first = data.findings.configurations[0]
    histories = dict(data.histories)
    histories[first.names[0]] = [{"epoch": n, "val_jaccard": 0.5 + 0.1 * n} for n in range(4)]
    histories[first.names[1]] = [{"epoch": n, "val_jaccard": 0.3 + 0.1 * n} for n in range(6)]
    with look_of(PAGE):
        plot = seed_bands(catalogue.Material(data.frame, data.findings, histories), PAGE)
    assert f"{first.settings} ends at 0.700 (seeds 0.600 to 0.800) in epoch 4" in plot.alt
    thick = [line for axes in plot.figure.axes for line in axes.lines if line.get_linewidth() == 2.2]
    assert [0.4, 0.5, 0.6, 0.7] in [pytest.approx(line.get_ydata().tolist()) for line in thick]
    assert read_histories(run, data.frame)


def test_of_many_points_the_best_and_some_others_are_drawn(tmp_path):
    content = frame(architectures=("UNet",), rates=tuple(np.geomspace(1e-5, 0.1, 200)), batches=(8, 16))
    data = material(tmp_path, content)
    with look_of(PAGE):
        plot = parallel_coordinates(data, PAGE)
        lines = plot.figure.axes[0].collections[0].get_segments()
        assert len(lines) == MOST_LINES and f"{MOST_LINES} of 400 points" in plot.alt
        assert lines[-1][-1][1] == 1 and min(line[-1][1] for line in lines) == 0


def test_failures_are_counted_by_level(tmp_path):
    data = material(tmp_path, rich())
    with look_of(PAGE):
        plot = failures_by_hyperparameter(data, PAGE)
        assert failures_by_hyperparameter(material(tmp_path, frame()), PAGE) is None
    assert "2 of 8" in texts(plot.figure) or "1 of 8" in texts(plot.figure)
    assert "learning rate: most at" in plot.alt


def test_a_level_whose_points_have_not_ended_has_no_failures(tmp_path):
    data = material(tmp_path, rich())
    tests = [
        replace(one, levels=(*one.levels[1:], replace(one.levels[0], points=0, diverged=0, failed=0)))
        for one in data.findings.failure_tests
    ]
    data = dataclasses.replace(data, findings=replace(data.findings, failure_tests=tuple(tests)))
    with look_of(PAGE):
        assert "0 of 0" in texts(failures_by_hyperparameter(data, PAGE).figure)


def test_scores_on_the_test_part_need_such_scores(tmp_path):
    with look_of(PAGE):
        plot = scores_on_test(material(tmp_path, frame()), PAGE)
        assert "0.700 in validation and 0.400 on the test part" in plot.alt
        assert scores_on_test(material(tmp_path, frame().drop(columns="test_jaccard")), PAGE) is None


def test_the_curves_of_other_statistics_are_drawn_from_their_records(tmp_path):
    data = material(tmp_path, frame())
    curve = BestOfCurve(architecture="UNet", expected=(0.5, 0.55, 0.6))
    optimum = Response(
        computed=True,
        architecture="UNet",
        optimum=1e-3,
        ci=(None, 2e-3),
        tried=(1e-4, 5e-3),
        curvature_p=0.01,
        coefficients=(-0.4, -0.7, -0.1),
        n=6,
    )
    none = Response(computed=False, reason="two rates", architecture="Attention_UNet")
    found = replace(data.findings, best_of=(curve,), response=(optimum, none))
    data = catalogue.Material(data.frame, found)
    with look_of(PAGE):
        assert "UNet from 0.500 with 1 point to 0.600 with 3" in best_of_curves(data, PAGE).alt
        plot = response_curves(data, PAGE)
        far = replace(found, response=(replace(optimum, optimum=306.0, ci=(None, None)),))
        outside = response_curves(catalogue.Material(data.frame, far), PAGE)
    assert "optimum 0.001 (95 % interval up to 0.002, without a lower limit)" in plot.alt
    assert len(plot.figure.axes) == 1
    assert "UNet: optimum above the highest rate tried (95 % interval without limits)." in outside.alt


@pytest.mark.parametrize("formats", ["eps", "svg,", "", "svg;pdf"])
def test_unknown_formats_are_refused_before_anything_is_drawn(tmp_path, capsys, formats):
    frame().to_csv(tmp_path / "s.csv", index=False)
    assert analyze.main(["--summary_file", str(tmp_path / "s.csv"), "--figures", formats]) == 2
    assert "expected one or more of svg, pdf, png" in capsys.readouterr().err
    assert not (tmp_path / "analysis").exists()


def test_a_figure_that_fails_is_one_line_and_the_rest_is_written(tmp_path, capsys, monkeypatch):
    def broken(*_arguments):
        raise MemoryError("too large")

    bad = catalogue.Chart("bad", "t", "c.", broken)
    sheet = catalogue.Sheet("worse.png", "t", "c.", broken)
    monkeypatch.setattr(catalogue, "CHARTS", (bad, catalogue.CHARTS[0]))
    monkeypatch.setattr(catalogue, "SHEETS", (sheet, catalogue.SHEETS[0]))
    frame().to_csv(tmp_path / "s.csv", index=False)
    assert analyze.main(["--summary_file", str(tmp_path / "s.csv"), "--figures", "SVG, pdf"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("not drawn")]
    assert lines == [
        "not drawn: bad.svg: MemoryError: too large",
        "not drawn: worse.png: MemoryError: too large",
        "not drawn: bad: MemoryError: too large",
    ]
    written = {path.name for path in (tmp_path / "analysis").rglob("*.*")}
    assert {"score_heatmap.svg", "score_heatmap.pdf", "detailed_heatmaps.png", "report.html"} <= written


def test_charts_of_a_summary_with_names_as_a_run_has_them(tmp_path):
    """Rows in another order give the same charts."""
    content = named(pd.concat([frame().assign(seed=seed) for seed in (1, 2)], ignore_index=True))
    content["index"] = range(1, len(content) + 1)
    one = material(tmp_path, content)
    other = material(tmp_path, content.sample(frac=1, random_state=1))
    for name, draw in catalogue.chart_tasks(one).items():
        assert draw() == catalogue.chart_tasks(other)[name](), name
    assert len(loaded(tmp_path, content)) == 24
