"""The predictions of the best points are shown, or the reason if a picture cannot be read."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from analysis.figures import best_predictions as best_predictions_module
from analysis.figures.best_predictions import best_predictions, predictions_figure
from tests.analysis.figures.samples import failed, loaded, lone, make_run, named, opened, texts
from tests.analysis.report.test_report import frame


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
def test_an_unreadable_picture_is_replaced_by_the_reason(tmp_path, content):
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


def test_a_missing_picture_is_replaced_by_the_reason(tmp_path):
    points = named(frame())
    run = make_run(tmp_path, points)
    next((run / "exp_05_UNet_lr0.005_bs8").glob("*_predictions.png")).unlink()
    assert "no picture of predictions: it was not made, or is not in the run" in texts(
        predictions_figure(loaded(tmp_path, points), run)
    )


def test_only_the_best_of_many_architectures_are_shown(tmp_path):
    points = named(frame(tuple("abcdefgh"), rates=(1e-3,), batches=(8,)).assign(best_val_jaccard=0.5))
    said = texts(predictions_figure(loaded(tmp_path, points), make_run(tmp_path, points)))
    assert f"the best {best_predictions_module.MOST_ARCHITECTURES} of 8 architectures are shown" in said
