"""The largest linear model that the rows of a summary allow, and its residuals."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.statistics.design_matrix import Design, terms_up_to
from analysis.statistics.factors import MOST_COLUMNS, Data, NotComputed, prepare

LEAST_RESIDUAL_DF = 5  # below it an F test has hardly any power, and the model is made smaller
_EXACT = 1e-22  # residual relative to the total sum of squares: below it is rounding


@dataclass(frozen=True)
class Fit:
    """The model that the rows can bear, in words, and its residuals (in units of ``data.y``)."""

    data: Data
    design: Design
    order: int
    words: str
    notes: list[str]
    residuals: np.ndarray

    @property
    def df(self) -> int:
        return self.design.residual_df

    @property
    def error(self) -> float:
        """Residual mean square, in units of ``data.y``; 0 where only rounding is left."""
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
    return f"{words}; error: everything beyond (higher interactions and noise cannot be separated)"


def fit(frame: pd.DataFrame, metric: str) -> Fit:
    """The largest model that leaves enough residual degrees of freedom. Raises :class:`NotComputed`."""
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
            why = f"{width} columns are more than {MOST_COLUMNS}"
        else:
            design = Design.of(data, terms)
            df = design.residual_df
            if df >= LEAST_RESIDUAL_DF or (order == 1 and df >= 2):
                words = _words(order, len(names), data)
                return Fit(data, design, order, words, notes, design.residuals(data.y))
            why = f"{df} residual degrees of freedom are left"
        if order > 1:
            smaller = "the additive model" if order == 2 else "interactions of up to two factors"
            notes.append(f"interactions of {order} factors left out ({why}): {smaller} instead")
    raise NotComputed(f"even the additive model cannot be tested: {why}")


def resampled(model: Fit, draws: int, seed: int) -> np.ndarray:
    """Errors of unit variance, drawn from the residuals: set free of their leverage, centred, rescaled."""
    leverage = (model.design.basis**2).sum(axis=1)
    free = leverage < 1 - 1e-9
    pool = model.residuals[free] / np.sqrt(1 - leverage[free])
    pool = pool - pool.mean()
    spread = math.sqrt(float(pool @ pool) / len(pool))
    pool = pool / spread if spread > 0 else pool
    return np.random.default_rng(seed).choice(pool, size=(len(model.data.y), draws))
