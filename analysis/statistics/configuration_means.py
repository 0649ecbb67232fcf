"""The means of the configurations: adjusted for the seeds, with the variance of each, and corrected for selection.

A configuration is a combination of hyperparameters; its runs differ in the seed only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import optimize, special

from analysis.ranking import near_chance
from analysis.statistics.design_matrix import terms_up_to
from analysis.statistics.factors import Data, NotComputed, combined_codes, prepare
from analysis.statistics.linear_model import fit
from analysis.statistics.multiple_comparisons import Estimates

LEAST_DF = 5  # degrees of freedom between repeats of a few configurations: with fewer, the noise is not known
MOST_PREDICTED = 200  # configurations: with more, the random-effects model takes seconds
BETWEEN_REPEATS = "variation between repeats of a configuration"
WITHIN_SEEDS = "variation between repeats of a configuration, within seeds"
OF_MODEL = "residual of the model; run-to-run noise is not known"


@dataclass(frozen=True)
class Means:
    """The means of ``k`` configurations, in the order of ``data.cell``, in units of the metric.

    ``raw``, ``adjusted``: shape (k,), the means of their runs and the means adjusted for the seeds (the same without
    shared seeds). ``counts``: runs of each. ``variances``, ``df``: shape (k,), the variance of one run of each
    configuration and its degrees of freedom. ``pooled``, ``pooled_df``: one variance for all. ``equal``: the variances
    are all the pooled one. ``shared``: shape (k, blocks), the errors that adjustment for the seeds gives to all means.
    ``repeated``: the variance is that between repeats; otherwise it is the residual of a model. ``blocked``: it is
    without the effect of shared seeds. ``learned``: the rows, in the order of ``data.y``, that it comes from.
    """

    data: Data
    raw: np.ndarray
    adjusted: np.ndarray
    counts: np.ndarray
    variances: np.ndarray
    df: np.ndarray
    pooled: float
    pooled_df: int
    equal: bool
    shared: np.ndarray
    basis: str
    repeated: bool
    blocked: bool
    learned: np.ndarray

    @property
    def estimates(self) -> Estimates:
        """The adjusted means for multiple comparisons."""
        return Estimates(self.adjusted, self.variances / self.counts, self.shared, self.df, self.equal)

    @property
    def errors(self) -> np.ndarray:
        """The standard errors of the adjusted means, shape (k,)."""
        found: np.ndarray = np.sqrt(self.variances / self.counts + (self.shared**2).sum(axis=1))
        return found

    def codes(self, factor: str) -> np.ndarray:
        """The level of each configuration, as a place in ``data.levels[factor]``, shape (k,)."""
        return _code_of_cell(self.data, factor)


def _code_of_cell(data: Data, factor: str) -> np.ndarray:
    found = np.zeros(data.cells, int)
    found[data.cell] = data.codes[factor]
    return found


@dataclass(frozen=True)
class _Fitted:
    """The additive model of configurations and seeds, in units of ``data.y``."""

    raw: np.ndarray
    adjusted: np.ndarray
    counts: np.ndarray
    residuals: np.ndarray
    free: np.ndarray  # 1 - leverage of each row
    df: int
    shared: np.ndarray  # times the error standard deviation
    blocked: bool


def _fitted(data: Data) -> _Fitted:
    counts = np.bincount(data.cell, minlength=data.cells).astype(float)
    raw = np.bincount(data.cell, data.y, minlength=data.cells) / counts
    plain = _Fitted(
        raw,
        raw,
        counts,
        data.y - raw[data.cell],
        1 - 1 / counts[data.cell],
        len(data.y) - data.cells,
        np.zeros((data.cells, 0)),
        blocked=False,
    )
    if data.block is None:
        return plain
    # Eliminate the configurations: what is left are as many equations as there are seeds.
    blocks = int(data.block.max()) + 1
    shares = np.bincount(data.cell * blocks + data.block, minlength=data.cells * blocks)
    shares = shares.reshape(data.cells, blocks) / counts[:, None]
    weighted = counts[:, None] * shares
    information = np.diag(weighted.sum(axis=0)) - shares.T @ weighted
    values, vectors = np.linalg.eigh(information)
    kept = values > 1e-9 * max(values[-1], 1e-300)
    df = len(data.y) - data.cells - int(kept.sum())
    if kept.sum() < blocks - 1 or df < 1:
        return (
            plain  # some seeds share no configuration with the others, or nothing would be left for the error
        )
    root = vectors[:, kept] / np.sqrt(values[kept])
    effects = root @ (root.T @ (np.bincount(data.block, data.y, minlength=blocks) - weighted.T @ raw))
    apart = (np.eye(blocks)[data.block] - shares[data.cell]) @ root
    return _Fitted(
        raw,
        raw - shares @ effects + effects.mean(),
        counts,
        data.y - raw[data.cell] - (effects[data.block] - shares[data.cell] @ effects),
        1 - 1 / counts[data.cell] - (apart**2).sum(axis=1),
        df,
        (shares - 1 / blocks) @ root,
        blocked=True,
    )


def moderated_variances(
    variances: np.ndarray, df: np.ndarray, pooled: float, pooled_df: float, codes: list[np.ndarray]
) -> tuple[np.ndarray, np.ndarray, bool]:
    """Variances shrunk towards common ones, their degrees of freedom, and whether all are equal.

    ``variances``, ``df``: shape (k,); ``codes``: for each hyperparameter the level of each, shape (k,). The logarithm of
    a variance is the sum of effects of the levels and of a deviation. The effects are shrunk by what chance explains
    (1 - 1/F, at least 0). The deviations are those of a scaled inverse chi-squared distribution, estimated from all
    variances (Smyth 2004, Statistical Applications in Genetics and Molecular Biology 3:3). Their mean is ``pooled``. If
    nothing varies by more than chance, all variances are ``pooled``, with ``pooled_df`` degrees of freedom.
    """
    equal = np.full(len(variances), pooled), np.full(len(variances), float(pooled_df)), True
    used = df > 0.5
    if used.sum() < 3 or pooled <= 0:
        return equal
    d = df[used]
    # Repeats that agree by rounding have no logarithm.
    logarithms = np.log(np.maximum(variances[used], 1e-5 * np.median(variances[used]) + 1e-300))
    centred = logarithms - special.digamma(d / 2) + np.log(d / 2)
    by_chance = float(special.polygamma(1, d / 2).mean())
    expected = np.full(len(variances), float(centred.mean()))
    rest, lost = centred - centred.mean(), 1.0
    for code in codes:
        sizes = np.bincount(code[used], minlength=int(code.max()) + 1)
        levels = int((sizes > 0).sum())
        sums = np.bincount(code[used], rest, minlength=len(sizes))
        effects = np.divide(sums, sizes, out=np.zeros(len(sizes)), where=sizes > 0)
        between = float(sizes @ effects**2) / max(levels - 1, 1)
        kept = max(0.0, 1 - by_chance / between) if between > 0 else 0.0
        if kept:
            rest = rest - kept * effects[code[used]]
            expected = expected + kept * effects[code]
            lost += kept * (levels - 1)
    excess = float((rest**2).sum()) / max(len(rest) - lost, 1.0) - by_chance
    own = np.where(used, df, 0.0)
    if excess <= 0:
        if np.ptp(expected) == 0:
            return equal
        # The levels explain all: their effects are estimated from the values of about as many cells as share a level.
        prior_df = max(1.0, 2 * _inverse_trigamma(by_chance * lost / len(rest)))
        prior = np.exp(expected)
    else:
        prior_df = 2 * _inverse_trigamma(excess + by_chance * lost / len(rest))
        prior = np.exp(expected + special.digamma(prior_df / 2) - math.log(prior_df / 2))
    found = (prior_df * prior + own * np.where(used, variances, 0.0)) / (prior_df + own)
    # A mean of many configurations then has the error that follows from the pooled variance. Without this, 3.2 instead
    # of 2.5 % of trends over all configurations were significant in noise.
    found *= pooled / float(np.average(found, weights=own))
    return found, np.minimum(prior_df + own, pooled_df), False


def _inverse_trigamma(value: float) -> float:
    if value > 1e7:
        return 1 / math.sqrt(value)
    if value < 1e-6:
        return 1 / value
    return float(optimize.brentq(lambda x: float(special.polygamma(1, x)) - value, 1e-4, 2e6, xtol=1e-10))


def configuration_means(frame: pd.DataFrame, metric: str) -> Means:
    """The means of ``metric`` of the configurations with a successful point.

    The variance is that between repeats, without the effect of shared seeds; each configuration has its own if they
    differ by more than chance (:func:`moderated_variances`). Without repeats it is the residual of the model. Points
    near chance level do not enter it: where nothing was learned, a score varies less than elsewhere, and in a model it
    looks like an interaction. Raises :class:`NotComputed`.
    """
    data = prepare(frame, metric)
    found = _fitted(data)
    learned = ~near_chance(frame).to_numpy()[data.places]
    if np.unique(data.cell[learned]).size < 2:
        learned = np.ones(len(data.y), bool)
    squares = np.bincount(data.cell[learned], found.residuals[learned] ** 2, minlength=data.cells)
    free = np.bincount(data.cell[learned], found.free[learned], minlength=data.cells)
    several = np.bincount(data.cell[learned], minlength=data.cells) > 1
    free = np.where(several, free, 0.0)  # a single run has no residual of its own
    squares = np.where(several, squares, 0.0)
    df = round(float(free.sum()))
    scale = data.scale * data.scale
    known = df >= LEAST_DF or (df >= 1 and several.sum() >= data.cells / 2)
    if known and squares.sum() > 0:
        pooled = float(squares.sum()) / float(free.sum())
        own = np.divide(squares, free, out=np.zeros(data.cells), where=free > 0)
        variances, degrees, equal = moderated_variances(
            own, free, pooled, df, [_code_of_cell(data, name) for name in data.codes]
        )
        basis = WITHIN_SEEDS if found.blocked else BETWEEN_REPEATS
    else:
        pooled, df = _model_error(frame, metric, learned, data)
        variances, degrees, equal = np.full(data.cells, pooled), np.full(data.cells, float(df)), True
        basis = OF_MODEL
    return Means(
        data,
        found.raw * data.scale + data.shift,
        found.adjusted * data.scale + data.shift,
        found.counts,
        variances * scale,
        degrees,
        pooled * scale,
        df,
        equal,
        found.shared * math.sqrt(pooled) * data.scale,
        basis,
        repeated=basis != OF_MODEL,
        blocked=found.blocked and basis != OF_MODEL,
        learned=learned,
    )


def _model_error(frame: pd.DataFrame, metric: str, learned: np.ndarray, data: Data) -> tuple[float, int]:
    """The residual mean square of the model in units of ``data.y``, and its degrees of freedom."""
    used = frame.iloc[data.places[learned]]
    try:
        model = fit(used, metric)
    except NotComputed:
        if learned.all():
            raise
        model = fit(frame, metric)
    if model.error == 0:
        raise NotComputed("the model reproduces every value exactly: there is no error to compare with")
    ratio = model.data.scale / data.scale
    return model.error * ratio * ratio, model.df


def predicted_means(means: Means) -> np.ndarray:
    """The adjusted means, shrunk by as much as chance explains, shape (k,), in units of the metric.

    The highest of many means is too high by selection. The best linear unbiased predictions of a model with random
    effects are not (Robinson 1991, Statistical Science 6:15): each hyperparameter and each interaction has a variance,
    estimated by restricted maximum likelihood, and an effect without evidence is shrunk to nothing.
    """
    y, noise = means.adjusted, means.variances / means.counts
    names = list(means.data.codes)
    k = len(y)
    if k < 3 or not names:
        return y
    if k > MOST_PREDICTED:
        return _shrunk_to_the_centre(y, noise)
    groups = [
        combined_codes([means.codes(name) for name in term], k)
        for term in terms_up_to(names, min(len(names), 2))
    ]
    covariances = [(group[:, None] == group[None, :]).astype(float) for group in groups]
    covariances.append(np.eye(k))  # what is left: higher interactions
    return _predicted(y, noise, covariances)


def _shrunk_to_the_centre(y: np.ndarray, noise: np.ndarray) -> np.ndarray:
    centre = (
        float(np.average(y, weights=1 / np.maximum(noise, 1e-300))) if (noise > 0).all() else float(y.mean())
    )
    between = max(0.0, float(((y - centre) ** 2).sum() - noise.sum()) / (len(y) - 1))
    if between == 0:
        return np.full(len(y), centre)
    found: np.ndarray = centre + between / (between + noise) * (y - centre)
    return found


def _predicted(y: np.ndarray, noise: np.ndarray, covariances: list[np.ndarray]) -> np.ndarray:
    k = len(y)
    one = np.ones(k)
    spread = float(y.var(ddof=1))
    if spread <= 0:
        return y
    error = np.diag(np.maximum(noise, 1e-9 * spread))
    components = np.full(len(covariances), spread / len(covariances))
    # Minorisation by Zhou et al. (2019, J. Comput. Graph. Stat. 28:350): positive components stay positive.
    for _ in range(300):
        whole = error + sum(c * g for c, g in zip(components, covariances, strict=True))
        inverse = np.linalg.inv(whole)
        weights = inverse @ one
        projection = inverse - np.outer(weights, weights) / weights.sum()
        right = projection @ y
        ratio = np.array(
            [
                math.sqrt(max(float(right @ g @ right), 0.0) / max(float((projection * g).sum()), 1e-300))
                for g in covariances
            ]
        )
        before, components = components, components * ratio
        components[components < 1e-8 * spread] = 0.0
        if np.abs(components - before).max() <= 1e-6 * spread:
            break
    signal = sum(c * g for c, g in zip(components, covariances, strict=True))
    whole = error + signal
    inverse = np.linalg.inv(whole)
    weights = inverse @ one
    centre = float(weights @ y) / float(weights.sum())
    found: np.ndarray = centre + signal @ (inverse @ (y - centre))
    return found
