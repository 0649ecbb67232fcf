"""Checkpoints on disk: arrays in ``.npz`` files, and one small record that names the files that belong together.

The record is replaced last, so a checkpoint is complete or does not exist, and the last one is valid until then.
The file of the best network is kept as long as it is the best: it is written once, not after each epoch.

Keras' own ``BackupAndRestore`` was read as an alternative: it restores epoch and optimizer, but neither the counters
of ReduceLROnPlateau and EarlyStopping nor the best weights, so that a resumed training would differ.
"""

from __future__ import annotations

import os
import re
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jobs.common.files import disk_full, is_full, open_new, publish, quarantine, remove, temporary_beside
from jobs.common.reading import open_regular
from jobs.common.records import DamagedRecord, read, write
from jobs.common.schema import (
    CheckpointArrays,
    CheckpointFiles,
    CheckpointHead,
    CheckpointRecord,
    Resumed,
)
from jobs.run.paths import PointPaths
from unet_models.stored_files import check_archive

if TYPE_CHECKING:  # TensorFlow would come with it
    from unet_models.training.state import TrainingState


_FILE = re.compile(r"epoch_\d{5,9}_(model|optimizer)_\d{4,9}\.npz")


@dataclass(frozen=True)
class Checkpoint:
    """The ``state`` of a training.

    ``lineage`` identifies the training through all its interruptions, which ``resumed`` lists; ``accumulation`` is
    the number of parts of each batch.
    """

    lineage: str
    accumulation: int
    resumed: list[Resumed]
    state: TrainingState


def _write_arrays(path: Path, arrays: list[np.ndarray[Any, Any]]) -> None:
    temporary = temporary_beside(path)
    size = sum(array.nbytes for array in arrays)
    try:
        # An open file, because np.savez would add a suffix to a path. The zip format keeps a CRC of each array.
        with os.fdopen(open_new(temporary), "wb") as file:
            named: dict[str, Any] = {f"{number:05d}": array for number, array in enumerate(arrays)}
            np.savez(file, **named)
    except OSError as error:
        remove(temporary)
        if is_full(error):
            raise disk_full(error, path, size) from error
        raise
    except BaseException:
        remove(temporary)
        raise
    publish(temporary, path)


