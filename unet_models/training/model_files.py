"""Loading a model file that may come from anyone: only layers of our networks, and no code.

A file can name any class and, as a Lambda layer, bring code of its own. Keras before 3.11.3 executes that of an HDF5 file
when it is loaded, whatever ``safe_mode`` is, and an image of a container may have such a Keras. Therefore the file is read
first.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import keras

# Whatever a file of ours names, written by any version of Keras 3.
_CLASSES = {
    *("Functional", "InputLayer", "__keras_tensor__", "DTypePolicy"),
    *("Activation", "Add", "BatchNormalization", "Concatenate", "Conv2D", "Dropout", "MaxPooling2D", "Multiply"),
    *("UpSampling2D", "GlorotUniform", "HeNormal", "Ones", "Zeros"),
}  # fmt: skip
_MODULE = re.compile(r"keras(\.(layers|initializers|dtype_policies|models|src(\.\w+)*))?")
_LONGEST = 16 * 2**20  # bytes of a description; the deepest network has 100 kB


class ModelFileError(ValueError):
    """The file is no model of this program, or contains code. The message says what was found, and what to do."""


def load_model(path: Path) -> keras.Model:
    """The model in the file ``path`` (``.hdf5`` or ``.keras``), for predictions.

    Raises:
        ModelFileError: it contains something else than the layers of our networks; nothing of it was executed.
        OSError: it cannot be read.
    """
    check_model(path)
    return keras.saving.load_model(path, compile=False)


def check_model(path: Path) -> None:
    """Raise :class:`ModelFileError` where the model in the file ``path`` is not made of our layers only."""
    try:
        description = _from_archive(path) if path.suffix == ".keras" else _from_hdf5(path)
        found = json.loads(description)
    except (KeyError, ValueError, RecursionError, zipfile.BadZipFile) as error:
        if isinstance(error, ModelFileError):
            raise
        raise ModelFileError(
            f"{path} has no readable description of a model ({error}); {_EXPECTED}"
        ) from None
    for part in _described(found):
        name, module = part["class_name"], part.get("module")
        registered = part.get("registered_name")
        known = isinstance(name, str) and name in _CLASSES and registered in (None, name)
        if not known or not (module is None or (isinstance(module, str) and _MODULE.fullmatch(module))):
            raise ModelFileError(
                f"{path} contains {str(name)[:100]!r} of {str(module)[:100]!r}, which is no layer of our networks and may be code; {_EXPECTED}"
            )


_EXPECTED = "expected a model that a point of a run has written. Nothing of it was loaded"


def _from_archive(path: Path) -> bytes:
    with zipfile.ZipFile(path) as archive:
        if archive.getinfo("config.json").file_size > _LONGEST:
            raise ValueError("its config.json is far too large")
        return archive.read("config.json")


def _from_hdf5(path: Path) -> str | bytes:
    with h5py.File(path) as file:
        _check_links(file, path)
        description = file.attrs["model_config"]
    if not isinstance(description, str | bytes):
        raise ValueError("model_config is no text")  # noqa: TRY004 - of the file, not of an argument
    return description


def _check_links(group: h5py.Group, path: Path) -> None:
    """Refuse weights that are in other files: loading them would read any file of the user."""
    for name in group:
        link = group.get(name, getlink=True)
        if not isinstance(link, h5py.HardLink):
            raise ModelFileError(f"{path} has a link at {group.name}/{name}; {_EXPECTED}")
        item = group[name]
        if isinstance(item, h5py.Group):
            _check_links(item, path)
        elif isinstance(item, h5py.Dataset) and (item.external or item.is_virtual):
            raise ModelFileError(f"{path} has the data of {item.name} in another file; {_EXPECTED}")


def _described(value: Any) -> Iterator[dict[str, Any]]:
    """Every object that Keras would make of the description ``value``."""
    if isinstance(value, dict):
        if "class_name" in value:
            yield value
        for part in value.values():
            yield from _described(part)
    elif isinstance(value, list):
        for part in value:
            yield from _described(part)
