"""Commands in messages, in a form that works when it is pasted into a shell where the user is now.

``python -m jobs.NAME`` works only in the folder of the repository, so elsewhere ``cd`` comes first. ``make_grid.py``,
``run_point.py``, ``collect.py``, ``analyze.py`` and the shell scripts work from any folder by their path.
"""

from __future__ import annotations

import contextlib
import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from jobs.common.shell_words import pasted

REPOSITORY = Path(__file__).resolve().parents[2]


def hint(program: str, *arguments: Path | str, anywhere: bool = False) -> str:
    """The command that runs ``program``, for a message to the user.

    ``program`` is a module (``jobs.submit``), a script (``make_grid.py``) or a shell script
    (``jobs/make_environment.sh``). An argument that is a path is a :class:`pathlib.Path`. Text is an option, or a
    word such as ``RUN`` that the user replaces. In the repository's folder the command is as short as possible. In
    another folder, and with ``anywhere``, it works in every folder: paths are absolute. That is for files that are read
    later. What a PBS job prints is read later as well.

    >>> hint("jobs.submit", Path("/runs/a b"), "--live", anywhere=True)  # doctest: +SKIP
    "cd /home/me/unet && python -m jobs.submit '/runs/a b' --live"
    """
    if not anywhere and in_repository():
        return _line(program, arguments, here=True, relative=True)
    line = _line(program, arguments, here=False)
    return f"cd {pasted(REPOSITORY)} && {line}" if _is_module(program) else line


def hint_lines(*commands: tuple[Path | str, ...], **instead: tuple[Path | str, ...]) -> list[str]:
    """Several commands, one per line, that work in every folder: the first line changes to the repository's folder.

    Each command is the program, then the arguments, as for :func:`hint`. ``instead`` are commands that replace the
    last one elsewhere: each follows as a comment that begins with its name, whose underscores become spaces.
    """
    lines = [_line(str(program), arguments, here=True) for program, *arguments in commands]
    comments = [
        # On a line of its own: an interactive zsh takes a # after a command for an argument.
        f"# {name.replace('_', ' ')}: {_line(str(program), arguments, here=True)}"
        for name, (program, *arguments) in instead.items()
    ]
    return [f"cd {pasted(REPOSITORY)}", *lines, *comments]


def in_repository() -> bool:
    """Whether what this process prints is read in the folder of the repository."""
    if "PBS_JOBID" in os.environ:
        return False  # its output is a log
    try:
        return Path.cwd() == REPOSITORY
    except OSError:  # the working directory was removed
        return False


def _is_module(program: str) -> bool:
    return program.startswith("jobs.")


def _line(program: str, arguments: Sequence[Path | str], *, here: bool, relative: bool = False) -> str:
    """The command as typed in the repository's folder (``here``) or elsewhere, with absolute or ``relative`` paths."""
    if _is_module(program):
        words = ["python", "-m", program]
    else:
        path = Path(program) if here else REPOSITORY / program
        words = ["bash" if program.endswith(".sh") else "python", pasted(path)]
    return " ".join([*words, *(_word(argument, relative=relative) for argument in arguments)])


def _word(argument: Path | str, *, relative: bool) -> str:
    if isinstance(argument, str):
        return shlex.quote(argument)
    if not relative:
        with contextlib.suppress(OSError):  # the working directory was removed
            argument = argument.absolute()
    return pasted(argument)
