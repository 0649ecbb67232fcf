"""A grid of made-up results as a frame, for the tests of the statistics."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd

RATES = (1e-4, 5e-4, 1e-3, 5e-3)
BATCHES = (8, 16, 32)
ARCHITECTURES = ("UNet", "Attention_UNet", "Attention_ResUNet")
CELL = ["architecture", "learning_rate", "batch_size"]
JACCARD, STABILITY = "best_val_jaccard", "val_loss_stability"


def results(seeds=(1,), *, rates=RATES, batches=BATCHES, seed=0, spread=0.01) -> pd.DataFrame:
    """A frame as ``load_summary`` returns it: all points successful, metrics are noise with SD ``spread``."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(list(product(ARCHITECTURES, rates, batches, seeds)), columns=[*CELL, "seed"])
    frame["seed"] = frame["seed"].astype(float)
    frame["name"] = [f"exp_{n:03d}" for n in range(1, len(frame) + 1)]
    frame = frame.assign(successful=True, status="done")
    frame[JACCARD] = 0.6 + rng.normal(0, spread, len(frame))
    frame[STABILITY] = np.exp(rng.normal(-4, 0.3, len(frame)))
    return frame
