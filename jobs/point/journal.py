"""What a point writes while it trains: its status record and its history file, replaced whole after each epoch."""

from __future__ import annotations

from typing import Any

import msgspec

from jobs.common.files import write_text_atomically
from jobs.common.records import write
from jobs.common.schema import PointRecord
from jobs.point.claim import Claim
from jobs.point.log import PointLog
from jobs.run.paths import PointPaths
from jobs.run.provenance import now


class Journal:
    """Writes ``state/status.json`` and ``*_history.csv``; never after another process has taken the point over.

    ``base`` is the part of the record that stays the same through the attempt.
    """

    def __init__(self, paths: PointPaths, claim: Claim, log: PointLog, base: PointRecord) -> None:
        self._paths, self._claim, self._log = paths, claim, log
        self._record = base
        self._rows: list[dict[str, Any]] = []

    @property
    def base(self) -> PointRecord:
        """The record as written last."""
        return self._record

    def note(self, **more: Any) -> None:
        """Set fields of the record; they are written with the next :meth:`write`."""
        self._record = msgspec.structs.replace(self._record, **more)

    def write(self, state: str, reason: str = "", **more: Any) -> None:
        """Write the status record; :class:`jobs.point.claim.TakenOver` where another process has the point."""
        self._claim.check()
        self._record = msgspec.structs.replace(
            self._record, state=state, reason=reason, updated=now(), **more
        )
        write(self._paths.status, self._record)

    def begin(self, rows: list[dict[str, Any]]) -> None:
        """Start, or start again, after the epochs in ``rows``."""
        self._rows = list(rows)
        self._write_history()

    def epoch(self, row: dict[str, Any]) -> None:
        """Record an epoch: a dictionary with :data:`unet_models.training.history.COLUMNS`."""
        total = self._record.epochs
        self._rows.append(row)
        best = max(self._rows, key=lambda one: (one["val_jaccard"], -one["epoch"]))
        self._write_history()
        self._log.line(
            f"epoch {row['epoch']}/{total} loss {row['loss']:.4f} jaccard {row['jaccard']:.4f} "
            f"val_loss {row['val_loss']:.4f} val_jaccard {row['val_jaccard']:.4f} "
            f"learning_rate {row['learning_rate']:.3g} {row['seconds']:.1f} s"
        )
        self.write(
            "running",
            epoch=row["epoch"],
            val_jaccard=row["val_jaccard"],
            best_val_jaccard=best["val_jaccard"],
            best_epoch=best["epoch"],
            epoch_seconds=row["seconds"],
        )

    def _write_history(self) -> None:
        from unet_models.training.history import history_csv

        self._claim.check()
        write_text_atomically(self._paths.history, history_csv(self._rows))
