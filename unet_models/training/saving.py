"""Writing the trained network to a file, and proof that the file predicts what was trained."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from unet_models.networks.networks import copy_weights
from unet_models.training.model import network

# The largest difference in probability between the written and the trained network: they add in different orders.
_TOLERANCE = {"float32": 0.01, "mixed_bfloat16": 0.1, "mixed_float16": 0.1}


def write_model(
    model: keras.Model, settings: Mapping[str, Any], images: np.ndarray, path: Path
) -> np.ndarray:
    """Write ``model`` with Keras' own layers to ``path``, load the file again and compare.

    Args:
        model: the trained network.
        settings: of the point.
        images: float32 (B, P, P, 1), 0 to 1, for the comparison.
        path: ends in ``.hdf5`` or ``.keras``.

    Returns:
        What the file's network predicts for ``images``: float32 (B, P, P), 0 to 1.

    Raises:
        RuntimeError: the file does not contain the weights to the bit, or predicts something else.
    """
    plain = network(settings, images.shape[1])
    copy_weights(model, plain)
    save(plain, path)
    loaded = keras.saving.load_model(path, compile=False)
    for written, expected in zip(loaded.get_weights(), plain.get_weights(), strict=True):
        if not np.array_equal(written, expected):
            raise RuntimeError(
                f"{path} contains different weights than those that were trained: the file was not written completely"
            )
    found: np.ndarray = keras.ops.convert_to_numpy(loaded(images, training=False))[..., 0]
    trained = keras.ops.convert_to_numpy(model(images, training=False))[..., 0]
    difference = float(np.abs(found - trained).max())
    tolerance = _TOLERANCE[settings["precision"]]
    if not difference <= tolerance:
        raise RuntimeError(
            f"{path} predicts probabilities that differ by {difference:.3g} from those of the trained network; "
            f"expected at most {tolerance:g}: the file is not the model that was trained"
        )
    return found


def save(model: keras.Model, path: Path) -> None:
    """Write the network and its weights, without the optimizer, to ``path`` (``.hdf5`` or ``.keras``)."""
    with contextlib.ExitStack() as stack:
        if path.suffix == ".hdf5":
            # The guide promises .hdf5; Keras warns each time, on a logger of its own, that it is a legacy format.
            from absl import logging

            level = logging.get_verbosity()
            stack.callback(logging.set_verbosity, level)
            logging.set_verbosity(logging.ERROR)
        model.save(path, include_optimizer=False) if path.suffix == ".hdf5" else model.save(path)
