"""What may be said of the best configurations, and what forbids saying more."""

from __future__ import annotations

import pandas as pd
from msgspec.structs import replace

from analysis.ranking import NEAR_CHANCE, at_the_border, near_chance, point, ranked
from analysis.schema import Best, BestOfArchitecture, Noise
from analysis.statistics.noise import indistinguishable, noise, seeds_to_settle
from analysis.summary import architectures, common_text, extra_axes

RELEVANT = 0.01  # a difference in the Jaccard index that a microscopist would care about
EARLY = 5  # epochs; a loss that is lost by then was lost from the start
CAP = 1000  # seeds; what settles nothing


def cells(frame: pd.DataFrame) -> list[str]:
    """The columns that make a configuration: all but the seed."""
    return ["architecture", "learning_rate", "batch_size", *extra_axes(frame)]


def repeated(frame: pd.DataFrame) -> bool:
    """Whether any configuration was trained successfully more than once."""
    good = frame[frame["successful"]]
    return bool(len(good) and good.groupby(cells(frame), dropna=False).size().max() > 1)


def _settings(frame: pd.DataFrame, rows: pd.DataFrame) -> list[str]:
    """The configurations of ``rows`` in words, best mean first."""
    if rows.empty:
        return []
    columns = cells(frame)
    means = rows.groupby(columns, dropna=False, sort=False)["best_val_jaccard"].mean()
    found = []
    for values in means.sort_values(ascending=False, kind="stable").index:
        name, rate, batch, *rest = values
        more = "".join(f", {column} {value}" for column, value in zip(columns[3:], rest, strict=True))
        found.append(f"{name} lr {rate:g} bs {batch:g}{more}")
    return found


def _seeds(count: int | None) -> str:
    return "more than 1,000 seeds" if count is None or count >= CAP else f"{count} seeds"


def best(frame: pd.DataFrame) -> Best:
    """The best configuration, the set that is not distinguishable from it, and how many seeds would settle it.

    ``seeds_needed`` and ``seeds_for_relevant``: for each configuration; two-sided test at 0.05 with power 0.8.
    """
    order = ranked(frame)
    if order.empty:
        return Best(text="No point was successful, so there is no best configuration.")
    good = frame[frame["successful"]]
    set_of_best = indistinguishable(frame, good)
    provisional = not repeated(frame)
    # With repeats a configuration is its mean: the luckiest single point is no configuration.
    means = good.groupby(cells(frame), dropna=False, sort=False)["best_val_jaccard"].mean()
    leading = means.sort_values(ascending=False, kind="stable")
    rows = good.groupby(cells(frame), dropna=False, sort=False).groups[leading.index[0]]
    top = ranked(good.loc[rows]).iloc[0]
    sd = set_of_best.sd
    difference = float(leading.iloc[0] - leading.iloc[1]) if len(leading) > 1 else None
    needed = relevant = None
    if sd and difference is not None:
        needed = seeds_to_settle(difference, sd) if difference > 0 else CAP
        relevant = seeds_to_settle(RELEVANT, sd)
    same = good[good["name"].isin(set_of_best.names or [top["name"]])]
    # Whole configurations: a name stands for one of its seeds.
    set_of_best = replace(set_of_best, settings=tuple(_settings(frame, same)))
    what = f"{top['name']} has the highest validation Jaccard index, {top['best_val_jaccard']:.4f}"
    if not provisional:
        what = (
            f"{top['architecture']} at learning rate {top['learning_rate']:g} and batch size {top['batch_size']:g} has the "
            f"highest mean validation Jaccard index, {leading.iloc[0]:.4f} over {len(rows)} seeds"
        )
    parts = [what + "."]
    others = len(set_of_best.settings) - 1
    if len(leading) == 1:
        parts.append("It is the only configuration with a result.")
    elif sd is None:
        parts.append(
            f"Which configurations are distinguishable from it could not be computed: {set_of_best.reason}."
        )
    elif others:
        parts.append(
            f"{others} of the other {len(leading) - 1} configurations are not distinguishable from it."
        )
    else:
        parts.append("No other configuration is as good within the noise.")
    if provisional:
        parts.append(
            "The ranking is provisional: with one seed for each configuration it is not known how much a score varies by "
            "chance."
        )
    if needed is not None:
        stand_in = (
            "the observed run-to-run spread"
            if not provisional
            else "the model's residual as a stand-in for the noise"
        )
        parts.append(
            f"With {stand_in} (SD {sd:.4f}), it would take {_seeds(needed)} for each configuration to tell the first from "
            f"the second ({difference:.4f} apart), and {_seeds(relevant)} to see a difference of {RELEVANT:g}."
        )
    return Best(
        overall=point(top),
        text=" ".join(parts),
        provisional=provisional,
        indistinguishable=set_of_best,
        difference_to_second=difference,
        seeds_needed=needed,
        seeds_for_relevant=relevant,
    )


