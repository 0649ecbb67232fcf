"""Who may read and write what is written into a run: one umask for every command, job and user.

Files have the permissions that the run directory has, whoever writes them: in a folder that a group shares
(``chmod g+ws``) every member can go on where another one stopped. ``umask`` in the site block overrides that.
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

from jobs.common.errors import UnreadableError, UserError
from jobs.common.permissions import check_readable, denied_part, how_to_allow, written_with
from jobs.grid.config import load_config
from jobs.run.index import Run, read_run
from jobs.run.paths import RunPaths
from jobs.run.trust import check_trust, shared_by

_OWNER = 0o700  # is never taken away: a job must read what it has written


def open_run(root: Path, *, trust: bool | None = None) -> Run:
    """:func:`jobs.run.index.read_run` for a command: what this process and its children write from now on is the run's.

    ``trust``: for a command that acts on the run, whether ``--trust`` was given; ``None`` for one that looks at it.

    Raises :class:`UserError`, also where this user should look at the run before anything of it is executed
    (:func:`jobs.run.trust.check_trust`).
    """
    run = read_run(root)
    if trust is not None:
        check_trust(run, trust=trust)
    os.umask(umask_of(run))
    return run


def check_data(run: Run) -> None:
    """Raise :class:`UnreadableError` where this user may not read the data of ``run``."""
    data = run.paths.data
    check_readable(data, whole=run.paths.root)
    for path in data.iterdir() if data.is_dir() else ():
        check_readable(path, whole=run.paths.root)


def check_trainable(run: Run) -> None:
    """Raise :class:`UnreadableError` where this user may not read the data of ``run``, or not write into it."""
    check_data(run)
    root = run.paths.root
    for folder in (root, run.paths.logs):  # PBS loses the output of a job that may not write its log
        part = denied_part(folder, write=True)
        if part is not None:
            raise UnreadableError(f"{part} cannot be written by this user; {how_to_allow(part, whole=root)}")


def configuration_mode(root: Path) -> int:
    """The permissions of the files that decide what is done with the run at ``root``, less what the umask takes.

    Its group may write them only where it shares the run: a change of them changes what is executed.
    """
    return 0o666 if shared_by(root) is not None else 0o644


def umask_of(run: Run) -> int:
    """The umask for what is written into ``run``."""
    return umask_for(run.paths.root, run.site.get("umask"))


def umask_for(root: Path, written: str | None) -> int:
    """The umask for what is written into the run directory ``root``, which need not exist yet.

    ``written`` is ``umask`` of the site block. Without it: what the mode of ``root`` forbids others, and for a new run
    :func:`umask_for_new`.

    >>> umask_for(Path("/"), "0027") == 0o027
    True
    """
    if written is None:
        with contextlib.suppress(OSError):
            return ~stat.S_IMODE(root.stat().st_mode) & 0o777 & ~_OWNER
    return umask_for_new(root.absolute().parent, written)


def umask_for_new(parent: Path, written: str | None) -> int:
    """The umask for a new run in the folder ``parent``, which need not exist yet.

    Without ``written``: in a folder with the set-group-ID bit that its group may write, the run is the group's, too,
    and others get no more than in ``parent``; elsewhere the user's own umask counts.
    """
    if written is not None:
        return int(written, 8)
    own = os.umask(0o077)
    os.umask(own)
    own &= ~_OWNER
    parent = parent.absolute()
    for folder in (parent, *parent.parents):
        with contextlib.suppress(OSError):
            mode = folder.stat().st_mode
            shared = mode & stat.S_ISGID and mode & stat.S_IWGRP
            return own & 0o007 | ~mode & 0o077 if shared else own
    return own


def written_into(folder: Path, root: Path | None) -> contextlib.AbstractContextManager[None]:
    """For a ``with`` block that writes into ``folder``: with the run's permissions where it is in the run at ``root``."""
    if root is None or not Path(os.path.realpath(folder)).is_relative_to(os.path.realpath(root)):
        return contextlib.nullcontext()
    written = None
    with contextlib.suppress(UserError):
        written = load_config(RunPaths(root).grid, made=True).site["umask"]
    return written_with(umask_for(root, written))
