"""The best configurations in sentences, and the warnings that limit what follows from them."""

from __future__ import annotations

import pandas as pd
from msgspec.structs import replace

from analysis.ranking import NEAR_CHANCE, at_the_border, near_chance, point, ranked
from analysis.schema import Best, BestOfArchitecture, Caution, Noise
from analysis.statistics.noise import indistinguishable, noise, seeds_to_settle
from analysis.summary import architectures, common_text, extra_axes
from jobs.common.units import plural

RELEVANT = 0.01  # the smallest difference in the Jaccard index that matters in practice
EARLY = 5  # epochs: a divergence within these counts as early
CAP = 1000  # seeds: a larger number is not computed


def cells(frame: pd.DataFrame) -> list[str]:
    """The columns that define a configuration: all hyperparameters except the seed."""
    return ["architecture", "learning_rate", "batch_size", *extra_axes(frame)]


def repeated(frame: pd.DataFrame) -> bool:
    """Whether any configuration was trained successfully more than once."""
    good = frame[frame["successful"]]
    return bool(len(good) and good.groupby(cells(frame), dropna=False).size().max() > 1)


def _settings(frame: pd.DataFrame, rows: pd.DataFrame) -> list[str]:
    """The configurations of ``rows`` as text, best mean first."""
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
    return "more than 1,000 seeds" if count is None or count >= CAP else plural(count, "seed")


