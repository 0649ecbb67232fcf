"""Failures, ranks, effect sizes, the test part, and the epochs to the best score."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from benchmarks.calibration import product
from benchmarks.calibration.best_configurations import typical_effects
from benchmarks.calibration.scenario import Figure, Generator, Scenario, Shares, seeds_text
from benchmarks.calibration.summaries import (
    BUDGET,
    EPOCHS,
    HIGHEST,
    MIDDLE,
    NOISE,
    SCORE,
    TEST,
    by_rate,
    configuration,
    design,
    simulated,
    with_failures,
    with_results,
)

ALPHA = 0.05
LEVEL = "at most 5 %"


def failures(replicates: int, generator: Generator) -> Iterator[Figure]:
    """Points that diverge at one rate, and points that diverge anywhere."""
    base = design(1)
    highest = np.flatnonzero((base["learning_rate"] == HIGHEST).to_numpy())
    everywhere = np.arange(len(base))
    for text, places, number, goal in (
        ("3 of 9 points diverge at one rate, none elsewhere", highest, 3, ""),
        ("5 of 9 points diverge at one rate, none elsewhere", highest, 5, ""),
        ("3 of 36 points diverge anywhere", everywhere, 3, LEVEL),
        ("8 of 36 points diverge anywhere", everywhere, 8, LEVEL),
    ):
        shares = Shares()
        for _ in range(replicates):
            lost = np.zeros(len(base), bool)
            lost[generator.choice(places, number, replace=False)] = True
            p = product.failure_p(with_failures(simulated(base, generator), lost))
            shares.add("rate", p["learning_rate"] < ALPHA)
            shares.add("any", min(p.values()) < ALPHA)
        yield Figure(text, "seen for the learning rate", shares["rate"], goal)
        if goal:
            yield Figure(text, "seen for any hyperparameter", shares["any"], goal)


def order_of_rows(replicates: int, generator: Generator) -> Iterator[Figure]:
    """Repeats without shared seeds: p values of the rank tests after shuffling the rows, and their level."""
    base = design(3, own_seeds=True)
    weak = by_rate(base, (0.0, 0.004, 0.006, 0.0))
    shares, largest = Shares(), 0.0
    for number in range(replicates):
        noise = simulated(base, generator)
        for factor, p in product.rank_p(noise).items():
            shares.add(factor, p < ALPHA)
        if number >= replicates // 4:  # nine shuffles each
            continue
        frame = with_results(noise, **{SCORE: noise[SCORE].to_numpy() + weak})
        found = [
            product.rank_p(frame.iloc[generator.permutation(len(frame))].reset_index(drop=True))[
                "learning_rate"
            ]
            for _ in range(9)
        ]
        change = float(np.ptp(found))
        shares.add("change", change)
        largest = max(largest, change)
    text = "three repeats without shared seeds"
    yield Figure(
        f"{text}, a weak effect",
        "change of p by shuffling the rows, mean",
        shares["change"],
        "0",
        share=False,
    )
    yield Figure(
        f"{text}, a weak effect", "change of p by shuffling the rows, largest", largest, "0", share=False
    )
    for factor in ("learning_rate", "batch_size", "architecture"):
        yield Figure(
            f"{text}, noise only", f"rank test of {factor.replace('_', ' ')}: p < 0.05", shares[factor], LEVEL
        )


def effect_sizes(replicates: int, generator: Generator) -> Iterator[Figure]:
    """Whether the effect size that is shown lies in the interval next to it."""
    for seeds in (1, 3):
        base = design(seeds)
        for text in ("noise only", "a typical search"):
            shares = Shares()
            for _ in range(replicates):
                true = typical_effects(base, generator) if text != "noise only" else 0.0
                for value, (low, high) in product.shown_effects(simulated(base, generator, true)):
                    shown = max(value, 0.0)  # a negative omega squared is shown as no effect
                    shares.add("outside", not low - 1e-9 <= shown <= high + 1e-9)
            yield Figure(
                f"{text}, {seeds_text(seeds)}", "effect size outside its interval", shares["outside"], "0 %"
            )


def test_part(replicates: int, generator: Generator) -> Iterator[Figure]:
    """Cautions that validation and test disagree."""
    for seeds in (1, 3):
        base = design(seeds)
        cells = configuration(base)
        for text, gap, shuffled, goal in (
            ("validation and test agree", 0.0, False, LEVEL),
            ("the test part is worse by 0.1", 0.1, False, ""),
            ("another order on the test part", 0.0, True, ""),
        ):
            shares = Shares()
            for _ in range(replicates):
                true = typical_effects(base, generator)
                other = true
                if shuffled:
                    cell_means = np.zeros(36)
                    cell_means[cells] = true
                    other = cell_means[generator.permutation(36)][cells]
                frame = simulated(base, generator, true)
                test = MIDDLE + other - gap + generator.normal(0, NOISE, len(base))
                try:
                    large, differs = product.test_disagrees(with_results(frame, **{TEST: test}))
                except product.Lacking:
                    break
                shares.add("large", large)
                shares.add("differs", differs)
                shares.add("any", large or differs)
            words = f"{text}, {seeds_text(seeds)}"
            yield Figure(words, "caution: a large gap", shares["large"], goal)
            yield Figure(words, "caution: another order", shares["differs"], goal)
            yield Figure(words, "any of the two cautions", shares["any"], goal)


def epochs(replicates: int, generator: Generator) -> Iterator[Figure]:
    """The epochs to the best score, censored at the budget."""
    for seeds in (1, 3):
        base = design(seeds)
        highest = (base["learning_rate"] == HIGHEST).to_numpy()
        for text, slower, goal in (
            ("no effect", 1.0, LEVEL),
            ("the highest rate takes 1.6 times as long", 1.6, ""),
        ):
            shares = Shares()
            for _ in range(replicates):
                scale = 24 * np.where(highest, slower, 1.0)
                time = np.ceil(scale * generator.weibull(3, len(base)))
                censored = time > BUDGET - 2
                frame = with_results(simulated(base, generator), **{EPOCHS: np.minimum(time, BUDGET)}).assign(
                    epochs_to_best_censored=np.where(censored, "yes", "no")
                )
                p = product.epochs_p(frame)
                shares.add("censored", float(censored.mean()))
                shares.add("rate", p["learning_rate"] < ALPHA)
                shares.add("others", np.mean([p[name] < ALPHA for name in ("batch_size", "architecture")]))
            words = f"epochs to the best score, {text}, {seeds_text(seeds)}"
            yield Figure(words, "censored points", shares["censored"])
            yield Figure(words, "learning rate: p < 0.05", shares["rate"], goal)
            yield Figure(words, "other hyperparameters: p < 0.05", shares["others"], LEVEL)


SCENARIOS = (
    Scenario("failures", failures),
    Scenario("row-order", order_of_rows),
    Scenario("effect-sizes", effect_sizes, part=3),
    Scenario("test-part", test_part, part=3),
    Scenario("epochs", epochs, part=3),
)
