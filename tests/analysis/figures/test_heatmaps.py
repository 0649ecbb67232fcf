"""Every figure is valid on whole, partial and odd summaries, and says what it could not draw and why."""

from __future__ import annotations

import io
import os

import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text
from PIL import Image

from analysis.figures import best_predictions as best_predictions_module
from analysis.figures import learning_curves as learning_curves_module
from analysis.figures.best_predictions import best_predictions, predictions_figure
from analysis.figures.comprehensive import (
    comprehensive_analysis,
    comprehensive_figure,
    confidence,
    correlations,
)
from analysis.figures.heatmaps import detailed_heatmaps, heatmap_figure
from analysis.figures.learning_curves import curves_figure, learning_curves, read_histories
from analysis.summary import load_summary
from tests.analysis.report.test_report import PREDECESSOR, fail, frame
from unet_models.training.history import COLUMNS, history_csv


def loaded(tmp_path, content):
    path = tmp_path / "hyperparameter_summary.csv"
    content.to_csv(path, index=False)
    return load_summary(path)


def named(content):
    """With names as a run has them."""
    content = content.reset_index(drop=True)
    content["name"] = [
        f"exp_{n:02d}_{row.architecture}_lr{row.learning_rate:g}_bs{row.batch_size}"
        for n, row in enumerate(content.itertuples(), start=1)
    ]
    return content


def with_seeds(count=3):
    rows = pd.concat([frame().assign(seed=seed) for seed in range(1, count + 1)], ignore_index=True)
    rows["best_val_jaccard"] += np.random.default_rng(0).normal(0, 0.01, len(rows))
    return rows


def epochs(count=6, *, top=0.5, loss=1.0):
    return [
        {
            **dict.fromkeys(COLUMNS, 1.0),
            "epoch": float(n),
            "val_jaccard": top * n / count,
            "val_loss": loss / n,
        }
        for n in range(1, count + 1)
    ]


def texts(figure):
    found = [text.get_text() for text in figure.findobj(Text)]
    return " ".join(" ".join(found).split())


def panel(figure, letter):
    return next(axes for axes in figure.axes if axes.get_title(loc="left").startswith(f"({letter})"))


def opened(content, *, least=500):
    """The picture, whole and of some size."""
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    picture = Image.open(io.BytesIO(content))
    picture.load()
    assert picture.size[0] >= least and picture.size[1] >= 100
    return picture


def several_classes():
    content = frame()
    for row, status in enumerate(("oom", "diverged", "timeout", "lost", "cancelled", "error", "waiting")):
        fail(content, row, status)
    return content


def failed(count):
    content = frame()
    for row in range(count):
        fail(content, row, "diverged")
    return content


def lone(**columns):
    return frame(rates=(1e-3,), batches=(8,), architectures=("UNet",)).assign(**columns)


ODD = {
    "whole": frame(),
    "several seeds": with_seeds(),
    "several classes of failure": several_classes(),
    "one architecture": frame(architectures=("UNet",)),
    "one learning rate": frame(rates=(1e-3,)),
    "one batch size": frame(batches=(8,)),
    "one point": lone(),
    "one finished point": failed(11),
    "all diverged": failed(12),
    "no point": frame().head(0),
    "rows missing": frame().drop(index=[0, 4, 7]),
    "ties, several chance levels": frame().assign(best_val_jaccard=0.5, chance_jaccard=[0.1, 0.2, 0.3] * 4),
    "all metrics constant": frame().assign(best_val_jaccard=0.0, val_loss_stability=0.0, chance_jaccard=0.0),
    "some stability zero": frame().assign(val_loss_stability=[0.0, 0.001, 1.0] * 4),
    "enormous stability": frame().assign(val_loss_stability=[1e99, 1e-99, 1.0, 5.0] * 3),
    "no stability": frame().assign(val_loss_stability=np.nan),
    "no further columns": frame()[
        ["architecture", "learning_rate", "batch_size", "training_successful", "best_val_jaccard"]
    ],
    "further axes": pd.concat([frame().assign(base_filters=8, count="x"), frame().assign(base_filters=16)]),
    "seven architectures": frame(architectures=tuple("abcdefg")),
    "many batch sizes": frame(batches=tuple(range(1, 40)), rates=(1e-3,), architectures=("UNet",)),
    "many learning rates": frame(rates=tuple(np.geomspace(1e-6, 1, 40)), architectures=("UNet",)),
    "extreme values": lone(learning_rate=1e-90, batch_size=10**9),
    "names that are formulas": frame(architectures=("$x_{$", "_hidden", "a" * 40, "π网络")),
}


