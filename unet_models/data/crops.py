"""Random crops of whole slices, drawn anew in each epoch (``data.sampling: random``).

The crops of an epoch depend only on the seed and the number of the epoch: a resumed point gets the same ones.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np

from unet_models.data.npy_files import StoredArray

MOST_POINTS = 2**20  # foreground pixels that are kept as places for crops
_BAND = 2**20  # pixels of a mask that are searched for foreground at a time
_WHOLE_ROWS = 2**13  # bytes of a row up to which one read of whole rows takes less time than one for each row


class CropRule(msgspec.Struct, frozen=True):
    """How crops are drawn.

    Attributes:
        patch_size: side of a crop, in pixels.
        crops_per_epoch: their number in an epoch.
        foreground_share: share of them, 0 to 1, that hold at least one foreground pixel for certain.
    """

    patch_size: int
    crops_per_epoch: int
    foreground_share: float


@dataclass(frozen=True)
class Crops:
    """Whole training slices, and how crops are drawn from them.

    Attributes:
        rule: see :class:`CropRule`.
        images: uint8 or uint16 (pixels,): the slices one after another, row by row.
        bits: uint8 (bytes,): the rows of their masks as bits, each row in whole bytes.
        slices: int64 (n, 6): height, width, first pixel in ``images``, first byte in ``bits``, slice number, volume.
        points: int32 (m, 3): slice, row and column of foreground pixels, at most :data:`MOST_POINTS`, chosen at random.
    """

    rule: CropRule
    images: StoredArray
    bits: StoredArray
    slices: np.ndarray
    points: np.ndarray

    @property
    def pixels(self) -> int:
        """Of all slices."""
        return int((self.slices[:, 0] * self.slices[:, 1]).sum())

    def places(self, seed: int, epoch: int) -> np.ndarray:
        """Slice, top row and left column of every crop of an epoch, int64 (``crops_per_epoch``, 3).

        The first ``foreground_share`` of them hold a foreground pixel, which is chosen uniformly; the crop lies at
        random around it, on the slice. The others lie anywhere, uniformly over all places of all slices.
        """
        rule, size = self.rule, self.rule.patch_size
        generator = np.random.Generator(np.random.Philox(key=[seed, epoch]))
        count = rule.crops_per_epoch
        aimed = round(rule.foreground_share * count) if len(self.points) else 0
        rooms = self.slices[:, :2] - size + 1  # numbers of rows and columns where a crop may begin
        weights = rooms.prod(axis=1) / rooms.prod(axis=1).sum()
        chosen = generator.choice(len(self.slices), size=count, p=weights)
        corner = generator.integers(0, rooms[chosen])
        if aimed:
            points = self.points[generator.integers(0, len(self.points), aimed)]
            chosen[:aimed] = points[:, 0]
            around = points[:, 1:] - generator.integers(0, size, (aimed, 2))
            corner[:aimed] = np.clip(around, 0, rooms[chosen[:aimed]] - 1)
        return np.column_stack([chosen, corner])

    def read(self, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Images (k, P, P) and masks, bool (k, P, P), of the crops at ``places``, int (k, 3)."""
        size = self.rule.patch_size
        images = np.empty((len(places), size, size), self.images.dtype)
        masks = np.empty((len(places), size, size), bool)
        for number, (index, top, left) in enumerate(places.tolist()):
            _, width, pixel, byte, _, _ = self.slices[index].tolist()
            images[number] = _window(self.images, pixel, width, (top, left), size, size)
            first, last = left // 8, (left + size + 7) // 8
            bits = _window(self.bits, byte, (width + 7) // 8, (top, first), size, last - first)
            masks[number] = np.unpackbits(bits, axis=1)[:, left - 8 * first :][:, :size]
        return images, masks


def _window(
    array: StoredArray, first: int, row: int, corner: tuple[int, int], height: int, width: int
) -> np.ndarray:
    """``height`` x ``width`` elements from ``corner`` on, of a slice in ``array``.

    The slice begins at the element ``first`` and has ``row`` elements per row.
    """
    top, left = corner
    start = first + top * row
    if row * array.dtype.itemsize <= _WHOLE_ROWS:
        rows = array.read(start, np.empty(height * row, array.dtype))
        return rows.reshape(height, row)[:, left : left + width]
    result = np.empty((height, width), array.dtype)
    for number in range(height):
        array.read(start + number * row + left, result[number])
    return result


@dataclass
class DrawnCrops:
    """The crops that a point with the seed ``seed`` trains on, as samples of batches."""

    crops: Crops
    seed: int
    _places: dict[int, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return self.crops.rule.crops_per_epoch

    @property
    def size(self) -> int:
        """Side of a crop, in pixels."""
        return self.crops.rule.patch_size

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the images: uint8 or uint16."""
        return self.crops.images.dtype

    def take(self, rows: np.ndarray, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Images (k, P, P) and masks, bool (k, P, P), of the crops ``rows``, int (k,), of an ``epoch``, from 0."""
        places = self._places.get(epoch)
        if places is None:
            # The batches of two epochs are made at the same time where one ends and the next begins.
            self._places = {key: value for key, value in self._places.items() if key == epoch - 1}
            places = self._places[epoch] = self.crops.places(self.seed, epoch)
        return self.crops.read(places[rows])


class PointSample:
    """At most :data:`MOST_POINTS` foreground pixels of slices that come one after another, each with equal probability."""

    def __init__(self, limit: int = MOST_POINTS) -> None:
        self._limit = limit
        self._generator = np.random.Generator(np.random.Philox(key=0))
        self._points = np.zeros((0, 3), np.int32)
        self._keys = np.zeros(0)

    def add(self, index: int, mask: np.ndarray) -> None:
        """Add the mask, bool (height, width), of the slice ``index``."""
        rows = max(1, _BAND // mask.shape[1])
        for top in range(0, len(mask), rows):  # in bands, whose points take 40 MB at most
            found = np.argwhere(mask[top : top + rows]).astype(np.int32)
            found[:, 0] += top
            keys = np.concatenate([self._keys, self._generator.random(len(found))])
            points = np.concatenate([self._points, np.insert(found, 0, index, axis=1)])
            if len(keys) > self._limit:  # those with the smallest random keys are a uniform sample of all
                kept = np.sort(np.argpartition(keys, self._limit)[: self._limit])
                keys, points = keys[kept], points[kept]
            self._keys, self._points = keys, points

    def points(self) -> np.ndarray:
        """int32 (m, 3): slice, row, column."""
        return self._points
