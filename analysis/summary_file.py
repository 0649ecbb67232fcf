"""The cells of a summary file as text, whatever program wrote it.

Spreadsheets write other separators, encodings and words than :mod:`jobs.monitor.summary`. What can be understood is
understood; anything else is refused with its row and column. Nothing is guessed: a cell that is read as missing turns
a good result into a failure.
"""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from analysis.cell_values import Notation, notation, truth
from jobs.common.errors import UserError, environment_error, one_line, shown
from jobs.common.hints import hint
from jobs.common.reading import TABLE, UnsafeFile, read_bytes

_SEPARATORS = (",", ";", "\t", "|")
_MOST_ABOVE = 20  # lines of titles above the header
# The first bytes of files that are no text; the byte order marks of four bytes come before those of two.
_WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
_MARKS = (
    (b"\xff\xfe\0\0", "utf-32"),
    (b"\0\0\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)


@dataclass(frozen=True)
class Cells:
    """The rows of a file as texts by column. ``lines`` are the line numbers of the rows, ``headers`` repeated headers."""

    path: Path
    columns: list[str]
    rows: list[dict[str, str]]
    lines: list[int]
    headers: int
    notation: Notation

    def refuse(self, row: int, column: str, expected: str) -> UserError:
        """The error for the cell in ``column`` of the row with this number."""
        return UserError(
            f"{self.path}, line {self.lines[row]}, column {column}: received {shown(self.rows[row][column])}, expected "
            f"{expected}. A spreadsheet may have changed the cell: write the summary again with: "
            f"{hint('collect.py', self.path.parent)}"
        )

    def texts(self, column: str) -> list[str]:
        """The cells of a column, without spaces around them."""
        return [row[column].strip() for row in self.rows]

    def number(self, row: int, column: str) -> float:
        """The number in a cell; NaN if it is empty or says that there is none. Raises :class:`UserError`."""
        try:
            return self.notation.number(self.rows[row][column])
        except ValueError as error:
            raise self.refuse(row, column, str(error)) from None

    def truth(self, row: int, column: str) -> bool | None:
        """Whether a cell says true; ``None`` if it is empty. Raises :class:`UserError`."""
        try:
            return truth(self.rows[row][column])
        except ValueError as error:
            raise self.refuse(row, column, str(error)) from None


def read_cells(
    path: Path, needed: tuple[str, ...], known: tuple[str, ...], numeric: tuple[str, ...]
) -> Cells:
    """The file ``path`` as texts.

    The encoding is UTF-8, UTF-16, UTF-32 or else Windows-1252. The separator is the one that gives the most ``known``
    columns, and the header the first line with all ``needed`` ones. Names of known columns may have other letter case,
    and spaces instead of underscores. Columns without a name, and copies of a column, are left out. The numbers in the
    ``numeric`` columns show which decimal sign the file has.

    Raises :class:`UserError` if the file is missing, is not a table, lacks a ``needed`` column, ends in the middle of a
    line, or has two columns of one name that differ.
    """
    text = _text(path)
    rows, lines, separator = _table(path, text, needed, known)
    header = _columns(rows[0], known)
    missing = [column for column in needed if column not in header]
    if missing:
        raise UserError(
            f"{path} has no column {', '.join(missing)} (it has {shown(header[:8])}); expected a summary "
            f"written by collect.py. Write it again with: {hint('collect.py', path.parent)}"
        )
    if len(rows) > 1 and len(rows[-1]) < len(header) and not text.endswith(("\n", "\r")):
        raise _not_a_table(path, f"line {lines[-1]} ends in the middle, so the file is not whole")
    found: list[dict[str, str]] = []
    kept: list[int] = []
    headers = 0
    for line, row in zip(lines[1:], rows[1:], strict=True):
        if any(cell.strip() for cell in row[len(header) :]):
            raise _not_a_table(path, f"line {line} has more cells than the header")
        if _known_name(row[0], known) == header[0] and _columns(row, known) == header:
            headers += 1  # two files, one after the other
            continue
        cells = [*row, *[""] * (len(header) - len(row))]
        found.append(dict(zip(header, cells, strict=False)))
        kept.append(line)
    header = _without_copies(path, header, found, kept)
    numbers = [column for column in header if column in numeric]
    signs = notation((row[column] for row in found for column in numbers), semicolons=separator == ";")
    return Cells(path, header, found, kept, headers, signs)


def _not_a_table(path: Path, why: str) -> UserError:
    return UserError(
        f"{path} cannot be read as a CSV file ({why}); write it again with: {hint('collect.py', path.parent)}"
    )


def _text(path: Path) -> str:
    try:
        content = read_bytes(path, TABLE, links=True)
    except FileNotFoundError:
        raise UserError(
            f"{path} does not exist; expected the summary of a run. Write it with: {hint('collect.py', path.parent)}"
        ) from None
    except OSError as error:
        raise UserError(str(error) if isinstance(error, UnsafeFile) else environment_error(error)) from error
    if content.startswith(_WORKBOOKS):
        raise _not_a_table(path, "it is a workbook of a spreadsheet: save it as CSV")
    return _decoded(content)


def _decoded(content: bytes) -> str:
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            return content.decode(encoding, errors="replace")
    if b"\0" in content[:2]:  # UTF-16 without a mark: one of the two bytes of a letter is zero
        return content.decode("utf-16-be" if content[:1] == b"\0" else "utf-16-le", errors="replace")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252", errors="replace")


def _table(
    path: Path, text: str, needed: tuple[str, ...], known: tuple[str, ...]
) -> tuple[list[list[str]], list[int], str]:
    """The rows from the header on, their line numbers, and the separator. Raises :class:`UserError`."""
    # What Excel writes to fix the separator.
    fixed = re.match(r'"?sep=(\\t|.)"?(\r\n|\r|\n)', text, re.IGNORECASE)
    separators = _SEPARATORS if fixed is None else (fixed[1].replace("\\t", "\t"),)
    start, text = (1, text) if fixed is None else (2, text[fixed.end() :])
    best: tuple[int, list[list[str]], list[int], str] | None = None
    problem = ""
    for candidate in separators:
        try:
            rows, lines = _parsed(text, candidate, start)
        except ValueError as error:
            problem = problem or str(error)
            continue
        titles = _titles(rows, needed, known)
        score = sum(_known_name(cell, known) in known for cell in rows[titles]) if rows else -1
        if score >= 0 and (best is None or score > best[0]):
            best = score, rows[titles:], lines[titles:], candidate
    # With a wrong separator any text is a table, so what the right one has found is worth more.
    if best is None or (problem and not {_known_name(cell, known) for cell in best[1][0]} >= set(needed)):
        raise _not_a_table(path, problem or "it is empty")
    return best[1:]


def _titles(rows: list[list[str]], needed: tuple[str, ...], known: tuple[str, ...]) -> int:
    """The number of rows above the header."""
    for number, row in enumerate(rows[:_MOST_ABOVE]):
        if {_known_name(cell, known) for cell in row} >= set(needed):
            return number
    return 0


def _parsed(text: str, separator: str, start: int) -> tuple[list[list[str]], list[int]]:
    """The rows that are not empty, and their line numbers. Raises :class:`ValueError` with what is wrong."""
    # Strict, because a quotation mark that is not closed would swallow the rest of the file.
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    rows, lines, line = [], [], start
    try:
        for row in reader:
            if (
                len(row) == 1 and separator in row[0]
            ):  # a whole line in quotation marks is one cell of a spreadsheet
                row = next(csv.reader([row[0]], delimiter=separator, strict=True))  # noqa: PLW2901
            if any(cell.strip() for cell in row):
                rows.append(row)
                lines.append(line)
            line = start + reader.line_num
    except csv.Error as error:
        raise ValueError(f"line {line}: {one_line(error)}") from error
    return rows, lines


def _known_name(cell: str, known: tuple[str, ...]) -> str:
    """The name of a column, as it is known."""
    name = cell.strip().strip("\N{ZERO WIDTH NO-BREAK SPACE}").strip()
    return _folded(known).get(re.sub(r"[ _-]+", "_", name).casefold(), name)


@lru_cache(maxsize=4)
def _folded(known: tuple[str, ...]) -> dict[str, str]:
    return {name.casefold(): name for name in known}


def _columns(row: list[str], known: tuple[str, ...]) -> list[str]:
    """The names of the columns; known ones as they are known, repeated ones with a number."""
    found: list[str] = []
    for cell in row:
        base = name = _known_name(cell, known)
        number = 1
        while name in found:
            name, number = f"{base}.{number}", number + 1
        found.append(name)
    return found


def _without_copies(path: Path, header: list[str], rows: list[dict[str, str]], lines: list[int]) -> list[str]:
    """``header`` without copies of another column, and without columns that have no name, such as row numbers.

    Raises :class:`UserError` if two columns of one name differ.
    """
    kept = []
    for column in header:
        base = re.sub(r"\.\d+$", "", column)
        if not base or re.fullmatch(r"Unnamed: \d+(_level_\d+)?", column):
            continue
        if base == column or base not in header:
            kept.append(column)
            continue
        for row, line in zip(rows, lines, strict=True):
            if row[base].strip() != row[column].strip():
                raise UserError(
                    f"{path}, line {line}: received two columns {base} that differ, {shown(row[base])} and "
                    f"{shown(row[column])}; expected one. Delete one of them, or write the summary again with: "
                    f"{hint('collect.py', path.parent)}"
                )
    return kept
