"""The guide's hypotheses and success criteria, each tested by a rule that was fixed before any result was seen.

Each claim gets one of three verdicts. *Supported* and *not supported* both need evidence; anything else *cannot be
judged*, such as a difference that may be chance, or a grid without the settings of the claim. For each hypothesis, over
all its claims, a wrong verdict in either direction has a probability of at most 5 %. A hypothesis with several claims is
supported if all of them are, and not supported if one is not. ``docs/statistics.md`` lists the rules.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from functools import cached_property, partial

import numpy as np
import pandas as pd
from scipy import special

from analysis.axes import fictitious_axes
from analysis.schema import Claim, FictitiousAxis, Hypothesis, Verdict
from analysis.statistics.claims import (
    MARGIN,
    NOT_SUPPORTED,
    OPEN,
    SUPPORTED,
    Judgement,
    agreement_of_repeats,
    best_is_among,
    best_settings,
    falls,
    level_means,
    most_and_least,
    shown_level,
    spread,
    together,
)
from analysis.statistics.configuration_means import Means, configuration_means
from analysis.statistics.factors import NotComputed, combined_codes, design_columns
from analysis.statistics.multiple_comparisons import compared_with_best
from jobs.common.units import plural

ALPHA = 0.05  # for each hypothesis, over all its claims and both directions
GOOD_RATES = (5e-4, 1e-3)
BEST_RATE = {"UNet": 5e-4, "Attention_UNet": 1e-3, "Attention_ResUNet": 1e-3}
ORIGINAL_RATE, ORIGINAL_BATCH = 1e-2, 8
HALVING = 0.01  # of the Jaccard index: what half the SD of the validation loss is worth in the trade-off
CONSISTENT = 0.5  # mean rank correlation between repeats
KEPT = 0.005  # of the Jaccard index: performance counts as kept if it is at most this much lower

# In the worst case, two rates that are tied for three architectures, there are six ways to be wrong.
_FIRST = ALPHA / 6
_SECOND = ALPHA / 4  # two claims, two directions
_THIRD = ALPHA / 2  # two claims, each of which can be wrong in one direction only
_CRITERIA = ALPHA / 3


def _same(rate: float) -> Callable[[object], bool]:
    return lambda value: math.isclose(float(str(value)), rate, rel_tol=1e-6)


def _stability(frame: pd.DataFrame) -> pd.Series:
    """The logarithm of the stability; that of 0 is the logarithm of the smallest other one."""
    if "val_loss_stability" not in frame:
        raise NotComputed("the summary has no column val_loss_stability")
    values = frame["val_loss_stability"].astype(float)
    good = values[frame["successful"] & (values > 0)]
    floor = float(good.min()) if len(good) else math.nan
    logarithms = pd.Series(np.log(values.where(values > 0, floor).to_numpy(float)), index=frame.index)
    return logarithms.where(values.notna())


class _Evidence:
    """The means that the claims are about; those that cannot be computed raise :class:`NotComputed` when used."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self.frame = frame
        self.contradicted = {axis.axis: axis for axis in fictitious_axes(frame)}

    @cached_property
    def score(self) -> Means:
        """The Jaccard index."""
        return configuration_means(self.frame, "best_val_jaccard")

    @cached_property
    def stability(self) -> Means:
        """The logarithm of the standard deviation of the validation loss."""
        changed = self.frame.assign(val_loss_stability=_stability(self.frame))
        return configuration_means(changed, "val_loss_stability")

    @cached_property
    def trade_off(self) -> Means:
        """The Jaccard index, plus :data:`HALVING` for each halving of the stability."""
        value = self.frame["best_val_jaccard"] - HALVING / math.log(2) * _stability(self.frame)
        return configuration_means(self.frame.assign(best_val_jaccard=value), "best_val_jaccard")

    def followed(self, *axes: str) -> None:
        """Raise :class:`NotComputed` if the points did not follow one of ``axes``."""
        for axis in axes:
            if axis in self.contradicted:
                raise NotComputed(_not_followed(self.contradicted[axis]))

    def architectures(self, means: Means) -> list[str]:
        """The architectures with a result."""
        if "architecture" in means.data.codes:
            return [str(name) for name in means.data.levels["architecture"]]
        good = self.frame.iloc[means.data.places]
        return [str(good["architecture"].iloc[0])]

    def of(self, means: Means, architecture: str) -> np.ndarray:
        """Which configurations are of ``architecture``."""
        names = self.architectures(means)
        if architecture not in names:
            raise NotComputed(f"{architecture} has no successful point")
        if "architecture" not in means.data.codes:
            return np.ones(len(means.counts), bool)
        found: np.ndarray = means.codes("architecture") == names.index(architecture)
        return found

    def diverged_at(self, rates: tuple[float, ...], architecture: str | None = None) -> int:
        """The number of diverged points at ``rates``."""
        rows = self.frame[self.frame["status"] == "diverged"]
        if architecture is not None:
            rows = rows[rows["architecture"] == architecture]
        return int(sum(np.isclose(rows["learning_rate"], rate, rtol=1e-6).sum() for rate in rates))


