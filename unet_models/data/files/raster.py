"""PNG, JPEG, BMP, GIF and WebP files: one slice each.

Pillow reads headers and palettes. PNG pixels are decoded by imagecodecs, because Pillow reduces colour of 16 bits to 8.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from unet_models.data.errors import DataError
from unet_models.data.files.channels import Palette, as_grey, palette_of
from unet_models.data.files.description import Description, ImageFile
from unet_models.data.files.guard import guarded

_ORIENTATION = 274  # EXIF
_LOSSY = ("JPEG", "WEBP", "MPO")
# One byte of deflate can become 1032 bytes; JPEG and WebP code a block of 8x8 pixels of one grey in less than a bit.
_RATIOS = {"PNG": 1100}
_OTHER_RATIO = 20_000
_ALWAYS = 2**28  # pixels that are decoded whatever the ratio: WebP stores an empty mask in a few bytes
_NEEDED = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")  # chunks of PNG that make pixels


@contextlib.contextmanager
def _guarded(name: str) -> Iterator[None]:
    """:func:`guarded`, without Pillow's limit of pixels."""
    limit = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = (
        None  # a section of 200 megapixels is no attack; the size is checked against the file
    )
    try:
        with guarded(name, "a complete file"):
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit


class Raster(ImageFile):
    """A file of one picture."""

    def __init__(self, location: str) -> None:
        """Read the header, and the pixels only where the file has a palette."""
        self._name = location
        with _guarded(location), Image.open(location) as picture:
            self._format = str(picture.format)
            self._check(picture)
            self._mode = picture.mode
            self._transparent = "transparency" in picture.info
            self._palette: Palette | None = None
            notes: list[str] = []
            if self._mode == "P":
                colours = np.array(picture.getpalette("RGB") or [], np.uint8).reshape(-1, 3)
                self._palette = palette_of(colours, lambda: [np.asarray(picture)])
                notes += self._palette.notes
            orientation = picture.getexif().get(_ORIENTATION, 1)
            if orientation != 1:
                notes.append(
                    f"an orientation tag ({orientation}) is ignored: the pixels are used as they are stored"
                )
            if self._format in _LOSSY:
                notes.append("the pixels were compressed, perhaps with loss")
            bits = self._bits()
            self.description = Description(
                name=location,
                format=self._format,
                slices=1,
                height=picture.height,
                width=picture.width,
                dtype="uint8" if bits <= 8 else "uint16",
                bits=bits,
                white_is_zero=bool(self._palette and self._palette.white_is_zero),
                compression={"PNG": "deflate", "BMP": "none", "GIF": "lzw"}.get(
                    self._format, self._format.lower()
                ),
                palette=self._palette.kind if self._palette else "",
                notes=tuple(notes),
            )

    def _check(self, picture: Image.Image) -> None:
        name, frames = self._name, getattr(picture, "n_frames", 1)
        if frames > 1:
            raise DataError(
                f"{name} is a moving picture of {frames} frames; expected one slice, or a TIFF stack"
            )
        if self._format == "GIF" and any(
            tile[1] != (0, 0, *picture.size) for tile in getattr(picture, "tile", [])
        ):
            raise DataError(
                f"{name} does not fill its {picture.width}x{picture.height} pixels; expected a complete slice"
            )
        if picture.mode not in ("1", "L", "LA", "P", "RGB", "RGBA", "I", "I;16", "I;16B"):
            raise DataError(f"{name} is of the kind {picture.mode}; expected grey values")
        size = Path(name).stat().st_size
        needed = picture.width * picture.height // (8 if picture.mode in ("1", "P") else 1)
        ratio = _RATIOS.get(self._format)
        if needed > (size * ratio if ratio else max(size * _OTHER_RATIO, _ALWAYS)):
            raise DataError(
                f"{name} has {picture.width}x{picture.height} pixels, which do not fit into its {size:,} bytes; the file is "
                "damaged"
            )

    def _bits(self) -> int:
        """Bits per sample: 16 for deep PNG files, else 8. Pillow does not tell for colour."""
        if self._format != "PNG":
            return 8
        with Path(self._name).open("rb") as stream:
            depth = stream.read(25)[24]
        return 16 if depth == 16 else 8

    def _decoded(self) -> np.ndarray[Any, Any]:
        """The samples, (height, width) or (height, width, channels)."""
        if self._format == "PNG" and self._mode != "P":
            content = Path(self._name).read_bytes()
            if not self._by_pillow(content):
                import imagecodecs

                return np.asarray(imagecodecs.png_decode(_pixel_chunks(content)))
        with Image.open(self._name) as picture:
            if self._transparent and self._mode in ("1", "L", "P"):
                self._check_opaque(picture)
            array = np.asarray(picture)
        if array.dtype.kind == "b":
            return array.astype(np.uint8) * 255
        return array.astype(np.uint16) if self._mode.startswith("I") else array

    def _by_pillow(self, content: bytes) -> bool:
        """Whether Pillow decodes a PNG file exactly and imagecodecs would print a warning: it is interlaced."""
        deep_colour = self.description.bits == 16 and not self._mode.startswith("I")
        return content[28] != 0 and not deep_colour and not self._transparent

    def _check_opaque(self, picture: Image.Image) -> None:
        """A palette may have transparent entries, and so may one of greys, which Pillow gives as grey (GIF)."""
        clear = picture.info["transparency"]
        indices = np.asarray(picture).astype(np.uint8)
        alpha = np.full(256, 255, np.uint8)
        if isinstance(clear, int):
            alpha[clear] = 0
        else:
            alpha[: len(clear)] = np.frombuffer(clear, np.uint8)
        count = int((alpha[indices] != 255).sum())
        if count:
            raise DataError(
                f"{self._name} has {count:,} transparent pixels; expected opaque ones: their grey value is not known. Fill "
                "the background, then save without transparency"
            )

    def read(self, index: int) -> np.ndarray:
        """As :meth:`ImageFile.read`."""
        if index != 0:
            raise IndexError(index)
        with _guarded(self._name):
            array = self._decoded()
            if array.ndim == 3:
                array = as_grey(self._name, array, 1 if array.shape[2] < 3 else 3)
            if self._palette is not None:
                array = self._palette.applied(array)
            described = self.description
            if array.shape != (described.height, described.width) or array.dtype != described.dtype:
                raise DataError(
                    f"{self._name} has {array.dtype} values of the shape {array.shape}, and its header promises "
                    f"{described.dtype} {(described.height, described.width)}; the file is damaged"
                )
            return np.ascontiguousarray(array)


def _pixel_chunks(content: bytes) -> bytes:
    """A PNG file without the chunks that change no pixel: libpng prints a warning about each that it finds odd."""
    kept, place = [content[:8]], 8
    while place + 12 <= len(content):
        end = place + 12 + int.from_bytes(content[place : place + 4], "big")
        if content[place + 4 : place + 8] in _NEEDED:
            kept.append(content[place:end])
        place = end
    return b"".join(kept)
