"""Every path of a run directory. Nothing else joins paths by hand."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from jobs.common.folders import follow_no_links_below

RUN_PREFIX = "hyperparameter_optimization_"


def _results_name(stem: str) -> str:
    return f"{stem}_results.json"


@dataclass(frozen=True)
class PointPaths:
    """The files of one point: ``folder`` is ``RUN/exp_01_...``, and ``stem`` begins the names in it."""

    folder: Path
    stem: str
    model_format: str = "hdf5"

    @property
    def log(self) -> Path:
        """Everything that the point printed, all attempts."""
        return self.folder / "training_log.txt"

    @property
    def history(self) -> Path:
        """One row per epoch."""
        return self.folder / f"{self.stem}_history.csv"

    @property
    def results(self) -> Path:
        """The published result."""
        return self.folder / _results_name(self.stem)

    @property
    def model(self) -> Path:
        """The best weights, in the format that ``grid.yaml`` chose."""
        return self.folder / f"{self.stem}_model.{self.model_format}"

    @property
    def curves(self) -> Path:
        """The learning curves."""
        return self.folder / f"{self.stem}_curves.png"

    @property
    def predictions(self) -> Path:
        """Example predictions."""
        return self.folder / f"{self.stem}_predictions.png"

    @property
    def state(self) -> Path:
        """The folder for the files that only the programs read."""
        return self.folder / "state"

    @property
    def lock(self) -> Path:
        """Held while the claim of the point is changed."""
        return self.state / "claim.lock"

    @property
    def status(self) -> Path:
        """The status record of the newest attempt."""
        return self.state / "status.json"

    @property
    def claims(self) -> Path:
        """One file per attempt: the process that has, or had, the point."""
        return self.state / "claims"

    def claim(self, number: int) -> Path:
        """The claim of attempt ``number``, from 1; its modification time is the holder's heartbeat."""
        return self.claims / f"{number:04d}.json"

    @property
    def checkpoint(self) -> Path:
        """The record of the newest checkpoint; it names its array files, and all others are leftovers."""
        return self.state / "checkpoint.json"

    def checkpoint_file(self, kind: str, epoch: int, attempt: int) -> Path:
        """The arrays after ``epoch`` (from 1); ``kind`` is ``model`` or ``optimizer``. Attempts share no file."""
        return self.state / f"epoch_{epoch:05d}_{kind}_{attempt:04d}.npz"

    @property
    def checkpoint_pattern(self) -> str:
        """A pattern for the names of all files in :attr:`state` that :meth:`checkpoint_file` returns."""
        return "epoch_*.npz"

    @property
    def quarantine(self) -> Path:
        """The folder for damaged files of this point."""
        return self.state / "quarantine"


@dataclass(frozen=True)
class RunPaths:
    """The files of a run directory. What this process writes into it goes through no link."""

    root: Path

    def __post_init__(self) -> None:
        follow_no_links_below(self.root)

    @property
    def grid(self) -> Path:
        """The copy of ``grid.yaml`` that the run was made from."""
        return self.root / "grid.yaml"

    @property
    def index(self) -> Path:
        """One row per point: index, name, key and axes."""
        return self.root / "index.csv"

    @property
    def provenance(self) -> Path:
        """The commit, packages and data that the run was made from."""
        return self.root / "provenance.json"

    @property
    def data(self) -> Path:
        """The folder of the packed data, or the one file of runs of the first version."""
        first_version = self.root / "data.npz"
        return first_version if first_version.exists() else self.root / "data"

    @property
    def logs(self) -> Path:
        """The folder for the output of jobs."""
        return self.root / "logs"

    @property
    def site(self) -> Path:
        """What the job scripts take from the site block: lines ``key=value``."""
        return self.root / "site.conf"

    @property
    def old_site(self) -> Path:
        """The same in runs of older versions, as assignments of a shell; it is only read, never executed."""
        return self.root / "site.sh"

    @property
    def submissions(self) -> Path:
        """The jobs that were submitted."""
        return self.root / "submissions.json"

    def captured(self, submission: int, index: str) -> Path:
        """The output of one sub-job, as PBS captured it; each submission has its own file per index."""
        return self.logs / f"submission_{submission:02d}_{index}.log"

    def newest_captured(self) -> dict[int, Path]:
        """By index, the file of :meth:`captured` of the newest submission that has one for that point."""
        found = {}
        for path in sorted(self.logs.glob("submission_*_*.log")):
            index = path.stem.rpartition("_")[2]
            if index.isdecimal():
                found[int(index)] = path
        return found

    def array_marks(self) -> list[Path]:
        """``logs/.array_NN``: made by the first sub-job of an array that was submitted by hand and chose this run."""
        return sorted(self.logs.glob(".array_*"))

    @property
    def captured_probe(self) -> Path:
        """The output of a probe job, as PBS captured it."""
        return self.logs / "probe_job.log"

    @property
    def captured_verify(self) -> Path:
        """The output of a job that checked a node, as PBS captured it."""
        return self.logs / "verify_job.log"

    @property
    def workers_log(self) -> Path:
        """What the fork server of a local run printed."""
        return self.logs / "local_workers.txt"

    @property
    def probe(self) -> Path:
        """The measurements of ``jobs.probe``."""
        return self.root / "probe.json"

    @property
    def probe_lock(self) -> Path:
        """Held by the probe that is running."""
        return self.root / ".probe.lock"

    @property
    def probe_scratch(self) -> Path:
        """The folder where a probe writes a model and checkpoints as a point does; it is removed afterwards."""
        return self.root / ".probe"

    @property
    def probe_log(self) -> Path:
        """What a probe printed."""
        return self.logs / "probe.txt"

    @property
    def summary(self) -> Path:
        """The summary: one row per point."""
        return self.root / "hyperparameter_summary.csv"

    @property
    def analysis(self) -> Path:
        """The folder for statistics, figures and reports."""
        return self.root / "analysis"

    @property
    def supervisor_lock(self) -> Path:
        """Held by the ``jobs.supervise`` that is running."""
        return self.root / ".supervise.lock"

    @property
    def supervisor_log(self) -> Path:
        """What ``jobs.supervise`` did."""
        return self.root / "supervise.log"

    @property
    def lock(self) -> Path:
        """Held while the run is made or extended."""
        return self.root / ".make_grid.lock"

    def point(self, name: str, stem: str, model_format: str = "hdf5") -> PointPaths:
        """The paths of the point called ``name`` (``exp_01_...``)."""
        return PointPaths(self.root / name, stem, model_format)

    def results_text(self, name: str, stem: str) -> str:
        """:attr:`PointPaths.results` as text, in a tenth of the time: a look at a run opens thousands of them."""
        return f"{self.root}/{name}/{_results_name(stem)}"
