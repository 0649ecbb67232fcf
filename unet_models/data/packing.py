"""Writing the packed data of a run, slice by slice, and reading them.

``RUN/data/`` has one file of images and one of masks for each part, in NumPy's ``.npy`` format, and ``pack.json``, which
says what they are. Runs of the first version have one ``data.npz``, which is read whole.
"""

from __future__ import annotations

import json
import os
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from unet_models.data.crops import CropRule, Crops, PointSample
from unet_models.data.errors import DataError
from unet_models.data.npy_files import NpyWriter, StoredArray
from unet_models.data.packed import PARTS, Intensity, PackedData, Patches, fingerprint, pack_bits
from unet_models.stored_files import check_archive, open_regular

if TYPE_CHECKING:
    from typing_extensions import Self  # in typing from Python 3.11

RECORD = "pack.json"
VERSION = 2
_LARGEST_RECORD = 64 * 2**20  # bytes; it has 10 for each 16 MiB of data
_AGAIN = "make it again with make_grid.py"


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
        split: ``contiguous``, ``random`` or ``volume-wise``.
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
        with open_regular(path / RECORD, _LARGEST_RECORD) as stream:
            record = msgspec.json.decode(stream.read(), type=PackRecord)
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
        with open_regular(path) as stream:
            check_archive(stream, compressed=True)
            archive = np.load(stream, allow_pickle=False)
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
