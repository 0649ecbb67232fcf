"""Files in NumPy's ``.npy`` format that grow while they are written, and whose rows are read when they are needed.

They are read with ``pread`` and not mapped into memory. Pages of a map that a process has touched count as its memory,
by which PBS ends jobs, and the kernel maps whole blocks around each touched page: after 2 GiB of random patches of
64x64 pixels, a process with a map had 2.1 GB of memory although it had given the pages back after every 64 MB read. With
``pread`` it had 4 MB more than before. Both read a batch of 32 patches from the page cache in 0.02 to 0.2 ms. And where
a file was cut off or its file system is gone, ``pread`` raises an error, while a map ends the process with SIGBUS.
"""

from __future__ import annotations

import contextlib
import copy
import itertools
import math
import os
import re
import threading
import weakref
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from unet_models.data.errors import DataError
from unet_models.stored_files import FLAGS

CHUNK = 2**24  # bytes of a file that have one checksum
_PIECE = 2**20  # bytes that are read at a time where a whole chunk is not needed at once
_HEADER = 128  # bytes: room for the shape, which is known only at the end
_WORDS = re.compile(rb"'descr': '([<|][iuf][1248])'.*'shape': \(([0-9, ]*)\)")
_AGAIN = "make the run again with make_grid.py"


class NpyWriter:
    """Writes an array (n, ...) of ``dtype`` to the new file ``path``, some rows at a time; n need not be known.

    ``row`` is the shape of one row. After :meth:`close`, ``size`` is that of the file in bytes, and ``checksums`` are the
    CRC-32 of its chunks of :data:`CHUNK` bytes, of which the last may be shorter.
    """

    def __init__(self, path: Path, dtype: Any, row: tuple[int, ...]) -> None:
        self.path, self.dtype, self.row = path, np.dtype(dtype).newbyteorder("<"), row
        self.count = 0
        self.size = 0
        self._sums: list[int] = [0]
        self._stream: IO[bytes] = path.open("wb")
        self._write(bytes(_HEADER))

    @property
    def checksums(self) -> tuple[int, ...]:
        """Of all chunks."""
        return tuple(self._sums)

    def add(self, rows: np.ndarray) -> None:
        """Append ``rows`` (k, ...)."""
        if rows.shape[1:] != self.row:
            raise ValueError(f"{self.path}: received rows of the shape {rows.shape[1:]}, expected {self.row}")
        if rows.size:
            self._write(np.ascontiguousarray(rows, self.dtype).reshape(-1).view(np.uint8).data)
        self.count += len(rows)

    def _write(self, content: bytes | memoryview) -> None:
        """Append ``content`` and extend the checksums."""
        done = 0
        while done < len(content):
            if self.size and self.size % CHUNK == 0:
                self._sums.append(0)
            piece = content[done : done + CHUNK - self.size % CHUNK]
            self._sums[-1] = zlib.crc32(piece, self._sums[-1])
            self._stream.write(piece)
            self.size += len(piece)
            done += len(piece)

    def close(self) -> None:
        """Write the header, and wait until all is on the disk."""
        self._stream.seek(0)
        self._stream.write(_header(self.dtype, (self.count, *self.row)))
        self._stream.flush()
        os.fsync(self._stream.fileno())
        self._stream.close()
        with self.path.open("rb") as stream:  # the first chunk has the header, which was not known before
            self._sums[0] = zlib.crc32(stream.read(CHUNK))

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


