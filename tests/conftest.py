"""Shared by all tests: small grids, small data, and a run directory made from them."""

from __future__ import annotations

import os
import tempfile
import textwrap
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# A crash inside the native code of one test must not take a GPU or the terminal of a developer with it.
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("MPLBACKEND", "Agg")
# Also where the tests run inside a job of PBS: a point of a job needs a GPU, and prints commands for other folders.
os.environ.pop("PBS_JOBID", None)
os.environ.pop("PBS_ARRAY_INDEX", None)
# The list of the user's runs (jobs/run/known.py) must not get those of the tests.
os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp(prefix="unet_tests_")

import hypothesis
import numpy as np
import pytest

import unet_models  # noqa: F401  # decides how TensorFlow computes, before a test imports it
from jobs.grid.config import load_config
from jobs.run.create import make_run
from jobs.run.index import Run
from tests.standin_pbs import StandIn

# On a busy machine any example may take longer than Hypothesis' 200 ms: no test depends on the time.
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")

REPOSITORY = Path(__file__).resolve().parent.parent
REAL_DATA = REPOSITORY.parent / "shared" / "data" / "lucchi_pp"

TINY = """
hyperparameters:
  architecture: [UNet]
  learning_rate: [1e-3, 5e-3]
  batch_size: [8]
training:
  epochs: 2
  base_filters: 2
data:
  source: files
  path: data
  patch_size: 32
  gap_slices: 1
  validation_fraction: 0.25
"""


def write_images(
    folder: Path,
    *,
    slices: int = 8,
    size: tuple[int, int] = (64, 64),
    name: str = "z{:03d}.png",
    seed: int = 0,
) -> None:
    """Write ``images/`` and ``masks/``: bright discs on noise, in 8 bits; height and width in ``size``."""
    from PIL import Image

    generator = np.random.default_rng(seed)
    rows, columns = np.indices(size)
    for number in range(slices):
        mask = (rows - 20 - number) ** 2 + (columns - 30) ** 2 < 150
        image = generator.normal(90, 12, size) + 90 * mask
        for kind, array in (("images", image), ("masks", mask * 255)):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            pixels = np.clip(array, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / kind / name.format(number))


@pytest.fixture
def write_grid(tmp_path: Path) -> Callable[[str], Path]:
    """A function that writes its text to a ``grid.yaml`` and returns the path."""

    def write(text: str = TINY) -> Path:
        path = tmp_path / "grid.yaml"
        path.write_text(textwrap.dedent(text))
        return path

    return write


@pytest.fixture
def tiny_run(tmp_path: Path, write_grid: Callable[[str], Path]) -> Run:
    """A run of two points that take seconds to train."""
    write_images(tmp_path / "data")
    return make_run(load_config(write_grid()), tmp_path / "run", say=lambda text: None).run


@pytest.fixture
def pbs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """PBS's commands on PATH, played by :mod:`tests.standin_pbs`."""
    stand_in = StandIn(tmp_path / "pbs")
    monkeypatch.setenv("PATH", f"{stand_in.bin}{os.pathsep}{os.environ['PATH']}")
    for name in ("PBS_JOBID", "PBS_ARRAY_INDEX", "POINT_INDEX"):
        monkeypatch.delenv(name, raising=False)
    return stand_in


# Modules whose tests train, start processes that import TensorFlow, or simulate: `make check` leaves them out.
SLOW = (
    "analysis/figures/",
    "analysis/report/",
    "analysis/statistics/test_anova.py",
    "analysis/statistics/test_hypotheses.py",
    "analysis/test_edges.py",
    "analysis/test_findings.py",
    "analysis/test_resources.py",
    "benchmarks/",
    "faults/",
    "jobs/pbs/test_index_ranges.py",
    "jobs/pbs/test_intents.py",
    "jobs/point/test_attempt.py",
    "jobs/point/test_fork_server.py",
    "jobs/point/test_publication.py",
    "jobs/point/test_worker.py",
    "jobs/test_local.py",
    "jobs/test_probe.py",
    "jobs/test_scripts",
    "jobs/test_submit.py",
    "security/",
    "test_commands.py",
    "test_hostile_files.py",
    "unet_models/networks/",
    "unet_models/test_determinism.py",
    "unet_models/training/",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of :data:`SLOW`; a single slow test elsewhere has the marker itself."""
    folder = Path(__file__).parent
    for item in items:
        if item.path.relative_to(folder).as_posix().startswith(SLOW):
            item.add_marker(pytest.mark.slow)
