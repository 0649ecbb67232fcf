"""``index.csv``: index, name, key and one column per axis. All parts of a run agree on points through this file."""

from __future__ import annotations

import contextlib
import csv
import io
import re
import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from jobs.common.errors import UserError, one_line, shown
from jobs.common.files import write_text_atomically
from jobs.common.hints import hint
from jobs.common.permissions import check_readable
from jobs.common.reading import TABLE, UnsafeFile, kind_of, read_bytes
from jobs.common.records import DamagedRecord, read
from jobs.common.schema import ProvenanceRecord
from jobs.grid.config import load_config
from jobs.grid.points import (
    KeyTemplate,
    Point,
    join_stem,
    key_part,
    name_part,
    point_name,
    stem_of_name,
)
from jobs.grid.settings import HYPERPARAMETERS, POINT
from jobs.run.paths import PointPaths, RunPaths

FIXED = ("index", "name", "key")


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One row of the index: a point with its number (from 1), its name and its key."""

    index: int
    name: str
    key: str
    point: Point

    @property
    def stem(self) -> str:
        """The name without ``exp_NN_``; the names of the point's files begin with it."""
        return self.name.split("_", 2)[2]


@dataclass(frozen=True)
class Run:
    """A run directory: its paths, its points and the data that they are trained on.

    ``axes`` are the columns of the index after ``index, name, key``. ``fingerprint``, ``source`` and ``split``
    describe the data. ``site`` is the checked site block of the run's ``grid.yaml``.
    """

    paths: RunPaths
    axes: tuple[str, ...]
    entries: tuple[Entry, ...]
    fingerprint: str
    source: str
    split: str
    site: Mapping[str, Any] = field(default_factory=dict, compare=False)
    _by_index: dict[int, Entry] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        self._by_index.update({entry.index: entry for entry in self.entries})

    def entry(self, index: int) -> Entry:
        """The point with this index; :class:`UserError` with the valid range where there is none."""
        if index not in self._by_index:
            numbers = list(self._by_index)
            raise UserError(
                f"{self.paths.root} has no point {index}; expected an index from {min(numbers)} to {max(numbers)}"
            )
        return self._by_index[index]

    def point_paths(self, entry: Entry) -> PointPaths:
        """The files of ``entry``."""
        return self.paths.point(entry.name, entry.stem, entry.point.settings["model_format"])

    def results_text(self, entry: Entry) -> str:
        """The path of the result of ``entry`` as text; see :meth:`RunPaths.results_text`."""
        return self.paths.results_text(entry.name, entry.stem)


def make_entry(index: int, point: Point, fingerprint: str) -> Entry:
    """The row of a new point."""
    return Entry(index, point_name(index, point.stem), point.key(fingerprint), point)


def write_index(path: Path, axes: Sequence[str], entries: Sequence[Entry]) -> None:
    """Replace ``index.csv`` atomically."""
    write_text_atomically(path, index_text(axes, entries))


def index_text(axes: Sequence[str], entries: Sequence[Entry]) -> str:
    """The content of ``index.csv``."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*FIXED, *axes])
    for entry in entries:
        writer.writerow([entry.index, entry.name, entry.key, *(entry.point.text(axis) for axis in axes)])
    return text.getvalue()


@dataclass(frozen=True, slots=True)
class _Cell:
    """A cell of an axis: its value, and its part of the point's name and of the text of its key."""

    value: Any
    name_part: str
    key_part: str


class _Column(dict[str, _Cell]):
    """The cells of one axis by their text: ten thousand rows have few different values."""

    def __init__(self, axis: str) -> None:
        super().__init__()
        self.axis = axis

    def __missing__(self, text: str) -> _Cell:
        """Parse the cell; ``ValueError`` with what is expected where it is not a value of the axis."""
        value = POINT[self.axis].from_text(text)
        name = name_part(self.axis, POINT[self.axis].to_text(value))
        cell = self[text] = _Cell(value, name, key_part(self.axis, value))
        return cell


def _read_cells(path: Path) -> tuple[list[str], list[list[str]]]:
    """The header and the rows, as text."""
    try:
        rows = list(csv.reader(io.StringIO(read_bytes(path, TABLE).decode("utf-8")), strict=True))
    except UnsafeFile as error:
        raise UserError(str(error)) from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(
            f"{path} cannot be read ({error}); expected the file that make_grid.py wrote"
        ) from error
    header = rows[0] if rows else []
    axes, needed = header[len(FIXED) :], (*HYPERPARAMETERS, "seed")
    if (
        tuple(header[: len(FIXED)]) != FIXED
        or any(axis not in POINT for axis in axes)
        or len(set(axes)) != len(axes)
        or any(axis not in axes for axis in needed)
    ):
        raise UserError(
            f"{path} begins with the columns {shown(header)}; expected {[*FIXED, *needed]}: "
            "it is not an index of this version"
        )
    return header, rows[1:]


