"""Writing the trained network to a file, and proof that the file predicts what was trained."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import keras
import msgspec
import numpy as np

from unet_models.networks.networks import copy_weights
from unet_models.training.model import network
from unet_models.training.model_files import load_model

# The largest difference in probability between the written and the trained network: they add in different orders.
_TOLERANCE = {"float32": 0.01, "mixed_bfloat16": 0.1, "mixed_float16": 0.1}


_ALMOST_NOTHING = 2**18  # free bytes of a file system that is full


class ModelData(msgspec.Struct, frozen=True):
    """What a model must be told about images before it can predict; it is in the model's file.

    Attributes:
        intensity_min: the value of an image that is 0 for the network; ``None`` where the run does not know it.
        intensity_max: the value that is 1 for the network; ``None`` likewise.
        patch_size: side of the training patches, in pixels.
        fingerprint: of the training data.
    """

    intensity_min: float | None
    intensity_max: float | None
    patch_size: int
    fingerprint: str


_KEY = "unet_model_data"  # attribute of an HDF5 file, and name of a member of a .keras file


def write_model(
    model: keras.Model, settings: Mapping[str, Any], images: np.ndarray, path: Path, about: ModelData
) -> np.ndarray:
    """Write ``model`` with Keras' own layers to ``path``, load the file again and compare.

    Args:
        model: the trained network.
        settings: of the point.
        images: float32 (B, P, P, 1), 0 to 1, for the comparison.
        path: ends in ``.hdf5`` or ``.keras``.
        about: is written into the file, too.

    Returns:
        What the file's network predicts for ``images``: float32 (B, P, P), 0 to 1.

    Raises:
        OSError: the file cannot be written.
        RuntimeError: the file does not contain the weights to the bit, or predicts something else.
    """
    plain = network(settings, images.shape[1])
    copy_weights(model, plain)
    try:
        save(plain, path)
        _attach(about, path)
    except (OSError, RuntimeError) as error:
        # On a full disk, HDF5 raises anything, such as "RuntimeError: Slist already enabled".
        if shutil.disk_usage(path.parent).free < _ALMOST_NOTHING:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
        raise
    loaded = load_model(path)
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


def _attach(about: ModelData, path: Path) -> None:
    """Add ``about`` to the model's file ``path``; Keras passes over it."""
    text = msgspec.json.encode(about)
    if path.suffix == ".hdf5":
        with h5py.File(path, "r+") as file:
            file.attrs[_KEY] = text.decode()
    else:
        with zipfile.ZipFile(path, "a") as file:
            file.writestr(f"{_KEY}.json", text)


def read_model_data(path: Path) -> ModelData | None:
    """What :func:`write_model` wrote into the model's file ``path``; ``None`` for a file of the first version."""
    if path.suffix == ".hdf5":
        with h5py.File(path, "r") as file:
            text = file.attrs.get(_KEY)
    else:
        with zipfile.ZipFile(path) as file:
            text = file.read(f"{_KEY}.json") if f"{_KEY}.json" in file.namelist() else None
    return None if text is None else msgspec.json.decode(text, type=ModelData)


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
