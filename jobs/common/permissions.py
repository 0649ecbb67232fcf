"""What this user may not read or write: which part of a path denies it, whose it is, and what its owner can type."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import stat
from collections.abc import Iterator
from pathlib import Path

from jobs.common.errors import UnreadableError
from jobs.common.shell_words import pasted


def check_readable(path: Path, *, whole: Path | None = None) -> None:
    """Raise :class:`UnreadableError` where ``path`` exists and this user may not read it; folders also need a search.

    ``whole`` is the folder that is to be made readable at once, where ``path`` is in it.
    """
    wanted = os.R_OK
    if os.access(path, wanted) and (not path.is_dir() or os.access(path, wanted | os.X_OK)):
        return
    part = denied_part(path)
    if part is not None:
        raise UnreadableError(f"{part} cannot be read by this user; {how_to_allow(path, whole=whole)}")


def cannot_read(error: Exception, path: Path, *, whole: Path | None = None) -> UnreadableError:
    """``error`` about reading ``path``, with what to do where its permissions are the cause."""
    if denied_part(path) is None:
        return UnreadableError(str(error))
    return UnreadableError(f"{error}; {how_to_allow(path, whole=whole)}")


def denied_part(path: Path, *, write: bool = False) -> Path | None:
    """The first part of ``path``, from the root, that denies it to this user; ``None`` where none does.

    With ``write``: what denies writing it; of a file that does not exist, its folder.
    """
    try:
        path = path.absolute()
    except OSError:  # the working directory was removed
        return None
    for folder in reversed(path.parents):
        if not os.access(folder, os.X_OK):
            # What is gone, or is a file and no folder, denies nothing.
            mode = _mode(folder)
            return folder if mode is not None and stat.S_ISDIR(mode) else None
    mode = _mode(path)
    if mode is None:
        return path.parent if write and not os.access(path.parent, os.W_OK) else None
    wanted = (os.W_OK if write else os.R_OK) | (os.X_OK if stat.S_ISDIR(mode) else 0)
    return None if os.access(path, wanted) else path


def how_to_allow(path: Path, *, whole: Path | None = None) -> str:
    """What to do where this user may not read ``path``, or may not write it: whose it is, and the command for its owner.

    ``whole`` is the folder that is to be made readable at once, where ``path`` is in it.
    """
    write = False
    part = denied_part(path)
    if part is None:
        write, part = True, denied_part(path, write=True)
    if part is None:
        return "this user may not do that, although the mode allows it; ask its owner, or the administrator"
    state = part.stat()
    inside = whole is not None and part.is_relative_to(whole.absolute())
    # To pass through a folder above, which may be a home, nobody need be allowed to list it.
    rights = "rwX" if write else "rX" if inside or part == path.absolute() else "x"
    option, place = ("-R ", whole.absolute()) if whole is not None and inside else ("", part)

    def chmod(who: str) -> str:
        return f"chmod {option}{who}+{rights} {pasted(place)}"

    if state.st_uid == os.geteuid():
        return f"it is yours: {chmod('u')}"
    owner = owner_name(state.st_uid)
    if state.st_gid in (os.getegid(), *os.getgroups()):
        asked = chmod("g")
    else:
        asked = f"{chmod('o')} (you are not in its group, {_group(state.st_gid)})"
    if write:
        more = ", or copy the run to a folder of yours"
    elif inside:
        more = "; for what is written later: umask in the site block of grid.yaml"
    else:
        more = ""
    return f"it belongs to {owner}. Ask {owner} for: {asked}{more}"


@contextlib.contextmanager
def written_with(umask: int) -> Iterator[None]:
    """Give the files that this process makes in the ``with`` block the permissions that ``umask`` leaves."""
    before = os.umask(umask)
    try:
        yield
    finally:
        os.umask(before)


def _mode(path: Path) -> int | None:
    try:
        return path.stat().st_mode
    except OSError:
        return None


def owner_name(number: int) -> str:
    """The name of the user with this number."""
    with contextlib.suppress(KeyError):  # a container may not know the user
        return pwd.getpwuid(number).pw_name
    return f"user {number}"


def _group(number: int) -> str:
    with contextlib.suppress(KeyError):
        return grp.getgrgid(number).gr_name
    return str(number)
