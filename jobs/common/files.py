"""Files that other processes read while they are written: replaced whole and durably, or not at all.

The order is always the same: write a temporary file in the same directory, fsync it, rename or link it, fsync the
directory. A reader sees the old file or the new one, also after a crash of the node. In a run, nothing is written through
a link (:mod:`jobs.common.folders`).
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import shutil
import socket
import stat
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.common.folders import real_folder
from jobs.common.reading import UnsafeFile, kind_of, tail
from jobs.common.units import size as in_words

if TYPE_CHECKING:
    from filelock import BaseFileLock

_COPIED = 16 * 2**20  # bytes of a log that are copied
_FULL = {errno.ENOSPC: "No space left on device", errno.EDQUOT: "Disk quota exceeded"}
# The answers of file systems without hard links.
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


class DiskFull(OSError):
    """No space, or no quota, is left. The message names the path and what is missing."""

    def __str__(self) -> str:
        return str(self.strerror)


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
    """Delete the file ``path`` if it exists; a link is deleted itself."""
    with contextlib.suppress(FileNotFoundError), real_folder(path.parent) as folder:
        os.unlink(path.name, dir_fd=folder)


def publish(temporary: Path, path: Path) -> None:
    """Make a finished temporary file durable and rename it to ``path``, in the same folder, in one step.

    On any failure the temporary file is removed and ``path`` is unchanged. Raises :class:`DiskFull` or another
    ``OSError``.
    """
    with real_folder(path.parent) as folder:
        with _removed_on_failure(temporary, path, _size(temporary)):
            _sync(temporary.name, folder)
            os.replace(temporary.name, path.name, src_dir_fd=folder, dst_dir_fd=folder)
        _sync_folder(folder)


def publish_folder(temporary: Path, path: Path) -> None:
    """Rename the folder ``temporary``, whose files are on the disk already, to ``path``, which must not exist.

    Both are in the same folder.
    """
    with real_folder(temporary) as made:
        _sync_folder(made)
    with real_folder(path.parent) as folder:
        os.rename(temporary.name, path.name, src_dir_fd=folder, dst_dir_fd=folder)
        _sync_folder(folder)


def publish_once(temporary: Path, path: Path) -> bool:
    """:func:`publish` that never replaces a file at ``path``: ``False`` if there is one.

    Of several processes, on any host, exactly one gets ``True``: a hard link is made or refused in one step.
    """
    try:
        with real_folder(path.parent) as folder:
            with _removed_on_failure(temporary, path, _size(temporary)):
                _sync(temporary.name, folder)
                if not _linked(temporary.name, path.name, folder):
                    return False
            remove(temporary)
            _sync_folder(folder)
    finally:
        remove(temporary)
    return True


def _linked(temporary: str, name: str, folder: int) -> bool:
    """Make ``name`` a hard link to ``temporary``; ``False`` if there is such a file already."""
    try:
        os.link(temporary, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
    except FileExistsError:
        # NFS may have made the link and lost its answer: then it is this very file.
        mine, there = (os.stat(one, dir_fd=folder, follow_symlinks=False) for one in (temporary, name))
        return mine.st_nlink == 2 and os.path.samestat(mine, there)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        try:
            os.stat(name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            # The best that is left; the claim keeps others away.
            os.replace(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
        else:
            return False
    return True


def written_beside(path: Path, data: bytes, mode: int = 0o666) -> Path:
    """A new temporary file next to ``path`` with ``data``, for :func:`publish` or :func:`publish_once`.

    ``mode``: its permissions, less what the umask takes.
    """
    temporary = temporary_beside(path)
    with real_folder(path.parent) as folder, _removed_on_failure(temporary, path, len(data)):
        descriptor = os.open(
            temporary.name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode, dir_fd=folder
        )
        try:
            write_all(descriptor, data)
        finally:
            os.close(descriptor)
    return temporary


def open_new(path: Path) -> int:
    """A descriptor of the new file ``path``, for writing; ``FileExistsError`` where there is anything with that name."""
    with real_folder(path.parent) as folder:
        return os.open(path.name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666, dir_fd=folder)


def open_to_append(path: Path) -> int:
    """A descriptor of ``path`` to which whole lines are appended; a new file where there is none.

    What is written goes into a file of this user's that has no other name. Where ``path`` is another user's, who shares the
    run, or has a second name (a hard link), it is replaced by a copy of its end, and the other file stays as it was.

    Raises :class:`jobs.common.reading.UnsafeFile` where it is a link or no file, and other ``OSError``.
    """
    flags = (
        os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    )
    for _ in range(3):  # the copy can be replaced by another process that appends, too
        with real_folder(path.parent) as folder:
            descriptor = _opened(path, flags, folder)
        state = os.fstat(descriptor)
        if state.st_uid == os.geteuid() and state.st_nlink == 1:
            return descriptor
        os.close(descriptor)
        write_bytes_atomically(path, tail(path, _COPIED))
    raise UnsafeFile(path, "is replaced all the time; expected one process that writes it")


def touch(path: Path) -> None:
    """Set the time of ``path``, which exists and is not followed if it is a link, to now."""
    with real_folder(path.parent) as folder:
        os.utime(path.name, dir_fd=folder, follow_symlinks=False)


def lock_file(path: Path, *, soft: bool = True) -> BaseFileLock:
    """The lock ``path``, not acquired yet: a file of its own, never a link or a device.

    ``soft``: where the file system has no locks, the existence of the file is the lock. Raises :class:`jobs.common.reading.UnsafeFile` and other ``OSError``.
    """
    from filelock import FileLock  # here, because a look at a run does without it and its import

    # The library opens the file without following a link; but it waits for what is no file, and would lock a file that
    # has another name, and so another purpose, too.
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    with real_folder(path.parent) as folder:
        descriptor = _opened(path, flags, folder)
        try:
            if os.fstat(descriptor).st_nlink > 1:
                raise UnsafeFile(
                    path, "has a second name (a hard link), which a lock never has; move it away"
                )
        finally:
            os.close(descriptor)
    return FileLock(path, fallback_to_soft=soft)


def _opened(path: Path, flags: int, folder: int) -> int:
    """A descriptor of ``path``, which is a regular file in ``folder`` or is made as one."""
    try:
        descriptor = os.open(path.name, flags, 0o666, dir_fd=folder)
    except OSError as error:
        state = None
        with contextlib.suppress(OSError):
            state = os.stat(path.name, dir_fd=folder, follow_symlinks=False)
        if state is not None and not stat.S_ISREG(state.st_mode):
            raise UnsafeFile(path, f"is {kind_of(state.st_mode)}, expected a file; move it away") from None
        raise OSError(error.errno, error.strerror, str(path)) from None
    state = os.fstat(descriptor)
    if not stat.S_ISREG(state.st_mode):
        os.close(descriptor)
        raise UnsafeFile(path, f"is {kind_of(state.st_mode)}, expected a file; move it away")
    return descriptor


def write_all(descriptor: int, data: bytes) -> None:
    """Write ``data`` at the place of ``descriptor``; the kernel may take less at a time."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def write_bytes_atomically(path: Path, data: bytes, mode: int = 0o666) -> None:
    """Replace ``path`` by ``data``, whole and durably; ``mode``: its permissions, less what the umask takes.

    Raises :class:`DiskFull` or another ``OSError`` where it cannot be written; the old file is unchanged.
    """
    publish(written_beside(path, data, mode), path)


