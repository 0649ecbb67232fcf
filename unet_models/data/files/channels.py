"""From samples with several channels or a palette to one grey value for each pixel, without loss, or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from unet_models.data.errors import DataError

_INDICES = "a palette of colours is ignored: values are the indices into it"


def as_grey(name: str, array: np.ndarray, colours: int) -> np.ndarray:
    """``array`` (height, width, channels) as (height, width), at its full depth.

    Args:
        name: of the file, for errors.
        array: the channels: one or three of colour, then at most one of transparency.
        colours: 1 or 3.

    Raises:
        DataError: a pixel has colour, or is transparent.
    """
    for extra in range(colours, array.shape[2]):
        alpha = array[..., extra]
        opaque = 1.0 if alpha.dtype.kind == "f" else np.iinfo(alpha.dtype).max
        if not (alpha == opaque).all():
            clear = int((alpha != opaque).sum())
            raise DataError(
                f"{name} has {clear:,} transparent pixels; expected opaque ones: their grey value is not known. Fill the "
                "background, then save without an alpha channel"
            )
    grey = array[..., 0]
    for channel in range(1, colours):
        if not (array[..., channel] == grey).all():
            raise DataError(f"{name} is a colour image; expected grey values in one channel")
    return grey


@dataclass(frozen=True)
class Palette:
    """How the indices of a palette image become values.

    Attributes:
        table: the value of each index; ``None`` where the index is the value.
        white_is_zero: the palette is an inverted grey ramp.
        dtype: of the values, where it differs from that of the indices.
        bits: likewise.
        kind: ``indices`` or ``greys`` where the two differ, else empty; all files of a data set must agree.
        notes: for the description.
    """

    table: np.ndarray | None = None
    white_is_zero: bool = False
    dtype: np.dtype[Any] | None = None
    bits: int | None = None
    kind: str = ""
    notes: tuple[str, ...] = ()

    def applied(self, indices: np.ndarray) -> np.ndarray:
        """The values of ``indices``, of any shape."""
        if self.table is None:
            return indices
        values: np.ndarray = self.table[indices]
        return values


def palette_of(colours: np.ndarray, pages: Callable[[], Iterable[np.ndarray]]) -> Palette:
    """What a palette means for all pages of a file.

    A whole ramp from black to white changes nothing; one from white to black is ``white_is_zero``, as MINISWHITE is. Where all
    colours that are used are grey and different, as in files that a program for the web has shrunk, a value is the grey.
    Else a value is the index: labels, or grey values that are shown in false colours.

    Args:
        colours: red, green and blue of each entry, uint8 or uint16 (n, 3).
        pages: gives the indices of every page; it is called only where the palette is no ramp.
    """
    top = 255 if colours.dtype == np.uint8 else 65535
    if top == 65535 and not (colours >> 8).any() and colours.any():
        top = 255  # some programs write 8 bits into the 16 of a TIFF palette
    entries = len(colours)
    ramp = np.arange(entries) * (top / max(1, entries - 1))
    tolerance = top / 255  # the low byte of 16 bits is 0 or repeats the high one
    grey = colours[:, 0].astype(float)
    if (colours == colours[:, :1]).all() and entries in (256, 65536):
        if np.abs(grey - ramp).max() <= tolerance:
            return Palette()
        if np.abs(grey - ramp[::-1]).max() <= tolerance:
            return Palette(white_is_zero=True)
    used = np.zeros(entries, bool)
    for page in pages():
        used[np.unique(page[page < entries])] = True
        if (page >= entries).any():
            return Palette(kind="indices", notes=("indices beyond the palette: values are the indices",))
    chosen = colours[used]
    if len(chosen) == 1 and (colours != colours[:, :1]).any():
        # A slice of background only, in colours: other slices of the set use more of the same palette.
        same = chosen.tolist() == [[int(np.flatnonzero(used)[0]) * (1 if top == 255 else 257)] * 3]
        return Palette() if same else Palette(kind="indices", notes=(_INDICES,))
    if (chosen == chosen[:, :1]).all() and len(np.unique(chosen[:, 0])) == len(chosen):
        greys = colours[:, 0]
        if top == 65535 and (((greys & 255) == 0) | ((greys & 255) == greys >> 8))[used].all():
            greys = greys >> 8
        narrow = greys[used].max(initial=0) <= 255 and (top == 255 or greys.max(initial=0) <= 255)
        dtype = np.dtype(np.uint8 if narrow else np.uint16)
        ordered = bool((np.diff(greys[used].astype(int)) > 0).all())
        notes = () if ordered else ("a palette of greys in another order: values are the greys",)
        kind = "" if np.array_equal(greys[used], np.flatnonzero(used)) else "greys"
        return Palette(greys.astype(dtype), dtype=dtype, bits=8 * dtype.itemsize, kind=kind, notes=notes)
    return Palette(kind="indices", notes=(_INDICES,))