def _not_followed(axis: FictitiousAxis) -> str:
    word = axis.axis.replace("_", " ")
    return (
        f"the {word} of {plural(axis.points, 'point')} was not the one asked for ({axis.column}: "
        f"{', '.join(shown_level(value) for value in axis.effective[:4])})"
    )


def _judged(test: Callable[[], Judgement]) -> Judgement:
    """The verdict of ``test``, open with the reason if it cannot be computed."""
    try:
        return test()
    except NotComputed as reason:
        return OPEN, str(reason)


def _rates_are_best(
    evidence: _Evidence, rates: tuple[float, ...], architecture: str | None = None
) -> Judgement:
    evidence.followed("learning_rate", "architecture")
    means = evidence.trade_off
    chosen = None if architecture is None else evidence.of(means, architecture)
    levels = level_means(means, "learning_rate", chosen)
    claimed = np.logical_or.reduce([levels.place(_same(rate)) for rate in rates])
    if claimed.sum() < len(rates) or claimed.all():
        wanted = " and at ".join(f"{rate:g}" for rate in rates)
        raise NotComputed(f"needs successful points at {wanted} and at another learning rate")
    verdict, words = best_is_among(levels, claimed, _FIRST, margin=MARGIN)
    words = f"score with trade-off {words}"
    diverged = evidence.diverged_at(rates, architecture)
    if diverged and verdict == SUPPORTED:
        return OPEN, f"{words}; but {plural(diverged, 'point')} at the claimed rate diverged"
    return verdict, words


def _stability_falls_with_batch(evidence: _Evidence) -> Judgement:
    evidence.followed("batch_size")
    levels = level_means(evidence.stability, "batch_size")
    if len(levels.names) < 3:
        raise NotComputed(f"needs three batch sizes, found {len(levels.names)}")
    verdict, p = falls(levels, np.log2([float(size) for size in levels.names]), _SECOND)
    words = ", ".join(
        f"{math.exp(value):.3g} at {shown_level(size)}"
        for size, value in zip(levels.names, levels.estimates.means, strict=True)
    )
    return verdict, (
        f"geometric mean of the standard deviation of validation loss {words}; linear trend p = {p:.3g}, "
        f"{plural(levels.settings, 'setting')} each"
    )


def _gains_most(evidence: _Evidence, architecture: str) -> Judgement:
    evidence.followed("batch_size", "architecture")
    means = evidence.stability
    names = evidence.architectures(means)
    if architecture not in names or len(names) < 2:
        raise NotComputed(f"needs {architecture} and another architecture")
    if "batch_size" not in means.data.codes:
        raise NotComputed("there is only one batch size with a result")
    codes = means.codes("batch_size")
    ends = np.isin(codes, (codes.min(), codes.max()))
    used = _common_settings(means, names, ends, {"architecture", "batch_size"}, 2 * len(names), evidence)
    if not used.any():
        raise NotComputed(
            "no setting has a result for each architecture at the smallest and at the largest batch size"
        )
    # The gain of an architecture is a contrast of its configurations; those of different architectures are independent.
    signs = np.where(codes == codes.min(), 1.0, -1.0) / (int(used.sum()) / (2 * len(names)))
    rows = np.array([np.where(used & evidence.of(means, name), signs, 0.0) for name in names])
    estimates = means.estimates.combined(rows)
    claimed = np.array([name == architecture for name in names])
    found = compared_with_best(estimates, 1 - _SECOND)
    words = (
        "improvement of the stability from the smallest to the largest batch size, as a factor: "
        + ", ".join(f"{name} {math.exp(gain):.2f}" for name, gain in zip(names, estimates.means, strict=True))
    )
    near = [name for name, may in zip(names, found.may_be_best, strict=True) if may]
    words += f"; may be the largest at {100 * (1 - _SECOND):.1f} %: {', '.join(near)}"
    if not found.may_be_best[~claimed].any():
        return SUPPORTED, words
    return (OPEN if found.may_be_best[claimed].any() else NOT_SUPPORTED), words