def write_together(files: Mapping[Path, bytes], mode: int = 0o666) -> None:
    """Replace several files, one after the other in this order, or none of them where one cannot be written.

    ``mode``: their permissions, less what the umask takes.

    All new contents are on the disk before the first file is renamed: a full disk changes nothing. Raises what
    :func:`write_bytes_atomically` raises.
    """
    written: dict[Path, Path] = {}
    try:
        for path, data in files.items():
            written[path] = written_beside(path, data, mode)
            with real_folder(path.parent) as folder, _removed_on_failure(written[path], path, len(data)):
                _sync(written[path].name, folder)
        for path, temporary in written.items():
            with real_folder(path.parent) as folder:
                os.replace(temporary.name, path.name, src_dir_fd=folder, dst_dir_fd=folder)
    finally:
        for temporary in written.values():
            with contextlib.suppress(OSError):
                remove(temporary)
    for parent in {path.parent for path in files}:
        with real_folder(parent) as folder:
            _sync_folder(folder)


def write_text_atomically(path: Path, text: str, mode: int = 0o666) -> None:
    """:func:`write_bytes_atomically` for UTF-8 text; bytes of a path in it that are no text become ``?``."""
    write_bytes_atomically(path, text.encode("utf-8", errors="replace"), mode)


def quarantine(path: Path, folder: Path) -> Path | None:
    """Move a damaged file into ``folder`` under a unique name; ``None`` where that is not possible.

    Nothing is lost: the file can still be read by a person, and no reader mistakes it for a good one.
    """
    kept = folder / f"{path.name}.{datetime.now(timezone.utc):%Y%m%dT%H%M%S%f}"
    try:
        with real_folder(path.parent) as source, real_folder(folder, make=True) as target:
            os.rename(path.name, kept.name, src_dir_fd=source, dst_dir_fd=target)
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


def _sync(name: str, folder: int) -> None:
    descriptor = os.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)  # NFS reports a full disk or quota here


def _sync_folder(folder: int) -> None:
    try:
        os.fsync(folder)
    except OSError as error:
        # Some network file systems have no fsync for directories; the rename itself has been made.
        if error.errno not in (errno.EINVAL, errno.EBADF, errno.ENOTSUP):
            raise


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None