def best_by_architecture(frame: pd.DataFrame) -> dict[str, BestOfArchitecture]:
    """For each architecture with a result: its best point and what is not distinguishable from it."""
    found = {}
    for name in architectures(frame):
        one = best(frame[frame["architecture"] == name].reset_index(drop=True))
        if one.overall is not None and one.indistinguishable is not None:
            found[name] = BestOfArchitecture(
                record=one.overall, text=one.text, indistinguishable=one.indistinguishable
            )
    return found


def cautions(frame: pd.DataFrame) -> list[str]:
    """Sentences that must be read before the numbers; none where nothing speaks against them."""
    found = []
    good = frame[frame["successful"]]
    if len(good) and not repeated(frame):
        found.append(
            "One seed for each configuration: how much a score varies by chance alone is not known, so the ranking is "
            "provisional and the first place is not a finding. (Two repeats of one such grid by the predecessor had a "
            "rank correlation of 0.12.) Give grid.yaml 'seed: [1, 2, 3]' and run make_grid.py on this run again."
        )
    if common_text(frame, "split") == "random":
        found.append(
            "Random split of patches: neighbouring slices are nearly identical and are in both parts, so every validation "
            "score here is too high. Use 'split: contiguous'."
        )
    if "synthetic" in common_text(frame, "data_source"):
        found.append("The data are synthetic: this shows that the search works, not what mitochondria need.")
    unfinished = frame[frame["status"].isin(["waiting", "running"])]
    if len(unfinished):
        found.append(
            f"{len(unfinished)} of {len(frame)} points have not ended yet: everything here is about the others, and may "
            "change."
        )
    close = near_chance(frame)
    if close.any():
        found.append(
            f"{int(close.sum())} of {len(good)} successful points end within {NEAR_CHANCE} of chance (the score of calling "
            "every pixel a mitochondrion): they learned nothing in the epochs they had."
        )
    diverged = frame[frame["status"] == "diverged"]
    if len(diverged):
        early = int((diverged["epochs_completed"].fillna(0) <= EARLY).sum())
        rates = ", ".join(f"{rate:g}" for rate in sorted(diverged["learning_rate"].unique()))
        found.append(
            f"{len(diverged)} points diverged, {early} of them within {EARLY} epochs (learning rates {rates}): there the rate "
            "is too high for the network, and rank tests count them as worst while the F tests leave them out."
        )
    accumulated = frame["accumulated"]
    if accumulated.any():
        found.append(
            f"{int(accumulated.sum())} points accumulated their gradients over parts of a batch, because memory did not "
            "suffice: batch normalisation saw smaller batches there, which is another treatment."
        )
    censored = frame.get("epochs_to_best_censored")
    if censored is not None and (censored[frame["successful"]] == "yes").any():
        count = int((censored[frame["successful"]] == "yes").sum())
        found.append(
            f"{count} of {len(good)} successful points were best in their last or last but one epoch: they were still "
            "rising, and more epochs may change the order."
        )
    return found + at_the_border(frame)


def noise_words(frame: pd.DataFrame) -> Noise:
    """:func:`analysis.statistics.noise.noise` with a sentence for people."""
    found = noise(frame)
    if not found.known:
        words = "Run-to-run noise is not known: no configuration was trained with more than one seed."
    else:
        words = (
            f"Run-to-run standard deviation of the validation Jaccard index: {found.sd:.4f} ({found.df} degrees of "
            f"freedom, {found.cells} configurations)."
        )
    return replace(found, text=words)