def _read_arrays(path: Path, count: int) -> list[np.ndarray[Any, Any]]:
    """The ``count`` arrays of ``path``; :class:`DamagedRecord` unless the file is whole.

    The count is needed because the CRC of each array does not protect the archive's directory, which may list fewer.
    """
    try:
        with os.fdopen(open_regular(path), "rb") as file:
            check_archive(file)
            with np.load(file, allow_pickle=False) as arrays:
                names = [f"{number:05d}" for number in range(count)]
                if sorted(arrays.files) != names:
                    raise DamagedRecord(f"{path} contains arrays with unexpected names")
                return [arrays[name] for name in names]
    except OSError as error:
        raise DamagedRecord(
            f"{path} cannot be read ({error})", content=isinstance(error, FileNotFoundError)
        ) from error
    except (
        ValueError,
        KeyError,
        EOFError,
        TypeError,
        AttributeError,
        NotImplementedError,
        OverflowError,
        RuntimeError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise DamagedRecord(f"{path} is not a whole file of arrays ({error})") from error


class Checkpoints:
    """The checkpoint of one point, of the newest epoch only.

    ``attempt`` is the number of the claim under which it is saved. It is part of the file names, so that a holder
    that was only paused never overwrites the files of the one that has taken over.
    """

    def __init__(self, paths: PointPaths, key: str, attempt: int = 1) -> None:
        self.paths, self.key, self.attempt = paths, key, attempt
        self._networks: dict[int, Path] = {}  # by epoch: the files of the newest and of the best network

    def save(self, checkpoint: Checkpoint, check: Callable[[], None]) -> None:
        """Replace the last checkpoint by ``checkpoint``; ``check`` may raise before that.

        Raises ``OSError`` (:class:`jobs.common.files.DiskFull`) where it cannot be written; the last one stays valid.
        """
        state = checkpoint.state
        check()
        optimizer = self.paths.checkpoint_file("optimizer", state.epoch, self.attempt)
        _write_arrays(optimizer, state.optimizer)
        networks = {state.epoch: self.paths.checkpoint_file("model", state.epoch, self.attempt)}
        _write_arrays(networks[state.epoch], state.model)
        if state.best_epoch != state.epoch:
            best = self._networks.get(state.best_epoch)
            if best is None or not best.exists():
                best = self.paths.checkpoint_file("model", state.best_epoch, self.attempt)
                _write_arrays(best, state.best)
            networks[state.best_epoch] = best
        files = {"model": networks[state.epoch], "optimizer": optimizer, "best": networks[state.best_epoch]}
        check()
        record = CheckpointRecord(
            key=self.key,
            lineage=checkpoint.lineage,
            accumulation=checkpoint.accumulation,
            resumed=tuple(checkpoint.resumed),
            files=CheckpointFiles(**{kind: path.name for kind, path in files.items()}),
            arrays=CheckpointArrays(model=len(state.model), optimizer=len(state.optimizer)),
            epoch=state.epoch,
            ended=state.ended,
            best_epoch=state.best_epoch,
            rows=tuple(state.rows),
            schedules=state.schedules,
            seconds=state.seconds,
        )
        write(self.paths.checkpoint, record)
        self._networks = networks
        check()
        self._remove_files(keep={path.name for path in files.values()})

    def lineage(self) -> str | None:
        """The lineage of the checkpoint on disk; ``None`` where there is none that can be read."""
        try:
            return read(self.paths.checkpoint, CheckpointHead, verify=False).lineage
        except (FileNotFoundError, DamagedRecord):
            return None

    def load(self) -> Checkpoint | None:
        """The checkpoint, or ``None`` where there is none.

        Raises :class:`jobs.common.records.DamagedRecord` where it is damaged or of another configuration.
        """
        path = self.paths.checkpoint
        try:
            record = read(path, CheckpointRecord)
        except FileNotFoundError:
            return None
        if record.key != self.key:
            raise DamagedRecord(f"{path} belongs to the key {record.key[:40]!r}, expected {self.key}")
        if not record.best_epoch <= record.epoch == len(record.rows):
            raise DamagedRecord(
                f"{path} has epoch {record.epoch}, best epoch {record.best_epoch} and {len(record.rows)} rows"
            )
        return self._build(record)

    def _build(self, record: CheckpointRecord) -> Checkpoint:
        from unet_models.training.state import TrainingState

        model_file, best_file = self._named(record.files.model), self._named(record.files.best)
        model = _read_arrays(model_file, record.arrays.model)
        best = model if best_file == model_file else _read_arrays(best_file, record.arrays.model)
        self._networks = {record.best_epoch: best_file, record.epoch: model_file}
        return Checkpoint(
            record.lineage,
            record.accumulation,
            list(record.resumed),
            TrainingState(
                epoch=record.epoch,
                ended=record.ended,
                rows=[dict(row) for row in record.rows],
                model=model,
                optimizer=_read_arrays(self._named(record.files.optimizer), record.arrays.optimizer),
                best=best,
                best_epoch=record.best_epoch,
                schedules=record.schedules,
                seconds=record.seconds,
            ),
        )

    def _named(self, name: str) -> Path:
        """The file that a record names; :class:`DamagedRecord` for a name that is not ours, such as one elsewhere."""
        if _FILE.fullmatch(name) is None:
            raise DamagedRecord(f"{self.paths.checkpoint} names the file {name[:60]!r}")
        return self.paths.state / name

    def set_aside(self) -> list[Path]:
        """Move the files of a damaged checkpoint into the quarantine; returns their new paths."""
        files = [self.paths.checkpoint, *self._files()]
        return [kept for file in files if (kept := quarantine(file, self.paths.quarantine)) is not None]

    def discard(self) -> None:
        """Remove the checkpoint: its training has a result, or starts from the first epoch."""
        remove(self.paths.checkpoint)
        self._remove_files(keep=set())

    def _files(self) -> list[Path]:
        return sorted(self.paths.state.glob(self.paths.checkpoint_pattern))

    def _remove_files(self, keep: set[str]) -> None:
        for file in self._files():
            if file.name not in keep:
                remove(file)
        # Left by a process that was killed while writing; no other one writes these names during this claim.
        for leftover in self.paths.state.glob(
            "." + self.paths.checkpoint_pattern.replace(".npz", ".tmp.npz")
        ):
            remove(leftover)
