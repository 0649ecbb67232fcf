"""Arrays of Zarr and OME-Zarr folders: ``data.zarr``, ``data.zarr:/labels/mitochondria``."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np

from unet_models.data.errors import DataError
from unet_models.data.files.axes import ChunkedFile, find_axes, stored_type
from unet_models.data.files.description import Description
from unet_models.data.files.guard import guarded
from unet_models.data.files.opening import split_location

_EXPECTED = "a complete Zarr array"
_SHOWN = 10
_NM = {"nanometer": 1.0, "micrometer": 1e3, "millimeter": 1e6, "angstrom": 0.1}


class Zarr(ChunkedFile):
    """An array of a Zarr folder; of a pyramid (OME-Zarr), its full resolution."""

    def __init__(self, location: str) -> None:
        """Open the folder and find the array."""
        try:
            import zarr
        except ImportError as error:
            raise DataError(
                f"{location}: to read Zarr folders, zarr is needed and cannot be imported ({error}); install it: pip install zarr"
            ) from error
        path, name = split_location(location)
        if not Path(path).is_dir():
            raise DataError(f"{path} is a file; expected a Zarr folder")
        with guarded(location, _EXPECTED):
            opened: Any = zarr.open(path, mode="r")
            if name is not None:
                if isinstance(opened, zarr.Array) or name not in opened:
                    raise DataError(
                        f"{location}: there is no array /{name}; expected {_list(opened, zarr) or 'another name'}"
                    )
                opened = opened[name]
            opened = self._only(location, opened, zarr)
            pyramid = None if isinstance(opened, zarr.Array) else _pyramid(opened)
            self.array = opened if pyramid is None else _largest(opened, pyramid)
            labels = _labels(pyramid, self.array)
            self.axes = find_axes(location, self.array.shape, labels)
            dtype, bits = stored_type(location, np.dtype(self.array.dtype))
            if self.axes.z is not None:
                self.depth = self.array.chunks[self.axes.z]
            notes = self.axes.notes
            expected, there = _chunks(self.array)
            if there < expected:
                # Zarr leaves out chunks that hold nothing but the fill value, so that they are no sign of damage.
                notes += (
                    f"{expected - there:,} of its {expected:,} chunks are not there and are read as {self.array.fill_value}",
                )
            shape = self.array.shape
            self.description = Description(
                name=location,
                format="Zarr",
                slices=1 if self.axes.z is None else shape[self.axes.z],
                height=shape[self.axes.y],
                width=shape[self.axes.x],
                dtype=dtype,
                bits=bits,
                pixel_size=_pixel_size(pyramid),
                notes=notes,
            )

    @staticmethod
    def _only(location: str, group: Any, zarr: Any) -> Any:
        """``group`` if it is an array or a pyramid, else the only one in it."""
        if isinstance(group, zarr.Array) or _pyramid(group) is not None:
            return group
        arrays = dict(_arrays(group, zarr))
        if len(arrays) == 1:
            return next(iter(arrays.values()))
        there = _list(group, zarr)
        start = location if ":/" in location else f"{location}:"
        raise DataError(
            f"{location} has {len(arrays) or 'no'} arrays of slices{f' ({there})' if there else ''}; expected the name of one after "
            f"the path, such as {start}/{next(iter(arrays), 'raw')}"
        )

    def guarded_fetch(self, index: tuple[Any, ...]) -> np.ndarray:
        """As :meth:`ChunkedFile.guarded_fetch`."""
        with guarded(self.description.name, _EXPECTED):
            return np.asarray(self.array[index])


def _arrays(group: Any, zarr: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The arrays with at least two axes and the pyramids below ``group``, by their path and in the order of names."""
    if isinstance(group, zarr.Array):
        return
    levels = [str(level["path"]) for level in (_pyramid(group) or {"datasets": []})["datasets"]]
    for name, array in sorted(group.arrays(), key=itemgetter(0)):
        if len(array.shape) >= 2 and name not in levels:
            yield f"{prefix}{name}", array
    for name, inner in sorted(group.groups(), key=itemgetter(0)):
        if _pyramid(inner) is not None:
            yield f"{prefix}{name}", inner
        yield from _arrays(inner, zarr, f"{prefix}{name}/")


def _list(group: Any, zarr: Any) -> str:
    names = [f"/{name}" for name, _ in _arrays(group, zarr)]
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")


def _pyramid(group: Any) -> dict[str, Any] | None:
    """The first ``multiscales`` entry of an OME-Zarr group, of version 0.4 or 0.5; ``None`` for another group."""
    attributes = dict(group.attrs)
    found = attributes.get("multiscales") or dict(attributes.get("ome") or {}).get("multiscales")
    return dict(found[0]) if found else None


def _largest(group: Any, pyramid: dict[str, Any]) -> Any:
    """The level with the most pixels: it should be the first, but not all programs write it so."""
    levels = [group[level["path"]] for level in pyramid["datasets"]]
    return max(levels, key=lambda level: math.prod(level.shape))


def _chunks(array: Any) -> tuple[int, int]:
    """How many chunks, or shards, an array has and how many of them are there."""
    stored = getattr(array, "shards", None) or array.chunks
    expected = math.prod(-(-length // size) for length, size in zip(array.shape, stored, strict=True))
    return expected, int(array.nchunks_initialized) // (math.prod(stored) // math.prod(array.chunks))


def _labels(pyramid: dict[str, Any] | None, array: Any) -> Sequence[str] | None:
    """The names of the axes: of the pyramid, of Zarr 3, or of xarray."""
    if pyramid is not None and "axes" in pyramid:
        return [str(axis["name"]) if isinstance(axis, dict) else str(axis) for axis in pyramid["axes"]]
    with contextlib.suppress(AttributeError):
        names = array.metadata.dimension_names
        if names and all(names):
            return [str(name) for name in names]
    named = dict(array.attrs).get("_ARRAY_DIMENSIONS")
    return [str(name) for name in named] if named else None


def _pixel_size(pyramid: dict[str, Any] | None) -> tuple[float | None, float | None, float | None]:
    """Nm along z, y and x, from the scale of the first level."""
    sizes: dict[str, float | None] = {}
    with contextlib.suppress(Exception):  # a size that cannot be read is not known
        if pyramid is not None:
            steps = pyramid["datasets"][0]["coordinateTransformations"]
            scale = next(one["scale"] for one in steps if one["type"] == "scale")
            for axis, value in zip(pyramid["axes"], scale, strict=True):
                unit = axis.get("unit")
                sizes[axis["name"]] = float(value) * _NM[unit] if unit in _NM else None
    return sizes.get("z"), sizes.get("y"), sizes.get("x")
