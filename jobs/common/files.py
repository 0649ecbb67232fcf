"""Files that other processes read while they are written: replaced whole and durably, or not at all.

The order is always the same: write a temporary file in the same directory, fsync it, rename or link it, fsync the
directory. A reader sees the old file or the new one, also after a crash of the node.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import shutil
import socket
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from pathlib import Path

from jobs.common.units import size as in_words

_PAGE = 2**15
_FULL = {errno.ENOSPC: "No space left on device", errno.EDQUOT: "Disk quota exceeded"}
# The answers of file systems without hard links.
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


class DiskFull(OSError):
    """No space, or no quota, is left. The message names the path and what is missing."""


def is_full(error: BaseException) -> bool:
    """Whether ``error`` means that space or quota is used up; HDF5 has the error number only in its text."""
    if not isinstance(error, OSError):
        return False
    return error.errno in _FULL or any(words in str(error) for words in _FULL.values())


def disk_full(error: OSError, path: Path, needed: int | None) -> DiskFull:
    """``error`` as one that helps: the ``needed`` bytes for ``path``, how much is free, what to do."""
    number = error.errno if error.errno in _FULL else errno.ENOSPC
    need = in_words(needed) if needed is not None else "more space than is free"
    if number == errno.EDQUOT:
        state = "your quota there is used up (quota -s shows it)"
    else:
        try:
            free = shutil.disk_usage(path.parent).free
        except OSError:
            state = "its file system is full"
        else:
            state = f"{in_words(free)} are free in its file system"
            if needed is not None and needed > free:
                state += f", {in_words(needed - free)} are missing"
    return DiskFull(
        number,
        f"{_FULL[number]}: {path} was not written, and the old file, if any, is unchanged. It needs {need}; {state}. "
        "Free some space, then repeat: a point continues where it was",
    )


def read_bytes(path: Path | str) -> bytes:
    """The content of a file, in two thirds of the time of ``Path.read_bytes``: a look at a run reads ten thousand."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = os.read(descriptor, _PAGE)
        while more := os.read(
            descriptor, _PAGE
        ):  # until the end: a network file system may return less at a time
            data += more
    finally:
        os.close(descriptor)
    return data


def temporary_beside(path: Path) -> Path:
    """A name in the same directory that no other process uses, with the suffix of ``path``.

    The suffix is kept because Keras chooses the format of a file by it.
    """
    token = f"{socket.gethostname()}.{os.getpid()}.{secrets.token_hex(4)}"
    return path.with_name(f".{path.stem}.{token}.tmp{path.suffix}")


def is_abandoned(temporary: Path) -> bool:
    """Whether ``temporary``, made by :func:`temporary_beside`, belongs to a process of this host that has ended."""
    match = re.fullmatch(r"\..*\.(\d+)\.[0-9a-f]{8}\.tmp(\..*)?", temporary.name)
    if match is None or f".{socket.gethostname()}.{match[1]}." not in temporary.name:
        return False
    try:
        os.kill(int(match[1]), 0)
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:
        return False
    return False


def remove(path: Path) -> None:
    """Delete ``path`` if it exists."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def publish(temporary: Path, path: Path) -> None:
    """Make a finished temporary file durable and rename it to ``path`` in one step.

    On any failure the temporary file is removed and ``path`` is unchanged. Raises :class:`DiskFull` or another
    ``OSError``.
    """
    with _removed_on_failure(temporary, path, _size(temporary)):
        _sync(temporary)
        os.replace(temporary, path)
    _sync_directory(path.parent)


def publish_folder(temporary: Path, path: Path) -> None:
    """Rename the folder ``temporary``, whose files are on the disk already, to ``path``, which must not exist."""
    _sync_directory(temporary)
    os.rename(temporary, path)
    _sync_directory(path.parent)


def publish_once(temporary: Path, path: Path) -> bool:
    """:func:`publish` that never replaces a file at ``path``: ``False`` if there is one.

    Of several processes, on any host, exactly one gets ``True``: a hard link is made or refused in one step.
    """
    try:
        with _removed_on_failure(temporary, path, _size(temporary)):
            _sync(temporary)
            try:
                os.link(temporary, path)
            except FileExistsError:
                # NFS may have made the link and lost its answer: then it is this very file.
                if os.stat(temporary).st_nlink != 2 or not os.path.samefile(temporary, path):
                    return False
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                if path.exists():
                    return False
                os.replace(temporary, path)  # the best that is left; the claim keeps others away
    finally:
        remove(temporary)
    _sync_directory(path.parent)
    return True


def written_beside(path: Path, data: bytes) -> Path:
    """A new temporary file next to ``path`` with ``data``, for :func:`publish` or :func:`publish_once`."""
    temporary = temporary_beside(path)
    with _removed_on_failure(temporary, path, len(data)):
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
        finally:
            os.close(descriptor)
    return temporary


def write_bytes_atomically(path: Path, data: bytes) -> None:
    """Replace ``path`` by ``data``, whole and durably.

    Raises :class:`DiskFull` or another ``OSError`` where it cannot be written; the old file is unchanged.
    """
    publish(written_beside(path, data), path)


def write_together(files: Mapping[Path, bytes]) -> None:
    """Replace several files, one after the other in this order, or none of them where one cannot be written.

    All new contents are on the disk before the first file is renamed: a full disk changes nothing. Raises what
    :func:`write_bytes_atomically` raises.
    """
    written: dict[Path, Path] = {}
    try:
        for path, data in files.items():
            written[path] = written_beside(path, data)
            with _removed_on_failure(written[path], path, len(data)):
                _sync(written[path])
        for path, temporary in written.items():
            os.replace(temporary, path)
    finally:
        for temporary in written.values():
            with contextlib.suppress(OSError):
                remove(temporary)
    for folder in {path.parent for path in files}:
        _sync_directory(folder)


def write_text_atomically(path: Path, text: str) -> None:
    """:func:`write_bytes_atomically` for UTF-8 text; bytes of a path in it that are no text become ``?``."""
    write_bytes_atomically(path, text.encode("utf-8", errors="replace"))


def quarantine(path: Path, folder: Path) -> Path | None:
    """Move a damaged file into ``folder`` under a unique name; ``None`` where that is not possible.

    Nothing is lost: the file can still be read by a person, and no reader mistakes it for a good one.
    """
    kept = folder / f"{path.name}.{datetime.now(timezone.utc):%Y%m%dT%H%M%S%f}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        os.rename(path, kept)
    except OSError:  # another user's run, a full disk, or another reader was faster: the caller reports it
        return None
    return kept


@contextlib.contextmanager
def _removed_on_failure(temporary: Path, path: Path, needed: int | None) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        with contextlib.suppress(OSError):
            remove(temporary)
        if is_full(error):
            raise disk_full(error, path, needed) from error
        raise


def _sync(temporary: Path) -> None:
    descriptor = os.open(temporary, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)  # NFS reports a full disk or quota here


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems have no fsync for directories; the rename itself has been made.
        if error.errno not in (errno.EINVAL, errno.EBADF, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None
