"""A run directory of any size with plausible results, written by the product's own code; nothing is trained."""

from __future__ import annotations

import contextlib
import io
import math
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import make_grid
from jobs.common.files import write_text_atomically
from jobs.common.records import typed, write, write_once
from jobs.common.schema import ClaimRecord, Effective, Epoch, Git, Metrics, PointRecord, Result
from jobs.run.index import Entry, Run, read_run
from unet_models.networks.parameters import ARCHITECTURES
from unet_models.training.history import history_csv, summarise

EPOCHS = 30
STARTED, ENDED = "2026-01-01T00:00:00+00:00", "2026-01-01T00:16:40+00:00"
# Architectures, learning rates, batch sizes, filters, seeds. 36 is the default grid; from 1,000 to 10,000 three of
# the axes grow, so that a cost in the number of levels or of configurations shows, not in that of points alone.
GRIDS = {
    36: (3, 4, 3, 1, 1),
    1_000: (2, 5, 5, 2, 10),
    10_000: (2, 10, 5, 5, 20),
}
# Of 100 points: how they end, where they end otherwise than `done`.
_OTHER = {
    **dict.fromkeys(range(4), "diverged"),
    4: "oom",
    5: "error",
    6: "timeout",
    7: "lost",
    8: "running",
    9: "waiting",
}
_REASONS = {
    "oom": "ResourceExhaustedError: OOM when allocating tensor with shape [32,64,256,256]",
    "error": "ValueError: the optimizer's learning rate is 0.001, expected 0.0001",
    "timeout": "stopped 120 s before the walltime, after epoch 12",
}


def grid_text(points: int) -> str:
    """A ``grid.yaml`` of so many points on small generated data."""
    architectures, rates, batches, filters, seeds = GRIDS[points]
    widths = "" if filters == 1 else f"  base_filters: {[4 * (place + 1) for place in range(filters)]}\n"
    steps = [0.0001, 0.0005, 0.001, 0.005, 0.01, 0.0002, 0.002, 0.00005, 0.00002, 0.02]
    return (
        "hyperparameters:\n"
        f"  architecture: [{', '.join(ARCHITECTURES[:architectures])}]\n"
        f"  learning_rate: {steps[:rates]}\n"
        f"  batch_size: {[8, 16, 32, 4, 2][:batches]}\n"
        f"{widths}"
        f"seed: {list(range(1, seeds + 1))}\n"
        f"training: {{epochs: {EPOCHS}}}\n"
        "data: {source: sample, patch_size: 32, sample_slices: 48, sample_size: 64, gap_slices: 2}\n"
    )


@contextlib.contextmanager
def not_synced() -> Iterator[None]:
    """Do not wait for the disk while a run is filled, since that is not measured."""
    with mock.patch("os.fsync", return_value=None):
        yield


def make_run_directory(root: Path, points: int) -> Run:
    """The run of :func:`grid_text`, made by ``make_grid.py``."""
    grid = root.parent / f"{root.name}.yaml"
    grid.write_text(grid_text(points))
    with contextlib.redirect_stdout(io.StringIO()):
        code = make_grid.main([str(grid), "--run-dir", str(root)])
    if code:
        raise SystemExit(code)
    return read_run(root)


def history_of(entry: Entry, state: str, draw: random.Random) -> list[dict[str, Any]]:
    """Epochs of a training whose end depends a little on each setting, and on chance."""
    settings = entry.point.settings
    away = abs(math.log10(settings["learning_rate"]) + 3.2)
    top = 0.86 - 0.05 * away - 0.02 * abs(math.log2(settings["batch_size"]) - 4)
    top += 0.01 * (settings["architecture"] == "Attention_UNet") + draw.gauss(0, 0.01)
    epochs = {"done": draw.randint(20, EPOCHS), "diverged": draw.randint(1, 8)}.get(state, 12)
    rows = []
    for epoch in range(1, epochs + 1):
        score = max(0.07, top * (1 - math.exp(-epoch / 4)) + draw.gauss(0, 0.008))
        loss = 0.3 * (1 - score) + draw.gauss(0, 0.002)
        found = round(4096 * score)
        rows.append(
            {
                "epoch": epoch,
                "loss": loss - 0.01,
                "jaccard": score + 0.01,
                "val_loss": loss,
                "val_jaccard": score,
                "learning_rate": settings["learning_rate"],
                "val_true_positives": found,
                "val_false_positives": (4096 - found) // 2,
                "val_false_negatives": (4096 - found) // 2,
                "seconds": 31.7 + draw.random(),
            }
        )
    if state == "diverged":
        rows[-1] |= {"loss": math.nan, "val_loss": math.nan}
    return rows


