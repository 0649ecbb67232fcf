"""Files in NumPy's ``.npy`` format that grow while they are written, and that are mapped into memory to be read."""

from __future__ import annotations

import contextlib
import math
import mmap
import os
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np

from unet_models.data.errors import DataError

CHUNK = 2**24  # bytes of a file that have one checksum
_HEADER = 128  # bytes: room for the shape, which is known only at the end
_RELEASE = 2**26  # bytes that may be read from a map before its pages are given back


class NpyWriter:
    """Writes an array (n, ...) of ``dtype`` to the new file ``path``, some rows at a time; n need not be known.

    ``row`` is the shape of one row.
    """

    def __init__(self, path: Path, dtype: Any, row: tuple[int, ...]) -> None:
        self.path, self.dtype, self.row = path, np.dtype(dtype).newbyteorder("<"), row
        self.count = 0
        self._stream: IO[bytes] = path.open("wb")
        self._stream.write(bytes(_HEADER))

    def add(self, rows: np.ndarray) -> None:
        """Append ``rows`` (k, ...)."""
        if rows.shape[1:] != self.row:
            raise ValueError(f"{self.path}: received rows of the shape {rows.shape[1:]}, expected {self.row}")
        np.ascontiguousarray(rows, self.dtype).tofile(self._stream)
        self.count += len(rows)

    def close(self) -> None:
        """Write the header, and wait until all is on the disk."""
        self._stream.seek(0)
        self._stream.write(_header(self.dtype, (self.count, *self.row)))
        self._stream.flush()
        os.fsync(self._stream.fileno())
        self._stream.close()

    def abandon(self) -> None:
        """Close the file as it is."""
        self._stream.close()


def _header(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    """The first :data:`_HEADER` bytes of a file of NumPy's format 1.0, filled up with spaces."""
    text = f"{{'descr': {dtype.str!r}, 'fortran_order': False, 'shape': {shape!r}, }}"
    length = _HEADER - len(np.lib.format.MAGIC_PREFIX) - 4
    words = text.ljust(length - 1) + "\n"
    if len(words) > length:
        raise ValueError(f"the shape {shape} needs more than {_HEADER} bytes")
    return np.lib.format.MAGIC_PREFIX + bytes((1, 0)) + length.to_bytes(2, "little") + words.encode("latin-1")


def checksums(path: Path) -> Iterator[int]:
    """The CRC-32 of each chunk of :data:`CHUNK` bytes of ``path``; the last may be shorter.

    The file is read past the map, so that none of it counts as memory of this process.
    """
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            yield zlib.crc32(chunk)


@dataclass
class MapFile:
    """A file that :class:`NpyWriter` wrote, mapped into memory.

    Pages of a map that a process has touched count as its memory, and PBS ends jobs by that count. They are therefore
    given back from time to time; they stay in the page cache, and reading them again costs little.

    Attributes:
        path: of the file.
        size: expected, in bytes.
        checksums: expected, of its chunks.
        array: its content.
    """

    path: Path
    size: int
    checksums: tuple[int, ...]
    array: np.ndarray
    _map: mmap.mmap | None = field(default=None, repr=False)
    _touched: int = 0

    def release(self, touched: int) -> None:
        """``touched`` more bytes were read; give the pages back where these are many by now."""
        self._touched += touched
        if self._touched >= _RELEASE and self._map is not None:
            self._touched = 0
            self._map.madvise(mmap.MADV_DONTNEED)

    def verify(self, given_up: Callable[[], bool] = bool) -> None:
        """Read the whole file; :class:`DataError` where a chunk is not what was written.

        ``given_up`` is asked before each chunk whether to stop.
        """
        try:
            for number, found in enumerate(checksums(self.path)):
                if given_up():
                    return
                if number >= len(self.checksums) or found != self.checksums[number]:
                    raise DataError(
                        f"{self.path} is damaged between the bytes {number * CHUNK:,} and {(number + 1) * CHUNK:,}: its "
                        "checksum is not the one that was written; make the run again with make_grid.py"
                    )
        except OSError as error:
            raise DataError(f"{self.path} cannot be read ({error}); is its file system there?") from error


class BackgroundCheck:
    """Verifies files while other work goes on, in a thread of the lowest priority."""

    def __init__(self, files: Sequence[MapFile]) -> None:
        self._files = files
        self._problem: DataError | None = None
        self._given_up = threading.Event()
        self._thread = threading.Thread(target=self._verify, name="data check", daemon=True)
        self._thread.start()

    def _verify(self) -> None:
        with contextlib.suppress(OSError, AttributeError):  # a Linux thread has a priority of its own
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)
        try:
            for one in self._files:
                one.verify(self._given_up.is_set)
        except DataError as error:
            self._problem = error

    def look(self) -> None:
        """Raise :class:`DataError` where a file was found damaged so far."""
        if self._problem is not None:
            raise self._problem

    def finish(self) -> None:
        """Wait until all files are verified; :class:`DataError` where one is damaged."""
        self._thread.join()
        self.look()

    def give_up(self) -> None:
        """End the check: its result is not needed any more."""
        self._given_up.set()
        self._thread.join()


def open_map(path: Path, size: int, sums: tuple[int, ...]) -> MapFile:
    """Map the file ``path`` of ``size`` bytes, with the checksums ``sums`` of its chunks.

    Raises:
        DataError: the file is missing, of another size, or not in the format.
    """
    try:
        with path.open("rb") as stream:
            found = os.fstat(stream.fileno()).st_size
            if found != size:
                raise DataError(
                    f"{path} has {found:,} bytes, expected {size:,}: it was not copied whole, or replaced; make the run "
                    "again with make_grid.py"
                )
            version = np.lib.format.read_magic(stream)
            if version != (1, 0):
                raise ValueError(f"version {version}")
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
            if fortran or dtype.hasobject or stream.tell() + math.prod(shape) * dtype.itemsize != size:
                raise ValueError(f"shape {shape}, type {dtype}")
            if math.prod(shape) == 0:  # nothing can be mapped
                return MapFile(path, size, sums, np.zeros(shape, dtype))
            mapped = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
            array = np.frombuffer(mapped, dtype, offset=stream.tell()).reshape(shape)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({error}); make the run again with make_grid.py") from error
    return MapFile(path, size, sums, array, mapped)
