"""``index.csv``: index, name, key and one column for each axis. The contract between all parts of a run."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobs.common.errors import UserError, one_line, shown
from jobs.common.records import DamagedRecord, read_record, write_text_atomically
from jobs.grid.config import load_config
from jobs.grid.points import Point, point_name, stem_of_name
from jobs.grid.settings import HYPERPARAMETERS, POINT
from jobs.run.paths import PointPaths, RunPaths

FIXED = ("index", "name", "key")


@dataclass(frozen=True)
class Entry:
    """One row of the index: a point with its number (from 1), its name and its key."""

    index: int
    name: str
    key: str
    point: Point

    @property
    def stem(self) -> str:
        """The name without ``exp_NN_``: what the point's files begin with."""
        return self.name.split("_", 2)[2]


@dataclass(frozen=True)
class Run:
    """A run directory that has been made: its paths, its points and what they were made from.

    ``axes`` are the columns of the index beyond ``index, name, key``; ``site`` is the checked site block of
    the run's ``grid.yaml``.
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
        """The point with this index; :class:`UserError` naming the valid range where there is none."""
        if index not in self._by_index:
            numbers = list(self._by_index)
            raise UserError(
                f"{self.paths.root} has no point {index}; expected an index from {min(numbers)} to {max(numbers)}"
            )
        return self._by_index[index]

    def point_paths(self, entry: Entry) -> PointPaths:
        """The files of ``entry``."""
        return self.paths.point(entry.name, entry.stem, entry.point.settings["model_format"])


def make_entry(index: int, point: Point, fingerprint: str) -> Entry:
    """The row of a new point."""
    return Entry(index, point_name(index, point.stem), point.key(fingerprint), point)


def write_index(path: Path, axes: Sequence[str], entries: Sequence[Entry]) -> None:
    """Replace ``index.csv`` atomically."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*FIXED, *axes])
    for entry in entries:
        writer.writerow([entry.index, entry.name, entry.key, *(entry.point.text(axis) for axis in axes)])
    write_text_atomically(path, text.getvalue())


def _read_rows(path: Path, training: dict[str, Any], seed: int) -> tuple[tuple[str, ...], tuple[Entry, ...]]:
    try:
        rows = list(csv.reader(io.StringIO(path.read_bytes().decode("utf-8")), strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(
            f"{path} cannot be read ({error}); expected the file that make_grid.py wrote"
        ) from error
    header = rows[0] if rows else []
    axes = tuple(header[len(FIXED) :])
    needed = (*HYPERPARAMETERS, "seed")
    if (
        tuple(header[: len(FIXED)]) != FIXED
        or any(a not in POINT for a in axes)
        or any(n not in axes for n in needed)
    ):
        raise UserError(
            f"{path} begins with the columns {shown(header)}; expected {[*FIXED, *needed]}: it is not an index of this version"
        )
    entries = []
    values: dict[tuple[str, str], Any] = {}  # ten thousand rows hold a few values of each axis
    for number, row in enumerate(rows[1:], start=2):
        try:
            if len(row) != len(header):
                raise ValueError(f"{len(header)} cells")
            settings = {**training, "seed": seed}
            for axis, cell in zip(axes, row[len(FIXED) :], strict=True):
                if (axis, cell) not in values:
                    values[axis, cell] = POINT[axis].from_text(cell)
                settings[axis] = values[axis, cell]
            index, point = int(row[0]), Point({key: settings[key] for key in POINT})
            stem = stem_of_name(row[1])
            if stem is None or row[1] != point_name(index, stem):
                raise ValueError(f"the name {point_name(index, point.stem)}, or one that begins so")
        except ValueError as error:
            raise UserError(
                f"{path} line {number}: received {one_line(','.join(row), 200)}, expected {error}"
            ) from None
        entries.append(Entry(index, row[1], row[2], point))
    if not entries or len({entry.index for entry in entries}) != len(entries):
        raise UserError(
            f"{path} holds no point, or one index twice; expected the file that make_grid.py wrote"
        )
    return axes, tuple(entries)


def read_run(root: Path) -> Run:
    """Read a run directory: frozen ``grid.yaml``, ``index.csv`` and ``provenance.json``.

    Raises :class:`UserError` where it is missing, half made, or was edited so that a point is no longer
    the one whose key stands in the index.
    """
    paths = RunPaths(root)
    if not root.is_dir():
        raise UserError(
            f"{root} is not a folder; expected a run directory, make one with: python make_grid.py"
        )
    missing = [path.name for path in (paths.grid, paths.index, paths.provenance) if not path.is_file()]
    if missing:
        raise UserError(
            f"{root} is not a whole run directory: {', '.join(missing)} missing; "
            f"finish or make it with: python make_grid.py --run-dir {root}"
        )
    config = load_config(paths.grid)
    axes, entries = _read_rows(paths.index, dict(config.training), config.seeds[0])
    try:
        record = read_record(paths.provenance)
        fingerprint = str(record["data"]["fingerprint"])
        source, split = (one_line(record["data"][key]) for key in ("source", "split"))
    except (DamagedRecord, FileNotFoundError, KeyError, TypeError) as error:
        raise UserError(
            f"{paths.provenance} cannot be used ({one_line(error)}); expected the file make_grid.py wrote"
        ) from error
    for entry in entries:
        if entry.point.key(fingerprint) != entry.key:
            raise UserError(
                f"{paths.index}: the settings of {entry.name} give the key {entry.point.key(fingerprint)}, "
                f"expected {one_line(entry.key, 40)}: grid.yaml or index.csv of the run was edited after it was made. "
                "Undo the edit, or make a new run"
            )
        if not f"{entry.stem}_".startswith(f"{entry.point.stem}_"):
            # Its files would be looked for, and written, under a name that tells of other settings.
            raise UserError(
                f"{paths.index}: received the name {entry.name}, expected {point_name(entry.index, entry.point.stem)} "
                "or one that begins so: it was edited after it was made. Undo the edit, or make a new run"
            )
    return Run(paths, axes, entries, fingerprint, source, split, config.site)


def parse_indices(text: str) -> list[int]:
    """``3,7-9`` -> [3, 7, 8, 9], sorted, each once; :class:`UserError` for anything else."""
    chosen: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)(?:-(\d+))?\s*", part)
        if match is None or (match[2] and int(match[2]) < int(match[1])):
            raise UserError(f"--indices: received {text!r}, expected numbers and ranges such as 3,7-9")
        if match[2] and int(match[2]) - int(match[1]) > 1_000_000:
            raise UserError(f"--indices: received {text!r}, expected a range of at most a million")
        chosen.update(range(int(match[1]), int(match[2] or match[1]) + 1))
    return sorted(chosen)
