"""Finding the image and mask files of a data set."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unet_models.data.errors import DataError
from unet_models.data.files.description import Description
from unet_models.data.files.opening import open_image
from unet_models.data.images import image_files, pair_files
from unet_models.data.layout import Layout, Page, SliceSource, Volume
from unet_models.data.stacks import VOLUME_NAMES, slice_numbers


def find_layout(data: Mapping[str, Any]) -> Layout:
    """The slices of the files that the checked ``data`` block of ``grid.yaml`` names.

    Raises:
        DataError: a file is missing, damaged, without a partner or of another shape; the message names it.
    """
    finder = _Finder(data)
    folder = Path(data["path"])
    if not folder.is_dir():
        raise DataError(f"data.path {folder} is not a folder; expected one that contains images/ and masks/")
    volume = finder.volume(folder, "train")
    test: Volume | None
    if volume is not None:
        test = finder.volume(folder, "test")
    else:
        images, masks = folder / "images", folder / "masks"
        for expected in (images, masks):
            if not expected.is_dir():
                raise DataError(
                    f"{folder} has no folder '{expected.name}' and no training.tif; expected images/ and masks/ with "
                    "files of the same names, or training.tif with training_groundtruth.tif"
                )
        volume = finder.folders(images, masks)
        test = (
            finder.folders(folder / "test" / "images", folder / "test" / "masks")
            if (folder / "test").is_dir()
            else None
        )
    return Layout((volume,), (test,) if test else (), str(folder), finder.descriptions, tuple(finder.notes))


class _Finder:
    def __init__(self, data: Mapping[str, Any]) -> None:
        self.data = data
        self.descriptions: dict[str, Description] = {}
        self.notes: list[str] = []

    def describe(self, path: Path) -> Description:
        with open_image(str(path)) as opened:
            self.descriptions[str(path)] = opened.description
        return opened.description

    def pair(self, image: Path, mask: Path) -> int:
        one, other = self.describe(image), self.describe(mask)
        if one.slices != other.slices:
            raise DataError(
                f"{mask} has {other.slices} pages and {image} has {one.slices}; expected as many masks as images"
            )
        if (one.height, one.width) != (other.height, other.width):
            raise DataError(
                f"{mask} has the shape {other.height, other.width} and its image {image} has {one.height, one.width}; "
                "expected equal shapes"
            )
        return one.slices

    def folders(self, images: Path, masks: Path) -> Volume:
        pairs = pair_files(image_files(images), image_files(masks))
        numbers = slice_numbers([image.stem for image, _ in pairs], self.data["slice_pattern"])
        slices: list[SliceSource] = []
        for order, (image, mask) in enumerate(pairs):
            for page in range(self.pair(image, mask)):
                z = numbers[order] + page if numbers else len(slices)
                name = image.name if page == 0 else f"{image.name}[{page}]"
                slices.append(SliceSource(z, name, Page(str(image), page), Page(str(mask), page)))
        if numbers is None:
            self.notes.append(
                "the file names contain no slice numbers (such as 'z012'): each file counts as one slice, in natural "
                "order. If several patches come from one slice, set data.slice_pattern, or the split may leak"
            )
        slices.sort(key=lambda one: one.z)
        return Volume("", tuple(slices))

    def volume(self, folder: Path, part: str) -> Volume | None:
        found = []
        for stem in VOLUME_NAMES[part]:
            matches = [folder / f"{stem}{suffix}" for suffix in (".tif", ".tiff")]
            found.append(next((path for path in matches if path.is_file()), None))
        image, mask = found
        if (image is None) != (mask is None):
            present, missing = (image, VOLUME_NAMES[part][1]) if image else (mask, VOLUME_NAMES[part][0])
            raise DataError(
                f"{present} exists but its partner {missing}.tif is not in {folder}; expected both"
            )
        if image is None or mask is None:
            return None
        return Volume(
            "",
            tuple(
                SliceSource(z, f"{image.name}[{z}]", Page(str(image), z), Page(str(mask), z))
                for z in range(self.pair(image, mask))
            ),
        )
