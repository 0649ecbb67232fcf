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
    chosen = choose_samples(masks, 4)
    assert len(set(chosen)) == 4 and chosen.min() >= 20
    assert choose_samples(np.zeros((3, 8, 8), bool), 4).tolist() == [0, 1, 2]
