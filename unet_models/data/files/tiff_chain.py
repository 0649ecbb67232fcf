"""The chain of directories of a TIFF file, followed to its end.

tifffile ends at the first directory that it cannot read, so that an interrupted copy would have fewer slices.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import IO

from unet_models.data.errors import DataError


def page_offsets(path: Path) -> list[int]:
    """The position of each page's directory, in bytes, in the order of the chain.

    Raises:
        DataError: the chain leaves the file or runs in a circle: an interrupted copy.
    """
    size = path.stat().st_size
    with path.open("rb") as stream:
        order = {b"II": "<", b"MM": ">"}.get(stream.read(2))
        if order is None:
            raise DataError(f"{path} is not a TIFF file")
        (version,) = _fields(path, stream, order + "H")
        if version == 43:
            _fields(path, stream, order + "HH")
            count, entry, pointer = order + "Q", 20, order + "Q"
        else:
            count, entry, pointer = order + "H", 12, order + "I"
        (offset,) = _fields(path, stream, pointer)
        found: list[int] = []
        seen: set[int] = set()
        while offset:
            if offset in seen or offset >= size:
                problem = "point back to an earlier one" if offset in seen else "lie beyond its end"
                raise DataError(
                    f"{path} is incomplete or damaged: after {len(found)} pages, the directories {problem}; expected a "
                    "complete TIFF file: copy it again"
                )
            seen.add(offset)
            found.append(offset)
            stream.seek(offset)
            (entries,) = _fields(path, stream, count)
            stream.seek(entry * entries, os.SEEK_CUR)
            (offset,) = _fields(path, stream, pointer)
    return found


def _fields(path: Path, stream: IO[bytes], layout: str) -> tuple[int, ...]:
    data = stream.read(struct.calcsize(layout))
    if len(data) < struct.calcsize(layout):
        raise DataError(
            f"{path} ends within a directory of pages; expected a complete TIFF file: copy it again"
        )
    fields: tuple[int, ...] = struct.unpack(layout, data)
    return fields
