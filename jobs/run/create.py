"""Making a run directory, and extending one: points are added, never renumbered and never removed."""

from __future__ import annotations

import itertools
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from filelock import Timeout

from jobs.common.errors import UserError, denied
from jobs.common.files import publish_folder, temporary_beside, write_together
from jobs.common.folders import make_folder
from jobs.common.reading import TEXT, read_bytes
from jobs.common.records import encoded
from jobs.common.schema import DataRecord, ProvenanceRecord
from jobs.grid.config import GridConfig, load_config
from jobs.grid.points import Point, expand, extra_axes
from jobs.grid.settings import HYPERPARAMETERS, POINT
from jobs.run.index import Run, index_text, make_entry, read_provenance, read_run
from jobs.run.new_folder import locked_folder
from jobs.run.paths import RUN_PREFIX, RunPaths
from jobs.run.provenance import provenance
from jobs.run.sharing import configuration_mode
from jobs.run.site_file import site_text
from unet_models.data.dataset import build
from unet_models.data.errors import DataError
from unet_models.data.packed import PackedData


@dataclass(frozen=True)
class Made:
    """The result of :func:`make_run`: the run, and the numbers of points that are new, known, or no longer in ``grid.yaml``."""

    run: Run
    data: PackedData
    added: int
    known: int
    orphaned: int


def default_run_directory(now: datetime | None = None) -> Path:
    """Make a new folder ``hyperparameter_optimization_YYYYMMDD_HHMMSS`` in the working directory, by the local time.

    Of several processes, each gets a folder of its own: where the name is taken, ``_2``, ``_3``, ... follow it. Raises
    :class:`UserError` where the working directory cannot be written.
    """
    name = f"{RUN_PREFIX}{(now or datetime.now().astimezone()):%Y%m%d_%H%M%S}"
    for number in itertools.count(1):
        folder = Path(name if number == 1 else f"{name}_{number}")
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        except OSError as error:
            raise UserError(
                f"{Path.cwd()} cannot be written ({error.strerror}); choose another place with --run-dir"
            ) from error
        return folder
    raise AssertionError("unreachable")


# The beginning of a path with a variable, to the end of the part that has the last one.
_VARIABLE = re.compile(r".*\$(?:\w+|\{[^}]*\})[^/]*", re.ASCII)
_PLACES = ("images", "masks", "test_images", "test_masks")


def data_block(config: GridConfig) -> dict[str, Any]:
    """The ``data`` block of ``config`` with absolute paths.

    A relative path in ``grid.yaml`` starts at the folder of ``grid.yaml``, not at the working directory; those of
    images and masks start at ``path`` where there is one. ``written`` has the folders that variables of the environment name:
    pairs of the real one and its text in ``grid.yaml``, which the files of the run show, because others read them.
    """
    data = dict(config.data)
    replaced: dict[str, str] = {}

    def absolute(written: str, base: Path) -> Path:
        def real(text: str) -> Path:
            place = Path(os.path.expandvars(text)).expanduser()
            return place if place.is_absolute() else (base / place).resolve()

        named = _VARIABLE.match(written)
        if named is not None and os.path.expandvars(named[0]).strip("/") not in ("", named[0]):
            replaced[str(real(named[0]))] = named[0]
        return real(written)

    base = config.path.parent.resolve()
    if data["path"] is not None:
        base = absolute(data["path"], base)
        data["path"] = str(base)
    for key in _PLACES:
        if data[key] is not None:
            data[key] = str(absolute(data[key], base))
    if replaced:
        # Longer ones first: one may be a folder in another.
        data["written"] = sorted(replaced.items(), key=lambda pair: len(pair[0]), reverse=True)
    return data


def pack_data(config: GridConfig, folder: Path, *, depth: int | None = None) -> PackedData:
    """The data of ``config``, packed in ``folder``; :class:`UserError` where they cannot be used.

    ``depth`` is that of :func:`unet_models.data.dataset.build`.
    """
    try:
        return build(data_block(config), folder, depth=depth)
    except DataError as error:
        raise UserError(f"{config.path}: data: {error}") from error


def check_batches(points: list[Point], data: PackedData) -> None:
    """Refuse a batch larger than the training part, since an epoch would have no step."""
    count = data.count("train")
    too_large = sorted({p.settings["batch_size"] for p in points if p.settings["batch_size"] > count})
    if too_large:
        raise UserError(
            f"batch_size {too_large[0]} is larger than the {count} training patches; expected at most {count}, "
            "remove the value, or use more data"
        )


def make_run(config: GridConfig, root: Path | None = None, say: Callable[[str], None] = print) -> Made:
    """Make the run directory ``root``, or add the points of ``config`` that it does not have.

    ``None``: in a new folder, :func:`default_run_directory`. The data are packed first and the index is written last, so
    that a directory with an index is complete. Where that fails, or is interrupted, nothing is left and nothing is changed.
    Raises :class:`UserError` where the run exists with other data or another fixed setting, because its points would not
    be comparable.
    """
    points = expand(config)
    made_now = root is None
    root = default_run_directory() if root is None else root
    paths = RunPaths(root)
    try:
        with locked_folder(paths, made=made_now):
            return _make_locked(config, points, paths, say)
    except Timeout as error:
        raise UserError(f"{root} is being made by another process; wait for it, then repeat") from error
    except PermissionError as error:
        place = Path(error.filename or root)
        raise UserError(
            f"{denied(error, place, whole=root)}; or choose another place with --run-dir"
        ) from error
    except OSError as error:
        raise UserError(f"{root} cannot be written ({error}); choose another place with --run-dir") from error