def _common_settings(
    means: Means,
    names: list[str],
    chosen: np.ndarray,
    free: set[str],
    count: int,
    evidence: _Evidence,
) -> np.ndarray:
    """Which of the ``chosen`` configurations have settings, apart from the ``free`` factors, with ``count`` results.

    Only those of the architectures ``names`` are used.
    """
    chosen = chosen & np.logical_or.reduce([evidence.of(means, name) for name in names])
    others = [means.codes(name) for name in means.data.codes if name not in free]
    setting = combined_codes(others, len(chosen))
    found: np.ndarray = (
        chosen & (np.bincount(setting[chosen], minlength=int(setting.max()) + 1) == count)[setting]
    )
    return found


def _settings_of_all(means: Means, names: list[str], evidence: _Evidence) -> np.ndarray:
    """Which configurations have settings with a result for each of the architectures ``names``."""
    every = np.ones(len(means.counts), bool)
    return _common_settings(means, names, every, {"architecture"}, len(names), evidence)


def _different_optima(evidence: _Evidence) -> Judgement:
    evidence.followed("architecture")
    means = evidence.score
    names = evidence.architectures(means)
    if len(names) < 2:
        raise NotComputed("needs two architectures")
    common = _settings_of_all(means, names, evidence)
    factors = [name for name in means.data.codes if name != "architecture"]
    if not factors or common.sum() < 2 * len(names):
        raise NotComputed("needs two settings that all architectures have")
    alpha = _THIRD / 2 / len(names)
    optima, words = [], []
    for name in names:
        places = np.flatnonzero(common & evidence.of(means, name))
        near = best_settings(means.estimates.chosen(places), alpha)
        codes = np.column_stack([means.codes(factor)[places] for factor in factors])
        optima.append({tuple(row) for row in codes[near].tolist()})
        best = codes[int(means.adjusted[places].argmax())]
        text = ", ".join(
            f"{factor.replace('_', ' ')} {shown_level(means.data.levels[factor][code])}"
            for factor, code in zip(factors, best.tolist(), strict=True)
        )
        words.append(f"{name} at {text} ({len(optima[-1])} of {len(places)} settings may be its best)")
    evidence_text = "; ".join(words)
    if _any_disjoint(optima):
        return SUPPORTED, evidence_text
    if "learning_rate" in factors and "learning_rate" not in evidence.contradicted:
        rates = [
            {
                name_of
                for name_of, may in zip(levels.names, best_settings(levels.estimates, alpha), strict=True)
                if may
            }
            for levels in (
                level_means(means, "learning_rate", common & evidence.of(means, name)) for name in names
            )
        ]
        evidence_text += "; learning rates that may be the best: " + ", ".join(
            f"{name} {' or '.join(shown_level(rate) for rate in sorted(found))}"
            for name, found in zip(names, rates, strict=True)
        )
        if _any_disjoint(rates):
            return SUPPORTED, evidence_text
    same = all(len(one) == 1 and one == optima[0] for one in optima)
    return (NOT_SUPPORTED if same else OPEN), evidence_text


def _any_disjoint(sets: Sequence[AbstractSet[object]]) -> bool:
    return any(not a & b for n, a in enumerate(sets) for b in sets[n + 1 :])


def _most_and_least_sensitive(evidence: _Evidence, most: str, least: str) -> Judgement:
    evidence.followed("architecture")
    means = evidence.score
    names = evidence.architectures(means)
    if most not in names or least not in names or len(names) < 3:
        raise NotComputed(f"needs {most}, {least} and a third architecture")
    common = _settings_of_all(means, names, evidence)
    count = int(common.sum()) // len(names)
    if count < 3:
        raise NotComputed(f"needs three settings that all architectures have, found {count}")
    spreads = {
        name: spread(means.estimates.chosen(np.flatnonzero(common & evidence.of(means, name))))
        for name in names
    }
    words = f"standard deviation over {count} settings without the noise: " + ", ".join(
        f"{name} {one.sd:.3g}" for name, one in spreads.items()
    )
    return most_and_least(spreads, most, least, _THIRD), words


