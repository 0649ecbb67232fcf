"""The folder in which a run is made: where that fails, everything is as it was before."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from jobs.common.files import lock_file
from jobs.run.paths import RunPaths

LOCK_SECONDS = 30.0  # how long to wait for another process that makes the same run


@contextlib.contextmanager
def locked_folder(paths: RunPaths, *, made: bool = False) -> Iterator[None]:
    """Make the folder of a run where it is missing, and lock it while the ``with`` block makes or extends the run.

    If the block raises, also by Ctrl-C, what it has made is removed: the files of the run, and the folders that were
    missing. What was there before stays, and so does a run that is complete. ``made``: the folder was made for this
    block and is empty.

    Raises ``filelock.Timeout`` where another process has the lock, ``OSError`` where the folder cannot be made.
    """
    folders = [paths.root] if made else []
    missing = []
    place = paths.root
    while not place.exists():
        missing.append(place)
        place = place.parent
    locked_before = paths.lock.exists()
    done = False
    try:
        for folder in reversed(missing):
            with contextlib.suppress(
                FileExistsError
            ):  # another process was faster, and it may keep the folder
                folder.mkdir()
                folders.insert(0, folder)
        with lock_file(paths.lock).acquire(timeout=LOCK_SECONDS):
            complete = paths.index.exists()
            missing = [part for part in _parts(paths) if not part.exists()]
            try:
                yield
                done = True
            finally:
                if not done and not complete:
                    _remove(missing)
    finally:
        if not done:
            if not locked_before:
                with contextlib.suppress(OSError):
                    paths.lock.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # one that is not empty is somebody else's by now
                for folder in folders:
                    folder.rmdir()


def _parts(paths: RunPaths) -> tuple[Path, ...]:
    """What a run consists of before a point has started; first what makes it complete."""
    files = (paths.index, paths.grid, paths.site, paths.old_site, paths.provenance)
    return (*files, paths.root / "data", paths.logs)


def _remove(made: list[Path]) -> None:
    for path in made:
        with contextlib.suppress(OSError):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
