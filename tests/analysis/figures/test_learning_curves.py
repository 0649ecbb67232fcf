"""The learning curves are valid for odd histories, and show how each point ended."""

from __future__ import annotations

import pytest

from analysis.figures import learning_curves as learning_curves_module
from analysis.figures.learning_curves import curves_figure, learning_curves
from tests.analysis.figures.samples import (
    ODD,
    epochs,
    loaded,
    lone,
    named,
    opened,
    several_classes,
    texts,
)
from tests.analysis.report.test_report import fail, frame


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
    assert "curves far above those of the successful points are cut off at the edge" in texts(figure)


def test_without_any_history_the_sheet_contains_the_reason(tmp_path):
    rows = loaded(tmp_path, frame())
    assert "none of 12 points has a readable history" in texts(curves_figure(rows, {}))
    opened(learning_curves(rows, {"another": epochs()}))


def test_of_many_points_the_best_are_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr(learning_curves_module, "MOST_CURVES", 4)
    rows = loaded(tmp_path, frame())
    figure = curves_figure(rows, {name: epochs() for name in rows["name"]})
    assert "only the best 4 of 12 points with a history are drawn" in texts(figure)
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
    assert "2 batch sizes: one panel per architecture" in texts(figure)
    rows = loaded(tmp_path, frame(tuple(f"net{n}" for n in range(30))))
    assert "one panel for all points" in texts(curves_figure(rows, {name: epochs() for name in rows["name"]}))
