"""``python -m benchmarks.startup``: from the start of a process to the end of its first training step.

The product (``run_point.py`` with its own process for the training) compared with the least that any program with
TensorFlow needs: the interpreter, ``import tensorflow``, a textbook network, and one traced step. Both take turns.
The parts of the product's time come from its result.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.table import keep, show
from jobs.point.status import read_result
from jobs.run.index import read_run
from jobs.run.provenance import REPOSITORY
from unet_models.networks.parameters import ARCHITECTURES

SIZE, WIDTH, BATCH = 64, 8, 8
PARTS = ("import", "data", "build", "first_step")
GRID = f"""
hyperparameters: {{architecture: [{", ".join(ARCHITECTURES)}], learning_rate: [1e-3], batch_size: [{BATCH}]}}
training: {{epochs: 1, base_filters: {WIDTH}, jit_compile: off}}
data: {{source: sample, patch_size: {SIZE}, sample_slices: 48, sample_size: 128, gap_slices: 8, validation_fraction: 0.2}}
"""


def bare(architecture: str) -> None:
    """In a fresh process: the import, a textbook network, one step of plain ``fit``."""
    import numpy as np
    import tensorflow as tf  # noqa: F401

    from benchmarks.textbook import compiled

    model = compiled(architecture, patch_size=SIZE, base_filters=WIDTH)
    image = np.zeros((BATCH, SIZE, SIZE, 1), np.float32)
    model.fit(image, image, batch_size=BATCH, epochs=1, verbose=0)


def _seconds(*arguments: str) -> float:
    since = time.perf_counter()
    answer = subprocess.run(
        [sys.executable, *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    if answer.returncode:
        raise SystemExit(f"{' '.join(arguments)} exited with {answer.returncode}: {answer.stderr[-2000:]}")
    return time.perf_counter() - since


def measure(runs: int) -> list[dict[str, Any]]:
    """A row for each architecture."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="unet_startup_") as folder:
        grid = Path(folder) / "grid.yaml"
        grid.write_text(GRID)
        root = Path(folder) / "run"
        _seconds("make_grid.py", str(grid), "--run-dir", str(root))
        _seconds("-m", "benchmarks.startup", "--bare", "UNet")  # brings the files into the page cache
        for entry in read_run(root).entries:
            architecture = entry.point.settings["architecture"]
            ours, theirs, ratios, imports = [], [], [], []
            for _ in range(runs):
                theirs.append(_seconds("-m", "benchmarks.startup", "--bare", architecture))
                imports.append(_seconds("-c", "import tensorflow"))
                _seconds("run_point.py", str(root), str(entry.index), "--again")
                run = read_run(root)
                result = read_result(run, entry)
                if result is None:
                    raise SystemExit(f"{entry.name} has no result; see its training_log.txt")
                parts = result.startup
                # The parent's time until it starts the training: all that it does for a point that has a result.
                parent = _seconds("run_point.py", str(root), str(entry.index))
                ours.append({"parent": parent, **{name: parts[name] for name in PARTS}})
                ratios.append(sum(ours[-1].values()) / theirs[-1])
            rows.append(
                {
                    "architecture": architecture,
                    **{f"{name} s": statistics.median(one[name] for one in ours) for name in ours[0]},
                    "ours s": statistics.median(sum(one.values()) for one in ours),
                    "bare s": statistics.median(theirs),
                    "import tensorflow s": statistics.median(imports),
                    "ours / bare": statistics.median(ratios),
                }
            )
    return rows


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark with the arguments ``argv`` and return its exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--json", type=Path, metavar="FOLDER", help="keep the rows there, too")
    parser.add_argument(
        "--bare", choices=ARCHITECTURES, help="only the bare program, for this benchmark itself"
    )
    arguments = parser.parse_args(argv)
    if arguments.bare:
        bare(arguments.bare)
        return 0
    rows = measure(arguments.runs)
    show(f"Start of a process to the end of its first step (median of {arguments.runs})", rows)
    keep(arguments.json, "startup", rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
