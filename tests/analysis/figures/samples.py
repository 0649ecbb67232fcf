"""Summaries, histories and runs that the tests of the figures draw, and what they look for in a figure."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
from matplotlib.text import Text
from PIL import Image

from analysis.summary import load_summary
from tests.analysis.report.test_report import fail, frame
from unet_models.training.history import COLUMNS, history_csv


def loaded(tmp_path, content):
    path = tmp_path / "hyperparameter_summary.csv"
    content.to_csv(path, index=False)
    return load_summary(path)


def named(content):
    """With names as a run has them."""
    content = content.reset_index(drop=True)
    content["name"] = [
        f"exp_{n:02d}_{row.architecture}_lr{row.learning_rate:g}_bs{row.batch_size}"
        for n, row in enumerate(content.itertuples(), start=1)
    ]
    return content


def with_seeds(count=3):
    rows = pd.concat([frame().assign(seed=seed) for seed in range(1, count + 1)], ignore_index=True)
    rows["best_val_jaccard"] = (
        rows["best_val_jaccard"] + np.random.default_rng(0).normal(0, 0.01, len(rows))
    ).clip(0, 1)
    return rows


def epochs(count=6, *, top=0.5, loss=1.0):
    return [
        {
            **dict.fromkeys(COLUMNS, 1.0),
            "epoch": float(n),
            "val_jaccard": top * n / count,
            "val_loss": loss / n,
        }
        for n in range(1, count + 1)
    ]


def texts(figure):
    found = [text.get_text() for text in figure.findobj(Text)]
    return " ".join(" ".join(found).split())


def panel(figure, letter):
    return next(axes for axes in figure.axes if axes.get_title(loc="left").startswith(f"({letter})"))


def opened(content, *, least=500):
    """The picture, whole and of some size."""
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    picture = Image.open(io.BytesIO(content))
    picture.load()
    assert picture.size[0] >= least and picture.size[1] >= 100
    return picture


def several_classes():
    content = frame()
    for row, status in enumerate(("oom", "diverged", "timeout", "lost", "cancelled", "error", "waiting")):
        fail(content, row, status)
    return content


def failed(count):
    content = frame()
    for row in range(count):
        fail(content, row, "diverged")
    return content


def lone(**columns):
    return frame(rates=(1e-3,), batches=(8,), architectures=("UNet",)).assign(**columns)


ODD = {
    "whole": frame(),
    "several seeds": with_seeds(),
    "several classes of failure": several_classes(),
    "one architecture": frame(architectures=("UNet",)),
    "one learning rate": frame(rates=(1e-3,)),
    "one batch size": frame(batches=(8,)),
    "one point": lone(),
    "one finished point": failed(11),
    "all diverged": failed(12),
    "no point": frame().head(0),
    "rows missing": frame().drop(index=[0, 4, 7]),
    "ties, several chance levels": frame().assign(best_val_jaccard=0.5, chance_jaccard=[0.1, 0.2, 0.3] * 4),
    "all metrics constant": frame().assign(best_val_jaccard=0.0, val_loss_stability=0.0, chance_jaccard=0.0),
    "some stability zero": frame().assign(val_loss_stability=[0.0, 0.001, 1.0] * 4),
    "enormous stability": frame().assign(val_loss_stability=[1e99, 1e-99, 1.0, 5.0] * 3),
    "no stability": frame().assign(val_loss_stability=np.nan),
    "no further columns": frame()[
        ["architecture", "learning_rate", "batch_size", "training_successful", "best_val_jaccard"]
    ],
    "further axes": pd.concat([frame().assign(base_filters=8, count="x"), frame().assign(base_filters=16)]),
    "seven architectures": frame(architectures=tuple("abcdefg")),
    "many batch sizes": frame(batches=tuple(range(1, 40)), rates=(1e-3,), architectures=("UNet",)),
    "many learning rates": frame(rates=tuple(np.geomspace(1e-6, 1, 40)), architectures=("UNet",)),
    "extreme values": lone(learning_rate=1e-90, batch_size=10**9),
    "names that are formulas": frame(architectures=("$x_{$", "_hidden", "a" * 40, "π网络")),
}


def make_run(tmp_path, content):
    """A run directory with a history and a predictions picture for every point of ``content``."""
    run = tmp_path / "run"
    for name in content["name"]:
        (run / name).mkdir(parents=True)
        stem = name.split("_", 2)[2]
        (run / name / f"{stem}_history.csv").write_text(history_csv(epochs()))
        Image.new("RGB", (480, 300), "teal").save(run / name / f"{stem}_predictions.png")
    return run
