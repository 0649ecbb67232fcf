"""Finding image files in a folder, and pairing images and masks by name or by number, never by their order.

The predecessor of this program paired two unsorted folder listings and trained on wrong masks, at chance level.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from unet_models.data.errors import DataError
from unet_models.data.files.opening import is_image, suffixes
from unet_models.data.pattern_search import first_groups

_SYSTEM_NAMES = {
    "thumbs.db",
    "desktop.ini",
    "__macosx",
    "@eadir",
    "lost+found",
    "$recycle.bin",
    "ehthumbs.db",
}
_WORDS = (
    r"(?:^|[_\-. ])(masks?|labels?|groundtruth|ground[_\-]truth|gt|seg(?:mentation)?s?|annot(?:ation)?s?|images?|img|raw|em|"
    r"mitos?|mitochondria)(?=$|[_\-. ])"
)
_SLICE_WORDS = r"(?i)(?:^|[_\-. ])(z|slice|sec|section|page)([_\-]?-?)(\d+)([.,]\d+)?"


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """A sorting key that puts ``z9`` before ``z10`` and ignores upper and lower case."""
    # Full-width digits and superscripts count as digits; isdecimal, not isdigit, for what is left: int() reads no ➀.
    parts = re.split(r"(\d+)", unicodedata.normalize("NFKC", name.lower()))
    return tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts if part)


def stem(path: Path) -> str:
    """The name of a file without the suffix of its format, and without ``.ome``; composed characters (NFC).

    macOS stores decomposed characters, so that the same name may have two spellings.
    """
    name = unicodedata.normalize("NFC", path.name)
    for suffix in sorted(suffixes(), key=len, reverse=True):
        if name.lower().endswith(suffix):
            name = name[: -len(suffix)]
            break
    return name[:-4] if name.lower().endswith(".ome") else name


def is_system(name: str) -> bool:
    """Whether ``name`` is that of a hidden file or of one that an operating system puts into folders."""
    return name.startswith((".", "~$")) or name.lower() in _SYSTEM_NAMES


def check_name(path: Path) -> None:
    """:class:`DataError` for a name that is not in UTF-8: it could be written into no table and no record."""
    shown = _in_utf8(path.name)
    if shown != path.name:
        raise DataError(
            f"the name {shown} in {path.parent} is not in UTF-8, as after unpacking an archive of Windows; expected names in UTF-8: "
            "rename it, or convert all names, for example: convmv -r -f latin1 -t utf8 --notest FOLDER"
        )


def _in_utf8(name: str) -> str:
    """``name``, with each byte of another encoding as a hexadecimal number."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


@dataclass(frozen=True)
class Listing:
    """The image files of a folder in natural order, and how many other files and folders it has."""

    files: tuple[Path, ...]
    others: tuple[str, ...] = ()


