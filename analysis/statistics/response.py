"""The response of the score to the learning rate: a parabola over its logarithm, and the rate of its maximum."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from msgspec.structs import replace
from scipy import special

from analysis.axes import fictitious_axes
from analysis.configurations import Ranking
from analysis.schema import Response
from analysis.statistics.factors import NotComputed
from analysis.statistics.intervals import LEVEL
from analysis.summary import architectures

LEAST_DF = 2


def responses(frame: pd.DataFrame, ranking: Ranking) -> tuple[Response, ...]:
    """For each architecture the quadratic in log10 of the learning rate, adjusted for the other hyperparameters.

    It is fitted to the means of the configurations by least squares; those near chance level are left out, as a
    parabola cannot follow the cliff to them. The interval of the optimum is that of the ratio of two coefficients
    (Fieller 1954); without significant curvature it is unbounded.
    """
    found = []
    for name in architectures(frame):
        try:
            found.append(_response(frame, ranking, name))
        except NotComputed as reason:
            found.append(Response(architecture=name, computed=False, reason=str(reason)))
    return tuple(found)


def _response(frame: pd.DataFrame, ranking: Ranking, name: str) -> Response:
    if any(axis.axis == "learning_rate" for axis in fictitious_axes(frame)):
        raise NotComputed("the points did not follow the learning rate of the grid")
    ones = [
        one
        for one in ranking.of(name).configurations
        if one.mean is not None and (one.chance is None or one.mean > one.chance + 0.05)
    ]
    rates = np.array([one.learning_rate for one in ones], float)
    if len(set(rates.tolist())) < 3:
        raise NotComputed(
            f"{len(set(rates.tolist()))} learning rates with a score above chance; at least 3 are needed"
        )
    y = np.array([one.estimate for one in ones], float)
    logarithms = np.log10(rates)
    centre = float(logarithms.mean())
    x = logarithms - centre
    others = pd.DataFrame([{"batch_size": one.batch_size, **one.axes} for one in ones]).astype(str)
    dummies = pd.get_dummies(others, drop_first=True, dtype=float).to_numpy(float)
    matrix = np.column_stack([np.ones(len(x)), x, x * x, dummies])
    if np.linalg.matrix_rank(matrix) < matrix.shape[1]:
        raise NotComputed("the learning rates cannot be separated from the other hyperparameters")
    df = len(y) - matrix.shape[1]
    if df < LEAST_DF:
        raise NotComputed(f"{df} degrees of freedom left; at least {LEAST_DF} are needed")
    inverse = np.linalg.inv(matrix.T @ matrix)
    beta = inverse @ (matrix.T @ y)
    error = float(((y - matrix @ beta) ** 2).sum()) / df
    if error <= 0 or not math.isfinite(error):
        raise NotComputed("the parabola fits exactly: there is no error to compare with")
    covariance = error * inverse[1:3, 1:3]
    slope, curvature = float(beta[1]), float(beta[2])
    t = curvature / math.sqrt(float(covariance[1, 1]))
    p = float(2 * special.stdtr(df, -abs(t)))
    a = float(beta[0])
    result = Response(
        architecture=name,
        computed=True,
        tried=(float(rates.min()), float(rates.max())),
        curvature_p=p,
        coefficients=(
            a - slope * centre + curvature * centre * centre,
            slope - 2 * curvature * centre,
            curvature,
        ),
        n=len(y),
    )
    if curvature >= 0:
        why = "the score has no maximum over the learning rate"
        return replace(result, reason=why)
    place = -slope / (2 * curvature)
    limits = _fieller(slope, 2 * curvature, covariance * np.array([[1, 2], [2, 4]]), df)
    optimum = _rate(place + centre)
    if limits is None:
        why = "the curvature is not significant, so the optimum may be anywhere"
        return replace(result, optimum=optimum, ci=(None, None), reason=why)
    low, high = (_rate(limit + centre) for limit in limits)
    return replace(result, optimum=optimum, ci=(low, high))


def _rate(logarithm: float) -> float | None:
    """The learning rate; ``None`` if it is too large or too small for a number."""
    return 10.0**logarithm if abs(logarithm) < 300 else None


def _fieller(
    numerator: float, denominator: float, covariance: np.ndarray, df: int
) -> tuple[float, float] | None:
    """The 95 % limits of ``-numerator / denominator``; ``None`` if they are not an interval (Fieller 1954)."""
    t = float(special.stdtrit(df, 0.5 + LEVEL / 2))
    v11, v12, v22 = float(covariance[0, 0]), float(covariance[0, 1]), float(covariance[1, 1])
    a = denominator**2 - t * t * v22
    if a <= 0:
        return None
    # All r with (numerator + r denominator)^2 <= t^2 Var(numerator + r denominator).
    b = 2 * (numerator * denominator - t * t * v12)
    c = numerator**2 - t * t * v11
    inside = b * b - 4 * a * c
    if inside < 0:
        return None
    root = math.sqrt(inside)
    return (-b - root) / (2 * a), (-b + root) / (2 * a)
