"""The cells of a summary file as text, whatever program wrote it.

Spreadsheets write other separators, encodings and words than :mod:`jobs.monitor.summary`. What can be understood is
understood; anything else is refused with its row and column. Nothing is guessed: a cell that is read as missing turns
a good result into a failure.
"""

from __future__ import annotations

import csv
import io
import math
import re
from dataclasses import dataclass
from pathlib import Path

from jobs.common.errors import UserError, one_line, shown

_SEPARATORS = (",", ";", "\t", "|")
_TRUE = frozenset(
    [
        "true",
        "1",
        "1.0",
        "yes",
        "y",
        "ja",
        "j",
        "oui",
        "o",
        "wahr",
        "vrai",
        "verdadero",
        "vero",
        "si",
        "sí",
        "sì",
        "waar",
        "sant",
        "sann",
        "tosi",
        "prawda",
        "да",
    ]
)
_FALSE = frozenset(
    [
        "false",
        "0",
        "0.0",
        "no",
        "n",
        "nein",
        "non",
        "falsch",
        "faux",
        "falso",
        "onwaar",
        "falskt",
        "usann",
        "nej",
        "nee",
        "nie",
        "epätosi",
        "fałsz",
        "нет",
    ]
)
# Cells without a value. The words with # are what spreadsheets show where a formula failed.
_MISSING = frozenset(
    [
        "nan",
        "na",
        "n/a",
        "n.a.",
        "null",
        "none",
        "-",
        "\N{EN DASH}",
        "?",
        "#n/a",
        "#nv",
        "#div/0!",
        "#num!",
        "#zahl!",
        "#value!",
        "#wert!",
        "#ref!",
        "#bezug!",
        "#name?",
        "#null!",
    ]
)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_INFINITE = re.compile(r"[+-]?inf(inity)?", re.IGNORECASE)
_DECIMAL_COMMA = re.compile(r"[+-]?\d{1,3}(\.\d{3})*,\d+([eE][+-]?\d+)?|[+-]?\d+,\d+([eE][+-]?\d+)?")
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+(\.\d+)?")


@dataclass(frozen=True)
class Cells:
    """The rows of a file as texts by column. ``lines`` are the line numbers of the rows, ``headers`` repeated headers."""

    path: Path
    columns: list[str]
    rows: list[dict[str, str]]
    lines: list[int]
    headers: int
    decimal_comma: bool

    def refuse(self, row: int, column: str, expected: str) -> UserError:
        """The error for the cell in ``column`` of the row with this number."""
        return UserError(
            f"{self.path}, line {self.lines[row]}, column {column}: received {shown(self.rows[row][column])}, expected "
            f"{expected}. A spreadsheet may have changed the cell: write the summary again with: python collect.py "
            f"{self.path.parent}"
        )

    def number(self, row: int, column: str) -> float:
        """The number in a cell; NaN if it is empty or says that there is none. Raises :class:`UserError`."""
        text = self.rows[row][column].strip().replace("\N{MINUS SIGN}", "-")
        share = text.endswith("%")
        plain = text.removesuffix("%").strip().replace("\N{NO-BREAK SPACE}", "")
        if not plain or plain.lower() in _MISSING or _INFINITE.fullmatch(plain):
            return math.nan
        if "," in plain:
            if self.decimal_comma and _DECIMAL_COMMA.fullmatch(plain):
                plain = plain.replace(".", "").replace(",", ".")
            elif not self.decimal_comma and _THOUSANDS.fullmatch(plain):
                plain = plain.replace(",", "")
        if not _NUMBER.fullmatch(plain):
            raise self.refuse(row, column, "a number")
        return float(plain) / (100 if share else 1)

    def truth(self, row: int, column: str) -> bool | None:
        """Whether a cell says true; ``None`` if it is empty. Raises :class:`UserError`."""
        word = self.rows[row][column].strip().casefold()
        if not word:
            return None
        if word in _TRUE or word in _FALSE:
            return word in _TRUE
        raise self.refuse(row, column, "True or False")


