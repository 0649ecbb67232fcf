"""Cutting slices into patches."""

from __future__ import annotations

import numpy as np

from unet_models.data.errors import DataError
from unet_models.data.stacks import Stack


def cut(stack: Stack, patch: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Cut every slice into patches of ``patch`` x ``patch`` pixels that do not overlap, row by row.

    Returns:
        Images uint8 (N, patch, patch), masks bool (N, patch, patch), slice numbers int32 (N,), and the share of
        pixels, 0 to 1, at the right and lower borders that fill no patch.

    Raises:
        DataError: a slice is smaller than a patch.
    """
    images, masks, z = [], [], []
    total = 0
    for one in stack.slices:
        height, width = one.image.shape
        if height < patch or width < patch:
            raise DataError(
                f"{one.name} is {width}x{height} pixels, smaller than a patch of {patch}x{patch}; "
                "expected at least one patch, set data.patch_size"
            )
        total += height * width
        for top in range(0, height - patch + 1, patch):
            for left in range(0, width - patch + 1, patch):
                window = (slice(top, top + patch), slice(left, left + patch))
                images.append(one.image[window])
                masks.append(one.mask[window])
                z.append(one.z)
    unused = 1.0 - len(images) * patch * patch / total
    return np.stack(images), np.stack(masks), np.asarray(z, np.int32), unused