def best(frame: pd.DataFrame) -> Best:
    """The best configuration, those that are not distinguishable from it, and the number of seeds to separate them.

    ``seeds_needed`` separates the first from the second, ``seeds_for_relevant`` detects a difference of
    :data:`RELEVANT`. Both are seeds per configuration, for a two-sided t test at 0.05 with power 0.8.
    """
    order = ranked(frame)
    if order.empty:
        return Best(text="No point was successful, so there is no best configuration.")
    good = frame[frame["successful"]]
    set_of_best = indistinguishable(frame, good)
    provisional = not repeated(frame)
    # Configurations are compared by their means: the best single point may only be lucky.
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
    # A name is that of one seed, the settings are those of the configuration.
    set_of_best = replace(set_of_best, settings=tuple(_settings(frame, same)))
    what = f"{top['name']} has the highest validation Jaccard index, {top['best_val_jaccard']:.4f}"
    if not provisional:
        what = (
            f"{top['architecture']} at learning rate {top['learning_rate']:g} and batch size {top['batch_size']:g} has the "
            f"highest mean validation Jaccard index, {leading.iloc[0]:.4f} over {plural(len(rows), 'seed')}"
        )
    parts = [what + "."]
    others = len(set_of_best.settings) - 1
    if len(leading) == 1:
        parts.append("It is the only configuration with a result.")
    elif sd is None:
        parts.append(
            f"The configurations that are distinguishable from it could not be computed ({set_of_best.reason})."
        )
    elif len(leading) == 2 and others:
        parts.append("The other configuration is not distinguishable from it.")
    elif others:
        verb = "is" if others == 1 else "are"
        parts.append(
            f"{others} of the other {len(leading) - 1} configurations {verb} not distinguishable from it."
        )
    else:
        parts.append("Every other configuration is worse by more than the noise.")
    if provisional:
        parts.append(
            "The ranking is provisional: with only one seed per configuration, the variation of a score by chance is not "
            "known."
        )
    if needed is not None:
        basis = (
            "the observed run-to-run variation"
            if not provisional
            else "the residual of the model, because the noise is not known"
        )
        parts.append(
            f"Based on {basis} (SD {sd:.4f}): distinguishing the first from the second (difference {difference:.4f}) "
            f"takes {_seeds(needed)} per configuration, and detecting a difference of {RELEVANT:g} takes {_seeds(relevant)}."
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
    """For each architecture with a result: its best point, and the points not distinguishable from it."""
    found = {}
    for name in architectures(frame):
        one = best(frame[frame["architecture"] == name].reset_index(drop=True))
        if one.overall is not None and one.indistinguishable is not None:
            found[name] = BestOfArchitecture(
                record=one.overall, text=one.text, indistinguishable=one.indistinguishable
            )
    return found


def cautions(frame: pd.DataFrame) -> list[Caution]:
    """Warnings to read before the numbers; empty if there are none."""
    found: list[Caution] = []
    good = frame[frame["successful"]]
    if len(good) and not repeated(frame):
        found.append(
            Caution(
                kind="one seed",
                text="There is only one seed per configuration, so the variation of a score by chance is not known: the ranking is "
                "provisional, and the first place may be luck. (Two repeats of a similar grid by the predecessor had a rank "
                "correlation of 0.12.) Set 'seed: [1, 2, 3]' in grid.yaml and run make_grid.py on this run again.",
            )
        )
    if common_text(frame, "split") == "random":
        found.append(
            Caution(
                kind="random split",
                text="The patches were split at random: neighbouring slices are nearly identical and are in both parts, so every "
                "validation score here is too high. Use 'split: contiguous'.",
            )
        )
    if "synthetic" in common_text(frame, "data_source"):
        found.append(
            Caution(
                kind="synthetic data",
                text="The data are synthetic: the results show that the search works, not which settings suit mitochondria.",
            )
        )
    unfinished = frame[frame["status"].isin(["waiting", "running"])]
    if len(unfinished):
        found.append(
            Caution(
                kind="unfinished",
                text=f"Not all points are finished ({len(unfinished)} of {len(frame)} are waiting or running): the results are "
                "those of the other points, and may change.",
            )
        )
    close = near_chance(frame)
    if close.any():
        found.append(
            Caution(
                kind="near chance",
                text=f"{int(close.sum())} of {plural(len(good), 'successful point')} scored at most {NEAR_CHANCE} above chance (the "
                "score for calling every pixel a mitochondrion), which means that nothing was learned.",
            )
        )
    diverged = frame[frame["status"] == "diverged"]
    if len(diverged):
        early = int((diverged["epochs_completed"].fillna(0) <= EARLY).sum())
        rates = ", ".join(f"{rate:g}" for rate in sorted(diverged["learning_rate"].unique()))
        found.append(
            Caution(
                kind="failures",
                text=f"{plural(len(diverged), 'point')} diverged ({early} within {EARLY} epochs; learning rates: {rates}): the "
                "learning rate is too high for the network. Rank tests count such a point as the worst; F tests leave it out.",
            )
        )
    accumulated = frame["accumulated"]
    if accumulated.any():
        found.append(
            Caution(
                kind="accumulated gradients",
                text=f"{plural(int(accumulated.sum()), 'point')} accumulated gradients over parts of a batch, because the memory was "
                "too small: batch normalisation saw smaller batches there, so the scores are not strictly comparable.",
            )
        )
    censored = frame.get("epochs_to_best_censored")
    if censored is not None and (censored[frame["successful"]] == "yes").any():
        count = int((censored[frame["successful"]] == "yes").sum())
        found.append(
            Caution(
                kind="still rising",
                text=f"{count} of {plural(len(good), 'successful point')} had the best score in one of the last two epochs and may "
                "still have been improving: more epochs may change the order.",
            )
        )
    border = at_the_border(frame)
    if border:
        found.append(
            Caution(
                kind="border of the grid",
                text="The best value of a hyperparameter is at the border of the grid, so the optimum may be outside.",
                details=tuple(border),
            )
        )
    return found


def noise_words(frame: pd.DataFrame) -> Noise:
    """The result of :func:`analysis.statistics.noise.noise` with ``text``, a sentence for the reports."""
    found = noise(frame)
    if not found.known:
        words = "Run-to-run noise is not known: no configuration was trained with more than one seed."
    else:
        words = (
            f"Run-to-run standard deviation of the validation Jaccard index: {found.sd:.4f} "
            f"({plural(found.df or 0, 'degree of freedom', 'degrees of freedom')}, "
            f"{plural(found.cells or 0, 'configuration')})."
        )
    return replace(found, text=words)
