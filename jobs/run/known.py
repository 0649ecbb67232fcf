"""The runs that a user has made, wherever they are: a list of their paths in the user's home directory.

It is a convenience: a run that is not on the list works as any other. The list is ``unet_grid/runs.txt`` in
``XDG_STATE_HOME`` (default: ``~/.local/state``), one absolute path per line.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from jobs.common.permissions import written_with
from jobs.common.reading import read_bytes
from jobs.run.paths import RUN_PREFIX, RunPaths

_LIST = "runs.txt"


def state_file(name: str) -> Path | None:
    """A file of this user's own, outside all runs; ``None`` where the user has no home directory."""
    state = os.environ.get("XDG_STATE_HOME", "")
    if not state.startswith("/"):
        try:
            state = str(Path.home() / ".local" / "state")
        except RuntimeError:
            return None
    return Path(state) / "unet_grid" / name


def append_line(path: Path, line: bytes) -> None:
    """Add ``line`` to a file of :func:`state_file`; nothing where that is not possible."""
    try:
        with written_with(0o077):  # not as in the run, which may be a group's
            path.parent.mkdir(parents=True, exist_ok=True)
            # One short write to a file that is opened for appending: two processes at once do not mix their lines.
            with path.open("ab") as file:
                file.write(line + b"\n")
    except OSError:
        return


def remember(root: Path) -> None:
    """Add a run to the list; nothing where that is not possible: the run itself does not need it."""
    path = state_file(_LIST)
    line = os.fsencode(root.absolute())
    if path is not None and b"\n" not in line and line not in _lines(path):
        append_line(path, line)


def known_roots() -> set[Path]:
    """The runs on the list, whether they still exist or not."""
    path = state_file(_LIST)
    return {Path(os.fsdecode(line)) for line in (_lines(path) if path is not None else [])}


def known_runs(folders: Iterable[Path] = ()) -> list[Path]:
    """The runs on the list that still exist, and those in ``folders``, the newest first."""
    roots = list(known_roots())
    for folder in folders:
        roots += folder.absolute().glob(f"{RUN_PREFIX}*")
    found: dict[Path, float] = {}
    for root in roots:
        try:
            found.setdefault(root, RunPaths(root).index.stat().st_mtime)
        except OSError:
            continue
    return sorted(found, key=lambda root: found[root], reverse=True)


def _lines(path: Path) -> list[bytes]:
    try:
        return [line for line in read_bytes(path, links=True).split(b"\n") if line]
    except OSError:
        return []
