"""``training_log.txt``: everything a point prints, live, also what C++ code writes to the descriptors."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from jobs.provenance import now


class PointLog:
    """Plain lines to the log, and to the process's former standard output if it is wanted there too."""

    def __init__(self, console: int | None) -> None:
        self._console = console

    def line(self, text: str) -> None:
        """Write one line with the time (UTC) to the log, and to the console."""
        stamped = f"{now()} {text}"
        print(stamped, flush=True)
        if self._console is not None:
            with contextlib.suppress(OSError):  # a closed terminal must not end a training
                os.write(self._console, (stamped + "\n").encode())


@contextlib.contextmanager
def captured(path: Path, *, echo: bool) -> Iterator[PointLog]:
    """Append descriptors 1 and 2 of this process to ``path`` while the block runs.

    Redirecting the descriptors, not ``sys.stdout``, catches what TensorFlow's C++ code and a crash write.
    With ``echo``, :meth:`PointLog.line` also reaches the former standard output.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    saved = os.dup(1), os.dup(2)
    # Line by line, and by sys.stdout too: it need not be descriptor 1 (in a notebook, under a test runner).
    with path.open("a", buffering=1, encoding="utf-8", errors="backslashreplace") as log:
        try:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
            with contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
                yield PointLog(saved[0] if echo else None)
        finally:
            log.flush()
            for descriptor, target in zip(saved, (1, 2), strict=True):
                os.dup2(descriptor, target)
                os.close(descriptor)
