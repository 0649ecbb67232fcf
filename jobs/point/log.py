"""``training_log.txt``: everything a point prints, live, also what C++ code writes to the descriptors."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from jobs.common.errors import one_line
from jobs.run.provenance import now

LOG_LINES = 3


class PointLog:
    """Plain lines to the log, and to the process's former standard output if it is wanted there too."""

    def __init__(self, console: int | None) -> None:
        self._console = console

    def line(self, text: str) -> None:
        """Write one line with the time (UTC) to the log, and to the console."""
        stamped = f"{now()} {text}"
        print(stamped, flush=True)
        if self._console is not None:
            _to_console(self._console, stamped)


def _to_console(descriptor: int, text: str) -> None:
    with contextlib.suppress(OSError):  # a closed terminal must not end a training
        os.write(descriptor, (text + "\n").encode())


class _Log(io.TextIOBase):
    """Text to a descriptor, at once. A full disk must not end a training for want of a log line: it is told once."""

    def __init__(self, descriptor: int, path: Path, console: int) -> None:
        self._descriptor, self._path, self._console = descriptor, path, console
        self._told = False

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def write(self, text: str) -> int:
        try:
            rest = text.encode("utf-8", errors="backslashreplace")
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError as error:
            if not self._told:
                _to_console(
                    self._console,
                    f"{self._path} cannot be written ({error.strerror}); what follows is not in it",
                )
                self._told = True
        return len(text)


@contextlib.contextmanager
def captured(path: Path, *, echo: bool) -> Iterator[PointLog]:
    """Append descriptors 1 and 2 of this process to ``path`` while the block runs.

    Redirecting the descriptors, not ``sys.stdout``, catches what TensorFlow's C++ code and a crash write.
    With ``echo``, :meth:`PointLog.line` also reaches the former standard output.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    saved = os.dup(1), os.dup(2)
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        # By sys.stdout too: it need not be descriptor 1 (in a notebook, under a test runner).
        log = _Log(descriptor, path, saved[1])
        with contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
            yield PointLog(saved[0] if echo else None)
    finally:
        for kept, target in zip(saved, (1, 2), strict=True):
            os.dup2(kept, target)
            os.close(kept)
        os.close(descriptor)


def last_lines(path: Path, count: int = LOG_LINES) -> tuple[str, ...]:
    """The last lines of a log that are not empty, without reading all of it; none where there is no log."""
    try:
        with path.open("rb") as log:
            log.seek(0, 2)
            log.seek(max(0, log.tell() - 4096))
            text = log.read().decode("utf-8", errors="replace")
    except OSError:
        return ()
    lines = [line for line in text.splitlines() if line.strip()]
    return tuple(one_line(line, 200) for line in lines[-count:])