def _make_locked(
    config: GridConfig, points: list[Point], paths: RunPaths, say: Callable[[str], None]
) -> Made:
    """Make or extend the run, whose folder is locked."""
    old = None
    if paths.index.exists():
        old = read_run(paths.root)
        _check_settings(load_config(paths.grid, made=True), config, old)
    else:
        _check_new(paths)
    # Who has the lock packs; what another process was packing when it was killed may be many gigabytes.
    for leftover in paths.root.glob(".data.*.tmp*"):
        shutil.rmtree(leftover, ignore_errors=True)
    packed = temporary_beside(paths.root / "data")
    try:
        # The first version kept 8 bits of everything. Its runs grow with the same pixels.
        data = pack_data(config, packed, depth=8 if paths.data.suffix else None)
        for line in (data.describe(), *data.read, *(f"note: {note}" for note in data.notes)):
            say(line)
        check_batches(points, data)
        return _write_run(config, points, data, packed, paths, old)
    finally:
        shutil.rmtree(packed, ignore_errors=True)


def _write_run(
    config: GridConfig, points: list[Point], data: PackedData, packed: Path, paths: RunPaths, old: Run | None
) -> Made:
    """Write the files of the run; its data are packed in the temporary folder ``packed``."""
    if old is not None:
        _check_data(config, old, data)
        history = list(read_provenance(paths).made)
        entries, old_axes = list(old.entries), old.axes
    else:
        entries, old_axes, history = [], (), []
    known = {entry.key for entry in entries}
    wanted = [point.key(data.fingerprint) for point in points]
    next_index = max((entry.index for entry in entries), default=0) + 1
    new = [point for point, key in zip(points, wanted, strict=True) if key not in known]
    entries += [make_entry(next_index + offset, point, data.fingerprint) for offset, point in enumerate(new)]
    axes = (*HYPERPARAMETERS, "seed", *(a for a in POINT if a in {*extra_axes(config), *old_axes[4:]}))

    make_folder(paths.logs)
    if old is None:
        # What a process left that was killed before it had written the index may be of other data.
        shutil.rmtree(paths.root / "data", ignore_errors=True)
        publish_folder(packed, paths.root / "data")
    history.append(provenance(data.fingerprint))
    described = DataRecord(
        fingerprint=data.fingerprint,
        source=data.source,
        split=data.split,
        notes=tuple(data.notes),
        patches={part: data.count(part) for part in ("train", "validation", "test")},
        chance_jaccard=data.foreground("validation"),
        read=data.read,
    )
    # A new run is complete once its index exists. An extended one must be readable between the two: the new index is
    # valid under the old grid.yaml, but not the other way round.
    grid = {paths.grid: read_bytes(config.path, TEXT, links=True)}
    index = {paths.index: index_text(axes, entries).encode("utf-8", errors="replace")}
    write_together(
        {
            paths.site: site_text(paths.root, config.site).encode("utf-8", errors="replace"),
            paths.provenance: encoded(ProvenanceRecord(made=tuple(history), data=described)),
            **(grid | index if old is None else index | grid),
        },
        configuration_mode(paths.root),
    )
    run = read_run(paths.root)
    return Made(run, data, len(new), len(wanted) - len(new), len(known - set(wanted)))


def _check_new(paths: RunPaths) -> None:
    """Refuse a folder with other files, whose grid.yaml would be overwritten."""
    ours = {
        path.name
        for path in (
            *(paths.grid, paths.provenance, paths.data, paths.logs, paths.lock, paths.site),
            paths.old_site,
        )
    }
    strangers = sorted(
        path.name for path in paths.root.iterdir() if path.name not in ours and ".tmp" not in path.name
    )
    # provenance.json is written before grid.yaml; without it, grid.yaml is a file of the user.
    if not strangers and paths.grid.exists() and not paths.provenance.exists():
        strangers = [paths.grid.name]
    if strangers:
        raise UserError(
            f"{paths.root} contains {strangers[0]} but no index.csv, so it is not a run; "
            "expected a new or empty folder, or a run directory"
        )


def _check_data(new: GridConfig, run: Run, data: PackedData) -> None:
    """Refuse data other than those of ``run``."""
    if data.fingerprint != run.fingerprint:
        raise UserError(
            f"{run.paths.root} was made from data {run.fingerprint}, and data: in {new.path} now gives "
            f"{data.fingerprint}; expected the same data. Points on other data are not comparable: make a new run"
        )


def _check_settings(old: GridConfig, new: GridConfig, run: Run) -> None:
    """Refuse a fixed setting other than that of ``run``; before the data are read, which may take long."""
    for key, value in old.training.items():
        if key in run.axes:
            continue
        fixed = new.axes[key] if key in new.axes else (new.training[key],)
        if value not in fixed:
            raise UserError(
                f"{new.path}: training.{key}: received {list(fixed)}, but the points of {run.paths.root} were made with "
                f"{value!r}; expected that value (to compare several, make '{key}' an axis with that value), or a new run"
            )
    for axis in run.axes:
        if axis in new.training and axis not in new.axes and axis not in HYPERPARAMETERS:
            values = {entry.point.settings[axis] for entry in run.entries}
            if values != {new.training[axis]}:
                raise UserError(
                    f"{new.path}: '{axis}' was an axis of {run.paths.root} and is not one now; "
                    "expected it in hyperparameters, or a new run"
                )