def _read_entries(
    path: Path, recipe: Mapping[str, Any], fingerprint: str
) -> tuple[tuple[str, ...], tuple[Entry, ...]]:
    """The axes and the entries; ``recipe`` has a value for each setting that is not an axis.

    Every row is checked: its cells, its name, and its key, which must be that of its settings.
    """
    header, rows = _read_cells(path)
    axes = tuple(header[len(FIXED) :])
    columns = [_Column(axis) for axis in axes]
    common = {key: recipe[key] for key in POINT}
    keys = KeyTemplate(common, axes, fingerprint)
    hyperparameters = [axes.index(key) for key in HYPERPARAMETERS]
    entries = []
    for number, row in enumerate(rows, start=2):
        try:
            if len(row) != len(header):
                raise ValueError(f"{len(header)} cells")
            cells = [column[text] for column, text in zip(columns, row[len(FIXED) :], strict=True)]
            index, name, key = int(row[0]), row[1], row[2]
            expected = join_stem([cells[place].name_part for place in hyperparameters])
            stem = stem_of_name(name)
            if stem is None or name != point_name(index, stem):
                raise ValueError(f"the name {point_name(index, expected)}, or one that begins like it")
        except ValueError as error:
            raise UserError(
                f"{path} line {number}: received {one_line(','.join(row), 200)}, expected {error}"
            ) from None
        settings = common.copy()
        settings.update(zip(axes, [cell.value for cell in cells], strict=True))
        entry = Entry(index, name, key, Point(settings))
        entries.append(entry)
        if key != keys.key([cell.key_part for cell in cells]):
            raise UserError(
                f"{path}: the settings of {name} give the key {entry.point.key(fingerprint)}, "
                f"expected {one_line(key, 40)}: grid.yaml or index.csv of the run was edited after it was made. "
                "Undo the edit, or make a new run"
            )
        if stem != expected and not stem.startswith(f"{expected}_"):
            # The point's files would be looked for, and written, under the name of other settings.
            raise UserError(
                f"{path}: received the name {name}, expected {point_name(index, expected)} "
                "or one that begins like it: it was edited after it was made. Undo the edit, or make a new run"
            )
    if not entries or len({entry.index for entry in entries}) != len(entries):
        raise UserError(
            f"{path} contains no point, or one index twice; expected the file that make_grid.py wrote"
        )
    return axes, tuple(entries)


def read_run(root: Path) -> Run:
    """Read a run directory: its own copy of ``grid.yaml``, ``index.csv`` and ``provenance.json``.

    Raises :class:`jobs.common.errors.UnreadableError` where this user may not read it, and
    :class:`UserError` where a file is missing or damaged, where the making of the run was interrupted, and
    where a file was edited so that a point no longer has the key that the index gives for it.
    """
    paths = RunPaths(root)
    for path in (root, paths.grid, paths.index, paths.provenance):
        check_readable(path, whole=root)
    if not root.is_dir():
        raise UserError(
            f"{root} is not a folder; expected a run directory, make one with: {hint('make_grid.py')}"
        )
    missing = []
    for path in (paths.grid, paths.index, paths.provenance):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            mode = path.lstat().st_mode
            if not stat.S_ISREG(mode):
                raise UserError(str(UnsafeFile(path, f"is {kind_of(mode)}, expected a file; move it away")))
            continue
        missing.append(path.name)
    if missing:
        raise UserError(
            f"{root} is not a complete run directory: {', '.join(missing)} missing; "
            f"complete or make it with: {hint('make_grid.py', '--run-dir', root)}"
        )
    config = load_config(paths.grid, made=True)
    data = read_provenance(paths).data
    recipe = {**config.training, **{key: setting.default for key, setting in HYPERPARAMETERS.items()}}
    axes, entries = _read_entries(paths.index, {**recipe, "seed": config.seeds[0]}, data.fingerprint)
    return Run(
        paths,
        axes,
        entries,
        data.fingerprint,
        one_line(data.source),
        one_line(data.split),
        config.site,
    )


def read_provenance(paths: RunPaths) -> ProvenanceRecord:
    """The record of how the run was made; :class:`UserError` where there is none, or it is damaged."""
    try:
        return read(paths.provenance, ProvenanceRecord)
    except (DamagedRecord, FileNotFoundError) as error:
        raise UserError(
            f"{paths.provenance} cannot be used ({one_line(error)}); expected the file that make_grid.py wrote"
        ) from error


def parse_indices(text: str) -> list[int]:
    """The indices in ``text``, sorted and without duplicates; :class:`UserError` where it is not such a list.

    >>> parse_indices("7-9,3")
    [3, 7, 8, 9]
    """
    chosen: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)(?:-(\d+))?\s*", part)
        if match is None or (match[2] and int(match[2]) < int(match[1])):
            raise UserError(f"--indices: received {text!r}, expected numbers and ranges such as 3,7-9")
        if match[2] and int(match[2]) - int(match[1]) > 1_000_000:
            raise UserError(f"--indices: received {text!r}, expected a range of at most a million")
        chosen.update(range(int(match[1]), int(match[2] or match[1]) + 1))
    return sorted(chosen)


def indices_text(indices: Iterable[int]) -> str:
    """The inverse of :func:`parse_indices`.

    >>> indices_text([9, 3, 7, 8])
    '3,7-9'
    """
    parts: list[list[int]] = []
    for index in sorted(set(indices)):
        if parts and index == parts[-1][1] + 1:
            parts[-1][1] = index
        else:
            parts.append([index, index])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in parts)
