"""Images and masks -> patches, split into training, validation and test, in one packed file.

The split is made on slices, before they are cut, because neighbouring slices are near copies of each
other (mask IoU 0.92 at distance 1 in FIB-SEM): a random split of patches scores memory, not learning.
"""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from unet_models.data.images import (
    DataError,
    image_files,
    pair_files,
    read_pages,
    to_grey8,
    to_mask,
)

PARTS = ("train", "validation", "test")
UNUSED = -1  # slices in the gap belong to no part
VOLUME_NAMES = {"train": ("training", "training_groundtruth"), "test": ("testing", "testing_groundtruth")}
_SLICE_WORDS = r"(?i)(?:^|[_\-. ])(?:z|slice|sec|section|page)[_\-]?(\d+)"


@dataclass(frozen=True)
class Slice:
    """One slice of a stack: its place ``z`` (slices), where it comes from, image and mask (height, width)."""

    z: int
    name: str
    image: np.ndarray
    mask: np.ndarray


@dataclass(frozen=True)
class Stack:
    """Slices in order of ``z``, and what a reader should know of how they were found."""

    slices: list[Slice]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class PackedData:
    """The data of a run, as every point reads it.

    ``images`` uint8 (N, P, P); ``masks`` bool (N, P, P); ``part`` int8 (N,): index into :data:`PARTS`;
    ``z`` int32 (N,): slice number; ``fingerprint``: count, patch size and hash of pixels and split.
    ``source`` says in words where the data come from; ``split`` is the split's name.
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
        """Images and masks of ``train``, ``validation`` or ``test``; the arrays may be empty for ``test``."""
        chosen = self.part == PARTS.index(part)
        return self.images[chosen], self.masks[chosen]

    def rows(self, part: str) -> np.ndarray:
        """int32: where the patches of ``part`` stand among all, in the order of :meth:`select`."""
        return np.flatnonzero(self.part == PARTS.index(part)).astype(np.int32)

    def count(self, part: str) -> int:
        """Number of patches in ``part``."""
        return int((self.part == PARTS.index(part)).sum())

    def foreground(self, part: str) -> float:
        """Share of mitochondria pixels in ``part``, 0 to 1: the Jaccard index of predicting foreground
        everywhere, which is the level of chance."""
        _, masks = self.select(part)
        return float(masks.mean()) if masks.size else 0.0

    def describe(self) -> str:
        """One line for people."""
        counts = ", ".join(f"{self.count(part)} {part}" for part in PARTS)
        size = self.images.shape[1]
        return (
            f"{len(self.part)} patches of {size}x{size} ({counts}; {self.split} split) from {self.source}; "
            f"foreground {100 * self.masks.mean():.1f} %; fingerprint {self.fingerprint}"
        )


def _slice_numbers(stems: list[str], pattern: str | None) -> list[int] | None:
    """The slice number in every stem, or ``None`` if the names do not tell."""
    if pattern is not None:
        found = [re.search(pattern, stem) for stem in stems]
        for stem, match in zip(stems, found, strict=True):
            if match is None or not (match.group(1) or "").isdigit():
                raise DataError(
                    f"data.slice_pattern {pattern!r} finds no number in the name '{stem}'; "
                    "expected one group of digits in every name"
                )
        return [int(match.group(1)) for match in found if match]
    found = [re.search(_SLICE_WORDS, stem) for stem in stems]
    if all(found):
        return [int(match.group(1)) for match in found if match]
    return None


def _read_folders(images: Path, masks: Path, data: Mapping[str, Any]) -> Stack:
    pairs = pair_files(image_files(images), image_files(masks))
    numbers = _slice_numbers([image.stem for image, _ in pairs], data["slice_pattern"])
    notes: tuple[str, ...] = ()
    slices = []
    for order, (image_path, mask_path) in enumerate(pairs):
        for page, (image, mask) in enumerate(_read_pair(image_path, mask_path, data)):
            z = numbers[order] + page if numbers else len(slices)
            slices.append(
                Slice(z, image_path.name if page == 0 else f"{image_path.name}[{page}]", image, mask)
            )
    if numbers is None:
        notes = (
            "the file names do not tell slice numbers (as in 'z012'): each file counts as one slice, in natural "
            "order. If several patches come from one slice, set data.slice_pattern, or the split may leak",
        )
    slices.sort(key=lambda one: one.z)
    return Stack(slices, notes)


def _read_pair(
    image_path: Path, mask_path: Path, data: Mapping[str, Any]
) -> list[tuple[np.ndarray, np.ndarray]]:
    images, masks = list(read_pages(image_path)), list(read_pages(mask_path))
    if len(images) != len(masks):
        raise DataError(
            f"{mask_path} has {len(masks)} pages and {image_path} has {len(images)}; expected as many masks as images"
        )
    result = []
    for page, (image, mask) in enumerate(zip(images, masks, strict=True)):
        where = mask_path if len(masks) == 1 else Path(f"{mask_path}[{page}]")
        if image.shape != mask.shape:
            raise DataError(
                f"{where} has the shape {mask.shape} and its image {image_path} has {image.shape}; "
                "expected equal shapes"
            )
        result.append(
            (
                to_grey8(image_path, image, data["intensity_max"]),
                to_mask(where, mask, data["mask_threshold"]),
            )
        )
    return result


def _volume(folder: Path, part: str) -> tuple[Path, Path] | None:
    """The EPFL volume ``part`` and its ground truth in ``folder``, if it is there."""
    found = []
    for stem in VOLUME_NAMES[part]:
        matches = [folder / f"{stem}{suffix}" for suffix in (".tif", ".tiff")]
        found.append(next((path for path in matches if path.is_file()), None))
    image, mask = found
    if (image is None) != (mask is None):
        present, missing = (image, VOLUME_NAMES[part][1]) if image else (mask, VOLUME_NAMES[part][0])
        raise DataError(f"{present} is there but its partner {missing}.tif is not in {folder}; expected both")
    return (image, mask) if image and mask else None


def read_stacks(data: Mapping[str, Any]) -> tuple[Stack, Stack | None, str]:
    """The stack to learn from, the separate test stack if there is one, and where they come from in words.

    ``data`` is the checked ``data`` block of ``grid.yaml``. Three layouts are known: ``images/`` and
    ``masks/`` (patches or whole slices, one page or many), with ``test/images`` and ``test/masks``
    beside them if wanted; and the EPFL volumes ``training.tif``, ``training_groundtruth.tif``,
    ``testing.tif``, ``testing_groundtruth.tif``.

    Raises :class:`DataError` naming the file that is missing, corrupt, unpaired or of another shape.
    """
    if data["source"] == "sample":
        return _sample_stacks(data)
    folder = Path(data["path"])
    if not folder.is_dir():
        raise DataError(f"data.path {folder} is not a folder; expected one with images/ and masks/ in it")
    volume = _volume(folder, "train")
    if volume is not None:
        pair = _volume(folder, "test")
        test = _stack_of_volume(*pair, data) if pair else None
        return _stack_of_volume(*volume, data), test, str(folder)
    images, masks = folder / "images", folder / "masks"
    for wanted in (images, masks):
        if not wanted.is_dir():
            raise DataError(
                f"{folder} has no folder '{wanted.name}' and no training.tif; expected images/ and masks/ with "
                "files of the same names, or training.tif with training_groundtruth.tif"
            )
    test = None
    if (folder / "test").is_dir():
        test = _read_folders(folder / "test" / "images", folder / "test" / "masks", data)
    return _read_folders(images, masks, data), test, str(folder)


def _stack_of_volume(image: Path, mask: Path, data: Mapping[str, Any]) -> Stack:
    pages = _read_pair(image, mask, data)
    return Stack([Slice(z, f"{image.name}[{z}]", *pair) for z, pair in enumerate(pages)])


def _sample_stacks(data: Mapping[str, Any]) -> tuple[Stack, Stack, str]:
    # Imported here: SciPy takes longer to import than `--explain` may take to answer.
    from unet_models.data.synthetic import LABEL, synthetic_volume

    stacks = []
    size = data["sample_size"]
    for offset, slices in enumerate((data["sample_slices"], max(4, data["sample_slices"] // 4))):
        images, masks = synthetic_volume(
            slices=slices, height=size, width=size, seed=2 * data["sample_seed"] + offset
        )
        stacks.append(Stack([Slice(z, f"sample z{z:03d}", images[z], masks[z]) for z in range(slices)]))
    return stacks[0], stacks[1], LABEL


def split_slices(z: np.ndarray, data: Mapping[str, Any]) -> dict[int, int]:
    """Part of every slice number: ``{z: index into PARTS, or UNUSED}``; no slice is in two parts.

    ``contiguous``: the validation part is one block of slices at the end, start or middle, and slices
    nearer to it than ``gap_slices`` (in units of slice number) are left out. Raises :class:`DataError`
    if nothing is left to train on.
    """
    slices = np.unique(z)
    count = max(1, round(data["validation_fraction"] * len(slices)))
    if len(slices) < 2:
        raise DataError(
            f"the data hold {len(slices)} slice; expected at least 2, to hold one out for validation"
        )
    start = {"start": 0, "middle": (len(slices) - count) // 2, "end": len(slices) - count}[
        data["validation_block"]
    ]
    block = slices[start : start + count]
    parts = {}
    for one in slices:
        inside = block[0] <= one <= block[-1]
        distance = max(block[0] - one, one - block[-1])
        near = not inside and distance <= data["gap_slices"]
        parts[int(one)] = 1 if inside else UNUSED if near else 0
    if 0 not in parts.values():
        raise DataError(
            f"data.gap_slices {data['gap_slices']} with data.validation_fraction {data['validation_fraction']} leaves "
            f"none of the {len(slices)} slices (numbers {slices[0]} to {slices[-1]}) for training; expected a smaller gap"
        )
    return parts


def cut(stack: Stack, patch: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Cut every slice into patches without overlap, row by row.

    Returns images uint8 (N, patch, patch), masks bool (N, patch, patch), slice numbers (N,) and the share
    of pixels at the right and lower border that fill no patch. Raises :class:`DataError` for a slice that
    is smaller than a patch.
    """
    images, masks, z = [], [], []
    total = 0
    for one in stack.slices:
        height, width = one.image.shape
        if height < patch or width < patch:
            raise DataError(
                f"{one.name} is {width}x{height} pixels, smaller than a patch of {patch}x{patch}; "
                "expected at least one patch, set data.patch_size"
            )
        total += height * width
        for top in range(0, height - patch + 1, patch):
            for left in range(0, width - patch + 1, patch):
                window = (slice(top, top + patch), slice(left, left + patch))
                images.append(one.image[window])
                masks.append(one.mask[window])
                z.append(one.z)
    unused = 1.0 - len(images) * patch * patch / total
    return np.stack(images), np.stack(masks), np.asarray(z, np.int32), unused


