"""What an image file says about itself, and the common form of all readers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from typing_extensions import Self  # in typing from Python 3.11


@dataclass(frozen=True)
class Description:
    """What the header of an image file, or of one array in a container, says.

    Attributes:
        name: for messages: the path, and for an array in a container its name, as in ``data.h5:/raw``.
        format: ``TIFF``, ``PNG``, ``MRC``, ``HDF5``, ``Zarr`` or ``NPY``, or what the library calls another one.
        slices: number of slices. Channels, time points, thumbnails and reduced-resolution copies are not slices.
        height: of a slice, in pixels.
        width: of a slice, in pixels.
        dtype: of the stored values as NumPy names it, in native byte order: ``uint8``, ``int16``, ``float32``, ...
        bits: number of bits per sample that the file uses, at most those of ``dtype``: 12 for packed 12-bit data.
        white_is_zero: the file says that 0 is shown as white: MINISWHITE, or a palette that is an inverted grey ramp.
        compression: as the format names it; ``none`` without one.
        palette: ``indices`` or ``greys``: what the values of a palette image are, where the two differ; else empty.
        pixel_size: nm along z, y and x; ``None`` for each that the file does not say.
        notes: what was found in the file and not applied, for example an orientation tag; one sentence each, without
            the name of the file, so that equal notes of many files can be said once.
    """

    name: str
    format: str
    slices: int
    height: int
    width: int
    dtype: str
    bits: int
    white_is_zero: bool = False
    compression: str = "none"
    palette: str = ""
    pixel_size: tuple[float | None, float | None, float | None] = (None, None, None)
    notes: tuple[str, ...] = ()


class ImageFile(ABC):
    """An open file of one or more slices of the same shape and type. A context manager, which closes it."""

    description: Description

    @abstractmethod
    def read(self, index: int) -> np.ndarray:
        """The stored values of the slice ``index``, 0 to ``description.slices`` - 1.

        Returns:
            (height, width) of ``description.dtype``, in native byte order.

        Raises:
            DataError: the slice is damaged or incomplete.
        """

    def close(self) -> None:  # noqa: B027 - nothing to close is common
        """Close the file."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
