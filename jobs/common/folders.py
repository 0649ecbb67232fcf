"""Folders of a run are real: whatever is written below the folder of a run goes through no link.

A run directory may come from anyone, and others may write in it. A link in it could lead a write to any file of the user
who works with the run. Each folder between the run and a file is therefore opened by itself, without following a link,
and the last step (create, rename, remove) is relative to the descriptor of the last folder: whoever exchanges a folder
for a link in the meantime changes nothing. The path of the run itself may contain links; it is the user's own word.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from jobs.common.reading import UnsafeFile, kind_of

# The folders of runs, as text; jobs.run.paths.RunPaths adds each. Below them no link is followed.
_ROOTS: set[str] = set()
_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def follow_no_links_below(root: Path) -> None:
    """From now on, this process writes nothing below ``root`` through a link."""
    _ROOTS.add(str(root))


@contextlib.contextmanager
def real_folder(folder: Path, *, make: bool = False) -> Iterator[int]:
    """A descriptor of ``folder``, for the ``dir_fd`` of functions of :mod:`os`.

    In a run, no part of ``folder`` below the run is a link. ``make``: folders that are missing are made.

    Raises :class:`jobs.common.reading.UnsafeFile` where a part is a link or no folder, ``FileNotFoundError`` and other
    ``OSError`` with the path that they are about.
    """
    descriptor = _opened(folder, make=make)
    try:
        yield descriptor
    except OSError as error:
        for name in ("filename", "filename2"):  # what is relative to a descriptor says nothing to anybody
            value = getattr(error, name)
            if isinstance(value, str) and "/" not in value:
                setattr(error, name, str(folder / value))
        raise
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Make ``folder`` and those above it where they are missing; raises as :func:`real_folder` does."""
    with real_folder(folder, make=True):
        pass


def _root_of(folder: Path) -> Path | None:
    """The outermost folder of a run that ``folder`` is in, or is."""
    for place in reversed((folder, *folder.parents)):
        if str(place) in _ROOTS and ".." not in folder.relative_to(place).parts:
            return place
    return None


def _opened(folder: Path, *, make: bool) -> int:
    root = _root_of(folder)
    if root is None:
        root = folder
    if make:
        root.mkdir(parents=True, exist_ok=True)
    descriptor = _readable_or_not(str(root), _OPEN)
    place = root
    for part in folder.relative_to(root).parts:
        place /= part
        above = descriptor
        try:
            descriptor = _open_below(above, part, place, make=make)
        finally:
            os.close(above)
    return descriptor


def _open_below(above: int, part: str, place: Path, *, make: bool) -> int:
    """A descriptor of the folder ``part`` of the folder ``above``; ``place`` is its path for messages."""
    flags = _OPEN | os.O_NOFOLLOW
    try:
        try:
            return _readable_or_not(part, flags, above)
        except FileNotFoundError:
            if not make:
                raise
            with contextlib.suppress(FileExistsError):  # another process was faster
                os.mkdir(part, dir_fd=above)
            return _readable_or_not(part, flags, above)
    except OSError as error:
        state = _state(part, above)
        if state is not None and not stat.S_ISDIR(state.st_mode):
            raise UnsafeFile(
                place, f"is {kind_of(state.st_mode)}, where a folder of the run belongs; move it away"
            ) from None
        raise OSError(error.errno, error.strerror, str(place)) from None


def _readable_or_not(name: str, flags: int, above: int | None = None) -> int:
    """A descriptor of a folder. One that this user may enter and not list is good enough to make a file in it."""
    try:
        return os.open(name, flags, dir_fd=above)
    except PermissionError:
        return os.open(name, flags | os.O_PATH, dir_fd=above)


def _state(name: str, folder: int) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except OSError:
        return None
