r"""Text that comes from a file, a name or another program, in a form in which it cannot control a terminal.

An escape sequence in a file name could clear the screen, hide a line, or type a command. Characters that change the
direction of text could make one name look like another.
"""

from __future__ import annotations

import unicodedata

# Joiners are part of emoji and of words in several scripts, and show nothing by themselves.
_KEPT = frozenset("\n\t\N{ZERO WIDTH JOINER}\N{ZERO WIDTH NON-JOINER}")
_HIDDEN = ("Cc", "Cf", "Cs", "Zl", "Zp")  # control, format, half a surrogate pair, separators of lines


def visible(text: str) -> str:
    r"""``text`` with each character that controls or hides something as its escape in Python; lines and tabs stay.

    >>> visible("\x1b[2J and \u202etxt.exe")
    '\\x1b[2J and \\u202etxt.exe'
    >>> visible("läuft 漢字\n")
    'läuft 漢字\n'
    """
    if text.isprintable() or (text.isascii() and len(text.translate(_ASCII_CONTROLS)) == len(text)):
        return text
    return "".join(one if one in _KEPT or _is_plain(one) else _escaped(one) for one in text)


# For the usual case, text with line breaks: nothing to do if deleting control characters changes nothing.
_ASCII_CONTROLS = {number: None for number in (*range(32), 127) if chr(number) not in _KEPT}


def _is_plain(character: str) -> bool:
    return character.isprintable() or unicodedata.category(character) not in _HIDDEN


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
