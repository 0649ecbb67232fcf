"""A network and data small enough to train in a second."""

from __future__ import annotations

import numpy as np

from jobs.grid.settings import POINT
from unet_models.data.packed import PackedData

SETTINGS = {key: setting.default for key, setting in POINT.items()} | {
    "base_filters": 2,
    "levels": 3,
    "epochs": 2,
    "learning_rate": 5e-3,
}


def discs(train=64, validation=8, test=4, size=32):
    """Bright discs on noise: an easy task for the smallest network."""
    generator = np.random.default_rng(0)
    count = train + validation + test
    rows, columns = np.indices((size, size))
    centres = generator.integers(8, size - 8, (count, 2))
    masks = np.stack([(rows - y) ** 2 + (columns - x) ** 2 < 36 for y, x in centres])
    images = np.clip(generator.normal(80, 15, masks.shape) + 90 * masks, 0, 255).astype(np.uint8)
    part = np.repeat([0, 1, 2], [train, validation, test]).astype(np.int8)
    return PackedData.of_arrays(
        images, masks, part, np.arange(count, dtype=np.int32), "discs", "contiguous", fingerprint="f"
    )


def built(settings=SETTINGS):
    """A network and its training batches, as a training builds them."""
    from unet_models.data.pipeline import training_batches
    from unet_models.training.model import build_model

    batches = training_batches(
        discs().patches("train"),
        batch_size=settings["batch_size"],
        seed=1,
        first_epoch=0,
        epochs=1,
        augment=False,
    )
    return build_model(settings, 32)[0], batches
