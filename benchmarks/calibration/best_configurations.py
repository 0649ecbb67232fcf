"""The set of the best configurations and the winner's score: coverage, size, optimism, noise."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from benchmarks.calibration import product
from benchmarks.calibration.scenario import Figure, Generator, Scenario, Shares, alike, seeds_text
from benchmarks.calibration.summaries import (
    CHANCE,
    HIGHEST,
    MIDDLE,
    NOISE,
    SCORE,
    by_architecture,
    by_rate,
    configuration,
    design,
    doublings,
    simulated,
    with_failures,
    with_results,
    without,
)

COVERED = "at least 95 %"
UNBIASED = "0"


def typical_effects(frame: pd.DataFrame, generator: Generator) -> np.ndarray:
    """Effects of a search: the rate matters most, batch size and architecture less, small interactions; SD 0.01."""
    rate = generator.normal(0, 0.03, 4)
    batch, architecture = generator.normal(0, 0.01), generator.normal(0, 0.01, 3)
    both = generator.normal(0, 0.01, (4, 3))
    codes = by_rate(frame, (0, 1, 2, 3)).astype(int), doublings(frame).astype(int)
    found: np.ndarray = (
        rate[codes[0]] + batch * codes[1] + by_architecture(frame, architecture) + both[codes[0], codes[1]]
    )
    return found


def _close(frame: pd.DataFrame, generator: Generator) -> np.ndarray:
    """Configurations that have nothing to do with each other, with an SD like that of the noise."""
    return generator.normal(0, NOISE, 36)[configuration(frame)]


def _equal(frame: pd.DataFrame, generator: Generator) -> np.ndarray:
    """One configuration is the best by next to nothing."""
    best = int(generator.integers(36))
    return np.where(configuration(frame) == best, 1e-6, 0.0)


def _best_at_the_highest(frame: pd.DataFrame, generator: Generator) -> np.ndarray:
    """The best configuration is at the highest rate, by little: all others are equal."""
    cells = configuration(frame)
    best = int(generator.choice(np.unique(cells[(frame["learning_rate"] == HIGHEST).to_numpy()])))
    return np.where(cells == best, 0.001, 0.0)


def _best_is_the_first(frame: pd.DataFrame, _: Generator) -> np.ndarray:
    return np.where(configuration(frame) == 0, 0.001, 0.0)


@dataclass(frozen=True)
class Grid:
    """How the scores of 36 configurations are made. ``sd`` has shape (rows,); ``keep`` drops repeats at random."""

    text: str
    truth: Callable[[pd.DataFrame, Generator], np.ndarray]
    seeds: int = 3
    sd: Callable[[pd.DataFrame, Generator], np.ndarray] = lambda frame, _: np.full(len(frame), NOISE)
    keep: float = 1.0

    def frame(self, generator: Generator) -> tuple[pd.DataFrame, pd.Series]:
        """A summary, and the true means by the name of the point."""
        base = design(self.seeds)
        true = self.truth(base, generator)
        found = simulated(base, generator, true, sd=self.sd(base, generator))
        means = pd.Series(MIDDLE + true, index=base["name"])
        first = (base["seed"] == base["seed"].min()).to_numpy()
        return without(found, ~first & (generator.random(len(base)) >= self.keep)), means


def _larger_at_the_highest(frame: pd.DataFrame, _: Generator) -> np.ndarray:
    return NOISE * by_rate(frame, (1, 1, 1, 4))


def _larger_for_three(frame: pd.DataFrame, _: Generator) -> np.ndarray:
    return np.where(configuration(frame) < 3, 8 * NOISE, NOISE)


def _own_variances(frame: pd.DataFrame, generator: Generator) -> np.ndarray:
    return NOISE * np.exp(generator.normal(0, 0.7, 36))[configuration(frame)]


GRIDS = (
    Grid("36 configurations spread like the noise", _close),
    Grid("36 configurations, a typical search", typical_effects),
    Grid(
        "nearly equal, SD x 4 at the highest rate, where the best is",
        _best_at_the_highest,
        sd=_larger_at_the_highest,
    ),
    Grid("36 configurations, all nearly equal", _equal),
    Grid("spread like the noise, SD x 4 at the highest rate", _close, sd=_larger_at_the_highest),
    Grid("spread like the noise, each with its own SD", _close, sd=_own_variances),
    Grid("nearly equal, SD x 8 for three, one of them the best", _best_is_the_first, sd=_larger_for_three),
    Grid("spread like the noise, a third of the repeats missing", _close, keep=0.5),
    Grid("a typical search", typical_effects, seeds=1),
    Grid("all nearly equal", _equal, seeds=1),
)
MAIN = 3  # of GRIDS: equal and unequal variances


def set_of_the_best(replicates: int, generator: Generator) -> Iterator[Figure]:
    """Coverage of the true best configuration, and the size of the set."""
    yield from _sets(GRIDS[:MAIN], replicates, generator)


def other_sets(replicates: int, generator: Generator) -> Iterator[Figure]:
    """The same for other noise, missing repeats and one seed."""
    yield from _sets(GRIDS[MAIN:], replicates, generator)


def _sets(grids: Sequence[Grid], replicates: int, generator: Generator) -> Iterator[Figure]:
    for grid in grids:
        shares = Shares()
        for _ in range(replicates):
            frame, means = grid.frame(generator)
            found = product.winner(frame)
            shares.add("covered", means.loc[frame["name"]].idxmax() in found.members)
            shares.add("size", found.count)
        text = f"{grid.text}, {seeds_text(grid.seeds)}"
        yield Figure(text, "the set contains the best", shares["covered"], COVERED)
        yield Figure(text, "configurations in the set", shares["size"], "few", share=False)


def sets_of_architectures(replicates: int, generator: Generator) -> Iterator[Figure]:
    """The sets for one architecture: coverage, size and the critical difference, with a third of the points lost."""
    for seeds, lost in ((1, 0.0), (1, 1 / 3), (3, 0.0)):
        shares, largest = Shares(), 0.0
        for _ in range(replicates):
            base = design(seeds)
            true = typical_effects(base, generator)
            frame = without(simulated(base, generator, true), generator.random(len(base)) < lost)
            means = pd.Series(true, index=base["name"]).loc[frame["name"]]
            for name, found in product.winners(frame).items():
                own = means[(frame["architecture"] == name).to_numpy()]
                if len(own) < 2:
                    continue
                shares.add("covered", own.idxmax() in found.members)
                shares.add("size", found.count)
                shares.add("critical", math.nan if found.critical is None else found.critical)
                largest = max(largest, found.critical or 0.0)
        missing = ", a third of the points missing" if lost else ""
        text = f"a typical search, sets by architecture, {seeds_text(seeds)}{missing}"
        yield Figure(text, "the set contains the best", shares["covered"], COVERED)
        yield Figure(text, "configurations in the set, of 12", shares["size"], "few", share=False)
        yield Figure(text, "critical difference, mean", shares["critical"], "small", share=False)
        yield Figure(text, "critical difference, largest", largest, "below 1", share=False)


def optimism(replicates: int, generator: Generator) -> Iterator[Figure]:
    """How much the winner's score is above its true mean."""
    grids = (
        Grid("noise only", lambda frame, _: np.zeros(len(frame)), seeds=1),
        Grid("noise only", lambda frame, _: np.zeros(len(frame))),
        Grid("a typical search", typical_effects, seeds=1),
        Grid("a typical search", typical_effects),
        Grid("configurations spread like the noise", _close),
    )
    for grid in grids:
        shares = Shares()
        for _ in range(replicates):
            frame, means = grid.frame(generator)
            found = product.winner(frame)
            true = float(means[found.point])
            shares.add("raw", found.raw - true)
            corrected = math.nan if found.corrected is None else found.corrected - true
            shares.add("corrected", corrected)
            shares.add("raw square", (found.raw - true) ** 2)
            shares.add("corrected square", corrected**2)
        text = f"{grid.text}, {seeds_text(grid.seeds)}"
        yield Figure(text, "winner's raw mean minus its true mean", shares["raw"], share=False)
        yield Figure(
            text, "winner's corrected mean minus its true mean", shares["corrected"], UNBIASED, share=False
        )
        yield Figure(text, "RMS error of the raw mean", math.sqrt(shares["raw square"]), share=False)
        yield Figure(
            text, "RMS error of the corrected mean", math.sqrt(shares["corrected square"]), share=False
        )


