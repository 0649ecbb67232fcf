"""``python -m benchmarks.size``: packing and training with a volume that need not fit into memory.

For a volume of 100 MB and one of ``--gigabytes``: the seconds and the peak memory of ``make_grid.py``; of a training, the
seconds to read the packed data and to the first step, the seconds of a step, and the peak memory. The training verifies
its files in the background, as every point does. Trainings of both sizes take turns, and so do steps with patches from
files and from memory.

20 GB need 45 GB of disk space: ``python -m benchmarks.size --gigabytes 20 --folder /scratch``.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.bursts import Enough, Gate, Worker, median_ratio, take_turns
from benchmarks.table import keep, show
from jobs.run.index import read_run
from jobs.run.provenance import REPOSITORY

SIDE = 2048  # of a slice; one of 8 bits takes 4 MiB
SMALL = 0.1  # gigabytes
STEPS = 12
GRID = """
hyperparameters: {{architecture: [UNet], learning_rate: [1e-3], batch_size: [8]}}
training: {{epochs: 2, base_filters: 4, jit_compile: off}}
data: {{source: files, path: {path}, patch_size: 128, gap_slices: 1, validation_fraction: 0.1}}
"""


def write_volume(folder: Path, gigabytes: float) -> int:
    """Write slices with masks to ``folder``, one at a time; returns their number.

    Every slice is another cut of the same noise with its own discs: no two are equal, and writing them takes no longer
    than the disk needs.
    """
    from tifffile import imwrite

    generator = np.random.default_rng(0)
    noise = generator.integers(0, 128, (SIDE + 512, SIDE + 512), np.uint8)
    rows, columns = np.ogrid[:SIDE, :SIDE]
    count = max(8, round(gigabytes * 1e9 / SIDE**2))
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    for z in range(count):
        top, left = generator.integers(0, 512, 2)
        image = noise[top : top + SIDE, left : left + SIDE].copy()
        mask = ((rows + 3 * z) % 200 - 100) ** 2 + ((columns + 7 * z) % 300 - 150) ** 2 < 40**2
        image[mask] += 100
        imwrite(folder / "images" / f"z{z:05d}.tif", image)
        imwrite(folder / "masks" / f"z{z:05d}.tif", mask.astype(np.uint8) * 255, compression="zlib")
    return count


def _measured(*arguments: str) -> tuple[float, float, str]:
    """Seconds, peak memory in MB, and output of a Python process."""
    since = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, *arguments], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
    ) as process:
        output = process.stdout.read() if process.stdout is not None else ""
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(arguments)} exited with {process.returncode}")
    return time.perf_counter() - since, usage.ru_maxrss / 1024, output


def train(root: Path) -> None:
    """In a fresh process: start as a point does, train :data:`STEPS` steps, and print what it took as JSON."""
    from jobs.point.preparation import prepare
    from unet_models.training import training

    run = read_run(root)
    settings = run.entries[0].point.settings
    data = prepare(run, settings)
    ends = [time.perf_counter()]

    def on_batch() -> None:
        ends.append(time.perf_counter())
        if len(ends) == STEPS + 1:
            raise Enough

    with tempfile.TemporaryDirectory() as folder:
        try:
            training.train(settings, data.data, model_file=Path(folder) / "model.keras", on_batch=on_batch)
        except Enough:
            steps = np.diff(ends[3:]).tolist()
            found = {
                "data": data.startup["data"],
                "first": ends[1] - ends[0],
                "step": statistics.median(steps),
            }
            print(json.dumps(found), flush=True)
    os._exit(0)  # TensorFlow's threads need seconds to end, which are not measured here


def train_by_turns(gate: Gate, *, root: str, in_memory: bool) -> None:
    """The training of a point, with its patches in memory or read from the files of the run."""
    from jobs.point.preparation import prepare
    from unet_models.data.packed import PackedData
    from unet_models.training import training

    run = read_run(Path(root))
    settings = {**run.entries[0].point.settings, "epochs": 10_000}
    data = prepare(run, settings).data
    if in_memory:
        data = PackedData.of_arrays(data.images, data.masks, data.part, data.z, data.source, data.split)
    with tempfile.TemporaryDirectory() as folder:
        training.train(settings, data, model_file=Path(folder) / "model.keras", on_batch=gate)


def compare_steps(root: Path, rounds: int) -> dict[str, Any]:
    """Seconds of a step with patches from files and from memory, and their ratio."""
    workers = {
        name: Worker(train_by_turns, root=str(root), in_memory=name == "memory")
        for name in ("files", "memory")
    }
    try:
        found = take_turns(workers, rounds=rounds, steps=3)
    finally:
        for worker in workers.values():
            worker.close()
    return {
        "step from files s": statistics.median(one["files"] for one in found),
        "step from memory s": statistics.median(one["memory"] for one in found),
        "files / memory": median_ratio(found, "files", "memory"),
    }


def measure(folder: Path, gigabytes: float, runs: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """A row for each size, and one that compares files with memory."""
    rows, roots = [], []
    for size in (SMALL, gigabytes):
        place = folder / f"{size:g}"
        slices = write_volume(place / "volume", size)
        grid = place / "grid.yaml"
        grid.write_text(GRID.format(path=place / "volume"))
        root = place / "run"
        seconds, peak, _ = _measured("make_grid.py", str(grid), "--run-dir", str(root))
        shutil.rmtree(place / "volume")
        pixels = slices * SIDE**2
        rows.append({
            "GB": pixels / 1e9, "slices": slices, "pack s": seconds, "pack MB/s": pixels / 1e6 / seconds,
            "pack peak MB": peak,
        })  # fmt: skip
        roots.append(root)
    found: list[list[dict[str, float]]] = [[], []]
    for _ in range(runs):
        for number, root in enumerate(roots):
            _, peak, output = _measured("-m", "benchmarks.size", "--train", str(root))
            found[number].append({**json.loads(output.splitlines()[-1]), "peak": peak})
    for row, measured in zip(rows, found, strict=True):
        for name, label in (
            ("data", "open s"),
            ("first", "first step s"),
            ("step", "step s"),
            ("peak", "train peak MB"),
        ):
            row[label] = statistics.median(one[name] for one in measured)
    return rows, [compare_steps(roots[0], max(5, runs))]


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark with the arguments ``argv`` and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.size",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--gigabytes", type=float, default=1.0, help="size of the larger volume (1)")
    parser.add_argument("--runs", type=int, default=3, help="trainings of each size (3)")
    parser.add_argument(
        "--folder", type=Path, help="where there is space for it (default: the temporary folder)"
    )
    parser.add_argument("--json", type=Path, metavar="FOLDER", help="keep the rows there, too")
    parser.add_argument("--train", type=Path, metavar="RUN", help="one training, for this benchmark itself")
    arguments = parser.parse_args(argv)
    if arguments.train is not None:
        train(arguments.train)
    with tempfile.TemporaryDirectory(prefix="unet_size_", dir=arguments.folder) as folder:
        rows, steps = measure(Path(folder), arguments.gigabytes, arguments.runs)
    show("Packing and training, 8 bits, patches of 128x128", rows)
    show("A step with patches from files and from memory, taking turns", steps)
    keep(arguments.json, "size", rows)
    keep(arguments.json, "size_steps", steps)
    return 0


if __name__ == "__main__":
    sys.exit(main())
