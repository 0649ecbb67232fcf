"""The largest linear model that the rows of a summary allow, and its residuals."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.statistics.design_matrix import Design, terms_up_to
from analysis.statistics.factors import MOST_COLUMNS, Data, NotComputed, prepare
from jobs.common.units import plural

LEAST_RESIDUAL_DF = 5  # with fewer an F test has hardly any power, so a smaller model is used
_EXACT = 1e-22  # a residual below this, relative to the total sum of squares, is rounding error


@dataclass(frozen=True)
class Fit:
    """A fitted model: ``order`` is the largest number of factors in a term, ``words`` describes it for people.

    ``residuals`` are in units of ``data.y``.
    """

    data: Data
    design: Design
    order: int
    words: str
    notes: list[str]
    residuals: np.ndarray

    @property
    def df(self) -> int:
        """Residual degrees of freedom."""
        return self.design.residual_df

    @property
    def error(self) -> float:
        """Residual mean square, in squared units of ``data.y``; 0 if only rounding error is left."""
        squares = float(self.residuals @ self.residuals)
        return 0.0 if squares <= _EXACT * float(self.data.y @ self.data.y) else squares / self.df


def _words(order: int, count: int, data: Data) -> str:
    if count == 1:
        words = "one factor"
    elif order == 1:
        words = "main effects only (additive)"
    elif order == count:
        words = "full factorial"
    else:
        words = f"main effects and interactions of up to {order} factors"
    if data.block is not None:
        words += f", {data.block_name} as an additive block"
    if data.replicated and order == min(count, 3):
        return f"{words}; error: variation between repeats of a configuration"
    return f"{words}; error: higher interactions and noise, which cannot be separated"


def fit(frame: pd.DataFrame, metric: str) -> Fit:
    """The largest model with enough residual degrees of freedom. Raises :class:`NotComputed` if there is none."""
    data = prepare(frame, metric)
    names = list(data.codes)
    if not names:
        raise NotComputed("no hyperparameter has two values with a successful point")
    highest = min(len(names), 3) if data.replicated else max(1, min(2, len(names) - 1))
    notes = list(data.notes)
    for order in range(highest, 0, -1):
        terms = terms_up_to(names, order)
        width = Design.width(data, terms)
        if width > MOST_COLUMNS:
            why = f"{width} columns, more than {MOST_COLUMNS}"
        else:
            design = Design.of(data, terms)
            df = design.residual_df
            if df >= LEAST_RESIDUAL_DF or (order == 1 and df >= 2):
                words = _words(order, len(names), data)
                return Fit(data, design, order, words, notes, design.residuals(data.y))
            why = f"{plural(df, 'residual degree of freedom', 'residual degrees of freedom')} left"
        if order > 1:
            smaller = "the additive model" if order == 2 else "interactions of up to two factors"
            notes.append(f"interactions of {order} factors left out ({why}): {smaller} instead")
    raise NotComputed(f"even the additive model cannot be tested: {why}")


def resampled(model: Fit, draws: int, seed: int) -> np.ndarray:
    """Errors of unit variance, shape (rows, draws), drawn from the residuals divided by the root of 1 - leverage."""
    leverage = (model.design.basis**2).sum(axis=1)
    free = leverage < 1 - 1e-9
    pool = model.residuals[free] / np.sqrt(1 - leverage[free])
    pool = pool - pool.mean()
    spread = math.sqrt(float(pool @ pool) / len(pool))
    pool = pool / spread if spread > 0 else pool
    return np.random.default_rng(seed).choice(pool, size=(len(model.data.y), draws))