@pytest.mark.parametrize("content", ODD.values(), ids=ODD.keys())
def test_the_comprehensive_analysis_is_valid_on(tmp_path, content):
    rows = loaded(tmp_path, content)
    assert opened(comprehensive_analysis(rows)).size[0] == 1500


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


@pytest.mark.parametrize(
    "case",
    (
        "several classes of failure",
        "one point",
        "all diverged",
        "no point",
        "further axes",
        "many batch sizes",
        "many learning rates",
        "extreme values",
        "names that are formulas",
    ),
)
def test_learning_curves_are_valid_on(tmp_path, case):
    rows = loaded(tmp_path, ODD[case])
    histories = {name: epochs(3 + n % 4) for n, name in enumerate(rows["name"])}
    assert opened(learning_curves(rows, histories)).size[0] == 1500


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
def test_a_band_says_whether_it_is_run_to_run_noise(tmp_path, content, repeated):
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


def test_confidence_with_repeats_leaves_the_spread_between_settings_out():
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
    assert "no confidence band" in said and "One batch size only: there is no trend over it." in said


def test_failed_points_are_counted_by_class(tmp_path):
    said = texts(comprehensive_figure(loaded(tmp_path, several_classes())))
    assert (
        "12 points, 5 successful; failed: 1 diverged, 1 oom, 1 timeout, 1 cancelled, 1 error, 1 lost" in said
    )
    assert "not finished: 1 waiting" in said


def test_where_nothing_was_successful_every_panel_says_why(tmp_path):
    figure = comprehensive_figure(loaded(tmp_path, failed(12)))
    for letter in "abcdefg":
        said = " ".join(text.get_text() for text in panel(figure, letter).texts)
        assert "12 diverged" in " ".join(said.split())
    assert "no point was successful (12 diverged)" in texts(heatmap_figure(loaded(tmp_path, failed(12))))


def test_source_and_split_stand_on_every_figure(tmp_path):
    rows = loaded(tmp_path, frame().assign(data_source="/data/" + "em" * 500, split="random"))
    for figure in (heatmap_figure(rows), comprehensive_figure(rows), curves_figure(rows, {})):
        said = texts(figure)
        assert "data: /data/em" in said and "split: random" in said


def test_chance_and_every_point_stand_with_the_boxes(tmp_path):
    axes = panel(comprehensive_figure(loaded(tmp_path, frame())), "e")
    assert "dashed: chance 0.070" in axes.get_title(loc="left")
    dots = [line for line in axes.lines if line.get_marker() == "o"]
    assert sorted(len(line.get_ydata()) for line in dots) == [6, 6]
    again = panel(comprehensive_figure(loaded(tmp_path, frame())), "e")
    first = next(line for line in again.lines if line.get_marker() == "o")
    assert list(first.get_xdata()) == list(dots[0].get_xdata())


def test_correlations_are_spearmans_and_say_what_they_lack(tmp_path):
    rows = loaded(tmp_path, frame())
    rows["training_time_seconds"] = [np.nan] * 9 + [1.0, 2.0, 3.0]
    rows["epochs_to_best"] = rows["best_val_jaccard"] ** 3
    values, words = correlations(rows)
    assert values.loc["epochs_to_best", "best_val_jaccard"] == pytest.approx(1.0)
    expected = rows["learning_rate"].rank().corr(rows["best_val_jaccard"].rank())
    assert values.loc["learning_rate", "best_val_jaccard"] == pytest.approx(expected)
    assert words.loc["test_jaccard", "best_val_jaccard"] == "const."
    assert words.loc["training_time_seconds", "best_val_jaccard"] == "n=3"


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


def test_learning_curves_have_a_panel_for_each_architecture_and_batch_size(tmp_path):
    rows = loaded(tmp_path, frame())
    figure = curves_figure(rows, {name: epochs() for name in rows["name"]})
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert titles == [f"{a}, batch size {b}" for a in ("UNet", "Attention_UNet") for b in (8, 16)]
    said = texts(figure)
    assert "val. Jaccard index" in said and "loss units" in said and "learning rate (log scale)" in said


