"""Files of a run, which may come from anyone: what they are, and what they promise, is checked before they are read.

Opening a named pipe could wait for ever. ``numpy.load`` takes the memory that the header of an array promises, and a
compressed archive of a few kilobytes can promise terabytes. :mod:`jobs.common.reading` is the same for records and
texts; this package does not depend on ``jobs``.
"""

from __future__ import annotations

import errno
import math
import os
import stat
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy

FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC  # for os.open
_MOST_OF_MEMORY = 0.5  # of this machine's


def open_regular(path: Path, limit: int | None = None) -> IO[bytes]:
    """The regular file ``path``, which is no link and has at most ``limit`` bytes, for reading; else an ``OSError``."""
    stream = os.fdopen(os.open(path, FLAGS), "rb")
    state = os.fstat(stream.fileno())
    if stat.S_ISREG(state.st_mode) and (limit is None or state.st_size <= limit):
        return stream
    stream.close()
    raise OSError(
        errno.EINVAL, f"it is no file, or has more than {limit or state.st_size:,} bytes", str(path)
    )


def memory_limit() -> int:
    """The most bytes that one archive may take: half the memory of this machine."""
    return int(_MOST_OF_MEMORY * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


def check_archive(stream: IO[bytes], *, compressed: bool = False) -> None:
    """Check the archive in ``stream``, which is at its start again afterwards.

    Each member is an array whose header promises exactly the bytes that the member has, and all together fit into the
    memory. ``compressed``: members may be compressed, as those of ``numpy.savez_compressed``.

    Raises ``ValueError``, ``zipfile.BadZipFile`` and what else :mod:`zipfile` raises for damaged archives.
    """
    limit = memory_limit()
    with zipfile.ZipFile(stream) as archive:
        members = archive.infolist()
        total = sum(member.file_size for member in members)
        if total > limit:
            raise ValueError(
                f"it promises {total:,} bytes of arrays, expected at most {limit:,}, half of the memory"
            )
        for member in members:
            if member.compress_type != zipfile.ZIP_STORED and not compressed:
                raise ValueError(f"its member {member.filename[:60]!r} is compressed")
            with archive.open(member) as content:
                promised = _promised(content)
                if promised != member.file_size:
                    raise ValueError(
                        f"its array {member.filename[:60]!r} promises {promised:,} bytes and has {member.file_size:,}"
                    )
    stream.seek(0)


def _promised(content: IO[bytes]) -> int:
    """The size of an array with its header, in bytes, as the header says."""
    version = npy.read_magic(content)
    read: Any = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(version)
    if read is None:
        raise ValueError(f"it has the version {version} of the format of arrays")
    shape, _, dtype = read(content)
    if dtype.hasobject:
        raise ValueError("it has an array of Python objects")
    return int(content.tell() + math.prod(shape) * np.dtype(dtype).itemsize)