class StoredArray:
    """An array (n, ...) in a file that :class:`NpyWriter` wrote. Rows are copied from the file whenever they are indexed.

    It is safe to use from several threads, and each read releases Python's lock.

    Attributes:
        path: of the file.
        shape: of the array.
        dtype: of its elements.
        checksums: expected, of the chunks of the file.
        whole: the array of which this one is the :meth:`head`.
        problem: the first error of a read. TensorFlow's threads pass on only its text.

    Raises:
        DataError: the file is missing, of another size, or not in the format.
    """

    def __init__(self, path: Path, size: int, checksums: Sequence[int]) -> None:
        """Open ``path``, which must have ``size`` bytes; ``checksums`` are those of its chunks."""
        self.path, self._bytes, self.checksums = path, size, tuple(checksums)
        self.problem: DataError | None = None
        self.whole: StoredArray | None = None
        try:
            self._file = os.open(path, FLAGS)
            weakref.finalize(self, os.close, self._file)
            self.shape, self.dtype = self._read_header()
        except (OSError, ValueError) as error:
            raise DataError(f"{path} cannot be read ({error}); {_AGAIN}") from error

    def _read_header(self) -> tuple[tuple[int, ...], np.dtype[Any]]:
        """Shape and type of the array."""
        found = os.fstat(self._file).st_size
        if found != self._bytes:
            raise DataError(
                f"{self.path} has {found:,} bytes, expected {self._bytes:,}: it was not copied whole, or was replaced; "
                f"{_AGAIN}"
            )
        header = os.pread(self._file, _HEADER, 0)
        words = _WORDS.search(header)
        if words is None:
            raise ValueError("no header of an array")
        dtype = np.dtype(words[1].decode())
        shape = tuple(int(length) for length in words[2].replace(b",", b" ").split())
        if header != _header(dtype, shape) or not shape:
            raise ValueError(f"not the header of an array of the shape {shape} and the type {dtype}")
        if _HEADER + math.prod(shape) * dtype.itemsize != self._bytes:
            raise ValueError(f"its header promises the shape {shape} of the type {dtype}")
        if len(self.checksums) != math.ceil(self._bytes / CHUNK):
            raise ValueError(f"{len(self.checksums)} checksums for {self._bytes:,} bytes")
        return shape, dtype

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    def head(self, count: int) -> StoredArray:
        """The first ``count`` rows, which may be fewer, as an array of their own."""
        first = copy.copy(self)
        first.shape = (min(count, len(self)), *self.shape[1:])
        first.whole = self  # which closes the file when it is not used any more
        return first

    def __getitem__(self, rows: np.ndarray | slice) -> np.ndarray:
        """A copy of ``rows``: a slice without steps, or int (k,), not negative."""
        if isinstance(rows, slice):
            start, end, _ = rows.indices(len(self))
            return self.read(start * self._row, np.empty((max(0, end - start), *self.shape[1:]), self.dtype))
        rows = np.asarray(rows)
        result = np.empty((len(rows), *self.shape[1:]), self.dtype)
        if not len(rows):
            return result
        # Neighbouring rows, as evaluations want them, take one read.
        starts = [0, *(np.flatnonzero(np.diff(rows) != 1) + 1).tolist(), len(rows)]
        for start, end in itertools.pairwise(starts):
            self.read(int(rows[start]) * self._row, result[start:end])
        return result

    @property
    def _row(self) -> int:
        """Elements of a row."""
        return math.prod(self.shape[1:])

    def read(self, first: int, result: np.ndarray) -> np.ndarray:
        """Fill ``result``, contiguous and of the same type, with the elements from ``first`` on, and return it.

        Raises:
            DataError: the file cannot be read, or is shorter than when it was opened.
        """
        if result.size:
            self._fill(result.reshape(-1).view(np.uint8).data, _HEADER + first * self.dtype.itemsize)
        return result

    def _fill(self, buffer: memoryview, offset: int) -> None:
        """Fill ``buffer`` with the bytes of the file from ``offset`` on."""
        try:
            while buffer:
                count = os.preadv(self._file, [buffer], offset)
                if not count:
                    raise self._kept(
                        DataError(
                            f"{self.path} ends before byte {offset:,}: it was cut off meanwhile; {_AGAIN}"
                        )
                    )
                buffer, offset = buffer[count:], offset + count
        except OSError as error:
            raise self._kept(
                DataError(f"{self.path} cannot be read ({error}); is its file system there?")
            ) from error

    def _kept(self, problem: DataError) -> DataError:
        self.problem = self.problem or problem
        return problem

    def check(self, number: int) -> None:
        """Read the chunk ``number``, from 0; :class:`DataError` where it is not what was written."""
        start, end = number * CHUNK, min((number + 1) * CHUNK, self._bytes)
        buffer = memoryview(bytearray(min(_PIECE, end - start)))
        found = 0
        for offset in range(start, end, _PIECE):
            piece = buffer[: min(_PIECE, end - offset)]
            self._fill(piece, offset)
            found = zlib.crc32(piece, found)
        if found != self.checksums[number]:
            raise DataError(
                f"{self.path} is damaged in chunk {number} of {len(self.checksums)} (bytes {start:,} to {end:,}): its "
                f"checksum is {found:08x}, expected {self.checksums[number]:08x}; {_AGAIN}"
            )

    def verify(self) -> None:
        """Read the whole file; :class:`DataError` where a chunk is not what was written."""
        for number in range(len(self.checksums)):
            self.check(number)


class BackgroundCheck:
    """Verifies ``files`` while other work goes on, in a thread of the lowest priority."""

    def __init__(self, files: Sequence[StoredArray]) -> None:
        self._chunks: Iterator[tuple[StoredArray, int]] = iter(
            [(one, number) for one in files for number in range(len(one.checksums))]
        )
        self._problem: DataError | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._background, name="data check", daemon=True)
        self._thread.start()

    def _background(self) -> None:
        with contextlib.suppress(OSError):  # on Linux, a thread has a priority of its own
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)
        while not self._stop.is_set() and self._next():
            pass

    def _next(self, before: Callable[[], object] = bool) -> bool:
        """Verify the next chunk, after a call of ``before``; ``False`` where none is left, or one was damaged."""
        one, number = next(self._chunks, (None, 0))
        if one is None or self._problem is not None:
            return False
        before()
        try:
            one.check(number)
        except DataError as error:
            self._problem = error
        return True

    def look(self) -> None:
        """Raise :class:`DataError` where a file was found damaged so far."""
        if self._problem is not None:
            raise self._problem

    def finish(self, on_chunk: Callable[[], object]) -> None:
        """Verify the rest at the usual priority; ``on_chunk`` is called before each chunk.

        Raises:
            DataError: a file is damaged.
        """
        self._stop.set()
        self._thread.join(0.1)
        while self._thread.is_alive():
            on_chunk()
            self._thread.join(1.0)
        while self._next(on_chunk):
            pass
        self.look()

    def stop(self) -> None:
        """Have the thread end after the chunk that it is reading, and wait for that a moment."""
        self._stop.set()
        self._thread.join(
            1.0
        )  # not longer: a file system that does not answer must not delay the end of a point
