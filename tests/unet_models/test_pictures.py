"""Pictures of a point are whole: nothing is cut off, whatever its numbers look like."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from unet_models.pictures import choose_samples, curves, predictions

TITLE = "exp_36_Attention_ResUNet_lr0.0005_bs32\nsynthetic sample data (generated, not electron microscopy)"


def _pixels(png):
    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image.convert("RGB"))


def _assert_white_margin(png):
    pixels = _pixels(png)
    for edge in (pixels[:2], pixels[-2:], pixels[:, :2], pixels[:, -2:]):
        assert (edge == 255).all()


def _row(epoch, **values):
    usual = {"jaccard": 0.5, "val_jaccard": 0.4, "loss": 0.1, "val_loss": 0.2, "learning_rate": 1e-3}
    return {"epoch": epoch, **usual, **values}


@pytest.mark.parametrize(
    "rows",
    [
        [_row(1)],
        [
            _row(epoch, learning_rate=1e-3 if epoch < 9 else 5e-4) for epoch in range(1, 31)
        ],  # 9 x 10^-4 as a tick
        [_row(epoch, loss=0.00312 * epoch, val_loss=1e-6 * epoch) for epoch in range(1, 9)],
        [_row(1), _row(2, loss=123456.789), _row(3, val_loss=float("nan"))],
    ],
    ids=["one epoch", "rate halved", "small", "exploding"],
)
def test_curves_are_whole(rows):
    picture = curves(rows, title=TITLE, chance=0.09, best_epoch=1)
    assert _pixels(picture).shape == (432, 1200, 3)
    _assert_white_margin(picture)


@pytest.mark.parametrize("count", [1, 2, 4])
def test_predictions_are_whole(count):
    images = np.random.default_rng(0).integers(60, 200, (count, 32, 32), np.uint8)
    picture = predictions(images, images > 120, images / 255.0, title=TITLE)
    _assert_white_margin(picture)
    width, height = _pixels(picture).shape[1::-1]
    assert width == 960 and height == pytest.approx(114 + 264 * count, abs=1)


def test_the_same_patches_are_shown_whatever_is_predicted():
    masks = np.zeros((40, 8, 8), bool)
    for number in range(20, 40):
        masks[number, : number - 19] = True
    chosen = choose_samples(masks.mean(axis=(1, 2)), 4)
    assert len(set(chosen)) == 4 and chosen.min() >= 20
    assert choose_samples(np.zeros(3), 4).tolist() == [0, 1, 2]


@pytest.fixture
def figures(monkeypatch):
    """The figures that are drawn, in the place of files."""
    drawn = []
    monkeypatch.setattr("unet_models.pictures._png", drawn.append)
    return drawn


def test_errors_have_the_colours_of_the_legend_and_the_score_is_that_of_the_patch(figures):
    """Green: found, orange: extra, blue: missed."""
    truth = np.array([[[True, True], [False, False]]])
    probability = np.array([[[0.9, 0.5], [0.6, 0.1]]])  # found, missed (not above 0.5), extra, nothing
    predictions(np.full((1, 2, 2), 100, np.uint8), truth, probability, title="t")
    (axes,) = figures[0].axes
    image, mask, shown, errors = (np.asarray(panel.get_array()) for panel in axes.images)
    assert (image == 100).all() and (mask == truth[0]).all() and (shown == probability[0]).all()
    grey = 100 / 255
    mixed = [
        0.35 * grey + 0.65 * np.array(colour) / 255 for colour in ((0, 158, 115), (0, 114, 178), (213, 94, 0))
    ]
    expected = [[mixed[0], mixed[1]], [mixed[2], [grey] * 3]]
    np.testing.assert_allclose(errors, expected, atol=1e-12)
    texts = [text.get_text() for text in axes.texts]
    assert texts == ["image", "mask", "probability (0 to 1)", "found / extra / missed", "Jaccard 0.33"]


def test_a_patch_without_foreground_in_which_nothing_is_found_scores_one(figures):
    nothing = np.zeros((1, 4, 4), np.uint8)
    predictions(nothing, nothing > 0, nothing / 1.0, title="t")
    assert figures[0].axes[0].texts[-1].get_text() == "Jaccard 1.00"


def test_curves_show_the_columns_that_their_labels_name(figures):
    rows = [
        _row(1, jaccard=0.1, val_jaccard=0.2, loss=0.3, val_loss=0.4, learning_rate=1e-3),
        _row(2, jaccard=0.5, val_jaccard=0.6, loss=0.7, val_loss=0.8, learning_rate=5e-4),
    ]
    curves(rows, title="t", chance=0.25, best_epoch=2)
    jaccard, loss, rate = figures[0].axes

    def lines(axes):
        return {line.get_label(): [float(y) for y in line.get_ydata()] for line in axes.lines}

    assert lines(jaccard) == {
        "training": [0.1, 0.5],
        "validation": [0.2, 0.6],
        "chance 0.25": [0.25, 0.25],
        "best epoch 2": [0, 1],
    }
    assert lines(loss) == {"training": [0.3, 0.7], "validation": [0.4, 0.8]}
    assert list(lines(rate).values()) == [[1e-3, 5e-4]]
    assert [list(line.get_xdata()) for line in jaccard.lines if "best" in line.get_label()] == [[2, 2]]
