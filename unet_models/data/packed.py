"""The data of a run as every point reads them: patches, masks and parts in files that are read when they are needed.

``RUN/data/`` has one file of images and one of masks for each part, in NumPy's ``.npy`` format, and ``pack.json``, which
says what they are. A point opens them and reads what a batch needs (:mod:`unet_models.data.npy_files` says how): 36 points
on one node share one copy in the page cache, and the data may be larger than the memory. Runs of the first version have one ``data.npz``, which is read whole.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import numpy as np

from unet_models.data.crops import Crops
from unet_models.data.npy_files import StoredArray

PARTS = ("train", "validation", "test")
_BLOCK = 2**24  # bytes that are hashed at a time


class Intensity(msgspec.Struct, frozen=True):
    """The stored values that are black and white, and the number of pixels that this range clips.

    Attributes:
        low: the value in the files that is 0 for the network.
        high: the value in the files that is 1 for the network.
        levels: largest value of a patch, 255 or 65535.
        clipped_low: pixels below ``low``, of ``pixels``.
        clipped_high: pixels above ``high``, of ``pixels``.
        pixels: of all slices that were read.
    """

    low: float = 0.0
    high: float = 255.0
    levels: int = 255
    clipped_low: int = 0
    clipped_high: int = 0
    pixels: int = 0


@dataclass(frozen=True)
class Patches:
    """The patches of one part, in memory or in files, from which they are read when they are needed.

    Attributes:
        images: uint8 or uint16 (n, P, P).
        bits: uint8 (n, B): the P * P pixels of each mask as bits, row by row; B is P * P / 8, rounded up.
        fresh: int (n, 2): rows and columns at the upper and left side that patches before it cover already.
    """

    images: np.ndarray | StoredArray
    bits: np.ndarray | StoredArray
    fresh: np.ndarray

    @classmethod
    def of_arrays(cls, images: np.ndarray, masks: np.ndarray) -> Patches:
        """Patches in memory: ``images`` uint8 or uint16 (n, P, P), ``masks`` bool (n, P, P)."""
        return cls(images, pack_bits(masks), np.zeros((len(images), 2), np.int16))

    def __len__(self) -> int:
        return len(self.images)

    @property
    def size(self) -> int:
        """Side of a patch, in pixels."""
        return int(self.images.shape[1])

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the images: uint8 or uint16."""
        return self.images.dtype

    def take(self, rows: np.ndarray, epoch: int) -> tuple[np.ndarray, np.ndarray]:  # noqa: ARG002 - equal in all epochs
        """Copies of the images and masks of ``rows``, int (k,), the same in every ``epoch``."""
        return self.read(rows)

    def shares(self) -> np.ndarray:
        """Foreground share of each mask, 0 to 1, float (n,)."""
        step = max(1, _BLOCK // max(1, self.size**2))
        blocks = [self.masks(slice(start, start + step)) for start in range(0, len(self), step)]
        return np.concatenate([one.reshape(len(one), -1).mean(axis=1) for one in blocks] or [np.zeros(0)])

    def masks(self, rows: np.ndarray | slice = slice(None)) -> np.ndarray:
        """The masks of ``rows``, bool (k, P, P)."""
        return unpack(self.bits[rows], self.size)

    def read(self, rows: np.ndarray | slice = slice(None)) -> tuple[np.ndarray, np.ndarray]:
        """The images and masks of ``rows``; not copied where they are a slice of what is in memory."""
        return self.images[rows], self.masks(rows)


def _head(array: np.ndarray | StoredArray, count: int) -> np.ndarray | StoredArray:
    """The first ``count`` rows, not copied."""
    return array.head(count) if isinstance(array, StoredArray) else array[:count]


def pack_bits(masks: np.ndarray) -> np.ndarray:
    """``masks``, bool (k, P, P), as :attr:`Patches.bits`."""
    return np.packbits(masks.reshape(len(masks), masks.shape[1] * masks.shape[2]), axis=1)


def unpack(bits: np.ndarray, size: int) -> np.ndarray:
    """The inverse of :func:`pack_bits`, for patches of ``size`` x ``size`` pixels."""
    flat = np.unpackbits(bits, axis=1, count=size * size)
    return flat.reshape(len(bits), size, size).view(bool)


@dataclass(frozen=True)
class PackedData:
    """Patches in order of their slices, each in one of the parts.

    Attributes:
        parts: the patches of each of :data:`PARTS`.
        part: int8 (N,), index into :data:`PARTS` of every patch, in the order of their slices.
        z: int32 (N,), slice number.
        volume: int16 (N,), number of the volume.
        source: where the data come from, in words.
        split: the name of the split: ``contiguous``, ``random``, or ``volume-wise`` where whole volumes validate.
        fingerprint: see :func:`fingerprint`.
        notes: what a reader should know about how the data were read and split.
        read: sentences on what was read.
        intensity: the range that became 0 to 1; ``None`` where it is not known, as in packs of the first version.
        crops: whole training slices from which crops are drawn, where ``data.sampling`` is random.
        test_scoring: as in :class:`unet_models.data.packing.PackRecord`.
        foregrounds: number of foreground pixels of each part.
        files: all files of the pack, with their checksums; empty for data in memory.
    """

    parts: Mapping[str, Patches]
    part: np.ndarray
    z: np.ndarray
    volume: np.ndarray
    source: str
    split: str
    fingerprint: str = ""
    notes: tuple[str, ...] = ()
    read: tuple[str, ...] = ()
    intensity: Intensity | None = None
    crops: Crops | None = None
    test_scoring: str = "patches"
    foregrounds: Mapping[str, int] = field(default_factory=dict)
    files: tuple[StoredArray, ...] = ()

    @classmethod
    def of_arrays(
        cls,
        images: np.ndarray,
        masks: np.ndarray,
        part: np.ndarray,
        z: np.ndarray,
        source: str,
        split: str,
        **more: Any,
    ) -> PackedData:
        """Data in memory: ``images`` uint8 or uint16 (N, P, P), ``masks`` bool (N, P, P), ``part`` and ``z`` int (N,)."""
        parts = {}
        for index, name in enumerate(PARTS):
            chosen = part == index
            parts[name] = Patches.of_arrays(images[chosen], masks[chosen])
        foregrounds = {name: int(masks[part == index].sum()) for index, name in enumerate(PARTS)}
        volume = np.zeros(len(part), np.int16)
        return cls(parts, part, z, volume, source, split, foregrounds=foregrounds, **more)

    @property
    def patch_size(self) -> int:
        """Side of a patch, in pixels."""
        return int(self.parts["train"].images.shape[1])

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the images: uint8 or uint16."""
        return self.parts["validation"].images.dtype

    def patches(self, part: str) -> Patches:
        """The patches of ``train``, ``validation`` or ``test``; ``test`` may be empty."""
        return self.parts[part]

    def select(self, part: str) -> tuple[np.ndarray, np.ndarray]:
        """The images and masks of a part, in memory."""
        return self.parts[part].read()

    def rows(self, part: str) -> np.ndarray:
        """Row numbers of the patches of ``part`` among all, int32 (n,), in the order of :meth:`select`."""
        return np.flatnonzero(self.part == PARTS.index(part)).astype(np.int32)

    def count(self, part: str) -> int:
        """Number of patches of ``part`` in an epoch."""
        if part == "train" and self.crops is not None:
            return self.crops.rule.crops_per_epoch
        return len(self.parts[part])

    def foreground(self, part: str) -> float:
        """Share of mitochondria pixels in ``part``, 0 to 1; 0 for an empty part.

        This is the Jaccard index of predicting foreground everywhere: the chance level.
        """
        pixels = self._pixels(part)
        return self.foregrounds[part] / pixels if pixels else 0.0

    def _pixels(self, part: str) -> int:
        if part == "train" and self.crops is not None:
            return self.crops.pixels
        return self.parts[part].images.size

    def describe(self) -> str:
        """One line for people: numbers, split, source, foreground and fingerprint."""
        crops = " crops in each epoch" if self.crops is not None else ""
        counts = ", ".join(f"{self.count(part)} {part}{crops if part == 'train' else ''}" for part in PARTS)
        size = self.patch_size
        share = sum(self.foregrounds.values()) / sum(self._pixels(part) for part in PARTS)
        total = sum(self.count(part) for part in PARTS)
        return (
            f"{total} patches of {size}x{size} ({counts}; {self.split} split) from {self.source}; "
            f"foreground {100 * share:.1f} %; fingerprint {self.fingerprint}"
        )

    @property
    def images(self) -> np.ndarray:
        """All images in the order of :attr:`part`, (N, P, P), in memory."""
        return self._assembled([self.parts[name].images[:] for name in PARTS])

    @property
    def masks(self) -> np.ndarray:
        """All masks in the order of :attr:`part`, bool (N, P, P), in memory."""
        return self._assembled([self.parts[name].masks() for name in PARTS])

    def shortened(self, counts: Mapping[str, int]) -> PackedData:
        """The first ``counts`` samples of each part, with the same files; for a trial of speed, not for a result."""
        parts = {
            name: Patches(
                _head(one.images, counts[name]), _head(one.bits, counts[name]), one.fresh[: counts[name]]
            )
            for name, one in self.parts.items()
        }
        kept = np.concatenate([self.rows(name)[: counts[name]] for name in PARTS])
        crops = self.crops
        if crops is not None:
            crops = replace(crops, rule=msgspec.structs.replace(crops.rule, crops_per_epoch=counts["train"]))
        return replace(
            self,
            parts=parts,
            part=self.part[kept],
            z=self.z[kept],
            volume=self.volume[kept],
            crops=crops,
            files=(),
        )

    def with_fingerprint(self) -> PackedData:
        """The same data with their :attr:`fingerprint`."""
        return replace(self, fingerprint=fingerprint(self))

    def verify(self) -> None:
        """Read every file and compare its checksums; :class:`DataError` where one is damaged."""
        for one in self.files:
            one.verify()

    def look(self) -> None:
        """Raise the :class:`DataError` that a read of a file ended with, if there was one."""
        arrays = [array for one in self.parts.values() for array in (one.images, one.bits)]
        for array in (*arrays, *((self.crops.images, self.crops.bits) if self.crops else ())):
            if isinstance(array, StoredArray) and array.problem is not None:
                raise array.problem

    def _assembled(self, parts: Sequence[np.ndarray]) -> np.ndarray:
        result = np.empty((len(self.part), *parts[0].shape[1:]), parts[0].dtype)
        for index, values in enumerate(parts):
            result[self.part == index] = values
        return result


def fingerprint(data: PackedData) -> str:
    """``COUNTxHEIGHTxWIDTH-HASH``: equal for equal pixels, slices and split, wherever they were read from.

    The hash is the first 16 hexadecimal digits of a SHA-256 over images, masks as bits, parts and slice numbers, in the
    order of slices; then over what the first version did not have: volumes where there are several, slices and rule of
    random crops, and other scoring of the test part. The data are read once, in blocks.
    """
    digest = hashlib.sha256()

    def update(array: np.ndarray) -> None:
        digest.update(str(array.shape).encode())
        digest.update(np.ascontiguousarray(array).tobytes())

    count, size = len(data.part), data.patch_size
    digest.update(str((count, size, size)).encode())
    for patches, rows in _runs(data):
        digest.update(np.ascontiguousarray(patches.images[rows]).data)
    digest.update(str(((count * size * size + 7) // 8,)).encode())
    for packed in _continuous_bits(data):
        digest.update(packed.data)
    update(data.part)
    update(data.z.astype("<i4"))
    if data.volume.any():
        update(data.volume)
    if data.crops is not None:
        digest.update(repr(data.crops.rule).encode())
        update(data.crops.slices)
        for array in (data.crops.images, data.crops.bits):
            digest.update(str(array.shape).encode())
            step = _BLOCK // array.dtype.itemsize
            for start in range(0, len(array), step):
                digest.update(np.ascontiguousarray(array[start : start + step]).data)
    if data.test_scoring != "patches":
        digest.update(data.test_scoring.encode())
    total = count + (data.crops.rule.crops_per_epoch if data.crops else 0)
    return f"{total}x{size}x{size}-{digest.hexdigest()[:16]}"


def _runs(data: PackedData) -> Iterator[tuple[Patches, slice]]:
    """All patches in the order of :attr:`PackedData.part`, in blocks: the patches of a part, and rows in it."""
    borders = [*np.flatnonzero(np.diff(data.part, prepend=-2)).tolist(), len(data.part)]
    done = dict.fromkeys(range(len(PARTS)), 0)
    step = max(1, _BLOCK // max(1, data.patch_size**2 * data.dtype.itemsize))
    for start, end in itertools.pairwise(borders):
        index = int(data.part[start])
        patches = data.parts[PARTS[index]]
        last = done[index] + end - start
        for row in range(done[index], last, step):
            yield patches, slice(row, min(row + step, last))
        done[index] = last


def _continuous_bits(data: PackedData) -> Iterator[np.ndarray]:
    """The masks of all patches as one stream of bits, as ``np.packbits`` of all of them would give it."""
    size = data.patch_size
    rest = np.zeros(0, np.uint8)
    for patches, rows in _runs(data):
        if size * size % 8 == 0:
            yield np.ascontiguousarray(patches.bits[rows])
            continue
        bits = np.concatenate([rest, patches.masks(rows).ravel().view(np.uint8)])
        whole = len(bits) // 8 * 8
        yield np.packbits(bits[:whole])
        rest = bits[whole:]
    if len(rest):
        yield np.packbits(rest)
