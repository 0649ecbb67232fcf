"""The data of a run as every point reads them: patches, masks and parts in one file, verified by a fingerprint."""

from __future__ import annotations

import hashlib
import json
import zipfile
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from unet_models.data.errors import DataError

PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class PackedData:
    """Patches in order of their slices, each in one of the parts.

    Attributes:
        images: uint8 (N, P, P).
        masks: bool (N, P, P), true for mitochondria.
        part: int8 (N,), index into :data:`PARTS`.
        z: int32 (N,), slice number.
        source: where the data come from, in words.
        split: the name of the split, ``contiguous`` or ``random``.
        fingerprint: see :func:`fingerprint`; empty until :meth:`with_fingerprint`.
        notes: what a reader should know about how the data were read and split.
    """

    images: np.ndarray
    masks: np.ndarray
    part: np.ndarray
    z: np.ndarray
    source: str
    split: str
    fingerprint: str = ""
    notes: tuple[str, ...] = field(default=())

    def select(self, part: str) -> tuple[np.ndarray, np.ndarray]:
        """Copies of the images and masks of ``train``, ``validation`` or ``test``; ``test`` may be empty."""
        chosen = self.part == PARTS.index(part)
        return self.images[chosen], self.masks[chosen]

    def rows(self, part: str) -> np.ndarray:
        """Row numbers of the patches of ``part``, int32 (n,), in the order of :meth:`select`."""
        return np.flatnonzero(self.part == PARTS.index(part)).astype(np.int32)

    def count(self, part: str) -> int:
        """Number of patches in ``part``."""
        return int((self.part == PARTS.index(part)).sum())

    def foreground(self, part: str) -> float:
        """Share of mitochondria pixels in ``part``, 0 to 1; 0 for an empty part.

        This is the Jaccard index of predicting foreground everywhere: the chance level.
        """
        _, masks = self.select(part)
        return float(masks.mean()) if masks.size else 0.0

    def describe(self) -> str:
        """One line for people: numbers, split, source, foreground and fingerprint."""
        counts = ", ".join(f"{self.count(part)} {part}" for part in PARTS)
        size = self.images.shape[1]
        return (
            f"{len(self.part)} patches of {size}x{size} ({counts}; {self.split} split) from {self.source}; "
            f"foreground {100 * self.masks.mean():.1f} %; fingerprint {self.fingerprint}"
        )

    def with_fingerprint(self) -> PackedData:
        """The same data with their :attr:`fingerprint`."""
        return replace(self, fingerprint=fingerprint(self.images, self.masks, self.part, self.z))


def fingerprint(images: np.ndarray, masks: np.ndarray, part: np.ndarray, z: np.ndarray) -> str:
    """``COUNTxHEIGHTxWIDTH-HASH``: equal for equal pixels, slices and split, wherever they were read from.

    The hash is the first 16 hexadecimal digits of a SHA-256.
    """
    digest = hashlib.sha256()
    for array in (images, np.packbits(masks), part, z.astype("<i4")):
        digest.update(str(array.shape).encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return "x".join(str(length) for length in images.shape) + "-" + digest.hexdigest()[:16]


def write_packed(path: Path, packed: PackedData) -> None:
    """Write ``packed`` to ``path``: an uncompressed ``.npz``, one bit per pixel of the masks.

    This is not atomic: write to a temporary path and rename it.
    """
    words = {
        "source": packed.source,
        "split": packed.split,
        "fingerprint": packed.fingerprint,
        "notes": list(packed.notes),
        "shape": list(packed.masks.shape),
    }
    with path.open("wb") as stream:
        np.savez(
            stream,
            images=packed.images,
            masks=np.packbits(packed.masks),
            part=packed.part,
            z=packed.z,
            words=np.frombuffer(json.dumps(words).encode(), np.uint8),
        )


def read_packed(path: Path) -> PackedData:
    """Read and verify a file that :func:`write_packed` wrote.

    Raises:
        DataError: the file is missing or damaged, or its pixels do not match its fingerprint.
    """
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            words = json.loads(archive["words"].tobytes())
            shape = tuple(words["shape"])
            masks = np.unpackbits(archive["masks"], count=int(np.prod(shape))).reshape(shape).astype(bool)
            packed = PackedData(
                archive["images"],
                masks,
                archive["part"],
                archive["z"],
                words["source"],
                words["split"],
                words["fingerprint"],
                tuple(words["notes"]),
            )
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} cannot be read ({error}); make it again with make_grid.py") from error
    found = fingerprint(packed.images, packed.masks, packed.part, packed.z)
    if found != packed.fingerprint:
        raise DataError(
            f"{path} is damaged: its pixels have the fingerprint {found}, expected {packed.fingerprint}; "
            "make it again with make_grid.py"
        )
    return packed
