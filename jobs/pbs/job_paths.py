"""Paths in the arguments of ``qsub``, in a form in which they arrive whole.

What OpenPBS 23.06 does with them was tried, character by character, in the C locale and in UTF-8. ``-v`` refuses quotes
and a comma, doubles a backslash and drops spaces at the end. ``-o`` takes printable ASCII only ("illegal -o value", then
its usage), but a relative path may be in any folder, which ``qsub`` puts in front. ``qstat -F json`` does not escape a
backslash, so that its output cannot be read.
"""

from __future__ import annotations

import os
import urllib.parse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jobs.common.errors import UserError, shown
from jobs.common.hints import REPOSITORY
from jobs.common.shell_words import pasted, quoted
from jobs.run.index import Run

_URL = "file://"


def as_variable(path: Path) -> str:
    """The absolute ``path`` as a value for ``qsub -v``: as it is, or as a URL ``file://`` where PBS would change it.

    ``jobs/environment.sh`` and :func:`from_variable` read both.

    >>> as_variable(Path("/runs/a b")), as_variable(Path("/runs/it's"))
    ('/runs/a b', 'file:///runs/it%27s')
    """
    text = str(path)
    # What is not ASCII would arrive, but qstat shows it in pieces.
    whole = text.isascii() and text.isprintable() and text == text.strip() and not set(text) & set("'\",\\")
    return text if whole else _URL + urllib.parse.quote_from_bytes(os.fsencode(text))


def from_variable(text: str) -> Path:
    """The path that :func:`as_variable` made ``text`` of."""
    if not text.startswith(_URL):
        return Path(text)
    return Path(os.fsdecode(urllib.parse.unquote_to_bytes(text.removeprefix(_URL))))


def check_paths(root: Path, site: Mapping[str, Any]) -> None:
    """Refuse a run at ``root`` whose jobs PBS could not run; :class:`UserError` with the path and the reason.

    ``site``: the site block of the run.
    """
    for what, path in (("run", root.resolve()), ("repository", REPOSITORY)):
        if "\\" in str(path):
            problem = (
                "a backslash, which PBS does not escape: what qstat prints about such a job cannot be read"
            )
        elif "^array_index^" in str(path):
            problem = "^array_index^, which PBS replaces by the index of each sub-job"
        elif site["container"] is not None and set(str(path)) & set(",:"):
            problem = f"a comma or a colon, which the option --bind of {site['container_command']} takes for its own"
        else:
            continue
        raise UserError(
            f"the path of the {what}, {shown(str(path))}, contains {problem}; expected another path: move the {what}"
        )


def submission_folder(run: Run) -> Path:
    """The folder in which ``qsub`` is called: the repository, or the run where ``-o`` cannot name its logs."""
    root = run.paths.root.resolve()
    return REPOSITORY if _named_by_o(root) else root


def log_argument(run: Run, log: Path) -> str:
    """The argument of ``-o`` for ``log``, a file of the run; it may be relative to :func:`submission_folder`."""
    root = run.paths.root.resolve()
    within = log.relative_to(run.paths.root)
    return str(root / within) if _named_by_o(root) else str(within)


def _named_by_o(path: Path) -> bool:
    return str(path).isascii() and str(path).isprintable()


def shell_line(command: str, arguments: Sequence[str]) -> str:
    """The command as a user can paste it into a shell."""
    return " ".join(quoted(word) for word in (command, *arguments))


def qsub_line(run: Run, arguments: Sequence[str]) -> str:
    """``qsub`` with ``arguments`` as a user can paste it into a shell, in any folder."""
    folder = submission_folder(run)
    line = shell_line("qsub", arguments)
    return line if folder == REPOSITORY else f"cd {pasted(folder)} && {line}"
