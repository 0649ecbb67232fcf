"""NumPy's ``.npy`` files of slices, (slices, height, width) or (height, width)."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from unet_models.data.errors import DataError
from unet_models.data.files.axes import find_axes, stored_type
from unet_models.data.files.description import Description, ImageFile
from unet_models.data.files.guard import guarded

_EXPECTED = "a complete .npy file"


class Npy(ImageFile):
    """A file of one array. A slice is read when it is asked for."""

    def __init__(self, location: str) -> None:
        """Read the header."""
        self._path = Path(location)
        with guarded(location, _EXPECTED), self._path.open("rb") as stream:
            version = np.lib.format.read_magic(stream)
            reader = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }
            if version not in reader:
                raise DataError(f"{location} has the version {version} of .npy; expected 1.0 or 2.0")
            self._shape, self._fortran, self._dtype = reader[version](stream)
            self._start = stream.tell()
            name, bits = stored_type(location, self._dtype)
            needed = self._start + math.prod(self._shape) * self._dtype.itemsize
            size = self._path.stat().st_size
            if size < needed:
                raise DataError(
                    f"{location} has {size:,} of {needed:,} bytes; expected a complete file: copy it again"
                )
            if size > needed:
                raise DataError(
                    f"{location} has {size - needed:,} bytes after its array of the shape {self._shape}, as when several arrays "
                    "were saved one after the other; expected one array: numpy.save(path, numpy.stack(slices))"
                )
            axes = find_axes(location, self._shape, None)
        self.description = Description(
            name=location,
            format="NPY",
            slices=1 if axes.z is None else self._shape[axes.z],
            height=self._shape[axes.y],
            width=self._shape[axes.x],
            dtype=name,
            bits=bits,
            notes=axes.notes,
        )

    def read(self, index: int) -> np.ndarray:
        """As :meth:`ImageFile.read`."""
        about = self.description
        with guarded(f"{about.name}[{index}]", _EXPECTED):
            if self._fortran:
                # The other axes have the length 1, so that those of a slice follow each other in either order.
                kept = (about.slices, about.height, about.width)
                whole = np.memmap(self._path, self._dtype, "r", self._start, kept, order="F")
                found = np.array(whole[index])
            else:
                count = about.height * about.width
                offset = self._start + index * count * self._dtype.itemsize
                found = np.fromfile(self._path, self._dtype, count, offset=offset)
                found = found.reshape(about.height, about.width)
            return np.ascontiguousarray(found, about.dtype)
