"""Errors that a user can fix, and the exit codes of all commands.

The exit codes are documented in ``docs/exit_codes.md``; those of a point are in :mod:`jobs.common.states`.
"""

from __future__ import annotations

import errno
import gc
import io
import os
import re
import reprlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jobs.common.files import DiskFull
from jobs.common.startup import output_problem
from jobs.common.visible import visible

OK = 0
USAGE = 2  # bad arguments, grid.yaml or data: the user can fix it
PARTIAL = 3  # collect, local: some points have no result (yet)
NOTHING = 4  # collect, analyze: no usable result
SCHEDULER = 5  # submit, resubmit: PBS refused, did not answer, or is not installed
ACTIVE = 6  # submit, resubmit: what was requested is already queued or running
INTERRUPTED = 130  # Ctrl-C, as shells report it
# Thresholds of the garbage collector. Records, networks and traces are many long-lived objects; at Python's own
# thresholds (700, 10, 10) the collector scans them so often that it takes a sixth of a status of 10,000 points.
COLLECTOR = (50_000, 20, 20)


_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxlist, _SHORT.maxtuple, _SHORT.maxdict = 3, 10, 10, 10
_SHORT.maxstring = _SHORT.maxlong = _SHORT.maxother = 120


def shown(value: Any) -> str:
    """``repr(value)`` for an error message, always short: a file may contain anything, even a gigabyte by YAML aliases."""
    text = _SHORT.repr(value)
    return text if len(text) <= 400 else text[:397] + "..."


def one_line(value: Any, limit: int = 1000) -> str:
    """``str(value)`` as one line of at most ``limit`` characters that every terminal and file accepts.

    White space of any kind becomes one space. What :mod:`jobs.common.visible` does not show as it is (control characters,
    which could control a terminal, and halves of surrogate pairs, which no file can contain) becomes U+FFFD.
    """
    text = " ".join(str(value)[: 4 * limit].split())
    if not text.isprintable():
        text = "".join(c if visible(c) == c else "\N{REPLACEMENT CHARACTER}" for c in text)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def path_argument(text: str) -> Path:
    """A path as an argument of a command. The shell leaves the ``~`` in ``--run-dir=~/search`` as it is."""
    return Path(os.path.expanduser(text))  # noqa: PTH111 - that of pathlib fails where there is no such user


class UserError(Exception):
    """Something that the user can fix.

    The message says what is wrong, what was received, what is expected and what to do next. ``exit_code`` is the exit
    code of the command.
    """

    def __init__(self, message: str, *, exit_code: int = USAGE) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class UnreadableError(UserError):
    """Something that this user, or this version of the program, cannot read: it may be good, and nothing replaces it."""


def run_command(name: str, command: Callable[[], int]) -> int:
    """Run ``command``; print a :class:`UserError` as ``NAME: message`` on stderr and return its exit code.

    A command may change the umask to that of its run (:mod:`jobs.run.sharing`); afterwards it is what it was.
    """
    umask = os.umask(0o077)
    os.umask(umask)
    try:
        return _run_command(name, command)
    finally:
        os.umask(umask)


def _run_command(name: str, command: Callable[[], int]) -> int:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A path that the terminal's encoding cannot show must not end a command.
            stream.reconfigure(errors="backslashreplace")
    gc.set_threshold(*COLLECTOR)
    try:
        code = command()
    except UserError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        return INTERRUPTED
    except MemoryError:
        print(
            f"{name}: there is not enough memory here; try it on another node, or inside a job",
            file=sys.stderr,
        )
        return USAGE
    except OSError as error:
        if error.errno is None:
            raise
        print(f"{name}: {environment_error(error)}", file=sys.stderr)
        return USAGE
    problem = output_problem()
    if problem is not None:
        print(
            f"{name}: its output could not be written ({problem.strerror}); what it does besides printing is done",
            file=sys.stderr,
        )
        return code or USAGE
    return code


_ADVICE = {
    errno.EROFS: "the file system can only be read; copy the run to another place, or name another folder",
    errno.EPERM: "this user may not do that; ask its owner, or copy the run to a folder of yours",
    errno.ENOSPC: "the disk is full; free some space, then repeat",
    errno.EDQUOT: "the quota is used up; free some space, then repeat",
    errno.ENAMETOOLONG: "the path is too long for the file system; use a shorter one",
    errno.EMFILE: "too many files are open; raise the limit with ulimit -n, then repeat",
    errno.ENFILE: "too many files are open on this machine; wait, then repeat",
    errno.ESTALE: "the file was replaced on the server; repeat the command",
    errno.EIO: "the file system does not work; ask its administrator",
    errno.ENOENT: "it is not there, or was removed meanwhile",
    errno.ENOTDIR: "a part of the path is a file; correct the path",
    errno.EISDIR: "a file was expected; correct the path",
    errno.ELOOP: "its links point to each other; correct them",
}


def environment_error(error: OSError) -> str:
    """One sentence on an error of the file system or the operating system: the path, what happened and what to do.

    It is the last resort of every command; where more is known, :class:`UserError` says more.
    """
    if isinstance(error, DiskFull):
        return str(error)
    place = error.filename
    if error.errno == errno.EACCES and isinstance(place, str | bytes):
        return denied(error, Path(os.fsdecode(place)))
    if place is None and error.errno == errno.ENOENT:  # only os.getcwd has no name to give
        return "the working directory was removed; change to another one with cd, then repeat"
    if isinstance(place, str):
        place = _known(Path(place))
    path = f"{place}: " if place is not None else ""
    advice = _ADVICE.get(error.errno or 0)
    return f"{path}{error.strerror or error}" + (f"; {advice}" if advice else "")


def _known(place: Path) -> Path:
    """``place``, or its folder where it is a temporary file, whose name tells nobody anything."""
    return place.parent if re.fullmatch(r"\..*\.tmp(\..*)?", place.name) else place


def denied(error: OSError, place: Path, *, whole: Path | None = None) -> str:
    """One sentence where this user may not read or write ``place``: also whose it is, and what its owner can type.

    ``whole`` is the folder that is to be made readable at once, where ``place`` is in it.
    """
    from jobs.common.permissions import how_to_allow  # it uses this module

    place = _known(place)
    return f"{place}: {error.strerror}; {how_to_allow(place, whole=whole)}"
