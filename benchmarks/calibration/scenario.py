"""What a scenario is: a kind of data with known truth, and the figures that are counted over many replicates."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Figure:
    """One number of a calibration. ``what`` is counted, ``truth`` is how the data were made.

    ``value`` is a share from 0 to 1 if ``share``, otherwise a number with a unit that ``what`` names; NaN if the product
    has no such function. ``goal`` is in words; empty for a power, which has no limit.
    """

    truth: str
    what: str
    value: float
    goal: str = ""
    share: bool = True

    @property
    def text(self) -> str:
        """The value as people read it."""
        if math.isnan(self.value):
            return "-"
        return f"{100 * self.value:.1f} %" if self.share else f"{self.value:.4g}"


Generator = np.random.Generator
Run = Callable[[int, Generator], Iterator[Figure]]


@dataclass(frozen=True)
class Scenario:
    """``run`` yields the figures of so many replicates.

    ``part``: one of so many replicates is enough, for conditions next to the main ones.
    """

    name: str
    run: Run
    part: int = 1

    def replicates(self, asked: int) -> int:
        """The number of replicates for the number that was asked for."""
        return max(1, asked // self.part)

    def figures(self, asked: int, seed: int = 0) -> Iterator[Figure]:
        """The figures. Random numbers depend on the name and the seed only, so that two versions see the same data."""
        return self.run(self.replicates(asked), np.random.default_rng([zlib.crc32(self.name.encode()), seed]))


class Shares:
    """Counts of events over replicates."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = {}
        self._counts: dict[str, int] = {}

    def add(self, name: str, value: float) -> None:
        """Count ``value``, usually true or false, under ``name``; NaN is not counted."""
        if not math.isnan(value):
            self._sums[name] = self._sums.get(name, 0.0) + float(value)
            self._counts[name] = self._counts.get(name, 0) + 1

    def __getitem__(self, name: str) -> float:
        """The mean of what was counted under ``name``; NaN if nothing was."""
        return self._sums.get(name, 0.0) / self._counts[name] if self._counts.get(name) else math.nan


def seeds_text(seeds: int) -> str:
    """``one seed`` or ``three seeds``."""
    return {1: "one seed", 2: "two seeds", 3: "three seeds", 5: "five seeds"}.get(seeds, f"{seeds} seeds")


def alike(generator: Generator, count: int) -> list[Generator]:
    """``count`` generators with the same numbers, for conditions that are compared with each other."""
    seed = int(generator.integers(2**32))
    return [np.random.default_rng(seed) for _ in range(count)]