def test_points_without_success_are_dashed_and_marked_with_their_class(tmp_path):
    rows = loaded(tmp_path, named(several_classes()))
    histories = {name: epochs(2 + n) for n, name in enumerate(rows["name"]) if n}
    figure = curves_figure(rows, histories)
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == [
        "successful, best epoch",
        *(
            f"{state}, its last epoch"
            for state in ("waiting", "diverged", "timeout", "cancelled", "error", "lost")
        ),
    ]
    dashed = [line for axes in figure.axes for line in axes.lines if line.get_linestyle() == "--"]
    assert len(dashed) == 2 * 6
    assert "no readable history: 1 oom" in texts(figure)


def test_the_loss_of_a_diverged_point_does_not_flatten_the_others(tmp_path):
    rows = loaded(tmp_path, fail(named(frame()), 0, "diverged"))
    histories = {name: epochs(loss=1e30 if not n else 1.0) for n, name in enumerate(rows["name"])}
    figure = curves_figure(rows, histories)
    assert max(axes.get_ylim()[1] for axes in figure.axes[:-1]) < 3
    assert "curves run along the edge" in texts(figure)


def test_without_any_history_the_sheet_says_so(tmp_path):
    rows = loaded(tmp_path, frame())
    assert "none of 12 points has a readable history" in texts(curves_figure(rows, {}))
    opened(learning_curves(rows, {"another": epochs()}))


def test_of_many_points_the_best_are_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr(learning_curves_module, "MOST_CURVES", 4)
    rows = loaded(tmp_path, frame())
    figure = curves_figure(rows, {name: epochs() for name in rows["name"]})
    assert "the 4 best of 12 points with a history are drawn" in texts(figure)
    assert sum(len(line.get_xdata()) == 6 for axes in figure.axes for line in axes.lines) == 2 * 4
    assert "not among the 4 best" in texts(figure)


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [{}],
        [{"epoch": "x", "val_jaccard": None}],
        epochs(1),
        [{"epoch": 1.0, "val_jaccard": float("nan"), "val_loss": float("inf")}],
        [{"epoch": 10**400, "val_jaccard": 7, "val_loss": -1e300}],
        epochs(5000),
    ],
)
def test_odd_histories_give_a_valid_sheet(tmp_path, rows):
    one = loaded(tmp_path, lone())
    opened(learning_curves(one, dict.fromkeys(one["name"], rows)))


def test_many_architectures_share_panels(tmp_path):
    rows = loaded(tmp_path, frame(tuple(f"net{n}" for n in range(13)), batches=(8, 16)))
    figure = curves_figure(rows, {name: epochs() for name in rows["name"]})
    assert "one panel for each architecture" in texts(figure)
    rows = loaded(tmp_path, frame(tuple(f"net{n}" for n in range(30))))
    assert "one panel for all points" in texts(curves_figure(rows, {name: epochs() for name in rows["name"]}))


def make_run(tmp_path, content):
    """A run directory with a history and a predictions picture for every point of ``content``."""
    run = tmp_path / "run"
    for name in content["name"]:
        (run / name).mkdir(parents=True)
        stem = name.split("_", 2)[2]
        (run / name / f"{stem}_history.csv").write_text(history_csv(epochs()))
        Image.new("RGB", (480, 300), "teal").save(run / name / f"{stem}_predictions.png")
    return run


def test_histories_are_found_by_name_and_odd_ones_left_out(tmp_path):
    content = named(frame())
    run = make_run(tmp_path, content)
    names = list(content["name"])
    files = [next((run / name).glob("*_history.csv")) for name in names]
    files[0].unlink()
    files[1].write_bytes(b"\x00\xffnonsense")
    files[2].write_text("")
    files[3].unlink()
    files[3].mkdir()
    files[4].unlink()
    files[4].symlink_to(files[4].name)  # a circle
    files[5].unlink()
    os.mkfifo(files[5])  # reading it would never end
    found = read_histories(run, loaded(tmp_path, content))
    assert set(found) == set(names[6:]) and len(found[names[7]]) == 6


