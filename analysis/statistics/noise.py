"""The run-to-run noise of the score, and the seeds needed to detect a difference."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from scipy import stats

from analysis.schema import Noise
from analysis.statistics.configuration_means import Means, configuration_means
from analysis.statistics.factors import NotComputed, plain
from analysis.statistics.intervals import LEVEL, t_test_power

METRIC = "best_val_jaccard"
MOST_SEEDS = 1000


def noise(frame: pd.DataFrame, means: Means | None = None) -> Noise:
    """Standard deviation of ``best_val_jaccard`` between repeats of one configuration, pooled over configurations.

    ``sd`` is in units of the Jaccard index, with its 95 % interval (chi squared); ``cells`` is the number of
    configurations with repeats. ``sd_within_seed`` is without the effect of the seeds; configurations may lack some of
    them. ``icc`` is the share of the variance between configurations (one-way, Shrout and Fleiss 1979; negative
    estimates are 0). Points near chance level are left out. It is not known without repeats, nor from those of a few
    configurations only, and then has a reason. ``means``: those of the frame, if they are known.
    """
    try:
        means = configuration_means(frame, METRIC) if means is None else means
    except NotComputed as reason:
        return Noise(known=False, reason=str(reason))
    if not means.repeated:
        several = int((means.counts > 1).sum())
        why = (
            f"only {several} of {len(means.counts)} configurations have more than one successful point"
            if several
            else "no configuration has more than one successful point"
        )
        return Noise(known=False, reason=f"{why}: run several seeds")
    data = means.data
    used = means.learned
    counts = np.bincount(data.cell[used], minlength=data.cells)
    sums = np.bincount(data.cell[used], data.y[used], minlength=data.cells)
    centre = np.divide(sums, counts, out=np.zeros(data.cells), where=counts > 0)
    within = float(((data.y[used] - centre[data.cell[used]]) ** 2).sum())
    cells = int((counts > 0).sum())
    df = int(used.sum()) - cells
    error = within / df
    low, high = (float(stats.chi2.ppf(p, df)) for p in ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return Noise(
        known=True,
        sd=plain(math.sqrt(error) * data.scale),
        sd_ci=(math.sqrt(within / high) * data.scale, math.sqrt(within / low) * data.scale),
        df=df,
        cells=int((counts > 1).sum()),
        sd_within_seed=plain(math.sqrt(means.pooled)) if means.blocked else None,
        df_within_seed=means.pooled_df if means.blocked else None,
        icc=_intraclass(counts[counts > 0], centre[counts > 0], error),
    )


def _intraclass(counts: np.ndarray, centres: np.ndarray, error: float) -> float | None:
    cells, n = len(counts), float(counts.sum())
    if cells < 2:
        return None
    middle = float(counts @ centres) / n
    between = float((counts * (centres - middle) ** 2).sum()) / (cells - 1)
    usual = (n - float((counts**2).sum()) / n) / (cells - 1)
    whole = between + (usual - 1) * error
    return plain(max(0.0, (between - error) / whole)) if whole > 0 else None


def seeds_to_settle(difference: float, sd: float, power: float = 0.8, alpha: float = 0.05) -> int:
    """Seeds per configuration with which a two-sided t test detects ``difference``, from 2 to 1000.

    ``difference`` and ``sd`` are in the same units. The result is 1000 if the difference is 0 or either is not finite,
    and 2 if ``sd`` is 0. Raises :class:`ValueError` if ``power`` or ``alpha`` is not between 0 and 1.
    """
    if not (0 < power < 1 and 0 < alpha < 1):
        raise ValueError(f"received power {power} and alpha {alpha}; expected both between 0 and 1")
    if not (math.isfinite(difference) and math.isfinite(sd)) or difference == 0 or sd < 0:
        return MOST_SEEDS
    if sd == 0:
        return 2
    effect = min(abs(difference) / sd, 1e6)
    low, high = 1, MOST_SEEDS  # the result is above low; the power grows with n
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if t_test_power(effect, middle, alpha) >= power else (middle, high)
    return high
