"""Checkpoints on disk: arrays in ``.npz`` files, and one small record that says which of them belong together.

The record is replaced last, so a checkpoint is there whole or not at all, and the one before stands until then.
The best network's file is kept as long as it is the best: it is written once, not at each epoch.
"""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jobs.common.records import (
    DamagedRecord,
    disk_full,
    is_full,
    publish,
    quarantine,
    read_record,
    remove,
    temporary_beside,
    write_record,
)
from jobs.run.paths import PointPaths

if TYPE_CHECKING:  # TensorFlow would come with it
    from unet_models.training.state import TrainingState


_FILE = re.compile(r"epoch_\d{5,9}_(model|optimizer)_\d{4,9}\.npz")


@dataclass(frozen=True)
class Checkpoint:
    """A training's ``state`` and what it is of.

    ``lineage`` names the training from its first epoch on, through all its interruptions; ``accumulation`` is
    the number of parts each batch had, ``resumed`` lists where it was taken up before: epoch, host, packages.
    """

    lineage: str
    accumulation: int
    resumed: list[dict[str, Any]]
    state: TrainingState


def _write_arrays(path: Path, arrays: list[np.ndarray]) -> None:
    temporary = temporary_beside(path)
    size = sum(array.nbytes for array in arrays)
    try:
        # Not a path: np.savez would add a suffix of its own. zip keeps a CRC of each array.
        with temporary.open("xb") as file:
            np.savez(file, **{f"{number:05d}": array for number, array in enumerate(arrays)})
    except OSError as error:
        remove(temporary)
        if is_full(error):
            raise disk_full(error, path, size) from error
        raise
    except BaseException:
        remove(temporary)
        raise
    publish(temporary, path)


def _read_arrays(path: Path, count: int) -> list[np.ndarray]:
    """The ``count`` arrays of ``path``; :class:`DamagedRecord` unless the file is whole.

    The CRC of each array says nothing about a damaged directory of the archive that lists fewer of them.
    """
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as arrays:
            names = [f"{number:05d}" for number in range(count)]
            if sorted(arrays.files) != names:
                raise DamagedRecord(f"{path} holds arrays with other names than expected")
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
    """The checkpoint of one point; of the newest epoch only.

    ``attempt`` is the number of the claim under which it is saved: a holder that was only paused writes beside
    the files of the one that has taken over, never over them.
    """

    def __init__(self, paths: PointPaths, key: str, attempt: int = 1) -> None:
        self.paths, self.key, self.attempt = paths, key, attempt
        self._networks: dict[int, Path] = {}  # by epoch: the files of the newest and of the best network

    def save(self, checkpoint: Checkpoint, check: Callable[[], None]) -> None:
        """Put ``checkpoint`` in the place of the one before; ``check`` may raise before it does.

        Raises ``OSError`` (:class:`jobs.common.records.DiskFull`) where it cannot be written: the one before stands.
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
        write_record(
            self.paths.checkpoint,
            {
                "key": self.key,
                "lineage": checkpoint.lineage,
                "accumulation": checkpoint.accumulation,
                "resumed": checkpoint.resumed,
                "files": {kind: path.name for kind, path in files.items()},
                "arrays": {"model": len(state.model), "optimizer": len(state.optimizer)},
                "epoch": state.epoch,
                "ended": state.ended,
                "best_epoch": state.best_epoch,
                "rows": state.rows,
                "schedules": state.schedules,
                "seconds": state.seconds,
            },
        )
        self._networks = networks
        check()
        self._remove_files(keep={path.name for path in files.values()})

    def lineage(self) -> str | None:
        """The lineage of the checkpoint that is there; ``None`` where there is none that can be read."""
        try:
            return str(read_record(self.paths.checkpoint, verify=False).get("lineage"))
        except (FileNotFoundError, DamagedRecord):
            return None

    def load(self) -> Checkpoint | None:
        """The checkpoint, or ``None`` where there is none.

        Raises :class:`DamagedRecord` where it is damaged or of another configuration.
        """
        path = self.paths.checkpoint
        try:
            record = read_record(path)
        except FileNotFoundError:
            return None
        if record.get("key") != self.key:
            raise DamagedRecord(f"{path} is of the key {str(record.get('key'))[:40]!r}, expected {self.key}")
        try:
            return self._build(record)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
            raise DamagedRecord(f"{path} holds other things than expected ({error!r})") from error

    def _build(self, record: Mapping[str, Any]) -> Checkpoint:
        from unet_models.training.state import TrainingState

        epoch, best_epoch = int(record["epoch"]), int(record["best_epoch"])
        rows = [dict(row) for row in record["rows"]]
        if not 1 <= best_epoch <= epoch == len(rows):
            raise ValueError(f"epoch {epoch}, best epoch {best_epoch} and {len(rows)} rows")
        files = {kind: self._named(record["files"][kind]) for kind in ("model", "optimizer", "best")}
        arrays = {kind: int(record["arrays"][kind]) for kind in ("model", "optimizer")}
        model = _read_arrays(files["model"], arrays["model"])
        best = model if files["best"] == files["model"] else _read_arrays(files["best"], arrays["model"])
        self._networks = {best_epoch: files["best"], epoch: files["model"]}
        return Checkpoint(
            str(record["lineage"]),
            int(record["accumulation"]),
            [dict(item) for item in record["resumed"]],
            TrainingState(
                epoch=epoch,
                ended=bool(record["ended"]),
                rows=rows,
                model=model,
                optimizer=_read_arrays(files["optimizer"], arrays["optimizer"]),
                best=best,
                best_epoch=best_epoch,
                schedules={name: dict(counters) for name, counters in record["schedules"].items()},
                seconds=float(record["seconds"]),
            ),
        )

    def _named(self, name: Any) -> Path:
        """The file that a record names; ``ValueError`` for a name that is none of ours, such as one elsewhere."""
        if not isinstance(name, str) or _FILE.fullmatch(name) is None:
            raise ValueError(f"the file {str(name)[:60]!r}")
        return self.paths.state / name

    def set_aside(self) -> list[Path]:
        """Move a damaged checkpoint's files into the quarantine; where they are now."""
        files = [self.paths.checkpoint, *self._files()]
        return [kept for file in files if (kept := quarantine(file, self.paths.quarantine)) is not None]

    def discard(self) -> None:
        """Remove the checkpoint: its training has a result, or is to begin anew."""
        remove(self.paths.checkpoint)
        self._remove_files(keep=set())

    def _files(self) -> list[Path]:
        return sorted(self.paths.state.glob(self.paths.checkpoint_pattern))

    def _remove_files(self, keep: set[str]) -> None:
        for file in self._files():
            if file.name not in keep:
                remove(file)
        # What a kill left of a write; no other process writes these names while this one holds the claim.
        for leftover in self.paths.state.glob(
            "." + self.paths.checkpoint_pattern.replace(".npz", ".tmp.npz")
        ):
            remove(leftover)