def build(data: Mapping[str, Any]) -> PackedData:
    """Read, check, cut and split the data that ``grid.yaml`` names.

    Raises :class:`DataError` for anything that is wrong with them, also when they are not the data that
    ``expected_patches`` or ``expected_fingerprint`` state.
    """
    stack, test, source = read_stacks(data)
    patch = data["patch_size"]
    notes = list(stack.notes)
    images, masks, z, unused = cut(stack, patch)
    if unused > 0:
        notes.append(f"{100 * unused:.1f} % of the pixels, at the right and lower borders, fill no patch")
    if data["split"] == "random":
        generator = np.random.default_rng(data["split_seed"])
        held_out = generator.permutation(len(z))[: max(1, round(data["validation_fraction"] * len(z)))]
        part = np.zeros(len(z), np.int8)
        part[held_out] = 1
        notes.append(
            "random split of patches: neighbouring slices are on both sides, so validation scores leak"
        )
    else:
        assigned = split_slices(z, data)
        part = np.array([assigned[int(one)] for one in z], np.int8)
        if data["gap_slices"] == 0:
            notes.append("no gap between training and validation: the slices at the border are near copies")
    keep = part != UNUSED
    images, masks, z, part = images[keep], masks[keep], z[keep], part[keep]
    if test is not None:
        test_images, test_masks, test_z, _ = cut(test, patch)
        images, masks = np.concatenate([images, test_images]), np.concatenate([masks, test_masks])
        z = np.concatenate([z, test_z])
        part = np.concatenate([part, np.full(len(test_z), PARTS.index("test"), np.int8)])
    for name in PARTS[:2]:
        chosen = masks[part == PARTS.index(name)]
        if not chosen.any():
            raise DataError(
                f"the masks of the {name} part of {source} hold no foreground at all; expected mitochondria, "
                "check the masks, data.mask_threshold and data.validation_block"
            )
        if chosen.all():
            raise DataError(
                f"the masks of the {name} part of {source} are foreground everywhere; expected masks"
            )
    packed = PackedData(images, masks, part, z, source, data["split"], notes=tuple(notes))
    packed = _with_fingerprint(packed)
    if data["expected_patches"] is not None and data["expected_patches"] != len(part):
        raise DataError(
            f"{source} gives {len(part)} patches, but data.expected_patches states {data['expected_patches']}: "
            "these are not the data that grid.yaml means; correct data.path or the number"
        )
    if data["expected_fingerprint"] is not None and data["expected_fingerprint"] != packed.fingerprint:
        raise DataError(
            f"{source} has the fingerprint {packed.fingerprint}, but data.expected_fingerprint states "
            f"{data['expected_fingerprint']}: these are not the data that grid.yaml means"
        )
    return packed


def _with_fingerprint(packed: PackedData) -> PackedData:
    return PackedData(
        **{**packed.__dict__, "fingerprint": fingerprint(packed.images, packed.masks, packed.part, packed.z)}
    )


def fingerprint(images: np.ndarray, masks: np.ndarray, part: np.ndarray, z: np.ndarray) -> str:
    """``COUNTxHEIGHTxWIDTH-HASH``: equal for equal pixels, slices and split, wherever they were read from."""
    digest = hashlib.sha256()
    for array in (images, np.packbits(masks), part, z.astype("<i4")):
        digest.update(str(array.shape).encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return "x".join(str(length) for length in images.shape) + "-" + digest.hexdigest()[:16]


def write_packed(path: Path, packed: PackedData) -> None:
    """Write ``packed`` to ``path`` (an uncompressed ``.npz``; masks take one bit a pixel).

    The caller makes it atomic: give a temporary path and rename.
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
    """Read and verify the file that :func:`write_packed` wrote.

    Raises :class:`DataError` if it is missing, damaged, or its pixels do not give its fingerprint.
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
            f"{path} is damaged: its pixels give the fingerprint {found}, expected {packed.fingerprint}; "
            "make it again with make_grid.py"
        )
    return packed