def list_images(folder: Path) -> Listing:
    """The image files of ``folder``, without hidden and system files.

    macOS writes hidden files such as ``._z01.tif`` that are not images. A Zarr folder counts as a file.

    Raises:
        DataError: there are no such files, two have the same name, or one is a link to nothing.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder; expected one that contains {', '.join(suffixes())} files")
    files, others = [], []
    for path in folder.iterdir():
        if is_system(path.name):
            continue
        if not is_image(path):
            others.append(_in_utf8(path.name))
        elif not path.exists():
            raise DataError(f"{path} is a link to nothing; expected a file: copy it, or remove the link")
        else:
            check_name(path)
            files.append(path)
    if not files:
        raise DataError(f"{folder} contains no image; expected {', '.join(suffixes())} files")
    files.sort(key=lambda path: natural_key(path.name))
    by_stem: dict[str, Path] = {}
    for path in files:
        if stem(path) in by_stem:
            raise DataError(
                f"{path} and {by_stem[stem(path)]} have the same name; expected one file per name"
            )
        by_stem[stem(path)] = path
    return Listing(tuple(files), tuple(sorted(others)))


def partner_stem(name: str) -> str:
    """The part of a name that an image and its mask share: without words such as ``mask``, ``label`` or ``image``.

    >>> partner_stem("z012_mask"), partner_stem("img_z012")
    ('z012', 'z012')
    """
    without = re.sub(_WORDS, "", name, flags=re.IGNORECASE)
    return re.sub(r"[_\-. ]+", "_", without).strip("_") or name


def pair_files(
    images: Sequence[Path], masks: Sequence[Path], *, by: str = "name", pattern: str | None = None
) -> list[tuple[Path, Path]]:
    """The pair ``(image, mask)`` of every image, in the order of ``images``.

    Names are compared by :func:`stem`. If they are not the same on both sides, they are compared by
    :func:`partner_stem`, without regard to upper and lower case.

    Args:
        images: files.
        masks: files.
        by: ``name``, or ``number``: by the slice number in each name.
        pattern: ``data.slice_pattern``, for ``number``.

    Raises:
        DataError: a file has no partner, or two files of one side have the same name; the message names them.
    """
    if by == "number":
        if pattern is not None:
            paths = [*images, *masks]
            names = _by_pattern([stem(path) for path in paths], pattern)
            by_path = dict(zip(paths, map(str, names), strict=True))
            return _paired(images, masks, by_path.__getitem__, "number")
        return _paired(images, masks, lambda path: str(number_in(path, None)), "number")
    if {stem(path) for path in images} == {stem(path) for path in masks}:
        return _paired(images, masks, stem, "name")
    try:
        return _paired(images, masks, _shared, "name")
    except DataError as error:
        try:
            pair_files(images, masks, by="number", pattern=pattern)
        except DataError:
            raise error from None
        raise DataError(
            f"{error}. Their numbers match: if these tell which belong together, set data.pair_by: number"
        ) from None


def _shared(path: Path) -> str:
    """What is compared where names are not the same: full-width digits and letters count as the usual ones, too."""
    return unicodedata.normalize("NFKC", partner_stem(stem(path))).casefold()


def _paired(
    images: Sequence[Path], masks: Sequence[Path], key: Callable[[Path], str], what: str
) -> list[tuple[Path, Path]]:
    names = {path: key(path) for path in [*images, *masks]}
    for side in (images, masks):
        seen: dict[str, Path] = {}
        for path in side:
            if names[path] in seen:
                raise DataError(
                    f"{path} and {seen[names[path]]} both have the {what} '{names[path]}'"
                    + (" without words such as 'mask'" if what == "name" else "")
                    + f"; expected {what}s that differ otherwise"
                )
            seen[names[path]] = path
    for side, others, partner in ((images, masks, "mask"), (masks, images, "image")):
        there = {names[path] for path in others}
        for path in side:
            if names[path] not in there:
                raise DataError(
                    f"{path} has no {partner}: none of the {len(others)} files in {others[0].parent} has the {what} "
                    f"'{names[path]}'; expected one with the same {what}"
                )
    by_name = {names[path]: path for path in masks}
    return [(path, by_name[names[path]]) for path in images]


def number_in(path: Path, pattern: str | None) -> Fraction:
    """The number in the name of ``path``: the group of ``pattern``, or the only run of digits.

    Raises:
        DataError: there is no number, or more than one and no pattern.
    """
    name = stem(path)
    if pattern is not None:
        return _by_pattern([name], pattern)[0]
    found = re.findall(r"\d+", name)
    if len(found) != 1:
        raise DataError(
            f"{path}: the name '{name}' has {len(found)} numbers, so that data.pair_by: number cannot tell which is meant; "
            "set data.slice_pattern to a regular expression with the number as its group"
        )
    return Fraction(found[0])


def _by_pattern(names: Sequence[str], pattern: str) -> list[Fraction]:
    """The number that ``pattern`` finds in each name; :class:`DataError` where it finds none."""
    numbers = []
    for name, found in zip(names, first_groups(pattern, names), strict=True):
        number = re.fullmatch(r"(-?)(\d+)(?:[.,](\d+))?", found or "")
        if number is None:
            raise DataError(
                f"data.slice_pattern {pattern!r} finds no number in the name '{name}'; "
                "expected one group of digits in every name"
            )
        sign, whole, part = number.group(1), number.group(2), number.group(3) or ""
        numbers.append(Fraction(int(f"{sign}{whole}{part}"), 10 ** len(part)))
    return numbers


def slice_numbers(names: Sequence[str], pattern: str | None) -> list[int] | None:
    """The slice number in each name without its suffix, or ``None`` if not all names contain one.

    Without ``pattern``, a number counts after one of the words z, slice, sec, section and page (``vol_z012``). Where
    names have several such numbers, it is the one that changes from name to name. ``pattern`` is a regular expression
    whose first group is the number.

    Decimals that ``pattern`` finds only give the order.

    Raises:
        DataError: ``pattern`` finds no number in one of the names; or two numbers change; or two names differ in decimals only.
    """
    if pattern is not None:
        fractions = _by_pattern(names, pattern)
        if all(one.denominator == 1 for one in fractions):
            return [int(one) for one in fractions]
        order = {one: place for place, one in enumerate(sorted(set(fractions)))}
        return [order[one] for one in fractions]
    found = [
        {match[1].lower(): match for match in reversed(list(re.finditer(_SLICE_WORDS, name)))}
        for name in names
    ]
    if all(len(one) == 1 for one in found):
        return _numbers(names, [match for one in found for match in one.values()])
    common = [word for word in found[0] if all(word in one for one in found)]
    changing = [word for word in common if len({int(one[word][3]) for one in found}) > 1]
    if len(changing) > 1:
        words = " or ".join(f'"{word}[_-]?(\\d+)"' for word in changing)
        raise DataError(
            f"the name '{names[0]}' has several numbers that could be the slice number "
            f"({', '.join(f'{word} {int(found[0][word][3])}' for word in changing)}), and each changes from file to file; set "
            f"data.slice_pattern to the right one: {words}"
        )
    if not common:
        return None
    chosen = changing[0] if changing else "z" if "z" in common else common[0]
    return _numbers(names, [one[chosen] for one in found])


def _numbers(names: Sequence[str], found: Sequence[re.Match[str]]) -> list[int]:
    """The numbers of matches of :data:`_SLICE_WORDS`, one for each name.

    A hyphen is a minus after another separator (``z_-5``), and where other names have nothing there (``z-5`` and ``z5``).
    """
    bare = {one[1].lower() for one in found if not one[2]}
    negative = [len(one[2]) > 1 or (one[2] == "-" and one[1].lower() in bare) for one in found]
    numbers = [-int(one[3]) if minus else int(one[3]) for one, minus in zip(found, negative, strict=True)]
    first: dict[tuple[str, int], int] = {}
    for place, (one, number) in enumerate(zip(found, numbers, strict=True)):
        other = first.setdefault((one[1].lower(), number), place)
        if found[other][4] != one[4]:
            raise DataError(
                f"the names '{names[other]}' and '{names[place]}' have the same slice number {number}, and different decimals; set "
                f"data.slice_pattern: '{one[1]}[_-]?(\\d+)' if both are parts of one slice, or '{one[1]}[_-]?(\\d+[.,]\\d+)' if they "
                "are two slices"
            )
    return numbers
