"""The data of a run as every point reads them: patches, masks and parts in files that are read when they are needed.

``RUN/data/`` has one file of images and one of masks for each part, in NumPy's ``.npy`` format, and ``pack.json``, which
says what they are. A point opens them and reads what a batch needs (:mod:`unet_models.data.npy_files` says how): 36 points
on one node share one copy in the page cache, and the data may be larger than the memory. Runs of the first version have one ``data.npz``, which is read whole.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from unet_models.data.crops import CropRule, Crops, PointSample
from unet_models.data.errors import DataError
from unet_models.data.npy_files import NpyWriter, StoredArray

if TYPE_CHECKING:
    from typing_extensions import Self  # in typing from Python 3.11

PARTS = ("train", "validation", "test")
RECORD = "pack.json"
VERSION = 2
_BLOCK = 2**24  # bytes that are hashed at a time
_AGAIN = "make it again with make_grid.py"


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


class FileRecord(msgspec.Struct, frozen=True):
    """A file of the pack: its size in bytes, and the CRC-32 of each of its chunks of :data:`unet_models.data.npy_files.CHUNK` bytes."""

    size: int
    checksums: tuple[int, ...]


class PackRecord(msgspec.Struct, frozen=True):
    """``pack.json``.

    Attributes:
        version: of the format.
        fingerprint: see :func:`fingerprint`.
        source: where the data come from, in words.
        split: ``contiguous`` or ``random``.
        patch_size: side of a patch, in pixels.
        foreground: number of foreground pixels of each part.
        files: by name.
        notes: what a reader should know about how the data were read and split.
        read: sentences on what was read.
        intensity: see :class:`Intensity`.
        crops: how crops are drawn, where ``data.sampling`` is random.
        test_scoring: ``patches``, or ``slices`` where every pixel of a test slice counts once.
        checksum: CRC-32 of the record without it, as 8 hexadecimal digits.
    """

    version: int
    fingerprint: str
    source: str
    split: str
    patch_size: int
    foreground: dict[str, int]
    files: dict[str, FileRecord]
    notes: tuple[str, ...] = ()
    read: tuple[str, ...] = ()
    intensity: Intensity = Intensity()
    crops: CropRule | None = None
    test_scoring: str = "patches"
    checksum: str = ""


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
        split: the name of the split, ``contiguous`` or ``random``.
        fingerprint: see :func:`fingerprint`.
        notes: what a reader should know about how the data were read and split.
        read: sentences on what was read.
        intensity: the range that became 0 to 1; ``None`` where it is not known, as in packs of the first version.
        crops: whole training slices from which crops are drawn, where ``data.sampling`` is random.
        test_scoring: as in :class:`PackRecord`.
        foregrounds: number of foreground pixels of each part.
        files: what is mapped, with its checksums; empty in memory.
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
        counts = ", ".join(f"{self.count(part)} {part}" for part in PARTS)
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


class PackWriter:
    """Writes a pack slice by slice to the folder ``folder``; nothing is kept in memory but numbers.

    A context manager, which closes the files also where :meth:`finish` was not reached.

    Args:
        folder: new or empty. It is not renamed: write to a temporary folder.
        patch_size: side of a patch, in pixels.
        dtype: of the images, uint8 or uint16.
        crops: the rule of random crops, if training slices are stored whole.
    """

    def __init__(self, folder: Path, *, patch_size: int, dtype: Any, crops: CropRule | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._size, self._rule = folder, patch_size, crops
        patch = (patch_size, patch_size)
        self._images = {name: NpyWriter(folder / f"{name}_images.npy", dtype, patch) for name in PARTS}
        row = ((patch_size**2 + 7) // 8,)
        self._bits = {name: NpyWriter(folder / f"{name}_masks.npy", np.uint8, row) for name in PARTS}
        self._numbers: dict[str, list[np.ndarray]] = {"part": [], "z": [], "volume": [], "fresh": []}
        self._foreground = dict.fromkeys(PARTS, 0)
        self._whole: tuple[NpyWriter, NpyWriter] | None = None
        self._slices: list[tuple[int, ...]] = []
        self._points = PointSample()
        if crops is not None:
            whole = folder / "train_slices.npy", folder / "train_slice_masks.npy"
            self._whole = NpyWriter(whole[0], dtype, ()), NpyWriter(whole[1], np.uint8, ())

    def _writers(self) -> list[NpyWriter]:
        return [*self._images.values(), *self._bits.values(), *(self._whole or ())]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for one in self._writers():
            one.abandon()

    def add(
        self,
        part: str,
        images: np.ndarray,
        masks: np.ndarray,
        z: int,
        *,
        volume: int = 0,
        fresh: Sequence[tuple[int, int]] | None = None,
    ) -> None:
        """Append patches of one slice.

        Args:
            part: one of :data:`PARTS`.
            images: uint8 or uint16 (k, P, P).
            masks: bool (k, P, P).
            z: number of the slice, in 32 bits.
            volume: number of its volume.
            fresh: for each patch, as :attr:`Patches.fresh`; zeros by default.
        """
        count = len(images)
        self._images[part].add(images)
        self._bits[part].add(pack_bits(masks))
        self._foreground[part] += int(masks.sum())
        self._numbers["part"].append(np.full(count, PARTS.index(part), np.int8))
        self._numbers["z"].append(np.full(count, z, np.int32))
        self._numbers["volume"].append(np.full(count, volume, np.int16))
        self._numbers["fresh"].append(np.asarray(fresh or [(0, 0)] * count, np.int16).reshape(count, 2))

    def add_slice(self, image: np.ndarray, mask: np.ndarray, z: int, *, volume: int = 0) -> None:
        """Append a whole slice of the training part: ``image`` (height, width) and ``mask``, bool of the same shape."""
        if self._whole is None:
            raise ValueError("add_slice: received a whole slice, but no rule of crops")
        images, bits = self._whole
        self._slices.append((*image.shape, images.count, bits.count, z, volume))
        self._points.add(len(self._slices) - 1, mask)
        self._foreground["train"] += int(mask.sum())
        images.add(image.ravel())
        bits.add(np.packbits(mask, axis=1).ravel())

    def finish(
        self,
        source: str,
        split: str,
        *,
        notes: tuple[str, ...] = (),
        read: tuple[str, ...] = (),
        intensity: Intensity | None = None,
        test_scoring: str = "patches",
    ) -> PackedData:
        """Complete the files, compute the fingerprint and write ``pack.json``; the data, as :func:`read_packed` gives them."""
        written = self._writers()
        for one in written:
            one.close()
        files = {one.path.name: FileRecord(one.size, one.checksums) for one in written}
        for name, values in self._numbers.items():
            files[f"{name}.npy"] = _save(self._folder / f"{name}.npy", np.concatenate(values))
        if self._rule is not None:
            for name, array in (
                ("slices", np.array(self._slices, np.int64)),
                ("points", self._points.points()),
            ):
                files[f"{name}.npy"] = _save(self._folder / f"{name}.npy", array)
        record = PackRecord(
            version=VERSION, fingerprint="", source=source, split=split, patch_size=self._size,
            foreground=self._foreground, files=files, notes=notes, read=read,
            intensity=intensity or Intensity(levels=int(np.iinfo(self._images["train"].dtype).max)),
            crops=self._rule, test_scoring=test_scoring,
        )  # fmt: skip
        data = _opened(self._folder, record).with_fingerprint()
        record = msgspec.structs.replace(record, fingerprint=data.fingerprint)
        record = msgspec.structs.replace(record, checksum=_checksum(record))
        text = msgspec.json.format(msgspec.json.encode(record), indent=1)
        with (self._folder / RECORD).open("wb") as stream:
            stream.write(text + b"\n")
            stream.flush()
            os.fsync(stream.fileno())
        return data


def _checksum(record: PackRecord) -> str:
    """The CRC-32 of ``record`` without its own checksum."""
    content = msgspec.json.encode(msgspec.structs.replace(record, checksum=""))
    return f"{zlib.crc32(content):08x}"


def _save(path: Path, array: np.ndarray) -> FileRecord:
    """Write ``array`` to the new file ``path``, in the form of :class:`NpyWriter`."""
    writer = NpyWriter(path, array.dtype, array.shape[1:])
    writer.add(array)
    writer.close()
    return FileRecord(writer.size, writer.checksums)


def _opened(folder: Path, record: PackRecord) -> PackedData:
    """The data that ``record`` describes, in the files in ``folder``; :class:`DataError` where they do not fit."""
    files = {name: StoredArray(folder / name, one.size, one.checksums) for name, one in record.files.items()}

    def file(name: str, *row: int, dtypes: tuple[str, ...] = ("uint8",)) -> StoredArray:
        one = files.get(f"{name}.npy")
        if one is None or one.shape[1:] != row or one.dtype.name not in dtypes:
            found = "no such file" if one is None else f"{one.dtype} {one.shape}"
            raise DataError(
                f"{folder / name}.npy: {found}, expected {' or '.join(dtypes)} (n, ...{row}); {_AGAIN}"
            )
        return one

    size, depths = record.patch_size, ("uint8", "uint16")
    part, fresh = file("part", dtypes=("int8",))[:], file("fresh", 2, dtypes=("int16",))[:]
    z, volume = file("z", dtypes=("int32",))[:], file("volume", dtypes=("int16",))[:]
    parts = {}
    for index, name in enumerate(PARTS):
        images = file(f"{name}_images", size, size, dtypes=depths)
        bits = file(f"{name}_masks", (size**2 + 7) // 8)
        chosen = part == index
        if not len(images) == len(bits) == chosen.sum() or not len(part) == len(fresh) == len(z) == len(
            volume
        ):
            raise DataError(
                f"{folder}: the files of the {name} part have different numbers of patches; {_AGAIN}"
            )
        parts[name] = Patches(images, bits, fresh[chosen])
    crops = None
    if record.crops is not None:
        whole = file("train_slices", dtypes=depths), file("train_slice_masks")
        slices, points = file("slices", 6, dtypes=("int64",))[:], file("points", 3, dtypes=("int32",))[:]
        crops = Crops(record.crops, *whole, slices, points)
    return PackedData(
        parts, part, z, volume, record.source, record.split, record.fingerprint, record.notes, record.read,
        record.intensity, crops, record.test_scoring, record.foreground, tuple(files.values()),
    )  # fmt: skip


def read_packed(path: Path) -> PackedData:
    """The data of a run, from its folder, or from the one file of the first version.

    The files of a folder are opened and their sizes compared at once, in milliseconds; their pixels are compared only by
    :meth:`PackedData.verify`. The one file is read whole, and its fingerprint compared.

    Raises:
        DataError: something is missing, damaged or incomplete.
    """
    if path.suffix == ".npz":
        return _read_first_version(path)
    try:
        record = msgspec.json.decode((path / RECORD).read_bytes(), type=PackRecord)
    except (OSError, msgspec.MsgspecError, UnicodeError) as error:
        raise DataError(f"{path / RECORD} cannot be read ({error}); {_AGAIN}") from error
    if record.version != VERSION:
        raise DataError(
            f"{path / RECORD} has the version {record.version}, and this program reads version {VERSION}; use the program "
            "that made the run"
        )
    if record.checksum != _checksum(record):
        raise DataError(f"{path / RECORD} is damaged: its checksum is not the one that was written; {_AGAIN}")
    return _opened(path, record)


def _read_first_version(path: Path) -> PackedData:
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            words = json.loads(archive["words"].tobytes())
            shape = tuple(words["shape"])
            masks = np.unpackbits(archive["masks"], count=int(np.prod(shape))).reshape(shape).astype(bool)
            packed = PackedData.of_arrays(
                archive["images"],
                masks,
                archive["part"],
                archive["z"],
                words["source"],
                words["split"],
                notes=tuple(words["notes"]),
                fingerprint=words["fingerprint"],
            )
    except (OSError, ValueError, KeyError, TypeError, IndexError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} cannot be read ({error}); {_AGAIN}") from error
    found = fingerprint(packed)
    if found != packed.fingerprint:
        raise DataError(
            f"{path} is damaged: its pixels have the fingerprint {found}, expected {packed.fingerprint}; {_AGAIN}"
        )
    return packed
