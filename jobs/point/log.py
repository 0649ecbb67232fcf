"""``training_log.txt``: everything that a point prints, live, including what C++ code writes to the descriptors."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from jobs.common.errors import one_line
from jobs.common.files import open_to_append
from jobs.common.permissions import denied_part
from jobs.common.reading import UnsafeFile, tail
from jobs.common.visible import visible
from jobs.run.provenance import now

LOG_LINES = 3
_LONGEST_LINE = 5000
_READ_BYTES = 2**20


class PointLog:
    """Writes lines to the log, and to the former standard output of the process if that is wanted."""

    def __init__(self, console: int | None) -> None:
        self._console = console

    def line(self, text: str) -> None:
        """Write one line with the time (UTC) to the log, and to the console: texts of the data may contain anything."""
        stamped = f"{now()} {one_line(text, _LONGEST_LINE)}"
        print(stamped, flush=True)
        if self._console is not None:
            _to_console(self._console, stamped)

    def begin(self, name: str, attempt: int, pid: int, host: str) -> None:
        """Write the first line of an attempt, from which :func:`written_by` finds what its process wrote."""
        self.line(f"{name}: attempt {attempt}{_begin_mark(pid)}{host}")


def _begin_mark(pid: int) -> str:
    return f", process {pid} on "


def written_by(pid: int, path: Path) -> str:
    """What process ``pid`` has written to the log at ``path``, of its last megabyte."""
    text = _tail(path, _READ_BYTES)
    return text[max(0, text.rfind(_begin_mark(pid))) :]


def append_line(path: Path, text: str) -> None:
    """Add a line with the time (UTC) to the log at ``path``, from outside the process that writes it."""
    descriptor = open_to_append(path)
    try:
        os.write(descriptor, f"{now()} {one_line(text, _LONGEST_LINE)}\n".encode())
    finally:
        os.close(descriptor)


def last_lines(path: Path, count: int = LOG_LINES) -> tuple[str, ...]:
    """The last lines of a log that are not empty, without reading all of it; none where there is no log.

    Where this user may not read it, one line says that.
    """
    if not os.access(path, os.R_OK) and (part := denied_part(path)) is not None:
        return (f"{part} cannot be read by this user",)
    lines = [line for line in _tail(path, 4096).splitlines() if line.strip()]
    return tuple(one_line(line, 200) for line in lines[-count:])


def _tail(path: Path, size: int) -> str:
    try:
        return tail(path, size).decode("utf-8", errors="replace")
    except UnsafeFile as error:
        return str(error)
    except OSError:
        return ""


def _to_console(descriptor: int, text: str) -> None:
    with contextlib.suppress(OSError):  # a closed terminal must not end a training
        os.write(descriptor, (text + "\n").encode())


class _Log(io.TextIOBase):
    """Text to a descriptor, without delay, as people may print it with ``cat``: nothing controls their terminal.

    A full disk must not end a training for a log line: it is reported once.
    """

    def __init__(self, descriptor: int, path: Path, console: int) -> None:
        self._descriptor, self._path, self._console = descriptor, path, console
        self._reported = False

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def write(self, text: str) -> int:
        try:
            rest = visible(text).encode("utf-8", errors="backslashreplace")
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError as error:
            if not self._reported:
                _to_console(
                    self._console,
                    f"{self._path} cannot be written ({error.strerror}); the following output is not in it",
                )
                self._reported = True
        return len(text)


@contextlib.contextmanager
def captured(path: Path, *, echo: bool) -> Iterator[PointLog]:
    """Append descriptors 1 and 2 of this process to ``path`` while the block runs.

    Redirecting the descriptors, not ``sys.stdout``, also captures what TensorFlow's C++ code and a crash write.
    With ``echo``, :meth:`PointLog.line` also writes to the former standard output.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    saved = os.dup(1), os.dup(2)
    descriptor = open_to_append(path)
    try:
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        # sys.stdout, too: it need not be descriptor 1 (in a notebook, under a test runner).
        log = _Log(descriptor, path, saved[1])
        with contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
            yield PointLog(saved[0] if echo else None)
    finally:
        for kept, target in zip(saved, (1, 2), strict=True):
            os.dup2(kept, target)
            os.close(kept)
        os.close(descriptor)
