"""Finding the slices and masks of a data set: folders, stacks and volumes. Only headers are read."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from unet_models.data.errors import DataError
from unet_models.data.files.description import Description
from unet_models.data.files.opening import is_array_folder, open_image, suffixes
from unet_models.data.layout import Layout, Page, SliceSource, Volume
from unet_models.data.pairing import (
    check_name,
    is_system,
    list_images,
    natural_key,
    pair_files,
    slice_numbers,
    stem,
)
from unet_models.wording import first_of

VOLUME_NAMES = {"train": ("training", "training_groundtruth"), "test": ("testing", "testing_groundtruth")}
_NO_NUMBERS = (
    "the file names contain no slice numbers (such as 'z012'): the slices are numbered in the natural order "
    "of the files. If several patches come from one slice, set data.slice_pattern, or the split may leak"
)
_NAMED = 3  # files in a note
_SERIES = 8  # steps between slice numbers, from which a gap is noticed
# Folders of volumes that were meant for validation by their name: they must not be trained on in silence.
_VALIDATION_NAMES = {"val", "valid", "validation", "dev"}


def find_layout(data: Mapping[str, Any]) -> Layout:
    """The slices of the files that the checked ``data`` block of ``grid.yaml`` names; its paths are absolute.

    These layouts are known:

    * ``images/`` and ``masks/`` (patches or whole slices, one page or many), optionally with ``test/images`` and
      ``test/masks``;
    * the EPFL volumes ``training.tif``, ``training_groundtruth.tif``, ``testing.tif``, ``testing_groundtruth.tif``, or
      files of other formats with these names;
    * a folder for each volume with one of the first two in it, and optionally ``test/``;
    * ``data.images`` and ``data.masks``, each a folder, a file or ``FILE:/NAME``, optionally with ``test_images`` and
      ``test_masks``.

    Raises:
        DataError: a file is missing, damaged, without a partner or of another shape, or there are two layouts; the
            message names them.
    """
    try:
        return _found(data)
    except OSError as error:  # no permission, a file system that does not answer, a name that is too long
        raise DataError(
            f"{error.filename or data['path'] or data['images']} cannot be read ({error.strerror or error}); expected "
            "folders and files that you may read"
        ) from error


def _found(data: Mapping[str, Any]) -> Layout:
    """As :func:`find_layout`."""
    finder = _Finder(data)
    if data["images"] is not None:
        known = [finder.places("", data["images"], data["masks"])]
        test = [finder.places("test", data["test_images"], data["test_masks"])] if data["test_images"] else []
        return finder.layout(f"{data['images']} and {data['masks']}", known, test)
    folder = Path(data["path"])
    if not folder.is_dir():
        raise DataError(f"data.path {folder} is not a folder; expected one that contains images/ and masks/")
    known, test = finder.folder(folder)
    if data["test_images"] is not None:
        test = [finder.places("test", data["test_images"], data["test_masks"])]
    return finder.layout(str(folder), known, test)


class _Finder:
    """Opens the files that it finds, and keeps their descriptions."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        self._data = data
        self._descriptions: dict[str, Description] = {}
        self._notes: list[str] = []

    def layout(self, source: str, known: list[Volume], test: list[Volume]) -> Layout:
        """The layout of the volumes that were found, with those that ``data.test_volumes`` names in the test part."""
        names = [volume.name for volume in known]
        for key in ("validation_volumes", "test_volumes"):
            for wanted in self._data[key]:
                if _composed(wanted) not in names or len(known) < 2:
                    there = ", ".join(names) if len(known) > 1 else "one volume without a name"
                    raise DataError(
                        f"data.{key}: there is no volume '{wanted}' in {source}; expected some of its volumes: {there}"
                    )
        meant = [name for name in names if name.lower() in _VALIDATION_NAMES]
        if meant and len(known) > 1 and not {*self._data["validation_volumes"], *self._data["test_volumes"]}:
            raise DataError(
                f"{source} has the volume '{meant[0]}', and data.validation_volumes does not say that it is for validation; "
                f"set data.validation_volumes: [{meant[0]}], or rename the folder if it is to be trained on, too"
            )
        held_out = {_composed(name) for name in self._data["test_volumes"]}
        test = [*test, *(volume for volume in known if volume.name in held_out)]
        known = [volume for volume in known if volume.name not in held_out]
        validation = {_composed(name) for name in self._data["validation_volumes"]}
        if not {volume.name for volume in known} - validation:
            raise DataError(
                f"data.validation_volumes and data.test_volumes leave none of the volumes of {source} for training"
            )
        notes = tuple(dict.fromkeys(self._notes))
        return Layout(
            tuple(known), tuple(test), source, self._descriptions, (*notes, *self._notes_of_files())
        )

    def _notes_of_files(self) -> Iterable[str]:
        """One sentence for each note of the files, with their number."""
        names: dict[str, list[str]] = {}
        for one in self._descriptions.values():
            for note in one.notes:
                names.setdefault(note, []).append("/".join(Path(one.name).parts[-2:]))
        for note, files in names.items():
            yield f"{first_of(files)}: {note}"

    def folder(self, folder: Path, name: str = "") -> tuple[list[Volume], list[Volume]]:
        """The volumes to train and validate on, and those of the test part, in ``folder``."""
        volumes = {part: self._stack_files(folder, part) for part in VOLUME_NAMES}
        inner = {} if name else self._inner(folder)
        ways = [
            way
            for way, there in (
                ("images/ and masks/", (folder / "images").is_dir() or (folder / "masks").is_dir()),
                ("training.tif and training_groundtruth.tif", volumes["train"] is not None),
                (f"folders of volumes ({', '.join(list(inner)[:_NAMED])})", bool(inner)),
            )
            if there
        ]
        if len(ways) > 1:
            raise DataError(
                f"{folder} has {' as well as '.join(ways)}; expected one of them. Name the right ones in data.images and "
                "data.masks, or move the others away"
            )
        test: list[Volume] = []
        if volumes["test"] is not None:
            test.append(self._stack(_composed(f"{name} testing".strip()), *volumes["test"]))
        if (folder / "test").is_dir() and not name:
            found, more = self.folder(folder / "test", "test")
            test += [*found, *more]
        if volumes["train"] is not None:
            return [self._stack(name, *volumes["train"])], test
        if inner:
            known = []
            for inner_name, path in inner.items():
                found, more = self.folder(path, inner_name)
                known += found
                test += more
            return known, test
        return [self._folders(name, folder / "images", folder / "masks")], test

    def _inner(self, folder: Path) -> dict[str, Path]:
        """The folders in ``folder`` that hold a volume, by name, in natural order."""
        found: dict[str, Path] = {}
        others = []
        for path in sorted(folder.iterdir(), key=lambda path: natural_key(path.name)):
            if is_system(path.name) or path.name in ("test", "images", "masks") or not path.is_dir():
                continue
            if ((path / "images").is_dir() and (path / "masks").is_dir()) or self._stack_files(path, "train"):
                check_name(path)
                found[_composed(path.name)] = path
            else:
                others.append(path.name)
        if found and others:
            self._notes.append(
                f"{folder} has other folders, which are no volumes and not used ({first_of(others)}); a volume "
                "has images/ and masks/, or training.tif and training_groundtruth.tif"
            )
        return found

    def places(self, name: str, images: str, masks: str) -> Volume:
        """The volume whose images and masks are each a folder, a file or an array in a file."""
        if Path(images).is_dir() and not is_array_folder(Path(images)):
            return self._folders(name, Path(images), Path(masks))
        if Path(masks).is_dir() and not is_array_folder(Path(masks)):
            raise DataError(
                f"data.images {images} is one file and data.masks {masks} is a folder; expected two of a kind"
            )
        return self._stack(name, images, masks)

    def _describe(self, location: str) -> Description:
        if location not in self._descriptions:
            with open_image(location) as opened:
                self._descriptions[location] = opened.description
        return self._descriptions[location]

    def _pair(self, image: str, mask: str) -> int:
        """The number of slices of an image file and its mask, which must fit."""
        one, other = self._describe(image), self._describe(mask)
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

    def _folders(self, name: str, images: Path, masks: Path) -> Volume:
        """The volume whose slices are files in two folders."""
        for expected in (images, masks):
            if not expected.is_dir():
                raise DataError(
                    f"{expected.parent} has no folder '{expected.name}' and no training.tif; expected images/ and masks/ with "
                    "files of the same names, training.tif with training_groundtruth.tif, or a folder for each volume"
                )
        listings = [list_images(folder) for folder in (images, masks)]
        for folder, listing in zip((images, masks), listings, strict=True):
            if listing.others:
                shown = ", ".join(listing.others[:_NAMED])
                self._notes.append(
                    f"{folder} has {len(listing.others)} other files or folders, which are not used ({shown})"
                )
        pattern = self._data["slice_pattern"]
        pairs = pair_files(
            *(listing.files for listing in listings), by=self._data["pair_by"], pattern=pattern
        )
        stems = [stem(image) for image, _ in pairs]
        if self._data["pair_by"] == "number" and pattern is None:
            pattern = r"(\d+)"  # the only number of each name, by which they were paired
        numbers = slice_numbers(stems, pattern)
        slices: list[SliceSource] = []
        for order, (image, mask) in enumerate(pairs):
            for page in range(self._pair(str(image), str(mask))):
                z = numbers[order] + page if numbers else len(slices)
                shown = image.name if page == 0 else f"{image.name}[{page}]"
                slices.append(SliceSource(z, shown, Page(str(image), page), Page(str(mask), page)))
        if numbers is None and len(pairs) > 1:
            self._notes.append(_NO_NUMBERS)
        slices.sort(key=lambda one: one.z)
        if numbers is not None:
            self._notes += _gaps(images, [one.z for one in slices])
        return Volume(name, tuple(slices))

    def _stack(self, name: str, image: str, mask: str) -> Volume:
        """The volume whose slices are in one file."""
        shown = Path(image).name
        return Volume(
            name,
            tuple(
                SliceSource(z, f"{shown}[{z}]", Page(image, z), Page(mask, z))
                for z in range(self._pair(image, mask))
            ),
        )

    @staticmethod
    def _stack_files(folder: Path, part: str) -> tuple[str, str] | None:
        """The files of the EPFL volume ``part`` in ``folder``, or ``None`` if neither is there."""
        found: list[Path | None] = []
        for wanted in VOLUME_NAMES[part]:
            matches = [
                path
                for path in sorted(folder.iterdir())
                if path.name.lower().endswith(suffixes())
                and not is_system(path.name)
                and stem(path).lower() == wanted
            ]
            if len(matches) > 1:
                raise DataError(f"{matches[0]} and {matches[1]} have the same name; expected one of them")
            found.append(matches[0] if matches else None)
        image, mask = found
        if (image is None) != (mask is None):
            present, missing = (image, VOLUME_NAMES[part][1]) if image else (mask, VOLUME_NAMES[part][0])
            raise DataError(
                f"{present} exists but its partner {missing}.tif is not in {folder}; expected both"
            )
        return (str(image), str(mask)) if image and mask else None


def _gaps(folder: Path, numbers: list[int]) -> list[str]:
    """A sentence on numbers that are missing in a series that is regular otherwise, as after an interrupted copy."""
    distinct = sorted(set(numbers))
    steps = [after - before for before, after in pairwise(distinct)]
    if len(steps) < _SERIES:
        return []
    usual, often = Counter(steps).most_common(1)[0]
    missing = [before + usual for before, step in zip(distinct, steps, strict=False) if step > usual]
    if not missing or often < 0.9 * len(steps):
        return []
    shown = ", ".join(map(str, missing[:_NAMED])) + (", ..." if len(missing) > _NAMED else "")
    return [
        f"{folder}: slices are missing between {distinct[0]} and {distinct[-1]}, from the numbers {shown} on: were all files copied?"
    ]


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)
