"""How much memory and disk the data will need, from the headers of their files, before any of it is taken.

A header can promise anything, and a mistake in one number should end in a sentence, not in a full disk after hours.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from unet_models.data.errors import DataError
from unet_models.data.layout import Layout
from unet_models.stored_files import memory_limit

MOST_PATCHES = 100_000_000  # a pack of 100 GB at 32x32; the list of their places takes 10 GB
_SAMPLE_BYTES = 60  # for each voxel of a generated sample, at the most
_LEAST_SHARE = (
    0.5  # of the pixels are in the pack: a gap, and the rest of slices that no patch covers, are not
)


def check_sample(slices: int, size: int) -> None:
    """Refuse a generated sample that does not fit into the memory; :class:`DataError` with both keys."""
    needed = slices * size * size * _SAMPLE_BYTES
    if needed > memory_limit():
        raise DataError(
            f"data.sample_slices and data.sample_size: received {slices} slices of {size}x{size} pixels, which take "
            f"{_in_words(needed)} of memory to generate, expected at most {_in_words(memory_limit())}; choose a smaller sample"
        )


def check_layout(layout: Layout, data: Mapping[str, Any], folder: Path) -> None:
    """Refuse data of which one slice does not fit into the memory, or whose pack does not fit on the disk of ``folder``.

    Raises:
        DataError: with the file or the sizes, what there is, and what to do.
    """
    pixels = 0
    for volume in (*layout.volumes, *layout.test):
        for one in volume.slices:
            for _, page in one.pages():
                about = layout.descriptions[page.location]
                needed = about.height * about.width * np.dtype(about.dtype).itemsize
                if needed > memory_limit():
                    raise DataError(
                        f"{about.name} has slices of {about.width}x{about.height} pixels, {_in_words(needed)} each, expected "
                        f"at most {_in_words(memory_limit())}, half of the memory: cut them into tiles"
                    )
            about = layout.descriptions[one.image.location]
            pixels += about.height * about.width
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    free, needed = shutil.disk_usage(place).free, int(_LEAST_SHARE * pixels)
    if needed > free:
        raise DataError(
            f"{layout.source} has {pixels:.3g} pixels, whose pack takes at least {_in_words(needed)}, and {_in_words(free)} "
            f"are free on the file system of {place}; choose another place with --run-dir, or less data"
        )
    patches = pixels / data["patch_size"] ** 2
    if patches > MOST_PATCHES:
        raise DataError(
            f"{layout.source} has {pixels:.3g} pixels, {patches:.3g} patches of data.patch_size {data['patch_size']}, expected "
            f"at most {MOST_PATCHES:,}; choose a larger patch_size, or less data"
        )


def _in_words(size: int) -> str:
    for unit, factor in (("GB", 1e9), ("MB", 1e6)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size / 1e3:.1f} kB"
