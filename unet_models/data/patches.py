"""Where patches lie in a slice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from unet_models.data.errors import DataError


@dataclass(frozen=True)
class Window:
    """A patch of a slice.

    Attributes:
        top: its first row.
        left: its first column.
        fresh: rows and columns at its upper and left side that patches before it cover already.
    """

    top: int
    left: int
    fresh: tuple[int, int]

    def of(self, patch: int) -> tuple[slice, slice]:
        """The index of its pixels in an array (height, width)."""
        return slice(self.top, self.top + patch), slice(self.left, self.left + patch)


def _starts(length: int, patch: int, overlap: int, *, shift: bool) -> list[tuple[int, int]]:
    """First pixels of the patches along a side, each with the number of its pixels that the one before covers."""
    starts = list(range(0, length - patch + 1, patch - overlap))
    if shift and starts[-1] + patch < length:
        starts.append(length - patch)
    return [
        (start, max(0, before + patch - start) if number else 0)
        for number, (before, start) in enumerate(zip([0, *starts], starts, strict=False))
    ]


def windows(
    name: str, height: int, width: int, patch: int, *, overlap: int = 0, shift: bool = False
) -> Iterator[Window]:
    """The patches of a slice, row by row.

    Args:
        name: of the slice, for the error.
        height: of the slice, in pixels.
        width: of the slice, in pixels.
        patch: side of a patch, in pixels.
        overlap: pixels that neighbouring patches share, below ``patch``.
        shift: whether pixels at the right and lower border that fill no patch are covered by a patch that is moved back
            onto the slice; else they are left out.

    Raises:
        DataError: the slice is smaller than a patch.
    """
    if height < patch or width < patch:
        raise DataError(
            f"{name} is {width}x{height} pixels, smaller than a patch of {patch}x{patch}; "
            "expected at least one patch, set data.patch_size"
        )
    for top, above in _starts(height, patch, overlap, shift=shift):
        for left, beside in _starts(width, patch, overlap, shift=shift):
            yield Window(top, left, (above, beside))