def _original_against_best(evidence: _Evidence) -> list[tuple[str, Means, int, np.ndarray]]:
    """For each architecture with the original setting: its name, the score, the original's place, the others' places."""
    evidence.followed("learning_rate", "batch_size", "architecture")
    means = evidence.score
    if "learning_rate" not in means.data.codes:
        raise NotComputed("there is only one learning rate with a result")
    rates = np.array([float(value) for value in means.data.levels["learning_rate"]])
    at = np.isclose(rates[means.codes("learning_rate")], ORIGINAL_RATE, rtol=1e-6)
    if "batch_size" in means.data.codes:
        sizes = np.array([float(value) for value in means.data.levels["batch_size"]])
        at &= sizes[means.codes("batch_size")] == ORIGINAL_BATCH
    else:
        at &= bool((evidence.frame["batch_size"] == ORIGINAL_BATCH).all())
    if not at.any():
        raise NotComputed(
            f"the grid has no successful point at the original setting (learning rate {ORIGINAL_RATE:g}, batch size "
            f"{ORIGINAL_BATCH}); add it under 'include' in grid.yaml"
        )
    found = []
    for name in evidence.architectures(means):
        own = evidence.of(means, name)
        original, others = np.flatnonzero(own & at), np.flatnonzero(own & ~at)
        if len(original) == 1 and len(others):
            found.append((name, means, int(original[0]), others))
    if not found:
        raise NotComputed("no other setting to compare the original setting with")
    if not found[0][1].repeated or any(means.counts[place] < 2 for _, means, place, _ in found):
        raise NotComputed("only one seed of the original setting: not distinguishable from chance")
    return found


def _stability_is_better(evidence: _Evidence) -> Judgement:
    found = _original_against_best(evidence)
    stability = evidence.stability
    below, above, words = [], [], []
    for name, means, original, others in found:
        best = int(others[means.adjusted[others].argmax()])
        if stability.data.cells != means.data.cells:
            raise NotComputed("the stability of some settings is not known")
        weights = np.zeros(len(stability.counts))
        weights[best], weights[original] = 1.0, -1.0
        ratio = stability.estimates.combined_all(weights)
        distance = ratio.value - math.log(0.5)
        below.append(_p_below(distance, ratio.error, ratio.df) < _CRITERIA)
        above.append(_p_below(-distance, ratio.error, ratio.df) < _CRITERIA / len(found))
        words.append(f"{name} {100 * (1 - math.exp(ratio.value)):.0f} % better")
    verdict = SUPPORTED if all(below) else NOT_SUPPORTED if any(above) else OPEN
    return verdict, f"stability at the best setting: {', '.join(words)}"


def _p_below(value: float, error: float, df: float) -> float:
    """The p value of the test that the true value is below 0."""
    if error <= 0:
        return 0.0 if value < 0 else 1.0
    return float(special.stdtr(min(df, 1e6), value / error))


def _performance_is_kept(evidence: _Evidence) -> Judgement:
    found = _original_against_best(evidence)
    kept, lost, words = [], [], []
    for name, means, original, others in found:
        estimates = means.estimates
        difference = means.adjusted[others] - means.adjusted[original] + KEPT
        errors = estimates.difference_errors(original)[others]
        # The best setting was chosen by its score, so all of them are compared with the original one (Bonferroni).
        reach = errors * estimates.difference_quantiles(original, _CRITERIA / len(others))[others]
        one = errors * estimates.difference_quantiles(original, _CRITERIA / len(found))[others]
        kept.append(bool((difference - reach >= 0).any()))
        lost.append(bool((difference + one < 0).all()))
        words.append(f"{name} {difference.max() - KEPT:+.3f}")
    verdict = SUPPORTED if all(kept) else NOT_SUPPORTED if any(lost) else OPEN
    return verdict, f"validation Jaccard index: {', '.join(words)}"


