"""The data block of a grid.yaml for small image folders, data built from it, and the packed file of the first version."""

from __future__ import annotations

import hashlib
import json
import tempfile
from pathlib import Path

import numpy as np

from jobs.grid.settings import DATA
from unet_models.data import dataset


def block(**changes):
    defaults = {key: setting.default for key, setting in DATA.items()}
    return {
        **defaults,
        "source": "files",
        "patch_size": 32,
        "gap_slices": 1,
        "validation_fraction": 0.25,
        **changes,
    }


def build(data, **options):
    """The packed data of a block; the maps of its files outlive the folder."""
    with tempfile.TemporaryDirectory() as folder:
        return dataset.build(data, Path(folder) / "data", **options)


def fingerprint_of_the_first_version(images, masks, part, z):
    """As the first version computed it, on whole arrays."""
    digest = hashlib.sha256()
    for array in (images, np.packbits(masks), part, z.astype("<i4")):
        digest.update(str(array.shape).encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return "x".join(str(length) for length in images.shape) + "-" + digest.hexdigest()[:16]


def write_first_version(path, packed, *, fingerprint=None, **arrays):
    """Write ``packed`` as the first version did: one uncompressed ``.npz``; ``arrays`` replace those of ``packed``."""
    used = {name: arrays.get(name, getattr(packed, name)) for name in ("images", "masks", "part", "z")}
    words = {
        "source": packed.source,
        "split": packed.split,
        "fingerprint": fingerprint or fingerprint_of_the_first_version(**used),
        "notes": list(packed.notes),
        "shape": list(used["masks"].shape),
    }
    text = np.frombuffer(json.dumps(words).encode(), np.uint8)
    with path.open("wb") as stream:
        np.savez(stream, **{**used, "masks": np.packbits(used["masks"])}, words=text)