def result_of(entry: Entry, state: str, rows: list[dict[str, Any]]) -> Result:
    """A result like those of :mod:`jobs.point.publication`, of about the same size."""
    metrics = summarise(rows, EPOCHS)
    metrics |= {"training_time_seconds": sum(row["seconds"] for row in rows), "chance_jaccard": 0.07}
    metrics |= {"overfitting_gap_at_best": 0.01, "test_jaccard": metrics["best_val_jaccard"]}
    return Result(
        index=entry.index,
        name=entry.name,
        key=entry.key,
        status=state,
        reason="the training loss became nan" if state == "diverged" else "",
        settings=dict(entry.point.settings),
        effective=Effective(parameters=31_030_593, optimizer="adam", learning_rate=0.001, clipnorm=1.0),
        metrics=typed(metrics, Metrics),
        history=tuple(typed(row, Epoch) for row in rows),
        attempts=1,
        lineage="0" * 16,
        started=STARTED,
        ended=ENDED,
        host="node1",
        job_id=f"1[{entry.index}].pbs",
        peak_memory_mb=8123.4,
        peak_host_memory_mb=4012.5,
        packages=dict.fromkeys(("tensorflow", "keras", "numpy", "pandas", "scipy", "pillow"), "1.2.3"),
        git=Git(commit="0" * 40, dirty=False),
        device="NVIDIA A100-SXM4-40GB",
    )


def fill(run: Run, seed: int = 0) -> None:
    """Give nearly every point of ``run`` the files that it would have after a submission, of all classes."""
    for entry in run.entries:
        # Spread over the grid: 37 and 100 have no common divisor, so each hundred points have every class.
        state = _OTHER.get(entry.index * 37 % 100, "done")
        if state != "waiting":
            _give(run, entry, state, random.Random(seed * 10**6 + entry.index))


def _give(run: Run, entry: Entry, state: str, draw: random.Random) -> None:
    paths = run.point_paths(entry)
    paths.claims.mkdir(parents=True)
    who = {"host": "node1", "boot": "b", "pid": 4321, "ticks": 1, "job_id": f"1[{entry.index}].pbs"}
    write_once(paths.claim(1), ClaimRecord(**who, started=STARTED, token="0" * 16))
    if state == "lost":  # recorded as running, with the last heartbeat a day ago
        past = time.time() - 86_400
        os.utime(paths.claim(1), (past, past))
    rows = history_of(entry, state, draw)
    paths.lock.touch()
    paths.log.write_text(
        "".join(
            f"2026-01-01T00:00:00+00:00 epoch {row['epoch']}: val_jaccard {row['val_jaccard']:.4f}\n"
            for row in rows
        )
    )
    write_text_atomically(paths.history, history_csv(rows))
    status = PointRecord(
        **who,
        name=entry.name,
        key=entry.key,
        started=STARTED,
        updated=ENDED,
        attempts=1,
        epoch=len(rows),
        epochs=EPOCHS,
        epoch_seconds=32.0,
        val_jaccard=rows[-1]["val_jaccard"],
        best_val_jaccard=rows[-1]["val_jaccard"],
        best_epoch=9,
        state="running" if state == "lost" else state,
        reason=_REASONS.get(state, ""),
    )
    write(paths.status, status)
    if state in ("done", "diverged") and not write_once(paths.results, result_of(entry, state, rows)):
        raise FileExistsError(paths.results)
