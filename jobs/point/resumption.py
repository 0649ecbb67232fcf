"""Where a training starts: from its first epoch, or from the checkpoint of an interrupted attempt."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from jobs.common.errors import UserError
from jobs.common.records import DamagedRecord
from jobs.common.schema import Process, Resumed
from jobs.common.states import STATES
from jobs.point.checkpoints import Checkpoint, Checkpoints
from jobs.point.log import PointLog
from jobs.point.status import PointStatus
from jobs.run.provenance import git_state, package_versions

if TYPE_CHECKING:
    from collections.abc import Callable

    from unet_models.training.state import TrainingState


class Resumption:
    """The lineage of one training through its interruptions.

    ``before`` is the state of the point when this attempt claimed it, ``parts`` the number of parts per batch now,
    ``epochs`` the number of epochs requested, ``process`` the process of this attempt. ``lineage`` identifies the
    training; ``resumed`` lists the interruptions so far.
    """

    def __init__(
        self,
        checkpoints: Checkpoints,
        before: PointStatus,
        *,
        parts: int,
        epochs: int,
        process: Process,
        log: PointLog,
    ) -> None:
        self.checkpoints = checkpoints
        self.lineage = secrets.token_hex(8)
        self.resumed: list[Resumed] = []
        self._before, self._parts, self._epochs = before, parts, epochs
        self._process, self._log = process, log

    def take_up(self) -> TrainingState | None:
        """The state to continue from, or ``None`` to start with the first epoch."""
        try:
            found = self.checkpoints.load()
        except DamagedRecord as error:
            if not error.content:
                # Not damaged: a file system that is away, or files of a newer version. They may be good.
                raise UserError(f"the checkpoint cannot be read now: {error}; run the point again") from error
            self.start_anew(error)
            return None
        if found is None:
            return None
        if self._is_finished(found):
            self.checkpoints.discard()
            return None
        if found.accumulation != self._parts:
            self._log.line(
                f"batches are split into {self._parts} parts now, not {found.accumulation}: starting from the first "
                "epoch, so that all epochs are alike"
            )
            self.checkpoints.discard()
            return None
        self.lineage = found.lineage
        self.resumed = [
            *found.resumed,
            Resumed(
                after_epoch=found.state.epoch,
                host=self._process.host,
                job_id=self._process.job_id,
                packages=package_versions(),
                git=git_state(),
            ),
        ]
        self._log.line(
            f"resumed after epoch {found.state.epoch} of {self._epochs}"
            + (", which was the last" if found.state.ended else "")
        )
        return found.state

    def _is_finished(self, found: Checkpoint) -> bool:
        """Whether the checkpoint is left over from a training that has its result."""
        result, record = self._before.result, self._before.record
        published = result is not None and result.lineage == found.lineage
        state = STATES.get(record.state) if record is not None else None
        return published or (state is not None and not state.resumed)

    def start_anew(self, error: Exception) -> None:
        """Move a checkpoint that cannot be used aside."""
        kept = self.checkpoints.set_aside()
        self.resumed = []
        self.lineage = secrets.token_hex(8)
        self._log.line(
            f"the checkpoint cannot be used: {error}. Starting from the first epoch"
            + (f"; its files are kept in {kept[0].parent}" if kept else "")
        )
        self.checkpoints.discard()

    def save(self, state: TrainingState, check: Callable[[], None]) -> None:
        """Write a checkpoint of ``state``; ``check`` may raise before it replaces the last one."""
        self.checkpoints.save(Checkpoint(self.lineage, self._parts, self.resumed, state), check=check)
