"""MRC stacks and volumes, as microscopes, IMOD and tomography programs write them.

The format: Cheng et al., Journal of Structural Biology 192, 146 (2015), doi:10.1016/j.jsb.2015.04.002.
"""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import numpy as np
from mrcfile.mrcinterpreter import MrcInterpreter

from unet_models.data.errors import DataError
from unet_models.data.files.description import Description, ImageFile
from unet_models.data.files.guard import guarded

_EXPECTED = "a complete MRC file"
_HEADER = 1024  # bytes
_LENGTH = 92  # where the header has the number of bytes of the extended one
_TYPES = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2"}
_OTHERS = {3: "complex", 4: "complex", 16: "RGB", 101: "4-bit"}
_IMOD = 1146047817  # the stamp of IMOD, "IMOD" as a number
_VERSION = 20140  # the first version of the format that numbers itself; it says that mode 0 is signed
_SMALLEST, _LARGEST = 0.01, 10_000.0  # nm


class Mrc(ImageFile):
    """A file whose sections are slices, in the order in which they are stored."""

    def __init__(self, location: str) -> None:
        """Read the header."""
        self._path = Path(location)
        with guarded(location, _EXPECTED):
            header, extended = _header(location, self._path)
            mode = int(header.mode)
            if mode not in _TYPES:
                if mode not in _OTHERS:
                    raise DataError(
                        f"{location} is no MRC file: its header has the mode {mode}, which does not exist; expected a complete MRC file: "
                        "copy it again"
                    )
                kind = _OTHERS[mode]
                raise DataError(
                    f"{location} is of mode {mode} ({kind} values); expected mode 0, 1, 2, 6 or 12: convert it, for example "
                    "with IMOD: newstack -mode 1 OLD NEW"
                )
            columns, rows, sections = (int(header[key]) for key in ("nx", "ny", "nz"))
            if min(columns, rows, sections) < 1:
                raise DataError(
                    f"{location} has {columns}x{rows} pixels and {sections} sections; expected at least one"
                )
            axes = tuple(int(header[key]) for key in ("mapc", "mapr", "maps"))
            if axes not in ((1, 2, 3), (0, 0, 0)):
                raise DataError(
                    f"{location} has its axes in the order {axes}; expected columns, rows, sections (1, 2, 3): rotate the "
                    "volume, then save it again"
                )
            if int(header.ispg) >= 401:
                raise DataError(
                    f"{location} is a stack of volumes (space group {int(header.ispg)}); expected one volume"
                )
            order = header.dtype["nx"].byteorder
            self._dtype = np.dtype(_TYPES[mode]).newbyteorder(order)
            if mode == 0:
                self._dtype = np.dtype(np.int8 if _signed(location, header) else np.uint8)
            self._start = _HEADER + extended
            size = self._path.stat().st_size
            needed = self._start + math.prod((columns, rows, sections)) * self._dtype.itemsize
            if size < needed or extended < 0:
                raise DataError(
                    f"{location} has {size:,} of {needed:,} bytes; expected a complete file: copy it again"
                )
            section = columns * rows * self._dtype.itemsize
            if size - needed >= section:
                raise DataError(
                    f"{location} has {sections} sections and {size - needed:,} bytes after them, which hold "
                    f"{(size - needed) // section} more of its size; expected a header with the right number, which a program that "
                    "was stopped does not write: save the stack anew"
                )
            notes = (
                () if size == needed else (f"{size - needed:,} bytes after the last section are not used",)
            )
        self.description = Description(
            name=location,
            format="MRC",
            slices=sections,
            height=rows,
            width=columns,
            dtype=self._dtype.newbyteorder("=").name,
            bits=8 * self._dtype.itemsize,
            pixel_size=_pixel_size(header),
            notes=notes,
        )

    def read(self, index: int) -> np.ndarray:
        """As :meth:`ImageFile.read`."""
        about = self.description
        if not 0 <= index < about.slices:
            raise IndexError(index)
        with guarded(f"{about.name}[{index}]", _EXPECTED):
            count = about.height * about.width
            offset = self._start + index * count * self._dtype.itemsize
            found = np.fromfile(self._path, self._dtype, count, offset=offset)
            return np.ascontiguousarray(found.reshape(about.height, about.width), about.dtype)


def _header(location: str, path: Path) -> tuple[Any, int]:
    """The header and the length of the extended one, which is not read: mrcfile takes the memory that it asks for first."""
    with path.open("rb") as stream:
        start = stream.read(_HEADER)
    alone = start[:_LENGTH] + bytes(4) + start[_LENGTH + 4 :]
    header = MrcInterpreter(io.BytesIO(alone), permissive=True, header_only=True).header
    if header is None:
        raise DataError(f"{location} has no header; expected a complete MRC file")
    return header, int(np.frombuffer(start, header.dtype["nsymbt"], 1, _LENGTH)[0])


def _signed(location: str, header: Any) -> bool:
    """Whether the bytes of mode 0 have a sign. Programs before 2014 did not agree.

    IMOD says it in a flag; the standard of 2014 says that they have.
    """
    order = header.dtype["nx"].byteorder
    stamp, flags = np.frombuffer(header.extra2.tobytes()[40:48], np.dtype("i4").newbyteorder(order))
    if int(stamp) == _IMOD:
        return bool(int(flags) & 1)
    if int(header.nversion) >= _VERSION:
        return True
    raise DataError(
        f"{location} has bytes (mode 0) and does not say whether they have a sign; expected a file of IMOD, or of the "
        "standard of 2014. Convert it, for example with IMOD: newstack -mode 1 OLD NEW"
    )


def _pixel_size(header: Any) -> tuple[float | None, float | None, float | None]:
    """Nm along z, y and x, from the size of the cell in Angstrom."""
    found = []
    for axis in "zyx":
        samples, cell = int(header[f"m{axis}"]), float(header.cella[axis])
        size = cell / samples / 10 if samples > 0 and math.isfinite(cell) else 0.0
        found.append(float(f"{size:.6g}") if _SMALLEST <= size <= _LARGEST else None)
    return found[0], found[1], found[2]