@pytest.mark.parametrize(
    "name",
    [
        "exp_01_../../outside",
        "../outside",
        "/etc/exp_01_x",
        "exp_01_a/b",
        "exp_01_" + "x" * 5000,
        "exp_01_ä",
        "exp_1",
        "exp_01_x\\y",
    ],
)
def test_a_name_never_leads_out_of_the_run(tmp_path, name):
    run = make_run(tmp_path, named(lone()))
    rows = loaded(tmp_path, lone(name=name))
    assert read_histories(run, rows) == {} and best_predictions(rows, run) is None


def test_a_link_never_leads_out_of_the_run(tmp_path):
    content = named(lone())
    run = make_run(tmp_path, content)
    (run / content["name"][0]).rename(tmp_path / "elsewhere")
    (run / content["name"][0]).symlink_to(tmp_path / "elsewhere")
    assert read_histories(run, loaded(tmp_path, content)) == {}


def test_of_many_histories_those_of_the_best_points_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(learning_curves_module, "MOST_FILES", 2)
    content = named(frame())
    rows = loaded(tmp_path, content)
    found = read_histories(make_run(tmp_path, content), rows)
    assert list(found) == list(rows.nlargest(2, "best_val_jaccard")["name"])


def test_the_best_point_of_each_architecture_shows_its_predictions(tmp_path):
    content = named(frame())
    run = make_run(tmp_path, content)
    rows = loaded(tmp_path, content)
    said = texts(predictions_figure(rows, run))
    assert "exp_11_Attention_UNet_lr0.005_bs8: best validation Jaccard index 0.700 (chance 0.070)" in said
    assert "exp_05_UNet_lr0.005_bs8" in said
    assert opened(best_predictions(rows, run)).size[0] == 1350


def test_without_a_picture_there_is_no_sheet(tmp_path):
    rows = loaded(tmp_path, named(frame()))
    assert best_predictions(rows, tmp_path) is None
    assert best_predictions(loaded(tmp_path, failed(12)), tmp_path) is None


def enormous():
    """A file whose header promises 400 million pixels."""
    buffer = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(buffer, format="PNG")
    return buffer.getvalue()


def truncated():
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (200, 200, 3), dtype=np.uint8)
    Image.fromarray(noise).save(buffer, format="PNG")
    return buffer.getvalue()[:20_000]


@pytest.mark.parametrize(
    "content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n", truncated(), enormous(), b"GIF89a" + b"\0" * 50]
)
def test_an_unreadable_picture_is_named_on_the_sheet(tmp_path, content):
    points = named(frame())
    run = make_run(tmp_path, points)
    (run / "exp_05_UNet_lr0.005_bs8" / "UNet_lr0.005_bs8_predictions.png").write_bytes(content)
    rows = loaded(tmp_path, points)
    said = texts(predictions_figure(rows, run))
    assert "UNet_lr0.005_bs8_predictions.png cannot be read" in said or "is not shown" in said


@pytest.mark.parametrize("size", [(1, 3000), (3000, 1), (1, 1), (7000, 5000)])
def test_a_picture_of_any_shape_fits(tmp_path, size):
    points = named(lone())
    run = make_run(tmp_path, points)
    Image.new("L", size).save(next((run / points["name"][0]).glob("*_predictions.png")))
    assert opened(best_predictions(loaded(tmp_path, points), run)).size[1] < 4000


def test_a_missing_picture_is_said_beside_the_others(tmp_path):
    points = named(frame())
    run = make_run(tmp_path, points)
    next((run / "exp_05_UNet_lr0.005_bs8").glob("*_predictions.png")).unlink()
    assert "no predictions picture" in texts(predictions_figure(loaded(tmp_path, points), run))


def test_only_the_best_of_many_architectures_are_shown(tmp_path):
    points = named(frame(tuple("abcdefgh"), rates=(1e-3,), batches=(8,)).assign(best_val_jaccard=0.5))
    said = texts(predictions_figure(loaded(tmp_path, points), make_run(tmp_path, points)))
    assert f"the best {best_predictions_module.MOST_ARCHITECTURES} of 8 architectures are shown" in said


def test_the_predecessors_results_are_drawn():
    if not PREDECESSOR.is_file():
        pytest.skip(f"the predecessor's results are not at {PREDECESSOR}")
    rows = load_summary(PREDECESSOR)
    opened(comprehensive_analysis(rows))
    assert "The chance level was not recorded." in texts(comprehensive_figure(rows))
