"""From the stored values of a mask to foreground, and masks that look inverted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from unet_models.data.content import check_finite
from unet_models.data.errors import DataError
from unet_models.wording import first_of


def to_mask(
    name: str, array: np.ndarray, threshold: float | None, *, white_is_zero: bool = False, bits: int = 8
) -> np.ndarray:
    """``array`` (height, width) as a boolean mask, true for mitochondria.

    With a ``threshold``, values above it are true; 0 makes every instance label foreground, at the full width of its
    type. Without, the array must have at most two values, 0 and another one, which is true.

    Args:
        name: of the file, for errors.
        array: stored values.
        threshold: ``data.mask_threshold``.
        white_is_zero: the file says that 0 is shown as white: then 0 is true, and the other value must be the largest
            of the type. Only whole numbers without a sign can be turned over.
        bits: per sample, for ``white_is_zero``.

    Raises:
        DataError: there is no threshold and the array is not binary, as with instance labels or smoothed edges; or a
            value is not finite or negative.
    """
    check_finite(name, array, "Replace them, for example by 0 for background")
    if white_is_zero:
        if array.dtype.kind != "u":
            raise DataError(
                f"{name}: 0 is white (MINISWHITE), and the values are {array.dtype}, which have no fixed black; expected "
                "a mask of whole numbers without a sign"
            )
        array = (2**bits - 1) - array
    if threshold is not None:
        above: np.ndarray = array > threshold
        return above
    low, high = array.min(), array.max()
    # Two passes over the pixels; np.unique would sort them, which takes 50 times as long.
    if low < 0 or not ((array == low) | (array == high)).all() or (low not in (0, high)):
        values = np.unique(array)
        shown = ", ".join(str(value) for value in values[:6]) + (", ..." if len(values) > 6 else "")
        turned = " after it was turned over, since 0 is white (MINISWHITE)" if white_is_zero else ""
        raise DataError(
            f"{name} is not binary: it has {len(values)} {'value' if len(values) == 1 else 'values'} ({shown}){turned}; "
            "expected 0 and one other, or set data.mask_threshold (0 makes every label foreground)"
        )
    foreground: np.ndarray = array != 0
    return foreground


@dataclass
class ForegroundValues:
    """The values that are foreground in binary masks, to find instance labels of which each slice has only one."""

    _files: dict[float, str] = field(default_factory=dict)
    _values: dict[str, float] = field(default_factory=dict)

    def add(self, name: str, array: np.ndarray) -> None:
        """Add a slice that :func:`to_mask` has found binary, its stored values (height, width), of the file ``name``.

        Raises :class:`DataError` where the slices of a file have different values, or those of all files more than two
        (0 and 1 in some, 0 and 255 in others).
        """
        value = array.max().item()
        if not value:
            return
        first = self._values.setdefault(name, value)
        self._files.setdefault(value, name)
        if first != value or len(self._files) > 2:
            values = [first, value] if first != value else list(self._files)
            raise DataError(
                f"{name}: the slices of {'this file' if first != value else 'the masks'} are 0 and one other value each, but "
                f"not the same one ({', '.join(map(str, values))}), as instance labels are; expected one, or set "
                "data.mask_threshold (0 makes every label foreground)"
            )

    def notes(self) -> list[str]:
        """A sentence where files differ in the value of their foreground."""
        shown = ", ".join(f"{value} in {name}" for value, name in self._files.items())
        return [f"foreground is not the same value in all masks: {shown}"] if len(self._files) > 1 else []


@dataclass
class Polarity:
    """Counts the foreground of each mask file, to find masks that are inverted."""

    _counts: dict[str, list[int]] = field(default_factory=dict)

    def add(self, name: str, mask: np.ndarray) -> None:
        """Add a mask, bool (height, width), of the file ``name``."""
        counts = self._counts.setdefault(name, [0, 0])
        counts[0] += int(mask.sum())
        counts[1] += mask.size

    def notes(self) -> list[str]:
        """Sentences on masks whose foreground is above half, or whose polarity differs from that of the others.

        Mitochondria cover 5 to 15 % of brain tissue and up to 40 % of heart muscle.
        """
        shares: Mapping[str, float] = {name: found / size for name, (found, size) in self._counts.items()}
        above = [name for name, share in shares.items() if share > 0.5]
        if not above:
            return []
        total = sum(found for found, _ in self._counts.values()) / sum(
            size for _, size in self._counts.values()
        )
        names = first_of(above)
        if len(above) == len(shares):
            return [
                (
                    f"foreground covers {100 * total:.0f} % of the masks ({names}): are they inverted? Mitochondria must be "
                    "the value that is not 0"
                )
            ]
        return [
            (
                f"the masks disagree: {len(above)} of {len(shares)} files are foreground in more than half of their pixels "
                f"({names}): are these inverted?"
            )
        ]
