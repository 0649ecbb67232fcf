"""Assigning slices or patches to the training and validation parts.

A random split of patches leaks: neighbouring slices are near copies of each other (mask IoU 0.92 at distance 1, 0.40 at
20 and 0.14 at 40 slices in the EPFL volume), so it scores memory rather than learning. The contiguous split holds out
one block of slices and leaves a gap around it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from unet_models.data.errors import DataError

TRAIN, VALIDATION = 0, 1  # indices into unet_models.data.packed.PARTS
UNUSED = -1  # slices in the gap belong to no part


def split_slices(z: np.ndarray, data: Mapping[str, Any], volume: str = "") -> dict[int, int]:
    """The part of every slice number: ``{z: TRAIN, VALIDATION or UNUSED}``; each slice is in one part only.

    The validation part is one block of slices at the ``start``, in the ``middle`` or at the ``end``
    (``validation_block``). It has the share ``validation_fraction`` of the slices, rounded to the nearest number, but
    at least 1. Other slices whose number is within ``gap_slices`` of the block are unused.

    Args:
        z: slice numbers, int (N,), repeated or not.
        data: the checked ``data`` block of ``grid.yaml``.
        volume: name of the volume, for errors, where there are several.

    Raises:
        DataError: there is only one slice, or none is left for training.
    """
    slices = np.unique(z)
    count = max(1, round(data["validation_fraction"] * len(slices)))
    of_volume = f"the volume '{volume}' has" if volume else ""
    if len(slices) < 2:
        raise DataError(
            f"{of_volume or 'the data have'} {len(slices)} slice; expected at least 2, to hold one out for validation"
            + (", or whole volumes in data.validation_volumes" if volume else "")
        )
    start = {"start": 0, "middle": (len(slices) - count) // 2, "end": len(slices) - count}[
        data["validation_block"]
    ]
    block = slices[start : start + count]
    parts = {}
    for one in slices:
        inside = block[0] <= one <= block[-1]
        distance = max(block[0] - one, one - block[-1])
        near = not inside and distance <= data["gap_slices"]
        parts[int(one)] = VALIDATION if inside else UNUSED if near else TRAIN
    if TRAIN not in parts.values():
        raise DataError(
            f"data.gap_slices {data['gap_slices']} with data.validation_fraction {data['validation_fraction']} leaves "
            f"none of the {len(slices)} slices {f'of the volume {volume!r} ' if volume else ''}(numbers {slices[0]} to {slices[-1]}) for training; expected a smaller gap"
        )
    return parts


def split_patches(count: int, data: Mapping[str, Any]) -> np.ndarray:
    """A random part, int8 (count,), for each of ``count`` patches, with the seed ``split_seed``.

    The validation part has the share ``validation_fraction`` of the patches, rounded to the nearest number, but at
    least 1.
    """
    generator = np.random.default_rng(data["split_seed"])
    held_out = generator.permutation(count)[: max(1, round(data["validation_fraction"] * count))]
    part = np.full(count, TRAIN, np.int8)
    part[held_out] = VALIDATION
    return part