def read_cells(path: Path, needed: tuple[str, ...], known: tuple[str, ...]) -> Cells:
    """The file ``path`` as texts.

    The encoding is UTF-8, UTF-16 with a byte order mark, or else Windows-1252. The separator is the one that gives the
    most ``known`` columns. Names of known columns may have other letter case and spaces around them. Raises
    :class:`UserError` if the file is missing, is not a table, or lacks a ``needed`` column.
    """
    text = _text(path)
    rows, lines, separator = _table(path, text, known)
    header = _columns(rows[0], known)
    missing = [column for column in needed if column not in header]
    if missing:
        raise UserError(
            f"{path} has no column {', '.join(missing)} (it has {shown(header[:8])}); expected a summary "
            f"written by collect.py. Write it again with: python collect.py {path.parent}"
        )
    found: list[dict[str, str]] = []
    kept: list[int] = []
    headers = 0
    for line, row in zip(lines[1:], rows[1:], strict=True):
        if any(cell.strip() for cell in row[len(header) :]):
            raise _not_a_table(path, f"line {line} has more cells than the header")
        if not any(cell.strip() for cell in row):
            continue
        if row[0].strip().casefold() == header[0].casefold() and _columns(row, known) == header:
            headers += 1  # two files, one after the other
            continue
        cells = [*row, *[""] * (len(header) - len(row))]
        found.append(dict(zip(header, cells, strict=False)))
        kept.append(line)
    return Cells(path, header, found, kept, headers, _has_decimal_commas(path, found, known, separator))


def _not_a_table(path: Path, why: str) -> UserError:
    return UserError(
        f"{path} cannot be read as a CSV file ({why}); write it again with: python collect.py {path.parent}"
    )


def _text(path: Path) -> str:
    try:
        return _decoded(path.read_bytes())
    except FileNotFoundError:
        raise UserError(
            f"{path} does not exist; expected the summary of a run. Write it with: python collect.py {path.parent}"
        ) from None
    except OSError as error:
        raise _not_a_table(path, one_line(error)) from error


def _table(path: Path, text: str, known: tuple[str, ...]) -> tuple[list[list[str]], list[int], str]:
    """The rows, their line numbers, and the separator. Raises :class:`UserError`."""
    first, _, rest = text.partition("\n")
    fixed = re.fullmatch(r"sep=(.)", first.strip().strip('"'))  # what Excel writes to fix the separator
    if fixed:
        text = rest
    folded = {name.casefold() for name in known}
    best: tuple[int, list[list[str]], list[int], str] | None = None
    for candidate in (fixed[1],) if fixed else _SEPARATORS:
        try:
            rows, lines = _parsed(text, candidate, 2 if fixed else 1)
        except csv.Error as error:
            raise _not_a_table(path, one_line(error)) from error
        score = len({name.strip().casefold() for name in rows[0]} & folded) if rows else -1
        if score >= 0 and (best is None or score > best[0]):
            best = score, rows, lines, candidate
    if best is None:
        raise _not_a_table(path, "it is empty")
    return best[1:]


def _decoded(content: bytes) -> str:
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16", errors="replace")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252", errors="replace")


def _parsed(text: str, separator: str, start: int) -> tuple[list[list[str]], list[int]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    rows, lines, line = [], [], start
    for row in reader:
        if row:
            rows.append(row)
            lines.append(line)
        line = start + reader.line_num
    return rows, lines


def _columns(row: list[str], known: tuple[str, ...]) -> list[str]:
    """The names of the columns; known ones as they are known, repeated ones with a number."""
    by_fold = {name.casefold(): name for name in known}
    found: list[str] = []
    for cell in row:
        name = cell.strip()
        name = by_fold.get(name.casefold(), name)
        number = 1
        while name in found:
            name, number = f"{cell.strip()}.{number}", number + 1
        found.append(name)
    return found


def _has_decimal_commas(
    path: Path, rows: list[dict[str, str]], known: tuple[str, ...], separator: str
) -> bool:
    """Whether commas in numbers are decimal signs. Raises :class:`UserError` if they may also separate thousands."""
    with_comma = [
        (row[column].strip(), column)
        for row in rows
        for column in row
        if column in known and "," in row[column] and row[column].strip(" %+-0123456789.,eE") == ""
    ]
    if not with_comma:
        return False
    if separator != "," or any(not _THOUSANDS.fullmatch(text) for text, _ in with_comma):
        return True
    points = any(
        _NUMBER.fullmatch(cell.strip()) and "." in cell
        for row in rows
        for column, cell in row.items()
        if column in known
    )
    if points:
        return False
    text, column = with_comma[0]
    raise UserError(
        f"{path}, column {column}: received {shown(text)}, where the comma may be a decimal sign or separate thousands; "
        f"expected numbers with a decimal point. Write the summary again with: python collect.py {path.parent}"
    )
