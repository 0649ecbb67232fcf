"""Summaries with made-up results: the product's reader makes the frame of a design once, only the results change."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from functools import lru_cache
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.summary import load_summary

ARCHITECTURES = ("UNet", "Attention_UNet", "Attention_ResUNet")
RATES = (1e-4, 5e-4, 1e-3, 5e-3)
HIGHEST = RATES[-1]
BATCHES = (8, 16, 32)
ORIGINAL = (1e-2, 8)  # learning rate and batch size that the success criteria compare with
CONFIGURATION = ["architecture", "learning_rate", "batch_size"]
SCORE, TEST, STABILITY, EPOCHS = "best_val_jaccard", "test_jaccard", "val_loss_stability", "epochs_to_best"
CHANCE = 0.07
MIDDLE = 0.7  # a typical score
BUDGET = 30  # epochs
NOISE = 0.01  # SD of a score between repeats
STABLE = -4.0  # logarithm of a typical stability


@lru_cache(maxsize=64)
def design(seeds: int = 1, *, original: bool = False, own_seeds: bool = False) -> pd.DataFrame:
    """The guide's grid of 36 configurations with ``seeds`` repeats, all successful, without any effect or noise.

    ``original``: also the setting that the success criteria compare with. ``own_seeds``: every point has a seed of its
    own, so that the repeats of different configurations have nothing in common.
    """
    settings = list(product(ARCHITECTURES, RATES, BATCHES))
    if original:
        settings += [(name, *ORIGINAL) for name in ARCHITECTURES]
    rows = pd.DataFrame(
        [(*setting, seed) for setting in settings for seed in range(1, seeds + 1)],
        columns=[*CONFIGURATION, "seed"],
    )
    count = len(rows)
    if own_seeds:
        rows["seed"] = range(1, count + 1)
    rows["index"] = range(1, count + 1)
    rows["name"] = [f"exp_{number:03d}" for number in range(1, count + 1)]
    rows = rows.assign(
        training_successful="True",
        status="done",
        epochs_requested=BUDGET,
        epochs_completed=BUDGET,
        training_time_seconds=600.0,
        epochs_to_best_censored="no",
        data_source="made up",
        split="contiguous",
        **{SCORE: MIDDLE, TEST: MIDDLE, STABILITY: np.exp(STABLE), EPOCHS: 20.0, "chance_jaccard": CHANCE},
    )
    return read_again(rows)


def read_again(rows: pd.DataFrame) -> pd.DataFrame:
    """``rows`` written to a file and read by the product."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "hyperparameter_summary.csv")
        rows.to_csv(path, index=False)
        return load_summary(path)


def with_results(frame: pd.DataFrame, **columns: np.ndarray) -> pd.DataFrame:
    """``frame`` with other results. Scores are limited to the range of a Jaccard index."""
    shares = {name: np.clip(columns[name], 0, 1) for name in (SCORE, TEST) if name in columns}
    return frame.assign(**{**columns, **shares})


def with_failures(frame: pd.DataFrame, failed: np.ndarray, status: str = "diverged") -> pd.DataFrame:
    """``frame`` where the points of which ``failed`` is true have no result."""
    changed = frame.copy()
    changed.loc[failed, "successful"] = False
    changed.loc[failed, "status"] = status
    changed.loc[failed, "training_successful"] = "False"
    changed.loc[failed, [SCORE, TEST, STABILITY, EPOCHS]] = np.nan
    return changed


def without(frame: pd.DataFrame, missing: np.ndarray) -> pd.DataFrame:
    """``frame`` without the points of which ``missing`` is true."""
    return frame[~missing].reset_index(drop=True)


def configuration(frame: pd.DataFrame) -> np.ndarray:
    """The number of the configuration of each row, shape (rows,), in the order of :func:`design`."""
    found: np.ndarray = frame.groupby(CONFIGURATION, sort=False).ngroup().to_numpy()
    return found


def by_rate(frame: pd.DataFrame, values: Sequence[float]) -> np.ndarray:
    """One value for each of :data:`RATES`, by row; that of the original setting is the last one."""
    found: np.ndarray = (
        frame["learning_rate"].map(dict(zip(RATES, values, strict=True))).fillna(values[-1]).to_numpy(float)
    )
    return found


def by_architecture(frame: pd.DataFrame, values: Sequence[float]) -> np.ndarray:
    """One value for each of :data:`ARCHITECTURES`, by row."""
    found: np.ndarray = (
        frame["architecture"].map(dict(zip(ARCHITECTURES, values, strict=True))).to_numpy(float)
    )
    return found


def doublings(frame: pd.DataFrame) -> np.ndarray:
    """How often the batch size was doubled from the smallest, by row."""
    found: np.ndarray = np.log2(frame["batch_size"].to_numpy(float) / BATCHES[0])
    return found


def simulated(
    frame: pd.DataFrame,
    generator: np.random.Generator,
    score: np.ndarray | float = 0.0,
    stability: np.ndarray | float = 0.0,
    *,
    sd: np.ndarray | float = NOISE,
    stability_sd: float = 0.4,
    tails: float | None = None,
) -> pd.DataFrame:
    """``frame`` with random results around :data:`MIDDLE` plus ``score``, and exp(:data:`STABLE` plus ``stability``).

    The score has normal noise with standard deviation ``sd``, or that of t with ``tails`` degrees of freedom, scaled to
    the same standard deviation; the stability has lognormal noise.
    """
    count = len(frame)
    noise = (
        generator.standard_normal(count)
        if tails is None
        else generator.standard_t(tails, count) / np.sqrt(tails / (tails - 2))
    )
    return with_results(
        frame,
        **{
            SCORE: MIDDLE + score + sd * noise,
            STABILITY: np.exp(STABLE + stability + stability_sd * generator.standard_normal(count)),
        },
    )
