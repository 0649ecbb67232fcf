"""The guide's hypotheses and success criteria, each tested by a rule that was fixed before any result was seen.

Each claim gets one of three verdicts. *Supported*: the data have the direction of the claim, and its test gives
p < 0.05. *Not supported*: the data have the opposite direction. *Cannot be judged*: anything else, such as a difference
in the right direction that may be chance, or a grid without the settings of the claim. A hypothesis with several claims
is supported if all of them are, and not supported if one is not. ``docs/statistics.md`` lists the rules.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from scipy import stats

from analysis.schema import Anova, Claim, Hypothesis, Verdict
from analysis.summary import architectures, extra_axes
from jobs.common.units import plural

SUPPORTED: Verdict = "supported"
NOT_SUPPORTED: Verdict = "not supported"
OPEN: Verdict = "cannot be judged"
ALPHA = 0.05
LEAST_BLOCKS = 6  # with fewer blocks, a two-sided signed-rank test cannot reach p < 0.05
GOOD_RATES = (5e-4, 1e-3)
BEST_RATE = {"UNet": 5e-4, "Attention_UNet": 1e-3, "Attention_ResUNet": 1e-3}
ORIGINAL_RATE, ORIGINAL_BATCH = 1e-2, 8
CONSISTENT, INCONSISTENT = 0.7, 0.3  # mean rank correlation between repeats

_DERIVED = ("log_stability",)  # columns that :func:`_usable` adds to a summary

Judgement = tuple[Verdict, str]  # verdict and evidence


def _usable(frame: pd.DataFrame) -> pd.DataFrame:
    """The successful points, with the logarithm of the stability; that of 0 is the logarithm of the smallest other one."""
    good = frame[frame["successful"]].copy()
    stability = good["val_loss_stability"]
    positive = stability[stability > 0]
    floor = float(positive.min()) if len(positive) else math.nan
    good["seed"] = good["seed"].fillna(0)  # rows with a missing key would be left out of all groups
    good["log_stability"] = np.log(stability.where(stability > 0, floor).astype(float))
    return good


def _blocks(good: pd.DataFrame, factor: str) -> list[str]:
    """The columns that are constant within a block, so that only ``factor`` varies."""
    axes = [column for column in extra_axes(good) if column not in _DERIVED]
    columns = ["architecture", "learning_rate", "batch_size", *axes, "seed"]
    return [column for column in columns if column != factor]


def _judge(p: float, words: str, *, agrees: bool) -> Judgement:
    """The verdict from the p value, if the direction ``agrees`` with the claim."""
    if not agrees:
        return NOT_SUPPORTED, words
    return (SUPPORTED if p < ALPHA else OPEN), words


def _groups(table: pd.DataFrame) -> str:
    return plural(len(table), "group")


def _same_rate(values: pd.Series, rate: float) -> pd.Series:
    return pd.Series(np.isclose(values, rate, rtol=1e-6), index=values.index)


def _tradeoff(good: pd.DataFrame) -> pd.DataFrame:
    """The points with ``tradeoff``, the mean of their ranks by score and by stability in their block; 1 is best."""
    usable = good.dropna(subset=["best_val_jaccard", "log_stability"])
    keys = _blocks(usable, "learning_rate")
    groups = usable.groupby(keys, dropna=False, sort=False)
    ranks = groups["best_val_jaccard"].rank(ascending=False) + groups["log_stability"].rank()
    return usable.assign(tradeoff=ranks / 2, block=groups.ngroup())


def _rates_inside_are_better(good: pd.DataFrame) -> Judgement:
    inside = np.logical_or.reduce([_same_rate(good["learning_rate"], rate) for rate in GOOD_RATES])
    found = {rate for rate in GOOD_RATES if _same_rate(good["learning_rate"], rate).any()}
    if len(found) < len(GOOD_RATES) or inside.all():
        return OPEN, "needs successful points at 0.0005, at 0.001 and at another learning rate"
    scored = _tradeoff(good).assign(inside=lambda rows: inside[good.index.get_indexer(rows.index)])
    means = scored.pivot_table(index="block", columns="inside", values="tradeoff", aggfunc="mean").dropna()
    if len(means) < LEAST_BLOCKS:
        return (
            OPEN,
            f"only {_groups(means)} of points that differ only in the learning rate, needs {LEAST_BLOCKS}",
        )
    difference = means[False] - means[True]
    words = (
        f"mean rank of score and stability (1 is best) {means[True].mean():.2f} inside and {means[False].mean():.2f} "
        f"outside, {_groups(means)}"
    )
    if not difference.any():
        return OPEN, words + ", no difference in any group"
    p = float(stats.wilcoxon(difference, alternative="greater").pvalue)
    return _judge(p, f"{words}, signed-rank p = {p:.3g}", agrees=difference.mean() > 0)


def _rate_of(good: pd.DataFrame, architecture: str, rate: float) -> Judgement:
    rows = _tradeoff(good[good["architecture"] == architecture])
    if rows.empty:
        return OPEN, f"{architecture} has no successful point"
    means = rows.groupby("learning_rate")["tradeoff"].mean()
    if len(means) < 2 or not _same_rate(means.index.to_series(), rate).any():
        return OPEN, f"{architecture} needs successful points at {rate:g} and at another learning rate"
    best = float(means.index[int(means.argmin())])
    wide = rows.pivot_table(index="block", columns="learning_rate", values="tradeoff").dropna()
    words = f"{architecture}: best at {best:g}"
    if len(wide) < 3 or wide.shape[1] < 3:
        return OPEN, f"{words}, {_groups(wide)}: too few to test"
    p = _friedman(wide)
    words += f", Friedman p = {p:.3g}, {_groups(wide)}"
    if p >= ALPHA:
        return OPEN, f"{words}: the learning rates are not distinguishable"
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
            f"too few: {_groups(wide)} of points that differ only in the batch size, {plural(wide.shape[1], 'batch size')}",
        )
    means = wide.mean()
    words = "mean standard deviation of validation loss " + ", ".join(
        f"{math.exp(value):.3g} at {size:g}" for size, value in means.items()
    )
    # Page's test (1963) is for ranks that rise in the order of the columns, so the largest batch size is first.
    p = float(
        stats.page_trend_test(
            wide[sorted(wide.columns, reverse=True)].to_numpy(float), method="asymptotic"
        ).pvalue
    )
    falls = bool(means.iloc[-1] < means.iloc[0])
    return _judge(p, f"{words}; Page's trend test p = {p:.3g}, {_groups(wide)}", agrees=falls)


def _most_for(good: pd.DataFrame, architecture: str) -> Judgement:
    wide = good.pivot_table(index=_blocks(good, "batch_size"), columns="batch_size", values="log_stability")
    if wide.shape[1] < 2:
        return OPEN, "successful points at one batch size only"
    gain = (wide.iloc[:, 0] - wide.iloc[:, -1]).dropna()
    names = gain.index.get_level_values("architecture") if len(gain) else pd.Index([])
    own, others = gain[names == architecture], gain[names != architecture]
    if len(own) < 3 or len(others) < 3:
        return OPEN, f"too few groups of {architecture} and of the others to compare"
    by_name = gain.groupby(level="architecture").mean()
    words = (
        "improvement of the stability from the smallest to the largest batch size, as a factor: "
        + ", ".join(f"{name} {math.exp(value):.2f}" for name, value in by_name.items())
    )
    p = float(stats.mannwhitneyu(own, others, alternative="greater").pvalue)
    return _judge(p, f"{words}; Mann-Whitney p = {p:.3g}", agrees=by_name.idxmax() == architecture)


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
    words += f"; interactions with architecture p = {p:.3g} (Bonferroni)"
    return _judge(p, words, agrees=len(set(optima.values())) > 1)


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
    return _judge(p, f"{words}; Brown-Forsythe p = {p:.3g}", agrees=True)


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
        words = "no other setting to compare the original setting with"
        return (OPEN, words), (OPEN, words)
    one_seed = "" if repeats else "; only one seed: not distinguishable from chance"

    def verdict(*, met: bool) -> Verdict:
        return NOT_SUPPORTED if not met else SUPPORTED if repeats else OPEN

    first = ", ".join(f"{name} {100 * (1 - ratio):.0f} % better" for name, ratio in stability)
    second = ", ".join(f"{name} {value:+.3f}" for name, value in score)
    return (
        (
            verdict(met=all(ratio < 0.5 for _, ratio in stability)),
            f"stability at the best setting: {first}{one_seed}",
        ),
        (
            verdict(met=all(value >= -0.005 for _, value in score)),
            f"validation Jaccard index: {second}{one_seed}",
        ),
    )


def mean_rank_correlation(table: np.ndarray) -> float | None:
    """Mean of Spearman's correlations over all pairs of columns of ``table``, shape (settings, repeats).

    Constant columns are left out; ``None`` if fewer than two columns are left. All pairs are computed in one product,
    because a thousand repeats have half a million pairs.
    """
    ranks = stats.rankdata(table, axis=0)
    ranks -= ranks.mean(axis=0)
    sizes = np.sqrt((ranks**2).sum(axis=0))
    ranks = ranks[:, sizes > 0] / sizes[sizes > 0]
    count = ranks.shape[1]
    # The sum over all pairs is the square of the sum, minus the product of each column with itself.
    return float((ranks.sum(axis=1) ** 2).sum() - count) / (count * (count - 1)) if count > 1 else None


def _consistent(frame: pd.DataFrame, good: pd.DataFrame) -> Judgement:
    cells = ["architecture", "learning_rate", "batch_size", *extra_axes(frame)]
    wide = good.pivot_table(index=cells, columns="seed", values="best_val_jaccard").dropna()
    if wide.shape[1] < 2 or len(wide) < 5:
        return (
            OPEN,
            "needs two repeats of five settings or more: set 'seed: [1, 2, 3]' in grid.yaml",
        )
    mean = mean_rank_correlation(wide.to_numpy())
    if mean is None:
        return OPEN, "all scores are equal"
    words = f"mean rank correlation between {wide.shape[1]} repeats {mean:.2f} over {plural(len(wide), 'setting')}"
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
    """Verdicts on H1, H2, H3 and the success criteria.

    ``frame`` is a summary (:func:`analysis.summary.load_summary`), ``anova`` the analysis of variance of
    ``best_val_jaccard`` (:func:`analysis.statistics.anova.anova`). Never raises for the contents of a summary.
    """
    good = _usable(frame)
    if good.empty:
        nothing = OPEN, "no point was successful"
        first = second = third = [("the hypothesis", nothing)]
        criteria = [("the criteria", nothing)]
    else:
        first = [
            ("0.0005 to 0.001 are better than the other learning rates", _rates_inside_are_better(good)),
            *(
                (f"{name} is best at {rate:g}", _rate_of(good, name, rate))
                for name, rate in BEST_RATE.items()
            ),
        ]
        second = [
            ("the stability improves with the batch size", _stability_falls_with_batch(good)),
            ("the improvement is largest for UNet", _most_for(good, "UNet")),
        ]
        third = [
            ("the architectures have different optima", _different_optima(good, anova)),
            (
                "UNet is the most sensitive and Attention_ResUNet the least",
                _most_and_least_sensitive(good, "UNet", "Attention_ResUNet"),
            ),
        ]
        stability, performance = _better_than_the_original(good)
        criteria = [
            ("the stability is more than 50 % better than at the original setting", stability),
            ("the Jaccard index is at most 0.005 lower", performance),
            ("the ranking is consistent across repeats", _consistent(frame, good)),
        ]
    return (
        _together(
            "H1",
            "Learning rates from 5e-4 to 1e-3 give the best trade-off of performance and stability",
            "mean of the ranks by score and by stability within groups of points that differ only in the learning rate; "
            "Wilcoxon signed-rank test of the rates inside against those outside; Friedman test for each architecture's "
            "best rate",
            first,
        ),
        _together(
            "H2",
            "Larger batches improve stability, most for UNet",
            "Page's trend test over batch sizes within groups; Mann-Whitney test of the improvement of UNet against that of "
            "the others",
            second,
        ),
        _together(
            "H3",
            "Architectures have different optima; UNet is the most sensitive and Attention_ResUNet the least",
            "best setting of each, and the interactions of the analysis of variance (Bonferroni); Brown-Forsythe test of "
            "the spread over settings",
            third,
        ),
        _together(
            "success criteria",
            "Comparison with the original setting (learning rate 1e-2, batch size 8)",
            "best setting of each architecture: stability ratio below 0.5 and Jaccard index at most 0.005 lower, both with "
            f"repeats; mean rank correlation between repeats of at least {CONSISTENT}",
            criteria,
        ),
    )
