"""Reading and pairing images and masks. Pairs are made by name; the order of a directory means nothing.

(The predecessor paired two unsorted directory listings and trained on wrong masks, at chance level.)
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageSequence, UnidentifiedImageError

SUFFIXES = (".tif", ".tiff", ".png")


class DataError(Exception):
    """Data that cannot be used; the message names the file, what was found and what is expected."""


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Sorting key that puts ``z9`` before ``z10``."""
    parts = re.split(r"(\d+)", name.lower())
    return tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts if part)


def image_files(folder: Path) -> list[Path]:
    """The ``.tif``, ``.tiff`` and ``.png`` files of ``folder``, naturally sorted; hidden files are passed over.

    Raises :class:`DataError` if there are none or two differ in their suffix only.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder; expected one that holds {', '.join(SUFFIXES)} files")
    files = [
        path
        for path in folder.iterdir()
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
    ]
    if not files:
        raise DataError(f"{folder} holds no image; expected {', '.join(SUFFIXES)} files")
    files.sort(key=lambda path: natural_key(path.name))
    by_stem: dict[str, Path] = {}
    for path in files:
        if path.stem in by_stem:
            raise DataError(f"{path} and {by_stem[path.stem]} have the same name; expected one file for each")
        by_stem[path.stem] = path
    return files


_MASK_WORDS = (
    r"(?i)(?:^|[_\-. ])(masks?|labels?|groundtruth|gt|seg(?:mentation)?|images?|img|raw)(?=$|[_\-. ])"
)


def partner_stem(stem: str) -> str:
    """What an image and its mask share: the stem without words such as ``mask``, ``label`` or ``image``."""
    return re.sub(r"[_\-. ]+", "_", re.sub(_MASK_WORDS, "", stem)).strip("_") or stem


def pair_files(images: list[Path], masks: list[Path]) -> list[tuple[Path, Path]]:
    """``(image, mask)`` for every image, matched by name.

    Names match when their stems are equal, or equal after :func:`partner_stem` on both sides. Raises
    :class:`DataError` naming the first file that has no partner, on either side.
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
                    f"{path} and {seen[name[path]]} both read as '{name[path]}'; expected names that tell them apart"
                )
            seen[name[path]] = path
    by_name = {name[path]: path for path in masks}
    image_names = {name[path] for path in images}
    for path in images:
        if name[path] not in by_name:
            raise DataError(
                f"{path} has no mask: none of the {len(masks)} files in {masks[0].parent} reads as '{name[path]}'; "
                "expected one with the same name"
            )
    for path in masks:
        if name[path] not in image_names:
            raise DataError(
                f"{path} has no image: none of the {len(images)} files in {images[0].parent} reads as '{name[path]}'; "
                "expected one with the same name"
            )
    return [(path, by_name[name[path]]) for path in images]


def read_pages(path: Path) -> Iterator[np.ndarray]:
    """Every page of ``path`` as a two-dimensional array of its own type.

    Raises :class:`DataError` for a corrupt or truncated file and for colour that is not grey.
    """
    try:
        with warnings.catch_warnings():
            # Microscopes write TIFF tags that Pillow does not know; the pixels are what counts.
            warnings.simplefilter("ignore")
            with Image.open(path) as picture:
                for page in ImageSequence.Iterator(picture):
                    if page.mode == "P":
                        page = page.convert("RGB")
                    yield _grey(path, np.asarray(page))
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, EOFError) as error:
        raise DataError(
            f"{path} cannot be read as an image ({error}); expected a whole TIFF or PNG file"
        ) from error


def _grey(path: Path, array: np.ndarray) -> np.ndarray:
    if array.dtype == bool:
        array = array.astype(np.uint8) * 255
    if array.ndim == 3 and array.shape[2] in (2, 3, 4):
        # Two and four channels end in transparency, which says nothing about the specimen.
        colour = array[..., : array.shape[2] - (array.shape[2] % 2 == 0)]
        if (colour != colour[..., :1]).any():
            raise DataError(f"{path} is a colour image; expected grey values in one channel")
        array = colour[..., 0]
    if array.ndim != 2:
        raise DataError(f"{path} has the shape {array.shape}; expected one grey channel: (height, width)")
    return array


def to_grey8(path: Path, array: np.ndarray, intensity_max: float | None) -> np.ndarray:
    """``array`` as uint8, linear from 0 to ``intensity_max`` (default: the largest value of its type).

    8-bit images are kept as they are. Raises :class:`DataError` for negative or fractional images
    without ``intensity_max``.
    """
    if array.dtype == np.uint8 and intensity_max is None:
        return array
    if intensity_max is None:
        if array.dtype.kind != "f" and array.min(initial=0) >= 0 and array.max(initial=0) <= 65535:
            intensity_max = 65535.0  # Pillow hands out 16-bit pages as uint16 or int32
        else:
            raise DataError(
                f"{path} holds {array.dtype} values from {array.min()} to {array.max()}; expected 8 or 16 bits, "
                "or set data.intensity_max to the value that shall be white"
            )
    scaled = np.clip(array.astype(np.float64) / intensity_max, 0.0, 1.0)
    return np.rint(scaled * 255.0).astype(np.uint8)


def to_mask(path: Path, array: np.ndarray, threshold: float | None) -> np.ndarray:
    """``array`` as a boolean mask, true where the mitochondria are.

    With a ``threshold``, values above it. Without, the mask must be binary already: 0 and one other
    value. Raises :class:`DataError` where it is not (labels of instances, smoothed edges).
    """
    if threshold is not None:
        return array > threshold
    values = np.unique(array)
    if len(values[values != 0]) > 1 or (len(values) == 1 and values[0] < 0):
        shown = ", ".join(str(value) for value in values[:6]) + (", ..." if len(values) > 6 else "")
        raise DataError(
            f"{path} is not binary: it holds {len(values)} values ({shown}); expected 0 and one other, "
            "or set data.mask_threshold (0 makes every label foreground)"
        )
    return array != 0