def seed_effects(replicates: int, generator: Generator) -> Iterator[Figure]:
    """Effects of the seeds of twice the noise; then one point fails."""
    noise = 0.0058
    base = design(3)
    shares = {"no point failed": Shares(), "one point failed": Shares()}
    for _ in range(replicates):
        true = generator.normal(0, 0.008, 36)[configuration(base)]
        seed = generator.normal(0, 2 * noise, 3)[base["seed"].to_numpy(int) - 1]
        whole = simulated(base, generator, true + seed, sd=noise)
        failed = np.zeros(len(base), bool)
        failed[generator.integers(len(base))] = True
        names_of_best = set(base["name"][true == true.max()])
        for (_, own), frame in zip(shares.items(), (whole, with_failures(whole, failed, "oom")), strict=True):
            found = product.winner(frame)
            own.add("sd", product.noise_sd(frame))
            own.add("size", found.count)
            own.add("covered", bool(found.members & names_of_best))
    for words, own in shares.items():
        text = f"seed effects of twice the noise (SD {noise:g}), {words}"
        yield Figure(text, "SD of the noise", own["sd"], f"{noise:g}", share=False)
        yield Figure(text, "configurations in the set", own["size"], "few", share=False)
        yield Figure(text, "the set contains the best", own["covered"], COVERED)


def near_chance(replicates: int, generator: Generator) -> Iterator[Figure]:
    """Points at one rate learn nothing and score at chance level: the noise of the others must stay the same."""
    for seeds in (1, 3):
        base = design(seeds)
        at_chance = (base["learning_rate"] == HIGHEST).to_numpy()
        for text, changed in zip(("all learn", "one rate at chance level"), alike(generator, 2), strict=True):
            shares = Shares()
            for _ in range(replicates):
                true = typical_effects(base, changed)
                true = true - by_rate(base, (0, 0, 0, 0.05))
                frame = simulated(base, changed, true)
                scores = CHANCE + np.abs(changed.normal(0, 0.002, len(base)))
                if text != "all learn":
                    frame = with_results(frame, **{SCORE: np.where(at_chance, scores, frame[SCORE])})
                    true = np.where(at_chance, -1.0, true)
                found = product.winner(frame)
                shares.add("sd", math.nan if found.sd is None else found.sd)
                shares.add("size", found.count)
                shares.add("covered", base["name"][int(np.argmax(true))] in found.members)
            words = f"a typical search, {text}, {seeds_text(seeds)}"
            yield Figure(
                words, f"SD that the set uses (noise {NOISE:g})", shares["sd"], f"{NOISE:g}", share=False
            )
            yield Figure(words, "configurations in the set", shares["size"], "few", share=False)
            yield Figure(words, "the set contains the best", shares["covered"], COVERED)


SCENARIOS = (
    Scenario("seed-effects", seed_effects),
    Scenario("best-set", set_of_the_best),
    Scenario("other-sets", other_sets, part=3),
    Scenario("architectures", sets_of_architectures, part=3),
    Scenario("optimism", optimism),
    Scenario("near-chance", near_chance, part=3),
)
