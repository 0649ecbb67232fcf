"""The best score that a search of n random points would find, for each architecture."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import special

from analysis.ranking import chance_levels
from analysis.schema import BestOfCurve
from analysis.summary import architectures

MOST_POINTS = 200  # of a curve


def best_of_curves(frame: pd.DataFrame) -> tuple[BestOfCurve, ...]:
    """The expected validation score of the best of 1, 2, ... points drawn from those of each architecture.

    Introduced by Dodge et al. (2019, EMNLP); drawn without replacement, which is unbiased (Tang et al. 2020, ACL). A
    diverged point counts as one at chance level; other failures are not known.
    """
    ended = frame[frame["successful"] | (frame["status"] == "diverged")]
    scores = ended["best_val_jaccard"].where(ended["successful"], chance_levels(frame))
    return tuple(
        BestOfCurve(
            architecture=name,
            expected=tuple(expected_best(scores[ended["architecture"] == name].to_numpy(float))),
        )
        for name in architectures(ended)
        if int((ended["architecture"] == name).sum()) > 1
    )


def expected_best(scores: np.ndarray) -> list[float]:
    """The mean over all subsets of n ``scores`` of their maximum, for n from 1 to at most :data:`MOST_POINTS`."""
    ordered = np.sort(scores)
    count = len(ordered)
    place = np.arange(1, count + 1)
    found = []
    for n in range(1, min(count, MOST_POINTS) + 1):
        # The i-th smallest is the maximum of C(i-1, n-1) of the C(count, n) subsets.
        weights = np.exp(_log_binomial(place - 1, n - 1) - _log_binomial(np.array([count]), n))
        found.append(float(weights @ ordered))
    return found


def _log_binomial(n: np.ndarray, k: int) -> np.ndarray:
    inside = n >= k
    safe = np.where(inside, n, k).astype(float)
    value = special.gammaln(safe + 1) - special.gammaln(k + 1) - special.gammaln(safe - k + 1)
    found: np.ndarray = np.where(inside, value, -np.inf)
    return found
