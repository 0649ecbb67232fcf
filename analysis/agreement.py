"""Whether the test part agrees with the validation part, on which the best configuration was chosen."""

from __future__ import annotations

import math

import numpy as np
from scipy import special, stats

from analysis.configurations import Ranking
from analysis.schema import Configuration, ValidationAgainstTest
from analysis.statistics.intervals import LEVEL

_LEAST = 5  # configurations for a rank correlation


def validation_against_test(ranking: Ranking) -> ValidationAgainstTest:
    """Compare the mean scores of the best configuration, and the order of all, on the two parts.

    A gap is large if it is beyond the limit for the difference of two means of as many runs, at 95 %, with the standard
    deviation between runs on the validation part; without repeats that is the residual of the model. The score for the
    validation part is the one corrected for selection, so that the optimism of the choice is not part of the gap. The
    order differs if another configuration is better on the test part by more than that.
    """
    scored = [one for one in ranking.configurations if one.test_mean is not None and one.mean is not None]
    if not scored or scored[0] is not ranking.configurations[0]:
        return ValidationAgainstTest(computed=False, reason="the best configuration has no test score")
    if ranking.means is None:
        return ValidationAgainstTest(computed=False, reason=ranking.reason)
    first = scored[0]
    validation = first.shrunken_mean if first.shrunken_mean is not None else first.mean
    test = first.test_mean
    if validation is None or test is None:
        return ValidationAgainstTest(computed=False, reason="the best configuration has no test score")
    means = ranking.means
    sd = math.sqrt(float(means.variances[ranking.places[0]]))
    quantile = float(special.stdtrit(means.pooled_df, 0.5 + LEVEL / 2))
    noise = quantile * sd * math.sqrt(2 / first.seeds)
    top = max(scored, key=lambda one: one.test_mean or 0.0)
    best_test = top.test_mean or 0.0
    # The highest of many test scores is too high by chance: Bonferroni over the other configurations.
    corrected = float(special.stdtrit(means.pooled_df, 1 - (1 - LEVEL) / 2 / max(1, len(scored) - 1)))
    reach = corrected * sd * math.sqrt(1 / first.seeds + 1 / top.seeds)
    gap = validation - test
    large, differs = abs(gap) > noise, top is not first and best_test - test > reach
    return ValidationAgainstTest(
        computed=True,
        settings=first.settings,
        validation=validation,
        test=test,
        gap=gap,
        noise=noise,
        gap_is_large=large,
        best_on_test=top.settings,
        best_test=best_test,
        order_differs=differs,
        rank_correlation=_rank_correlation(scored),
        n=len(scored),
        text=_text(
            first, top, validation, test, noise, large=large, differs=differs, repeated=means.repeated
        ),
    )


def _rank_correlation(scored: list[Configuration]) -> float | None:
    pairs = np.array([(one.mean, one.test_mean) for one in scored], float)
    if len(pairs) < _LEAST or (pairs == pairs[0]).all(axis=0).any():
        return None
    return float(stats.spearmanr(pairs[:, 0], pairs[:, 1]).statistic)


def _text(
    first: Configuration,
    top: Configuration,
    validation: float,
    test: float,
    noise: float,
    *,
    large: bool,
    differs: bool,
    repeated: bool,
) -> str:
    basis = "the variation between runs" if repeated else "the residual of the model"
    parts = [
        f"{first.settings} scores {validation:.3f} in validation (corrected for selection) and {test:.3f} on the test part"
    ]
    if large:
        parts[0] += f", a gap larger than {noise:.3f}, the limit from {basis}"
    elif not differs:
        parts[0] += f", which agree within {noise:.3f}, the limit from {basis}"
    if differs:
        parts.append(f"{top.settings} is better on the test part, with {top.test_mean or 0.0:.3f}")
    return ". ".join(parts) + "."
