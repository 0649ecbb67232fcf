"""Words of a command that a user pastes into a shell."""

from __future__ import annotations

import os
import shlex
from pathlib import Path


def pasted(path: Path | str) -> str:
    r"""``path`` in a command that a user pastes into a shell: quoted where necessary, never an option, on one line.

    A character that cannot be printed, and a byte that is no UTF-8, has the form that bash and zsh accept.

    >>> pasted("runs/a b"), pasted("-x"), pasted("a\nb")
    ("'runs/a b'", './-x', "$'a\\nb'")
    """
    text = str(path)
    return quoted(f"./{text}" if text.startswith("-") else text)


def quoted(text: str) -> str:
    """``text`` as one word of a command for a shell, on one line."""
    if text.isprintable():
        return shlex.quote(text)
    parts = []
    for character in text:
        if character in "\\'":
            parts.append(f"\\{character}")
        elif character.isprintable():
            parts.append(character)
        elif character == "\n":
            parts.append("\\n")
        else:
            # Octal has at most three digits, so the next character cannot become a part of it.
            parts += [f"\\{byte:03o}" for byte in os.fsencode(character)]
    return f"$'{''.join(parts)}'"
