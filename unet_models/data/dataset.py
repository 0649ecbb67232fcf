"""From the images that ``grid.yaml`` names to the packed data of a run: read, cut, split, check.

The split is made on slices, before they are cut into patches; :mod:`unet_models.data.splits` gives the reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from unet_models.data.errors import DataError
from unet_models.data.packed import PARTS, PackedData
from unet_models.data.patches import cut
from unet_models.data.splits import UNUSED, split_patches, split_slices
from unet_models.data.stacks import read_stacks


def build(data: Mapping[str, Any]) -> PackedData:
    """Read, check, cut and split the data that ``grid.yaml`` names.

    Args:
        data: the checked ``data`` block of ``grid.yaml``.

    Raises:
        DataError: the data cannot be used, or are not those that ``expected_patches`` or ``expected_fingerprint``
            describe.
    """
    stack, test, source = read_stacks(data)
    patch = data["patch_size"]
    notes = list(stack.notes)
    images, masks, z, unused = cut(stack, patch)
    if unused > 0:
        notes.append(f"{100 * unused:.1f} % of the pixels, at the right and lower borders, fill no patch")
    if data["split"] == "random":
        part = split_patches(len(z), data)
        notes.append(
            "random split of patches: neighbouring slices are on both sides, so validation scores leak"
        )
    else:
        assigned = split_slices(z, data)
        part = np.array([assigned[int(one)] for one in z], np.int8)
        if data["gap_slices"] == 0:
            notes.append("no gap between training and validation: the slices at the border are near copies")
    keep = part != UNUSED
    images, masks, z, part = images[keep], masks[keep], z[keep], part[keep]
    if test is not None:
        test_images, test_masks, test_z, _ = cut(test, patch)
        images, masks = np.concatenate([images, test_images]), np.concatenate([masks, test_masks])
        z = np.concatenate([z, test_z])
        part = np.concatenate([part, np.full(len(test_z), PARTS.index("test"), np.int8)])
    packed = PackedData(images, masks, part, z, source, data["split"], notes=tuple(notes))
    _check_masks(packed)
    packed = packed.with_fingerprint()
    _check_expected(packed, data)
    return packed


def _check_masks(packed: PackedData) -> None:
    """:class:`DataError` unless the training and validation parts have foreground and background."""
    for index, name in enumerate(PARTS[:2]):
        masks = packed.masks[packed.part == index]
        if not masks.any():
            raise DataError(
                f"the masks of the {name} part of {packed.source} have no foreground at all; expected mitochondria, "
                "check the masks, data.mask_threshold and data.validation_block"
            )
        if masks.all():
            raise DataError(
                f"the masks of the {name} part of {packed.source} are foreground everywhere; expected background "
                "too, check the masks and data.mask_threshold"
            )


def _check_expected(packed: PackedData, data: Mapping[str, Any]) -> None:
    """:class:`DataError` if these are not the data that ``grid.yaml`` describes."""
    count, expected = len(packed.part), data["expected_patches"]
    if expected is not None and expected != count:
        raise DataError(
            f"{packed.source} gives {count} patches, but data.expected_patches is {expected}: "
            "these are not the data that grid.yaml describes; correct data.path or the number"
        )
    expected = data["expected_fingerprint"]
    if expected is not None and expected != packed.fingerprint:
        raise DataError(
            f"{packed.source} has the fingerprint {packed.fingerprint}, but data.expected_fingerprint is "
            f"{expected}: these are not the data that grid.yaml describes"
        )
