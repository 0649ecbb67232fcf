"""How much there is to compute in one epoch of a run: patches, batches and FLOPs."""

from __future__ import annotations

import math
from dataclasses import dataclass

from jobs.common.errors import UserError, one_line
from jobs.common.hints import hint
from jobs.common.records import DamagedRecord, read
from jobs.common.schema import CostSettings, ProvenanceRecord
from jobs.run.index import Run
from unet_models.networks.flops import TRAINING_PASSES, forward_flops


@dataclass(frozen=True)
class Workload:
    """Number of patches by part of the data, and the length of their side in pixels."""

    train: int
    validation: int
    test: int
    patch_size: int

    def __post_init__(self) -> None:
        if self.train < 1 or min(self.validation, self.test) < 0:
            raise ValueError(f"{self}: expected at least one training patch")

    def steps(self, kind: CostSettings) -> int:
        """Training steps in one epoch; an incomplete last batch is left out."""
        return max(1, self.train // kind.batch_size)

    def validation_batches(self, kind: CostSettings) -> int:
        """Validation batches in one epoch; the last one may be incomplete."""
        return math.ceil(self.validation / kind.validation_batch_size)

    def scored_batches(self, kind: CostSettings) -> int:
        """Batches that are scored once, after the last epoch: of the validation, training and test part."""
        counts = (self.validation, self.train, self.test)
        return sum(math.ceil(count / kind.validation_batch_size) for count in counts)

    def training_share(self, kind: CostSettings) -> float:
        """The share of an epoch's FLOPs that are training, from 0 to 1; the rest is validation."""
        training = TRAINING_PASSES * self.steps(kind) * kind.batch_size
        return training / (training + self.validation)

    def epoch_flops(self, kind: CostSettings) -> float:
        """FLOPs of one epoch: training and validation."""
        one = forward_flops(
            kind.architecture, patch_size=self.patch_size, base_filters=kind.base_filters, levels=kind.levels
        )
        trained = self.steps(kind) * kind.batch_size
        return float(one) * (TRAINING_PASSES * trained + self.validation)


def read_workload(run: Run) -> Workload:
    """The workload of ``run``, from its ``provenance.json`` and its fingerprint.

    Raises :class:`UserError` where the file does not contain the number of patches.
    """
    path = run.paths.provenance
    try:
        patches = read(path, ProvenanceRecord).data.patches
        found = Workload(
            patches["train"], patches["validation"], patches["test"], int(run.fingerprint.split("x")[1])
        )
    except (DamagedRecord, FileNotFoundError, KeyError, ValueError, IndexError) as error:
        raise UserError(
            f"{path} does not contain the number of patches ({one_line(error, 200)}); expected the file that "
            f"make_grid.py wrote: {hint('make_grid.py', '--run-dir', run.paths.root)}"
        ) from error
    return found
