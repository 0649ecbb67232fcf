"""What a command does before anything else: safe streams, and a line instead of a traceback where packages are missing.

It imports the standard library and modules that do, because it must work where the packages are missing.
"""

from __future__ import annotations

import errno
import io
import os
import sys
import tempfile
import warnings
from pathlib import Path
from types import TracebackType
from typing import Any

from jobs.common.visible import visible

SCRIPTS = ("make_grid.py", "run_point.py", "collect.py", "analyze.py", "status.py")
_MISSING = 2  # the exit code of everything that the user can fix
_MEMORY = "/dev/shm"  # noqa: S108 - the files in it get names of their own


class DiscardingFile(io.FileIO):
    """A file descriptor that never raises for what is written to it.

    Where its reader has gone (``| head``), the rest is discarded in silence, as ``git log`` does. Where the disk behind
    it is full, the rest is discarded, too, and ``problem`` has the first error, for :func:`output_problem`. The command
    itself goes on: what it computes must not be lost because nobody reads its output.
    """

    problem: OSError | None = None

    def write(self, content: Any) -> int:
        """Write ``content``, or discard it; always its length."""
        size = memoryview(content).nbytes
        if self.problem is not None:
            return size
        try:
            written = super().write(content)
        except OSError as error:
            self.problem = error
            return size
        return size if written is None else written


class SafeText(io.TextIOWrapper):
    """Standard output or error on which no text of a name or a file controls the terminal (:mod:`jobs.common.visible`)."""

    def write(self, text: str) -> int:
        """Write ``text``; returns its length."""
        super().write(visible(text))
        return len(text)

    def unchecked(self) -> UncheckedText:
        """The same stream for a program that writes escape sequences of its own; nothing of it is changed."""
        return UncheckedText(self)


class UncheckedText(io.TextIOBase):
    """What is written to it goes to a :class:`SafeText` as it is."""

    def __init__(self, stream: SafeText) -> None:
        self._stream = stream

    @property
    def encoding(self) -> str:  # type: ignore[override]  # an attribute there
        """That of the stream."""
        return self._stream.encoding

    def writable(self) -> bool:
        """Whether it can be written to."""
        return True

    def write(self, text: str) -> int:
        """Write ``text`` as it is; returns its length."""
        return io.TextIOWrapper.write(self._stream, text)

    def flush(self) -> None:
        """Flush the stream."""
        self._stream.flush()

    def isatty(self) -> bool:
        """Whether the stream is a terminal."""
        return self._stream.isatty()

    def fileno(self) -> int:
        """The descriptor of the stream."""
        return self._stream.fileno()


def prepare_command() -> None:
    """Prepare the process of a command; nothing where another program only imports this package."""
    program = sys.argv[0] if sys.argv else ""
    # `python -m jobs.status` imports this package before it sets the name of the program.
    if program != "-m" and Path(program).name not in SCRIPTS:
        return
    sys.excepthook = explain_import_error
    safe_streams()
    usual_warnings()
    temporary_folder()


def usual_warnings() -> None:
    """Undo ``PYTHONWARNINGS``, ``-W`` and the filters of a ``sitecustomize``, here and in the processes that this one starts.

    With ``error``, a warning inside TensorFlow or pandas would end a training.
    """
    sys.warnoptions.clear()
    os.environ.pop("PYTHONWARNINGS", None)
    warnings.resetwarnings()
    for category in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
        warnings.simplefilter("ignore", category)


def temporary_folder() -> None:
    """Use memory for temporary files where ``TMPDIR``, ``/tmp`` and the working directory are full or read-only.

    Matplotlib and the processes of :mod:`multiprocessing` need a few small ones, and a result must not wait for them.
    """
    try:
        tempfile.gettempdir()
    except OSError:
        if os.access(_MEMORY, os.W_OK | os.X_OK):
            os.environ["TMPDIR"] = tempfile.tempdir = _MEMORY


def safe_streams() -> None:
    """Make standard output and error of this process safe: closed, with a reader that has gone, on a full disk."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # A closed one would be the number of the next file that is opened, and get what is printed.
            os.open(os.devnull, os.O_RDWR)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123 - until the process ends
        elif isinstance(stream, io.TextIOWrapper) and not isinstance(_raw(stream), DiscardingFile):
            raw = DiscardingFile(stream.fileno(), "w", closefd=False)
            safe = SafeText(
                io.BufferedWriter(raw),
                encoding=stream.encoding,
                # A path that the terminal's encoding cannot show must not end a command.
                errors="backslashreplace",
                line_buffering=stream.line_buffering or name == "stderr",
                write_through=stream.write_through,
            )
            stream.flush()
            setattr(sys, name, safe)


def _raw(stream: io.TextIOWrapper) -> object:
    return getattr(stream.buffer, "raw", None)


def output_problem() -> OSError | None:
    """Why part of standard output was lost, or ``None``; a reader that has gone is no problem."""
    stream = sys.stdout
    if not isinstance(stream, io.TextIOWrapper):
        return None
    stream.flush()
    raw = _raw(stream)
    problem = raw.problem if isinstance(raw, DiscardingFile) else None
    return None if problem is None or problem.errno == errno.EPIPE else problem


def explain_import_error(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """The ``sys.excepthook`` of commands: one line where a package that the product needs cannot be imported."""
    from jobs.common.hints import REPOSITORY, hint
    from jobs.common.requirements import requirements
    from jobs.common.shell_words import pasted

    make = hint("jobs/make_environment.sh")
    activate = pasted(REPOSITORY / ".venv" / "bin" / "activate")

    needed = {one.module: one.package for one in requirements()}
    name = getattr(error, "name", None) or ""
    missing = name.split(".")[0]
    if isinstance(error, KeyboardInterrupt):
        text, code = "interrupted", 130
    elif isinstance(error, ModuleNotFoundError) and name in needed:
        text = (
            f"the package {needed[missing]} is not installed for {sys.executable}; activate the environment: "
            f"source {activate} ({make} makes one), then repeat"
        )
        code = _MISSING
    elif isinstance(error, ImportError) and missing in needed:
        words = " ".join(str(error).split())[:200]
        text = (
            f"the package {needed[missing]} of {sys.executable} cannot be imported ({words}); it was installed for another "
            f"Python or is incomplete: make the environment again with {make}"
        )
        code = _MISSING
    elif isinstance(error, OSError) and error.errno is not None:
        # Before a command is run, there is only the import of packages.
        place = "" if error.filename is None else f"{error.filename}: "
        text = f"{place}{error.strerror}; expected the files of the environment, and a folder for temporary files (TMPDIR)"
        code = _MISSING
    else:
        sys.__excepthook__(kind, error, trace)
        return
    sys.stderr.write(f"{Path(sys.argv[0]).stem}: {text}\n")
    sys.stderr.flush()
    os._exit(code)  # a hook cannot change the exit code in another way
