"""Every path of a run directory. Nothing else joins paths by hand."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

RUN_PREFIX = "hyperparameter_optimization_"


@dataclass(frozen=True)
class PointPaths:
    """The files of one point: ``folder`` is ``RUN/exp_01_...``, ``stem`` starts the names in it."""

    folder: Path
    stem: str
    model_format: str = "hdf5"

    @property
    def log(self) -> Path:
        return self.folder / "training_log.txt"

    @property
    def history(self) -> Path:
        return self.folder / f"{self.stem}_history.csv"

    @property
    def results(self) -> Path:
        return self.folder / f"{self.stem}_results.json"

    @property
    def model(self) -> Path:
        return self.folder / f"{self.stem}_model.{self.model_format}"

    @property
    def curves(self) -> Path:
        return self.folder / f"{self.stem}_curves.png"

    @property
    def predictions(self) -> Path:
        return self.folder / f"{self.stem}_predictions.png"

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def lock(self) -> Path:
        return self.state / "claim.lock"

    @property
    def status(self) -> Path:
        return self.state / "status.json"

    @property
    def claims(self) -> Path:
        """One file for each attempt: who has, or had, the point."""
        return self.state / "claims"

    def claim(self, number: int) -> Path:
        """The claim of attempt ``number``, from 1; its time of modification is the holder's sign of life."""
        return self.claims / f"{number:04d}.json"

    @property
    def checkpoint(self) -> Path:
        """Names the files of the newest checkpoint; those that it does not name are leftovers."""
        return self.state / "checkpoint.json"

    def checkpoint_file(self, kind: str, epoch: int, attempt: int) -> Path:
        """Arrays after ``epoch`` (from 1); ``kind`` is ``model`` or ``optimizer``. No two attempts share a file."""
        return self.state / f"epoch_{epoch:05d}_{kind}_{attempt:04d}.npz"

    @property
    def checkpoint_pattern(self) -> str:
        """Matches the names of all files in :attr:`state` that :meth:`checkpoint_file` makes."""
        return "epoch_*.npz"

    @property
    def quarantine(self) -> Path:
        """Where damaged files of this point are kept."""
        return self.state / "quarantine"


@dataclass(frozen=True)
class RunPaths:
    """The files of a run directory."""

    root: Path

    @property
    def grid(self) -> Path:
        return self.root / "grid.yaml"

    @property
    def index(self) -> Path:
        return self.root / "index.csv"

    @property
    def provenance(self) -> Path:
        return self.root / "provenance.json"

    @property
    def data(self) -> Path:
        return self.root / "data.npz"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def site(self) -> Path:
        """The site block as shell variables, for the job scripts."""
        return self.root / "site.sh"

    @property
    def submissions(self) -> Path:
        return self.root / "submissions.json"

    def captured(self, submission: int, index: str) -> Path:
        """What PBS captures of one sub-job; a resubmission has a file of its own."""
        return self.logs / f"submission_{submission:02d}_{index}.log"

    @property
    def captured_probe(self) -> Path:
        """What PBS captures of a probe job."""
        return self.logs / "probe_job.log"

    @property
    def workers_log(self) -> Path:
        return self.logs / "local_workers.txt"

    @property
    def probe(self) -> Path:
        """What ``jobs.probe`` has measured."""
        return self.root / "probe.json"

    @property
    def probe_lock(self) -> Path:
        return self.root / ".probe.lock"

    @property
    def probe_scratch(self) -> Path:
        """Where a probe writes a model and checkpoints as a point does; nothing is left of it."""
        return self.root / ".probe"

    @property
    def probe_log(self) -> Path:
        return self.logs / "probe.txt"

    @property
    def summary(self) -> Path:
        return self.root / "hyperparameter_summary.csv"

    @property
    def analysis(self) -> Path:
        return self.root / "analysis"

    @property
    def lock(self) -> Path:
        return self.root / ".make_grid.lock"

    def point(self, name: str, stem: str, model_format: str = "hdf5") -> PointPaths:
        """The paths of the point called ``name`` (``exp_01_...``)."""
        return PointPaths(self.root / name, stem, model_format)
