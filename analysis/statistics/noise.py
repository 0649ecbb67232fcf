"""The run-to-run noise of the score, the seeds needed to detect a difference, and the set of possible best points."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import pandas as pd
from scipy import stats

from analysis.schema import Indistinguishable, Noise
from analysis.statistics.factors import Data, NotComputed, plain, prepare
from analysis.statistics.intervals import LEVEL, studentized_range_ppf, t_test_power
from analysis.statistics.linear_model import fit

METRIC = "best_val_jaccard"
MOST_SEEDS = 1000


def _pooled(data: Data) -> tuple[float, int, np.ndarray, np.ndarray]:
    """Sum of squares within cells, its degrees of freedom, sizes of the cells, and their means, in units of ``data.y``."""
    counts = np.bincount(data.cell)
    means = np.bincount(data.cell, data.y) / counts
    return float(((data.y - means[data.cell]) ** 2).sum()), len(data.y) - data.cells, counts, means


def _without_blocks(data: Data, within: float, df: int) -> tuple[float, int] | None:
    """``within`` and ``df`` without the effect of the seeds; ``None`` unless every cell has every seed exactly once."""
    if data.block is None:
        return None
    blocks = int(data.block.max()) + 1
    pairs = np.bincount(data.cell * blocks + data.block, minlength=data.cells * blocks)
    if pairs.min() != 1 or pairs.max() != 1 or df - blocks + 1 < 2:
        return None
    between = data.cells * float(
        (np.bincount(data.block, data.y) / data.cells) @ (np.bincount(data.block, data.y) / data.cells)
    )
    return max(0.0, within - between), df - blocks + 1


def noise(frame: pd.DataFrame) -> Noise:
    """Standard deviation of ``best_val_jaccard`` between repeats of one configuration, pooled over configurations.

    ``sd`` is in units of the Jaccard index, with its 95 % interval (chi squared); ``cells`` is the number of
    configurations with repeats. ``sd_within_seed`` is without the effect of the seeds. ``icc`` is the share of the
    variance between configurations (one-way, Shrout and Fleiss 1979; negative estimates are 0). Without repeats
    ``known`` is false, with a reason.
    """
    try:
        data = prepare(frame, METRIC)
    except NotComputed as reason:
        return Noise(known=False, reason=str(reason))
    within, df, counts, means = _pooled(data)
    if df < 1:
        return Noise(
            known=False, reason="no configuration has more than one successful point: run several seeds"
        )
    error = within / df
    shared = _without_blocks(data, within, df)
    low, high = (float(stats.chi2.ppf(p, df)) for p in ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    icc = None
    if data.cells > 1:
        between = float((counts * (means - data.y.mean()) ** 2).sum()) / (data.cells - 1)
        usual = (len(data.y) - float((counts**2).sum()) / len(data.y)) / (data.cells - 1)
        whole = between + (usual - 1) * error
        icc = plain(max(0.0, (between - error) / whole)) if whole > 0 else None
    return Noise(
        known=True,
        sd=plain(math.sqrt(error) * data.scale),
        sd_ci=(math.sqrt(within / high) * data.scale, math.sqrt(within / low) * data.scale),
        df=df,
        cells=int((counts > 1).sum()),
        sd_within_seed=None if shared is None else plain(math.sqrt(shared[0] / shared[1]) * data.scale),
        df_within_seed=None if shared is None else shared[1],
        icc=icc,
    )


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


def _model_error(frame: pd.DataFrame) -> tuple[float, int]:
    """The residual mean square of the model and its degrees of freedom. Raises :class:`NotComputed` if it is 0."""
    model = fit(frame, METRIC)
    if model.error == 0:
        raise NotComputed("the model reproduces every value exactly: there is no error to compare with")
    return model.error, model.df


def indistinguishable(
    frame: pd.DataFrame, rows: pd.DataFrame | Iterable[str] | None = None
) -> Indistinguishable:
    """The points whose configuration is not distinguishable from the best one by ``best_val_jaccard``, at 95 %.

    ``rows`` are the candidates: rows of the frame, or names; by default all successful points. The mean of each
    candidate's configuration is compared with the best mean by the studentized range over all of them (Tukey 1953),
    which allows for the best being selected by its result: without any effect, all candidates are returned in 95 of
    100 grids. The error is the variation between repeats; with one seed per configuration, the residual of the model.
    """
    try:
        data = prepare(frame, METRIC)
        within, df, counts, means = _pooled(data)
        if df >= 2 and within > 0:
            error, error_df = within / df, df
            basis = "variation between repeats of a configuration"
            free = _without_blocks(data, within, df)
            if free is not None and free[0] > 0:
                error, error_df = free[0] / free[1], free[1]
                basis = "variation between repeats of a configuration, within seeds"
        else:
            error, error_df = _model_error(frame)
            basis = "residual of the model; run-to-run noise is not known"
    except NotComputed as reason:
        return Indistinguishable(computed=False, reason=str(reason))
    names = frame["name"].to_numpy()[data.places]
    if rows is None:
        wanted = np.ones(len(names), bool)
    elif isinstance(rows, pd.DataFrame):
        wanted = np.isin(data.places, frame.index.get_indexer(rows.index))
    else:
        wanted = np.isin(names, list(rows))
    cells = np.unique(data.cell[wanted])
    if not len(cells):
        return Indistinguishable(computed=False, reason="none of the candidates has a value", basis=basis)
    best = int(cells[np.argmax(means[cells])])
    spread = math.sqrt(error)
    critical = studentized_range_ppf(LEVEL, len(cells), error_df) if len(cells) > 1 else 0.0
    reach = critical * spread * np.sqrt((1 / counts[cells] + 1 / counts[best]) / 2)
    near = cells[(means[best] - means[cells] <= reach) | (cells == best)]
    usual = len(cells) / float((1 / counts[cells]).sum())
    member = wanted & np.isin(data.cell, near)
    order = np.lexsort((data.places, -means[data.cell]))
    return Indistinguishable(
        computed=True,
        names=tuple(str(names[place]) for place in order if member[place]),
        best=str(names[np.flatnonzero(wanted & (data.cell == best))[0]]),
        basis=basis,
        critical_difference=plain(critical * spread / math.sqrt(usual) * data.scale),
        sd=plain(spread * data.scale),
        df=error_df,
        configurations=len(near),
        of=len(cells),
    )
