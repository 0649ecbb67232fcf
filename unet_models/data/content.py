"""The values of many slices, in bounded memory: their limits, a histogram or a sample, and values that are no numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from unet_models.data.errors import DataError

_SAMPLE = 2**22  # values of a data set that are kept for quantiles where there is no histogram
_LEAST_OF_A_SLICE = 256
_MOST_DISTINCT = 256
_BLOCK = 2**22  # pixels that are converted at a time: a section of 200 megapixels as float64 takes 1.6 GB


def blocks(array: np.ndarray) -> Iterator[np.ndarray]:
    """``array`` (height, width) in groups of rows of at most :data:`_BLOCK` pixels, at least one row each."""
    rows = max(1, _BLOCK // max(1, array.shape[1]))
    for top in range(0, len(array), rows):
        yield array[top : top + rows]


def counted(dtype: np.dtype[Any]) -> bool:
    """Whether a histogram of all values of ``dtype`` is small."""
    return dtype.kind in "iu" and dtype.itemsize <= 2


@dataclass
class Content:
    """The values of many slices of one type, in bounded memory.

    Integers of up to 16 bits are counted exactly. Of others, the limits, up to 256 different values, and a regular sample are kept.

    Attributes:
        slices: how many slices will be added; it sets the size of the sample.
        limits_only: keep nothing but the limits.
        lowest: of all values.
        highest: of all values.
        pixels: the number of values.
        limits: lowest and highest value of each file, by its name.
        blank: number of slices of each file that have one value everywhere, by its name.
    """

    slices: int
    limits_only: bool = False
    lowest: float = math.inf
    highest: float = -math.inf
    pixels: int = 0
    limits: dict[str, tuple[float, float]] = field(default_factory=dict)
    blank: dict[str, int] = field(default_factory=dict)
    _counts: np.ndarray | None = None
    _offset: int = 0
    _sample: list[np.ndarray] = field(default_factory=list)
    _distinct: np.ndarray | None = field(default_factory=lambda: np.zeros(0))

    def add(self, name: str, array: np.ndarray) -> None:
        """Add the slice ``array`` (height, width) of the file ``name``.

        All slices have the same type. Raises :class:`DataError` where a value is not a number or infinite.
        """
        check_finite(name, array)
        low, high = array.min(), array.max()
        before = self.limits.get(name, (math.inf, -math.inf))
        self.limits[name] = (min(before[0], float(low)), max(before[1], float(high)))
        self.lowest, self.highest = min(self.lowest, float(low)), max(self.highest, float(high))
        self.pixels += array.size
        if low == high:
            self.blank[name] = self.blank.get(name, 0) + 1
        if self.limits_only:
            return
        if counted(array.dtype):
            self._count(array)
            return
        step = max(1, array.size // max(_LEAST_OF_A_SLICE, _SAMPLE // max(1, self.slices)))
        self._sample.append(array.ravel()[::step].astype(np.float64))
        for block in blocks(array):
            if self._distinct is not None:
                merged = np.union1d(self._distinct, np.unique(block))
                self._distinct = merged if len(merged) <= _MOST_DISTINCT else None

    def _count(self, array: np.ndarray) -> None:
        if self._counts is None:
            self._offset = int(np.iinfo(array.dtype).min)
            self._counts = np.zeros(int(np.iinfo(array.dtype).max) - self._offset + 1, np.int64)
        for block in blocks(array):
            # 0 is the lowest bin of bincount, so signed values are moved.
            values = block.ravel() if self._offset == 0 else block.ravel().astype(np.int32) - self._offset
            self._counts += np.bincount(values, minlength=len(self._counts))

    def values(self) -> np.ndarray | None:
        """The different values in ascending order, or ``None`` where there are too many to keep, or none was kept."""
        if self.limits_only:
            return None
        if self._counts is None:
            return self._distinct
        return np.flatnonzero(self._counts) + self._offset

    def quantile(self, share: float, *, above_lowest: bool = False) -> float:
        """The smallest value that at least ``share`` (0 to 1) of all values do not exceed.

        ``above_lowest`` leaves out the pixels of the lowest value: the black that fills up aligned sections.
        """
        if self._counts is None:
            sample = np.concatenate(self._sample)
            if above_lowest and (sample > self.lowest).any():
                sample = sample[sample > self.lowest]
            return float(np.quantile(sample, share, method="inverted_cdf"))
        counts = self._counts.copy()
        if above_lowest and self.highest > self.lowest:
            counts[int(self.lowest) - self._offset] = 0
        total = np.cumsum(counts)
        return float(np.searchsorted(total, share * total[-1]) + self._offset)


def check_finite(
    name: str, array: np.ndarray, advice: str = "Replace them, for example by the mean of the slice"
) -> None:
    """:class:`DataError` with their number and ``advice`` where values of ``array`` are not finite."""
    if array.dtype.kind != "f":
        return
    bad = array.size - int(np.isfinite(array).sum())
    if bad:
        raise DataError(
            f"{name}: {bad:,} of {array.size:,} values are not finite (NaN or infinite); expected numbers. "
            f"{advice}, or cut away the border that has them"
        )
