"""The guide's hypotheses and success criteria, each tested by a rule that was fixed before any result was seen.

Every claim ends as one of three verdicts. *Supported*: the data point the way the claim says, and the claim's test
gives p < 0.05. *Not supported*: the data point the other way. *Cannot be judged*: anything else, a difference in the
right direction that may be chance included, or a grid that lacks what the claim speaks of. A hypothesis of several
claims is supported if all are, and not supported if one is not. ``docs/statistics.md`` lists the rules.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from scipy import stats

from analysis.schema import Anova, Claim, Hypothesis, Verdict
from analysis.summary import architectures, extra_axes

SUPPORTED: Verdict = "supported"
NOT_SUPPORTED: Verdict = "not supported"
OPEN: Verdict = "cannot be judged"
ALPHA = 0.05
LEAST_BLOCKS = 6  # fewer signed ranks cannot reach p < 0.05 against a two-sided doubt
GOOD_RATES = (5e-4, 1e-3)
BEST_RATE = {"UNet": 5e-4, "Attention_UNet": 1e-3, "Attention_ResUNet": 1e-3}
ORIGINAL_RATE, ORIGINAL_BATCH = 1e-2, 8
CONSISTENT, INCONSISTENT = 0.7, 0.3  # mean rank correlation between repeats

_DERIVED = ("log_stability",)  # what :func:`_usable` adds to a summary

Judgement = tuple[Verdict, str]  # and the evidence


def _usable(frame: pd.DataFrame) -> pd.DataFrame:
    """Successful points with a positive stability and its logarithm; 0 counts as the smallest that was seen."""
    good = frame[frame["successful"]].copy()
    stability = good["val_loss_stability"]
    positive = stability[stability > 0]
    floor = float(positive.min()) if len(positive) else math.nan
    good["seed"] = good["seed"].fillna(0)  # a missing key would drop the row from every group
    good["log_stability"] = np.log(stability.where(stability > 0, floor).astype(float))
    return good


def _blocks(good: pd.DataFrame, factor: str) -> list[str]:
    """The columns that, held fixed, make a block in which only ``factor`` varies."""
    axes = [column for column in extra_axes(good) if column not in _DERIVED]
    columns = ["architecture", "learning_rate", "batch_size", *axes, "seed"]
    return [column for column in columns if column != factor]


def _judge(direction_right: bool, p: float, words: str) -> Judgement:
    if not direction_right:
        return NOT_SUPPORTED, words
    return (SUPPORTED if p < ALPHA else OPEN), words


def _same_rate(values: pd.Series, rate: float) -> pd.Series:
    return pd.Series(np.isclose(values, rate, rtol=1e-6), index=values.index)


def _tradeoff(good: pd.DataFrame) -> pd.DataFrame:
    """Within each block of equal other settings: mean of the ranks by score and by stability; 1 is best."""
    usable = good.dropna(subset=["best_val_jaccard", "log_stability"])
    keys = _blocks(usable, "learning_rate")
    groups = usable.groupby(keys, dropna=False, sort=False)
    ranks = groups["best_val_jaccard"].rank(ascending=False) + groups["log_stability"].rank()
    return usable.assign(tradeoff=ranks / 2, block=groups.ngroup())


def _rates_inside_are_better(good: pd.DataFrame) -> Judgement:
    inside = np.logical_or.reduce([_same_rate(good["learning_rate"], rate) for rate in GOOD_RATES])
    found = {rate for rate in GOOD_RATES if _same_rate(good["learning_rate"], rate).any()}
    if len(found) < len(GOOD_RATES) or inside.all():
        return OPEN, "the grid lacks successful points at 0.0005 and 0.001, or any at another learning rate"
    scored = _tradeoff(good).assign(inside=lambda rows: inside[good.index.get_indexer(rows.index)])
    means = scored.pivot_table(index="block", columns="inside", values="tradeoff", aggfunc="mean").dropna()
    if len(means) < LEAST_BLOCKS:
        return OPEN, f"only {len(means)} groups of points differ in nothing but the learning rate"
    difference = means[False] - means[True]
    words = (
        f"mean rank of score and stability (1 is best) {means[True].mean():.2f} inside and {means[False].mean():.2f} "
        f"outside, {len(means)} groups"
    )
    if not difference.any():
        return OPEN, words + ", no difference in any"
    p = float(stats.wilcoxon(difference, alternative="greater").pvalue)
    return _judge(difference.mean() > 0, p, f"{words}, signed-rank p = {p:.3g}")


def _rate_of(good: pd.DataFrame, architecture: str, rate: float) -> Judgement:
    rows = _tradeoff(good[good["architecture"] == architecture])
    if rows.empty:
        return OPEN, f"{architecture} has no successful point"
    means = rows.groupby("learning_rate")["tradeoff"].mean()
    if len(means) < 2 or not _same_rate(means.index.to_series(), rate).any():
        return OPEN, f"{architecture} was not tried at {rate:g} and at another learning rate"
    best = float(means.index[int(means.argmin())])
    wide = rows.pivot_table(index="block", columns="learning_rate", values="tradeoff").dropna()
    words = f"{architecture}: best at {best:g}"
    if len(wide) < 3 or wide.shape[1] < 3:
        return OPEN, f"{words}, in {len(wide)} groups: too few to test"
    p = _friedman(wide)
    words += f", Friedman p = {p:.3g}, {len(wide)} groups"
    if p >= ALPHA:
        return OPEN, f"{words}: the rates are not distinguishable"
    return (SUPPORTED if math.isclose(best, rate, rel_tol=1e-6) else NOT_SUPPORTED), words


def _friedman(wide: pd.DataFrame) -> float:
    values = wide.to_numpy(float)
    if (values == values[:, :1]).all():
        return 1.0
    return float(stats.friedmanchisquare(*values.T).pvalue)


def _stability_falls_with_batch(good: pd.DataFrame) -> Judgement:
    wide = good.pivot_table(
        index=_blocks(good, "batch_size"), columns="batch_size", values="log_stability", dropna=True
    ).dropna()
    if wide.shape[1] < 3 or len(wide) < LEAST_BLOCKS:
        return (
            OPEN,
            f"{len(wide)} groups that differ in the batch size only, over {wide.shape[1]} sizes: too few",
        )
    means = wide.mean()
    words = "mean standard deviation of validation loss " + ", ".join(
        f"{math.exp(value):.3g} at {size:g}" for size, value in means.items()
    )
    # Page (1963): ordered alternatives; ranks must rise in the order of the columns, so the largest batch first.
    p = float(
        stats.page_trend_test(
            wide[sorted(wide.columns, reverse=True)].to_numpy(float), method="asymptotic"
        ).pvalue
    )
    falls = bool(means.iloc[-1] < means.iloc[0])
    return _judge(falls, p, f"{words}; Page's trend test p = {p:.3g}, {len(wide)} groups")


def _most_for(good: pd.DataFrame, architecture: str) -> Judgement:
    wide = good.pivot_table(index=_blocks(good, "batch_size"), columns="batch_size", values="log_stability")
    if wide.shape[1] < 2:
        return OPEN, "one batch size only"
    gain = (wide.iloc[:, 0] - wide.iloc[:, -1]).dropna()
    names = gain.index.get_level_values("architecture") if len(gain) else pd.Index([])
    own, others = gain[names == architecture], gain[names != architecture]
    if len(own) < 3 or len(others) < 3:
        return OPEN, f"too few groups of {architecture} and of the others to compare"
    by_name = gain.groupby(level="architecture").mean()
    words = "stability gained from the smallest to the largest batch, as a factor: " + ", ".join(
        f"{name} {math.exp(value):.2f}" for name, value in by_name.items()
    )
    p = float(stats.mannwhitneyu(own, others, alternative="greater").pvalue)
    return _judge(by_name.idxmax() == architecture, p, f"{words}; Mann-Whitney p = {p:.3g}")


def _different_optima(good: pd.DataFrame, anova: Anova) -> Judgement:
    cells = good.groupby(["architecture", "learning_rate", "batch_size"])["best_val_jaccard"].mean()
    names = architectures(good)
    optima = {name: cells[name].idxmax() for name in names}
    if len(names) < 2 or all(len(cells[name]) < 2 for name in names):
        return OPEN, "needs two architectures with several settings each"
    words = "; ".join(f"{name} at {rate:g} and {batch:g}" for name, (rate, batch) in optima.items())
    tested = [
        term.p
        for term in anova.terms
        if term.term.count(":") == 1 and "architecture" in term.term and term.p is not None
    ]
    if not tested:
        return OPEN, f"{words}; the interactions could not be tested"
    p = min(1.0, min(tested) * len(tested))  # Bonferroni over the two interactions
    return _judge(
        len(set(optima.values())) > 1, p, f"{words}; interactions with architecture p = {p:.3g} (Bonferroni)"
    )


def _most_and_least_sensitive(good: pd.DataFrame, most: str, least: str) -> Judgement:
    cells = good.groupby(["architecture", "learning_rate", "batch_size"])["best_val_jaccard"].mean()
    names = [name for name in architectures(good) if len(cells[name]) >= 3]
    if most not in names or least not in names or len(names) < 3:
        return OPEN, f"needs {most}, {least} and a third architecture with at least three settings each"
    spread = {name: float(cells[name].std()) for name in names}
    words = "standard deviation over settings: " + ", ".join(
        f"{name} {value:.3g}" for name, value in spread.items()
    )
    order = sorted(spread, key=lambda name: spread[name])
    if order[0] == most or order[-1] == least:
        return NOT_SUPPORTED, words
    if not any(spread.values()):
        return OPEN, words
    p = float(stats.levene(cells[most], cells[least], center="median").pvalue)
    if order[-1] != most or order[0] != least:
        return OPEN, f"{words}; the order is not the one claimed"
    return _judge(True, p, f"{words}; Brown-Forsythe p = {p:.3g}")


def _original(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[_same_rate(frame["learning_rate"], ORIGINAL_RATE) & (frame["batch_size"] == ORIGINAL_BATCH)]


def _better_than_the_original(good: pd.DataFrame) -> tuple[Judgement, Judgement]:
    original = _original(good)
    if original.empty:
        words = (
            f"the grid has no successful point at the original setting (learning rate {ORIGINAL_RATE:g}, batch size "
            f"{ORIGINAL_BATCH}); add it under 'include' in grid.yaml"
        )
        return (OPEN, words), (OPEN, words)
    stability, score, repeats = [], [], True
    for name, rows in original.groupby("architecture"):
        rest = good[(good["architecture"] == name) & ~good.index.isin(original.index)]
        if rest.empty:
            continue
        cell = rest.groupby(["learning_rate", "batch_size"])[
            ["best_val_jaccard", "val_loss_stability"]
        ].mean()
        best = cell.iloc[int(cell["best_val_jaccard"].argmax())]
        before = rows[["best_val_jaccard", "val_loss_stability"]].mean()
        repeats &= len(rows) > 1
        stability.append((name, best["val_loss_stability"] / before["val_loss_stability"]))
        score.append((name, best["best_val_jaccard"] - before["best_val_jaccard"]))
    if not stability or not all(math.isfinite(value) for _, value in (*stability, *score)):
        words = "there is nothing to compare the original setting with"
        return (OPEN, words), (OPEN, words)
    one_seed = "" if repeats else "; one seed: not distinguishable from chance"

    def verdict(right: bool) -> Verdict:
        return NOT_SUPPORTED if not right else SUPPORTED if repeats else OPEN

    first = ", ".join(f"{name} {100 * (1 - ratio):.0f} % better" for name, ratio in stability)
    second = ", ".join(f"{name} {value:+.3f}" for name, value in score)
    return (
        (
            verdict(all(ratio < 0.5 for _, ratio in stability)),
            f"stability at the best setting: {first}{one_seed}",
        ),
        (
            verdict(all(value >= -0.005 for _, value in score)),
            f"validation Jaccard index: {second}{one_seed}",
        ),
    )


def mean_rank_correlation(table: np.ndarray) -> float | None:
    """Mean of Spearman's correlations of every two columns of ``table`` (settings, repeats) that vary.

    All pairs in one product: a thousand repeats have half a million. ``None`` where fewer than two columns vary.
    """
    ranks = stats.rankdata(table, axis=0)
    ranks -= ranks.mean(axis=0)
    sizes = np.sqrt((ranks**2).sum(axis=0))
    ranks = ranks[:, sizes > 0] / sizes[sizes > 0]
    count = ranks.shape[1]
    # The sum of all pairs is the square of the sum, less each column with itself.
    return float((ranks.sum(axis=1) ** 2).sum() - count) / (count * (count - 1)) if count > 1 else None


def _consistent(frame: pd.DataFrame, good: pd.DataFrame) -> Judgement:
    cells = ["architecture", "learning_rate", "batch_size", *extra_axes(frame)]
    wide = good.pivot_table(index=cells, columns="seed", values="best_val_jaccard").dropna()
    if wide.shape[1] < 2 or len(wide) < 5:
        return (
            OPEN,
            "one repeat only, or fewer than five settings that were repeated: give grid.yaml 'seed: [1, 2, 3]'",
        )
    mean = mean_rank_correlation(wide.to_numpy())
    if mean is None:
        return OPEN, "all scores are equal"
    words = f"mean rank correlation between {wide.shape[1]} repeats {mean:.2f} over {len(wide)} settings"
    return (SUPPORTED if mean >= CONSISTENT else NOT_SUPPORTED if mean < INCONSISTENT else OPEN), words


def _together(identity: str, title: str, rule: str, claims: list[tuple[str, Judgement]]) -> Hypothesis:
    verdicts = [verdict for _, (verdict, _) in claims]
    overall = NOT_SUPPORTED if NOT_SUPPORTED in verdicts else OPEN if OPEN in verdicts else SUPPORTED
    parts = tuple(
        Claim(claim=claim, verdict=verdict, evidence=evidence) for claim, (verdict, evidence) in claims
    )
    evidence = " | ".join(f"{part.claim}: {part.verdict} ({part.evidence})" for part in parts)
    return Hypothesis(id=identity, title=title, rule=rule, verdict=overall, evidence=evidence, parts=parts)


def hypotheses(frame: pd.DataFrame, anova: Anova) -> tuple[Hypothesis, ...]:
    """Verdicts on H1, H2, H3 and the success criteria, as JSON types.

    ``frame`` is a summary (:func:`analysis.summary.load_summary`), ``anova`` the analysis of variance of
    ``best_val_jaccard`` (:func:`analysis.statistics.anova.anova`). Never raises for what a summary holds.
    """
    good = _usable(frame)
    if good.empty:
        nothing = OPEN, "no point was successful"
        first = second = third = [("the hypothesis", nothing)]
        criteria = [("the criteria", nothing)]
    else:
        first = [
            ("0.0005 to 0.001 beat the other learning rates", _rates_inside_are_better(good)),
            *(
                (f"{name} is best at {rate:g}", _rate_of(good, name, rate))
                for name, rate in BEST_RATE.items()
            ),
        ]
        second = [
            ("stability improves from batch to batch", _stability_falls_with_batch(good)),
            ("most for UNet", _most_for(good, "UNet")),
        ]
        third = [
            ("the architectures have different optima", _different_optima(good, anova)),
            (
                "UNet is the most, Attention_ResUNet the least sensitive",
                _most_and_least_sensitive(good, "UNet", "Attention_ResUNet"),
            ),
        ]
        stability, performance = _better_than_the_original(good)
        criteria = [
            ("stability more than 50 % better than the original setting", stability),
            ("performance kept", performance),
            ("consistent over repeats", _consistent(frame, good)),
        ]
    return (
        _together(
            "H1",
            "Learning rates from 5e-4 to 1e-3 give the best trade-off of performance and stability",
            "mean of the ranks by score and by stability within groups that differ in the learning rate only; Wilcoxon "
            "signed-rank test of the rates inside against those outside; Friedman test for each architecture's best rate",
            first,
        ),
        _together(
            "H2",
            "Larger batches improve stability, most for UNet",
            "Page's trend test over batch sizes within groups; Mann-Whitney test of UNet's gain against the others'",
            second,
        ),
        _together(
            "H3",
            "Architectures have different optima; UNet is the most and Attention_ResUNet the least sensitive",
            "best setting of each, with the interactions of the analysis of variance (Bonferroni); Brown-Forsythe test of "
            "the spread over settings",
            third,
        ),
        _together(
            "success criteria",
            "Against the original setting (learning rate 1e-2, batch size 8)",
            "best setting of each architecture: stability ratio below 0.5, Jaccard index no more than 0.005 lower, both with "
            f"repeats; mean rank correlation between repeats of at least {CONSISTENT}",
            criteria,
        ),
    )