def _consistent(evidence: _Evidence) -> Judgement:
    frame = evidence.frame
    good = frame[frame["successful"]]
    columns = list(design_columns(frame)[0])
    wide = good.pivot_table(index=columns, columns="seed", values="best_val_jaccard").dropna()
    if wide.shape[1] < 2 or len(wide) < 5:
        raise NotComputed("needs two repeats of five settings or more: set 'seed: [1, 2, 3]' in grid.yaml")
    mean, low, high = agreement_of_repeats(wide.to_numpy(float), _CRITERIA)
    words = (
        f"mean rank correlation between {wide.shape[1]} repeats {mean:.2f} ({low:.2f} to {high:.2f}) over "
        f"{plural(len(wide), 'setting')}"
    )
    verdict: Verdict = SUPPORTED if low >= CONSISTENT else NOT_SUPPORTED if high < CONSISTENT else OPEN
    return verdict, words


def _together(identity: str, title: str, rule: str, claims: list[tuple[str, Judgement]]) -> Hypothesis:
    parts = tuple(
        Claim(claim=claim, verdict=verdict, evidence=evidence) for claim, (verdict, evidence) in claims
    )
    evidence = " | ".join(f"{part.claim}: {part.verdict} ({part.evidence})" for part in parts)
    verdict = together([part.verdict for part in parts])
    return Hypothesis(id=identity, title=title, rule=rule, verdict=verdict, evidence=evidence, parts=parts)


def hypotheses(frame: pd.DataFrame) -> tuple[Hypothesis, ...]:
    """Verdicts on H1, H2, H3 and the success criteria.

    ``frame`` is a summary (:func:`analysis.summary.load_summary`). Never raises for the contents of a summary.
    """
    evidence = _Evidence(frame)
    return (
        _together(
            "H1",
            "Learning rates from 5e-4 to 1e-3 give the best trade-off of performance and stability",
            f"validation Jaccard index plus {HALVING:g} for each halving of the standard deviation of validation loss, "
            "averaged over the other hyperparameters; multiple comparisons with the best (Hsu) over the learning rates: "
            "supported if all rates outside the claim are excluded from being the best, not supported if all rates of the "
            f"claim are; tied if equal within {MARGIN:g}",
            [
                (
                    "0.0005 to 0.001 are better than the other learning rates",
                    _judged(lambda: _rates_are_best(evidence, GOOD_RATES)),
                ),
                *(
                    (
                        f"{name} is best at {rate:g}",
                        _judged(partial(_rates_are_best, evidence, (rate,), name)),
                    )
                    for name, rate in BEST_RATE.items()
                ),
            ],
        ),
        _together(
            "H2",
            "Larger batches improve stability, most for UNet",
            "logarithm of the standard deviation of validation loss: linear trend over the batch sizes in either "
            "direction; multiple comparisons with the best of the improvement from the smallest to the largest batch size",
            [
                (
                    "the stability improves with the batch size",
                    _judged(lambda: _stability_falls_with_batch(evidence)),
                ),
                ("the improvement is largest for UNet", _judged(lambda: _gains_most(evidence, "UNet"))),
            ],
        ),
        _together(
            "H3",
            "Architectures have different optima; UNet is the most sensitive and Attention_ResUNet the least",
            "settings, and learning rates, that may be the best of each architecture (Hsu): different if two architectures "
            "have none in common, the same if each has only one and it is the same; variance of the scores over the "
            "settings without the noise, compared between the architectures",
            [
                ("the architectures have different optima", _judged(lambda: _different_optima(evidence))),
                (
                    "UNet is the most sensitive and Attention_ResUNet the least",
                    _judged(lambda: _most_and_least_sensitive(evidence, "UNet", "Attention_ResUNet")),
                ),
            ],
        ),
        _together(
            "success criteria",
            "Comparison with the original setting (learning rate 1e-2, batch size 8)",
            "best setting of each architecture against the original one, both with repeats: limits of the stability ratio "
            f"against 0.5 and of the Jaccard index against {-KEPT:g}; limits of the mean rank correlation between repeats "
            f"against {CONSISTENT:g}",
            [
                (
                    "the stability is more than 50 % better than at the original setting",
                    _judged(lambda: _stability_is_better(evidence)),
                ),
                (
                    f"the Jaccard index is at most {KEPT:g} lower",
                    _judged(lambda: _performance_is_kept(evidence)),
                ),
                ("the ranking is consistent across repeats", _judged(lambda: _consistent(evidence))),
            ],
        ),
    )
