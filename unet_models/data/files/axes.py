"""Which axis of an array is which, and slices of arrays that are stored in chunks."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from unet_models.data.errors import DataError
from unet_models.data.files.description import ImageFile

# Bytes of slices that are read at once and kept, so that a chunk of 64 slices is decoded once or twice and not 64 times.
# An image and its mask are open at the same time.
_SLAB = 2**29


@dataclass(frozen=True)
class Axes:
    """The places of z, y and x in a shape, ``None`` for z in a single slice; all other axes have the length 1."""

    z: int | None
    y: int
    x: int
    notes: tuple[str, ...] = ()


def find_axes(name: str, shape: Sequence[int], labels: Sequence[str] | None) -> Axes:
    """The axes of an array.

    Args:
        name: of the array, for errors.
        shape: of the array.
        labels: of its axes, in any case, where the file has them: z, y, x, and c, t or others.

    Raises:
        DataError: there are channels, time points or more than three axes with more than one entry; or fewer than two.
    """
    advice = "save one channel and one time point as an array of its own"
    if labels is not None and len(labels) == len(shape):
        lower = [label.lower()[:1] for label in labels]
        if {"y", "x"} <= set(lower) and len(set(lower)) == len(lower):
            others = [
                f"{label} ({length})"
                for label, length in zip(labels, shape, strict=True)
                if label.lower()[:1] not in "zyx" and length > 1
            ]
            if others:
                raise DataError(
                    f"{name} has the shape {tuple(shape)} with the axes {', '.join(labels)}; expected slices only: "
                    f"{others[0]} must have the length 1: {advice}"
                )
            return Axes(lower.index("z") if "z" in lower else None, lower.index("y"), lower.index("x"))
    long = [place for place, length in enumerate(shape) if length > 1]
    if len(shape) < 2 or len(long) > 3 or min(shape) < 1:
        raise DataError(
            f"{name} has the shape {tuple(shape)}; expected (slices, height, width) or (height, width): {advice}"
        )
    places = list(range(len(shape)))
    if len(shape) > 2 and shape[-1] == 1:  # one channel, as machine learning keeps it
        places.pop()
    while len(places) > 3:  # axes of length 1 that have no name
        places.remove(next(place for place in places if shape[place] == 1))
    if len(places) == 3 and shape[places[2]] in (2, 3, 4):
        raise DataError(
            f"{name} has the shape {tuple(shape)}, which looks like {shape[places[2]]} channels; expected (slices, height, "
            f"width): {advice}"
        )
    notes = ("axes of length 1 are left out",) if len(shape) > len(places) else ()
    return Axes(places[0] if len(places) == 3 else None, places[-2], places[-1], notes)


def stored_type(name: str, dtype: np.dtype[Any]) -> tuple[str, int]:
    """The name and the bits of the values of ``dtype`` as they are given to the product; :class:`DataError` for others."""
    if dtype.kind == "b":
        return "uint8", 1
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise DataError(f"{name} has values of the type {dtype}; expected whole or floating-point numbers")
    return dtype.newbyteorder("=").name, 8 * dtype.itemsize


class ChunkedFile(ImageFile):
    """An array whose chunks hold several slices: a layer of chunks is read at once and kept."""

    axes: Axes
    array: Any
    depth: int = 1  # slices in a chunk
    _first: int = 0
    _layer: np.ndarray | None = None

    @abstractmethod
    def guarded_fetch(self, index: tuple[Any, ...]) -> np.ndarray:
        """``array[index]``; :class:`DataError` where it is damaged."""

    def read(self, index: int) -> np.ndarray:
        """As :meth:`ImageFile.read`."""
        about = self.description
        if not 0 <= index < about.slices:
            raise IndexError(index)
        size = about.height * about.width * np.dtype(about.dtype).itemsize
        depth = min(self.depth, max(1, _SLAB // size))
        if self._layer is None or not self._first <= index < self._first + len(self._layer):
            self._layer = None  # before the next is read: only one is in memory
            self._first = index // depth * depth
            self._layer = self._fetch(self._first, min(self._first + depth, about.slices))
        return np.array(self._layer[index - self._first])

    def _fetch(self, start: int, stop: int) -> np.ndarray:
        """The slices ``start`` to ``stop`` - 1, (n, height, width), in native byte order."""
        axes = self.axes
        wanted: list[Any] = [0] * len(self.array.shape)
        for place in (axes.y, axes.x):
            wanted[place] = slice(None)
        kept = sorted(place for place in (axes.z, axes.y, axes.x) if place is not None)
        if axes.z is not None:
            wanted[axes.z] = slice(start, stop)
        found = np.asarray(self.guarded_fetch(tuple(wanted)))
        order = [kept.index(place) for place in (axes.z, axes.y, axes.x) if place is not None]
        found = found.transpose(order)
        if axes.z is None:
            found = found[None]
        return np.ascontiguousarray(found, self.description.dtype)
