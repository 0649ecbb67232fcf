"""Space on the disk for a file that must be written later, whatever happens to the disk until then."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from jobs.common.files import publish, remove, write_all, written_beside
from jobs.common.folders import real_folder

_MORE = 2048  # bytes beyond what is known now: the ids of jobs


class Reserved:
    """The blocks for the next content of ``path``, taken now. A temporary file has them, filled with spaces.

    On file systems that overwrite in place (ext4, XFS, Lustre, NFS servers with them) the content then needs neither
    space nor quota.
    """

    def __init__(self, path: Path, size: int, mode: int = 0o666) -> None:
        """Take ``size`` bytes and a little more; raises :class:`jobs.common.files.DiskFull` or another ``OSError``."""
        self.path = path
        self._temporary = written_beside(path, b" " * (size + _MORE), mode)
        with real_folder(path.parent) as folder:
            descriptor = self._open(folder)
        try:
            # File systems that allocate late do it now, and say now that there is no space.
            os.fsync(descriptor)
        except OSError:
            self.release()
            raise
        finally:
            os.close(descriptor)

    def publish(self, data: bytes) -> None:
        """Replace ``path`` by ``data``, whole and durably; raises as :func:`jobs.common.files.publish` does."""
        try:
            with real_folder(self.path.parent) as folder:
                descriptor = self._open(folder)
            try:
                write_all(descriptor, data)
                os.ftruncate(descriptor, len(data))
            finally:
                os.close(descriptor)
        except OSError:
            self.release()
            raise
        publish(self._temporary, self.path)

    def release(self) -> None:
        """Give the space back."""
        with contextlib.suppress(OSError):
            remove(self._temporary)

    def _open(self, folder: int) -> int:
        flags = os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.open(self._temporary.name, flags, dir_fd=folder)
