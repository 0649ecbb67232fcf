"""Reading image files, and pairing images and masks by name, never by their order in a folder.

The predecessor of this program paired two unsorted folder listings and trained on wrong masks, at chance level.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageSequence, UnidentifiedImageError

from unet_models.data.errors import DataError

SUFFIXES = (".tif", ".tiff", ".png")


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """A sorting key that puts ``z9`` before ``z10`` and ignores upper and lower case."""
    parts = re.split(r"(\d+)", name.lower())
    return tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts if part)


def image_files(folder: Path) -> list[Path]:
    """The ``.tif``, ``.tiff`` and ``.png`` files of ``folder`` in natural order, without hidden files and subfolders.

    macOS writes hidden files such as ``._z01.tif`` that are not images.

    Raises:
        DataError: there are no such files, or two differ only in their suffix.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder; expected one that contains {', '.join(SUFFIXES)} files")
    files = [
        path
        for path in folder.iterdir()
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
    ]
    if not files:
        raise DataError(f"{folder} contains no image; expected {', '.join(SUFFIXES)} files")
    files.sort(key=lambda path: natural_key(path.name))
    by_stem: dict[str, Path] = {}
    for path in files:
        if path.stem in by_stem:
            raise DataError(f"{path} and {by_stem[path.stem]} have the same name; expected one file per name")
        by_stem[path.stem] = path
    return files


_MASK_WORDS = (
    r"(?i)(?:^|[_\-. ])(masks?|labels?|groundtruth|gt|seg(?:mentation)?|images?|img|raw)(?=$|[_\-. ])"
)


def partner_stem(stem: str) -> str:
    """The part of a name that an image and its mask share: without words such as ``mask``, ``label`` or ``image``.

    >>> partner_stem("z012_mask"), partner_stem("img_z012")
    ('z012', 'z012')
    """
    return re.sub(r"[_\-. ]+", "_", re.sub(_MASK_WORDS, "", stem)).strip("_") or stem


def pair_files(images: list[Path], masks: list[Path]) -> list[tuple[Path, Path]]:
    """The pair ``(image, mask)`` of every image, matched by name, in the order of ``images``.

    Names are compared without their suffixes. If they are not the same on both sides, they are compared by
    :func:`partner_stem`.

    Raises:
        DataError: a file has no partner, or two files of one side have the same name; the message names them.
    """
    if {path.stem for path in images} == {path.stem for path in masks}:
        name = {path: path.stem for path in [*images, *masks]}
    else:
        name = {path: partner_stem(path.stem) for path in [*images, *masks]}
    for side in (images, masks):
        seen: dict[str, Path] = {}
        for path in side:
            if name[path] in seen:
                raise DataError(
                    f"{path} and {seen[name[path]]} both have the name '{name[path]}' without words such as 'mask'; "
                    "expected names that differ otherwise"
                )
            seen[name[path]] = path
    by_name = {name[path]: path for path in masks}
    image_names = {name[path] for path in images}
    for path in images:
        if name[path] not in by_name:
            raise DataError(
                f"{path} has no mask: none of the {len(masks)} files in {masks[0].parent} has the name '{name[path]}'; "
                "expected one with the same name"
            )
    for path in masks:
        if name[path] not in image_names:
            raise DataError(
                f"{path} has no image: none of the {len(images)} files in {images[0].parent} has the name '{name[path]}'; "
                "expected one with the same name"
            )
    return [(path, by_name[name[path]]) for path in images]


def read_pages(path: Path) -> Iterator[np.ndarray]:
    """Every page of the image file ``path`` as an array (height, width) of the file's own type.

    Transparency is ignored, and colour images are accepted if all their pixels are grey.

    Raises:
        DataError: the file is damaged or incomplete, or has colour.
    """
    try:
        with warnings.catch_warnings():
            # Microscopes write TIFF tags that Pillow does not know. Only the pixels matter here.
            warnings.simplefilter("ignore")
            with Image.open(path) as picture:
                for page in ImageSequence.Iterator(picture):
                    yield _grey(path, np.asarray(page.convert("RGB") if page.mode == "P" else page))
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, EOFError) as error:
        raise DataError(
            f"{path} cannot be read as an image ({error}); expected a complete TIFF or PNG file"
        ) from error


def _grey(path: Path, array: np.ndarray) -> np.ndarray:
    """``array`` (height, width) or (height, width, channels) as (height, width)."""
    if array.dtype == bool:
        array = array.astype(np.uint8) * 255
    if array.ndim == 3 and array.shape[2] in (2, 3, 4):
        # With two or four channels, the last one is transparency, which is no property of the specimen.
        colour = array[..., : array.shape[2] - (array.shape[2] % 2 == 0)]
        if (colour != colour[..., :1]).any():
            raise DataError(f"{path} is a colour image; expected grey values in one channel")
        array = colour[..., 0]
    if array.ndim != 2:
        raise DataError(f"{path} has the shape {array.shape}; expected one grey channel: (height, width)")
    return array


def to_grey8(path: Path, array: np.ndarray, intensity_max: float | None) -> np.ndarray:
    """``array`` (height, width) as uint8: 0 to ``intensity_max`` becomes 0 to 255, rounded; values outside are clipped.

    Without ``intensity_max``, 8-bit images are kept as they are and other whole numbers are scaled from 16 bits.

    Raises:
        DataError: the values are negative, fractional or above 65535, and there is no ``intensity_max``.
    """
    if array.dtype == np.uint8 and intensity_max is None:
        return array
    if intensity_max is None:
        if array.dtype.kind != "f" and array.min(initial=0) >= 0 and array.max(initial=0) <= 65535:
            intensity_max = 65535.0  # Pillow returns 16-bit pages as uint16 or int32
        else:
            raise DataError(
                f"{path} has {array.dtype} values from {array.min()} to {array.max()}; expected 8 or 16 bits, "
                "or set data.intensity_max to the value shown as white"
            )
    scaled = np.clip(array.astype(np.float64) / intensity_max, 0.0, 1.0)
    return np.rint(scaled * 255.0).astype(np.uint8)


def to_mask(path: Path, array: np.ndarray, threshold: float | None) -> np.ndarray:
    """``array`` (height, width) as a boolean mask, true for mitochondria.

    With a ``threshold``, values above it are true. Without, the array must have at most two values, 0 and another one,
    which is true.

    Raises:
        DataError: there is no threshold and the array is not binary, as with instance labels or smoothed edges.
    """
    if threshold is not None:
        above: np.ndarray = array > threshold
        return above
    values = np.unique(array)
    if len(values[values != 0]) > 1 or (len(values) == 1 and values[0] < 0):
        shown = ", ".join(str(value) for value in values[:6]) + (", ..." if len(values) > 6 else "")
        raise DataError(
            f"{path} is not binary: it has {len(values)} values ({shown}); expected 0 and one other, "
            "or set data.mask_threshold (0 makes every label foreground)"
        )
    foreground: np.ndarray = array != 0
    return foreground
