"""Opening an image file, whatever its format."""

from __future__ import annotations

from pathlib import Path

from unet_models.data.errors import DataError
from unet_models.data.files.description import ImageFile


def open_image(location: str) -> ImageFile:
    """Open the image file, or the array of a container, at ``location``.

    Only the header is read. The content decides on the format, not the suffix: a file named ``.tif`` may be a PNG.

    Args:
        location: a path, or ``PATH:/NAME`` for the array ``NAME`` of an HDF5 file or a Zarr group.

    Raises:
        DataError: the file is missing, damaged, incomplete, of an unknown format, or has something other than grey
            slices: colour, transparency, channels or time points; or its container has several arrays and none is named.
    """
    raise DataError(f"{Path(location)} cannot be read yet")
