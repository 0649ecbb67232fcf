"""The verdicts on the hypotheses: wrong ones on noise and on known effects, and how often a true claim is supported."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from benchmarks.calibration import product
from benchmarks.calibration.scenario import Figure, Generator, Scenario, Shares, seeds_text
from benchmarks.calibration.summaries import (
    BATCHES,
    HIGHEST,
    NOISE,
    by_architecture,
    by_rate,
    design,
    doublings,
    simulated,
    with_failures,
)

SUPPORTED, NOT_SUPPORTED, OPEN = "supported", "not supported", "cannot be judged"
WRONG = "at most 5 %"
HYPOTHESES = ("H1", "H2", "H3")

Effect = Callable[[pd.DataFrame], np.ndarray]


def nothing(frame: pd.DataFrame) -> np.ndarray:
    """No effect."""
    return np.zeros(len(frame))


@dataclass(frozen=True)
class Truth:
    """How results are made, and which verdicts are wrong.

    ``score``, ``stability`` (of its logarithm) and ``sd`` are functions of the design. ``diverge``: the probability that
    a point at the highest rate diverges. ``wrong``: for each hypothesis, the wrong verdicts on each of its claims.
    """

    text: str
    score: Effect = nothing
    stability: Effect = nothing
    sd: Effect = lambda frame: np.full(len(frame), NOISE)
    tails: float | None = None
    stability_sd: float = 0.4
    diverge: float = 0.0
    original: bool = False
    wrong: dict[str, tuple[frozenset[str], ...]] = field(default_factory=dict)

    def frame(self, seeds: int, generator: Generator) -> pd.DataFrame:
        """One summary."""
        base = design(seeds, original=self.original)
        made = simulated(
            base,
            generator,
            self.score(base),
            self.stability(base),
            sd=self.sd(base),
            stability_sd=self.stability_sd,
            tails=self.tails,
        )
        lost = (base["learning_rate"] == HIGHEST).to_numpy() & (generator.random(len(base)) < self.diverge)
        return with_failures(made, lost) if lost.any() else made


ANY = frozenset((SUPPORTED, NOT_SUPPORTED))
FINE: frozenset[str] = frozenset()
FALSE, TRUE = (
    frozenset((SUPPORTED,)),
    frozenset((NOT_SUPPORTED,)),
)  # the wrong verdicts on a false and on a true claim
NO_EFFECT = {"H1": (ANY,) * 4, "H2": (ANY,) * 2, "H3": (ANY,) * 2}


def counted(truth: Truth, seeds: int, replicates: int, generator: Generator) -> Shares:
    """The shares of verdicts: ``H1 supported`` of the whole, ``H1.2 supported`` of its second claim, ``H1 wrong``."""
    shares = Shares()
    for _ in range(replicates):
        for name, (whole, *claims) in product.verdicts(truth.frame(seeds, generator)).items():
            for kind in (SUPPORTED, NOT_SUPPORTED):
                shares.add(f"{name} {kind}", whole == kind)
                for number, claim in enumerate(claims, start=1):
                    shares.add(f"{name}.{number} {kind}", claim == kind)
            wrong = truth.wrong.get(name)
            if wrong is not None:
                shares.add(
                    f"{name} wrong", any(claim in bad for claim, bad in zip(claims, wrong, strict=True))
                )
    return shares


def _tied_rates(frame: pd.DataFrame) -> np.ndarray:
    return by_rate(frame, (-0.10, 0.0, 0.0, -0.15))


def _best_rates(gap: float) -> Effect:
    """UNet is best at 5e-4, the others at 1e-3, each by ``gap``."""

    def effect(frame: pd.DataFrame) -> np.ndarray:
        found: np.ndarray = np.where(
            frame["architecture"] == "UNet",
            by_rate(frame, (-0.10, 0.0, -gap, -0.15)),
            by_rate(frame, (-0.10, -gap, 0.0, -0.15)),
        )
        return found

    return effect


def best_rate(replicates: int, generator: Generator) -> Iterator[Figure]:
    """H1: rates that are tied, and best rates as claimed."""
    tied = Truth("5e-4 and 1e-3 are tied", _tied_rates, wrong={"H1": (TRUE, ANY, ANY, ANY)})
    for seeds in (1, 3):
        shares, text = counted(tied, seeds, replicates, generator), f"{tied.text}, {seeds_text(seeds)}"
        for kind in (SUPPORTED, NOT_SUPPORTED):
            value = max(shares[f"H1.{claim} {kind}"] for claim in (2, 3, 4))
            yield Figure(text, f'"X is best at RATE" {kind}, the highest of three', value, WRONG)
        yield Figure(text, "any wrong verdict of H1", shares["H1 wrong"], WRONG)
    yield from _true_rates(0.005, replicates, generator)


def power_of_best_rate(replicates: int, generator: Generator) -> Iterator[Figure]:
    """H1: best rates as claimed, by more."""
    for gap in (0.02, 0.04):
        yield from _true_rates(gap, replicates, generator)


def _true_rates(gap: float, replicates: int, generator: Generator) -> Iterator[Figure]:
    true = Truth(
        f"H1 is true, the best rates by {gap:g}", _best_rates(gap), wrong={"H1": (TRUE, TRUE, TRUE, TRUE)}
    )
    for seeds in (1, 3):
        shares, text = counted(true, seeds, replicates, generator), f"{true.text}, {seeds_text(seeds)}"
        yield Figure(text, "H1 not supported", shares[f"H1 {NOT_SUPPORTED}"], WRONG)
        power = np.mean([shares[f"H1.{claim} {SUPPORTED}"] for claim in (2, 3, 4)])
        yield Figure(text, '"X is best at RATE" supported, mean of three', float(power))
        yield Figure(text, "H1 supported", shares[f"H1 {SUPPORTED}"])


def _larger_at_the_highest(frame: pd.DataFrame) -> np.ndarray:
    return NOISE * by_rate(frame, (1, 1, 1, 4))


NOISES = (
    Truth("noise only", wrong=NO_EFFECT),
    Truth("noise only, SD x 4 at the highest rate", sd=_larger_at_the_highest, wrong=NO_EFFECT),
    Truth("noise only, heavy tails (t, 4 df)", tails=4, wrong=NO_EFFECT),
    Truth("noise only, a third diverges at the highest rate", diverge=1 / 3, wrong=NO_EFFECT),
)


def only_noise(replicates: int, generator: Generator) -> Iterator[Figure]:
    """Every verdict on noise is wrong."""
    yield from _of_noise(NOISES[:1], replicates, generator)


def other_noise(replicates: int, generator: Generator) -> Iterator[Figure]:
    """Unequal variances, heavy tails, diverged points."""
    yield from _of_noise(NOISES[1:], replicates, generator)


def _of_noise(truths: Sequence[Truth], replicates: int, generator: Generator) -> Iterator[Figure]:
    for truth in truths:
        for seeds in (1, 3):
            shares = counted(truth, seeds, replicates, generator)
            for name in HYPOTHESES:
                text = f"{truth.text}, {seeds_text(seeds)}"
                yield Figure(text, f"{name} not supported", shares[f"{name} {NOT_SUPPORTED}"], WRONG)
                yield Figure(text, f"any verdict on a claim of {name}", shares[f"{name} wrong"], WRONG)


def _batch_helps(sign: float) -> Effect:
    def effect(frame: pd.DataFrame) -> np.ndarray:
        found: np.ndarray = -sign * doublings(frame) * by_architecture(frame, (0.6, 0.25, 0.25))
        return found

    return effect


def batch_sizes(replicates: int, generator: Generator) -> Iterator[Figure]:
    """H2: as claimed, and the opposite."""
    for text, sign, wrong in (
        ("larger batches are more stable, most for UNet", 1.0, (TRUE, TRUE)),
        ("larger batches are less stable, most for UNet", -1.0, (FALSE, FALSE)),
    ):
        truth = Truth(text, stability=_batch_helps(sign), wrong={"H2": wrong})
        for seeds in (1, 3):
            shares, words = counted(truth, seeds, replicates, generator), f"{text}, {seeds_text(seeds)}"
            yield Figure(words, "a wrong verdict of H2", shares["H2 wrong"], WRONG)
            right = SUPPORTED if sign > 0 else NOT_SUPPORTED
            for number, claim in enumerate(("improves with the batch size", "most for UNet"), start=1):
                yield Figure(words, f'"{claim}" {right}', shares[f"H2.{number} {right}"])


def _scaled(effect: Effect, factors: tuple[float, float, float]) -> Effect:
    return lambda frame: effect(frame) * by_architecture(frame, factors)


def _one_optimum(frame: pd.DataFrame) -> np.ndarray:
    at_batch = frame["batch_size"].map(dict(zip(BATCHES, (-0.03, 0.0, -0.03), strict=True))).to_numpy(float)
    return by_rate(frame, (-0.10, -0.04, 0.0, -0.15)) + at_batch


def optima(replicates: int, generator: Generator) -> Iterator[Figure]:
    """H3: other optima or the same, sensitivities as claimed, equal or the opposite."""
    different, same = "different optima", "one optimum"
    claimed, equal, opposite = (1.5, 1.0, 0.5), (1.0, 1.0, 1.0), (0.5, 1.0, 1.5)
    for text, effect, factors, wrong in (
        (f"{different}, UNet the most sensitive", _best_rates(0.04), claimed, (TRUE, TRUE)),
        (f"{same}, equal sensitivity", _one_optimum, equal, (FALSE, ANY)),
        (f"{same}, UNet the least sensitive", _one_optimum, opposite, (FALSE, FALSE)),
    ):
        truth = Truth(text, _scaled(effect, factors), wrong={"H3": wrong})
        for seeds in (1, 3):
            shares, words = counted(truth, seeds, replicates, generator), f"{text}, {seeds_text(seeds)}"
            yield Figure(words, "a wrong verdict of H3", shares["H3 wrong"], WRONG)
            right = SUPPORTED if effect is not _one_optimum else NOT_SUPPORTED
            yield Figure(words, f'"different optima" {right}', shares[f"H3.1 {right}"])
            if factors != equal:
                right = SUPPORTED if factors == claimed else NOT_SUPPORTED
                yield Figure(words, f'"UNet is the most sensitive" {right}', shares[f"H3.2 {right}"])


def criteria(replicates: int, generator: Generator) -> Iterator[Figure]:
    """The success criteria, where the original setting is as good as all others, and at the limits of the claims."""

    def at_original(value: float) -> Effect:
        return lambda frame: np.where(frame["learning_rate"] > HIGHEST, value, 0.0)

    for text, score, stability, wrong in (
        # The true rank correlation between repeats is 0, the score is kept and the stability is not better.
        ("noise only, with the original setting", 0.0, 0.0, (FALSE, TRUE, FALSE)),
        ("the original setting better by 0.005, half as stable", 0.005, np.log(2), (FALSE, TRUE, FALSE)),
        ("the original setting better by 0.03, a quarter as stable", 0.03, np.log(4), (TRUE, FALSE, FALSE)),
        ("the original setting worse by 0.03, twice as stable", -0.03, -np.log(2), (FALSE, TRUE, FALSE)),
    ):
        truth = Truth(
            text,
            at_original(score),
            at_original(float(stability)),
            original=True,
            wrong={"success criteria": wrong},
        )
        for seeds in (1, 3):
            shares = counted(truth, seeds, replicates, generator)
            words = f"{text}, {seeds_text(seeds)}"
            yield Figure(words, "a wrong verdict on a criterion", shares["success criteria wrong"], WRONG)
            for number, claim in enumerate(("more stable", "score kept"), start=1):
                right = NOT_SUPPORTED if SUPPORTED in wrong[number - 1] else SUPPORTED
                yield Figure(words, f'"{claim}" {right}', shares[f"success criteria.{number} {right}"])


SCENARIOS = (
    Scenario("best-rate", best_rate),
    Scenario("best-rate-power", power_of_best_rate, part=3),
    Scenario("noise", only_noise),
    Scenario("other-noise", other_noise, part=3),
    Scenario("batch-sizes", batch_sizes, part=3),
    Scenario("optima", optima, part=3),
    Scenario("criteria", criteria, part=3),
)
