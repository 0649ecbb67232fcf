"""Arrays of HDF5 files: ``data.h5:/raw``."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from unet_models.data.errors import DataError
from unet_models.data.files.axes import ChunkedFile, find_axes, stored_type
from unet_models.data.files.description import Description
from unet_models.data.files.guard import guarded
from unet_models.data.files.opening import split_location

_EXPECTED = "a complete HDF5 file"
_SHOWN = 10


class Hdf5(ChunkedFile):
    """An array of an HDF5 file."""

    def __init__(self, location: str) -> None:
        """Open the file and find the array."""
        try:
            import h5py
        except ImportError as error:
            raise DataError(
                f"{location}: to read HDF5 files, h5py is needed and cannot be imported ({error}); install it: pip install h5py"
            ) from error
        path, name = split_location(location)
        with contextlib.ExitStack() as stack:
            stack.enter_context(guarded(location, _EXPECTED))
            try:
                # Its lock needs a file system that allows locks, and a file that may be written.
                file = h5py.File(path, "r", locking=False)
            except TypeError:  # h5py before 3.5
                file = h5py.File(path, "r")
            stack.callback(file.close)
            self.array = self._chosen(location, file, name, h5py.Dataset)
            dtype, bits = stored_type(location, self.array.dtype)
            labels = _labels(self.array)
            self.axes = find_axes(location, self.array.shape, labels)
            _check_stored(location, Path(path).parent, self.array)
            chunks = self.array.chunks
            if chunks and self.axes.z is not None:
                self.depth = chunks[self.axes.z]
            shown = f"{path}:{self.array.name}"
            shape = self.array.shape
            self.description = Description(
                name=shown,
                format="HDF5",
                slices=1 if self.axes.z is None else shape[self.axes.z],
                height=shape[self.axes.y],
                width=shape[self.axes.x],
                dtype=dtype,
                bits=bits,
                compression=self.array.compression or "none",
                pixel_size=_pixel_size(self.array),
                white_is_zero=_attribute(self.array, "IMAGE_WHITE_IS_ZERO") in ("1", "True"),
                notes=(*self.axes.notes, *_conventions(self.array)),
            )
            stack.pop_all()
        self.close = file.close  # type: ignore[method-assign]

    @staticmethod
    def _chosen(location: str, file: Any, name: str | None, kind: type) -> Any:
        """The array ``name``, or the only one of the file."""
        arrays: list[str] = []

        def visit(path: str, item: Any) -> None:
            if isinstance(item, kind) and len(item.shape or ()) >= 2:  # type: ignore[attr-defined]
                arrays.append(path)

        file.visititems(visit)
        there = ", ".join(f"/{one}" for one in arrays[:_SHOWN]) + (", ..." if len(arrays) > _SHOWN else "")
        if name is None:
            if len(arrays) == 1:
                return file[arrays[0]]
            if not arrays:
                raise DataError(
                    f"{location} has no array of slices of its own; expected one of at least two axes. If it has links to other files, "
                    f"give the name of one after the path, such as {location}:/raw"
                )
            raise DataError(
                f"{location} has {len(arrays)} arrays ({there}); expected the name of one after the path, "
                f"such as {location}:/{arrays[0]}"
            )
        try:
            chosen = file[name]
        except KeyError as error:  # also a link to nothing
            lost = file.get(name, getlink=True) if name in file else None
            target = getattr(lost, "filename", "") or getattr(lost, "path", "")
            raise DataError(
                f"{location}: there is no array /{name}"
                + (f", only a link to {target}, which is not there" if target else "")
                + f"; expected one of {there or 'no array at all'}"
            ) from error
        if not isinstance(chosen, kind) or len(chosen.shape or ()) < 2:  # type: ignore[attr-defined]
            raise DataError(
                f"{location}: /{name} is no array of slices; expected one of {there or 'no array at all'}"
            )
        return chosen

    def guarded_fetch(self, index: tuple[Any, ...]) -> np.ndarray:
        """As :meth:`ChunkedFile.guarded_fetch`."""
        with guarded(self.description.name, _EXPECTED):
            found: np.ndarray = self.array[index]
            return found


def _check_stored(location: str, folder: Path, array: Any) -> None:
    """Every element is stored: HDF5 gives fill values, without a word, for what is missing. ``folder`` is the file's."""
    if array.is_virtual:
        _check_virtual(location, folder, array)
        return
    if array.external:
        # HDF5 looks for them in the current directory, and gives zeros where one is shorter than the array.
        names = ", ".join(str(name) for name, _, _ in array.external[:_SHOWN])
        raise DataError(
            f"{location} keeps its values in other files ({names}); expected an array of its own: copy its values into a new file"
        )
    if array.size == 0:
        return
    if array.chunks is not None:
        expected = math.prod(
            -(-length // chunk) for length, chunk in zip(array.shape, array.chunks, strict=True)
        )
        written = array.id.get_num_chunks()
        if written > expected:
            raise DataError(
                f"{location} has {written:,} chunks, and its shape {array.shape} needs {expected:,}; the file is damaged: copy it "
                "again"
            )
        if written < expected:
            raise DataError(
                f"{location}: {expected - written:,} of its {expected:,} chunks were never written and would be read as "
                f"{array.fillvalue}; expected a complete array: write it again"
            )
        return
    stored = array.id.get_storage_size()
    if stored == 0:
        raise DataError(
            f"{location} was never written and would be read as {array.fillvalue}; write it again"
        )
    if stored != array.nbytes:
        raise DataError(
            f"{location} has {stored:,} bytes, and its shape {array.shape} needs {array.nbytes:,}; the file is damaged: copy it "
            "again"
        )


def _check_virtual(location: str, folder: Path, array: Any) -> None:
    """The sources of a virtual array are there and cover it."""
    import h5py

    covered = 0
    for source in array.virtual_sources():
        covered += source.vspace.get_select_npoints()
        own = source.file_name == "."
        if "%" in source.file_name + source.dset_name:
            raise DataError(
                f"{location} takes its values from a series of files ({source.file_name}:{source.dset_name}); expected an array of "
                "its own: copy its values into a new file"
            )
        path = Path(array.file.filename) if own else folder / source.file_name
        if not path.is_file():
            raise DataError(
                f"{location} refers to the file {source.file_name}, which is not there; copy it, too"
            )
        with contextlib.nullcontext(array.file) if own else h5py.File(path, "r") as file:
            if not isinstance(file.get(source.dset_name), h5py.Dataset):
                raise DataError(
                    f"{location} refers to the array {source.dset_name} of {path.name}, which is not there; expected the file that "
                    "it was made with: copy it, too"
                )
            if not own:  # a source in the same file may be the array itself
                _check_stored(f"{path}:/{source.dset_name.strip('/')}", path.parent, file[source.dset_name])
    if covered < array.size:
        raise DataError(
            f"{location}: {array.size - covered:,} of its {array.size:,} values come from no file and would be read as "
            f"{array.fillvalue}; expected a complete array: write it again"
        )


def _labels(array: Any) -> Sequence[str] | None:
    """The names of the axes, as ilastik (``axistags``) or HDF5's dimension scales give them."""
    attributes = array.attrs
    if "axistags" in attributes:
        with contextlib.suppress(ValueError, KeyError, TypeError):
            return [str(axis["key"]) for axis in json.loads(attributes["axistags"])["axes"]]
    labels = [dimension.label for dimension in array.dims]
    return labels if all(labels) else None


def _attribute(array: Any, name: str) -> str:
    """The value of an attribute of one element, as text; empty without it, or where it cannot be read."""
    with contextlib.suppress(Exception):
        return str(np.asarray(array.attrs[name]).item()) if name in array.attrs else ""
    return ""


def _conventions(array: Any) -> list[str]:
    """Notes on attributes of netCDF that would change values."""
    found = {
        name: _attribute(array, name)
        for name in ("scale_factor", "add_offset", "_FillValue", "missing_value")
    }
    shown = ", ".join(f"{name} {value}" for name, value in found.items() if value)
    return [f"attributes ({shown}) are ignored: the values are used as they are stored"] if shown else []


def _pixel_size(array: Any) -> tuple[float | None, float | None, float | None]:
    """Nm along z, y and x, from ``element_size_um``."""
    with contextlib.suppress(Exception):  # a size that cannot be read is not known
        z, y, x = (float(value) * 1000 for value in array.attrs["element_size_um"])
        return z, y, x
    return None, None, None
