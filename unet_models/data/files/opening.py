"""Opening an image file, whatever its format."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from unet_models.data.errors import DataError
from unet_models.data.files.description import Description, ImageFile


def open_image(location: str) -> ImageFile:
    """Open the image file, or the array of a container, at ``location``.

    Only the header is read. The content decides on the format, not the suffix: a file named ``.tif`` may be a PNG.

    Args:
        location: a path, or ``PATH:/NAME`` for the array ``NAME`` of an HDF5 file or a Zarr group.

    Raises:
        DataError: the file is missing, damaged, incomplete, of an unknown format, or has something other than grey
            slices: colour, transparency, channels or time points; or its container has several arrays and none is named.
    """
    return _Pillow(location)


class _Pillow(ImageFile):
    def __init__(self, location: str) -> None:
        from unet_models.data.images import read_pages

        self._pages = list(read_pages(Path(location)))
        first = self._pages[0]
        if any(page.shape != first.shape for page in self._pages):
            raise DataError(f"{location} has pages of different shapes")
        self.description = Description(
            location,
            "TIFF",
            len(self._pages),
            first.shape[0],
            first.shape[1],
            str(first.dtype),
            8 * first.dtype.itemsize,
        )

    def read(self, index: int) -> np.ndarray:
        return self._pages[index]
