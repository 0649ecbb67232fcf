"""Folders, volumes or the generated sample -> stacks of numbered slices with their masks."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from unet_models.data.errors import DataError
from unet_models.data.images import image_files, pair_files, read_pages, to_grey8, to_mask

VOLUME_NAMES = {"train": ("training", "training_groundtruth"), "test": ("testing", "testing_groundtruth")}
_SLICE_WORDS = r"(?i)(?:^|[_\-. ])(?:z|slice|sec|section|page)[_\-]?(\d+)"


@dataclass(frozen=True)
class Slice:
    """One slice of a stack.

    Attributes:
        z: slice number, the position in the stack.
        name: the file it comes from, with the page if the file has several.
        image: uint8 (height, width).
        mask: bool (height, width), true for mitochondria.
    """

    z: int
    name: str
    image: np.ndarray
    mask: np.ndarray


@dataclass(frozen=True)
class Stack:
    """Slices in order of ``z``, and what a reader should know about how they were found."""

    slices: list[Slice]
    notes: tuple[str, ...] = ()


def read_stacks(data: Mapping[str, Any]) -> tuple[Stack, Stack | None, str]:
    """The stack to train and validate on, the separate test stack if there is one, and their source in words.

    Two layouts are recognised: ``images/`` and ``masks/`` (patches or whole slices, one page or many), optionally with
    ``test/images`` and ``test/masks``; and the EPFL volumes ``training.tif``, ``training_groundtruth.tif``,
    ``testing.tif``, ``testing_groundtruth.tif``. ``data`` is the checked ``data`` block of ``grid.yaml``; with
    ``source: sample`` both stacks are generated.

    Raises:
        DataError: a file is missing, damaged, without a partner or of another shape; the message names it.
    """
    if data["source"] == "sample":
        return _sample_stacks(data)
    folder = Path(data["path"])
    if not folder.is_dir():
        raise DataError(f"data.path {folder} is not a folder; expected one that contains images/ and masks/")
    volume = _volume(folder, "train")
    if volume is not None:
        pair = _volume(folder, "test")
        test = _stack_of_volume(*pair, data) if pair else None
        return _stack_of_volume(*volume, data), test, str(folder)
    images, masks = folder / "images", folder / "masks"
    for expected in (images, masks):
        if not expected.is_dir():
            raise DataError(
                f"{folder} has no folder '{expected.name}' and no training.tif; expected images/ and masks/ with "
                "files of the same names, or training.tif with training_groundtruth.tif"
            )
    test = None
    if (folder / "test").is_dir():
        test = _read_folders(folder / "test" / "images", folder / "test" / "masks", data)
    return _read_folders(images, masks, data), test, str(folder)


def slice_numbers(stems: list[str], pattern: str | None) -> list[int] | None:
    """The slice number in each name without its suffix, or ``None`` if not all names contain one.

    Without ``pattern``, a number counts after one of the words z, slice, sec, section and page (``vol_z012``).
    ``pattern`` is a regular expression whose first group is the number.

    Raises:
        DataError: ``pattern`` finds no number in one of the names.
    """
    if pattern is not None:
        numbers = []
        for stem in stems:
            match = re.search(pattern, stem)
            if match is None or not (match.group(1) or "").isdigit():
                raise DataError(
                    f"data.slice_pattern {pattern!r} finds no number in the name '{stem}'; "
                    "expected one group of digits in every name"
                )
            numbers.append(int(match.group(1)))
        return numbers
    found = [re.search(_SLICE_WORDS, stem) for stem in stems]
    if all(found):
        return [int(match.group(1)) for match in found if match]
    return None


def _read_folders(images: Path, masks: Path, data: Mapping[str, Any]) -> Stack:
    pairs = pair_files(image_files(images), image_files(masks))
    numbers = slice_numbers([image.stem for image, _ in pairs], data["slice_pattern"])
    notes: tuple[str, ...] = ()
    slices: list[Slice] = []
    for order, (image_path, mask_path) in enumerate(pairs):
        for page, (image, mask) in enumerate(_read_pair(image_path, mask_path, data)):
            z = numbers[order] + page if numbers else len(slices)
            name = image_path.name if page == 0 else f"{image_path.name}[{page}]"
            slices.append(Slice(z, name, image, mask))
    if numbers is None:
        note = (
            "the file names contain no slice numbers (such as 'z012'): each file counts as one slice, in natural "
            "order. If several patches come from one slice, set data.slice_pattern, or the split may leak"
        )
        notes = (note,)
    slices.sort(key=lambda one: one.z)
    return Stack(slices, notes)


def _read_pair(
    image_path: Path, mask_path: Path, data: Mapping[str, Any]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Each page of an image file as uint8 with the same page of its mask as bool."""
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
        grey = to_grey8(image_path, image, data["intensity_max"])
        result.append((grey, to_mask(where, mask, data["mask_threshold"])))
    return result


def _volume(folder: Path, part: str) -> tuple[Path, Path] | None:
    """The EPFL volume ``part`` and its ground truth in ``folder``, or ``None`` if neither is there."""
    found = []
    for stem in VOLUME_NAMES[part]:
        matches = [folder / f"{stem}{suffix}" for suffix in (".tif", ".tiff")]
        found.append(next((path for path in matches if path.is_file()), None))
    image, mask = found
    if (image is None) != (mask is None):
        present, missing = (image, VOLUME_NAMES[part][1]) if image else (mask, VOLUME_NAMES[part][0])
        raise DataError(f"{present} exists but its partner {missing}.tif is not in {folder}; expected both")
    return (image, mask) if image and mask else None


def _stack_of_volume(image: Path, mask: Path, data: Mapping[str, Any]) -> Stack:
    pages = _read_pair(image, mask, data)
    return Stack([Slice(z, f"{image.name}[{z}]", *pair) for z, pair in enumerate(pages)])


def _sample_stacks(data: Mapping[str, Any]) -> tuple[Stack, Stack, str]:
    # Imported here: importing SciPy takes longer than `--explain` should take in total.
    from unet_models.data.synthetic import LABEL, synthetic_volume

    stacks = []
    size, slices = data["sample_size"], data["sample_slices"]
    for offset, used in enumerate((slices, max(4, slices // 4))):
        # The test volume is as deep as the other and then cut: membranes and mitochondria that are squeezed into a few
        # slices look different.
        images, masks = synthetic_volume(
            slices=slices, height=size, width=size, seed=2 * data["sample_seed"] + offset
        )
        stacks.append(Stack([Slice(z, f"sample z{z:03d}", images[z], masks[z]) for z in range(used)]))
    return stacks[0], stacks[1], LABEL
