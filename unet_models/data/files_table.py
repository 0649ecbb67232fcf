"""What was read from each file: a table to look at, and one sentence to print."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from unet_models.data.errors import DataError
from unet_models.data.files.description import Description
from unet_models.data.intensity import Scaler
from unet_models.wording import first_of

_COLUMNS = (
    "kind", "file", "format", "slices", "height", "width", "type", "bits", "lowest", "highest",
    "white_is_zero", "compression", "nm_z", "nm_y", "nm_x", "notes",
)  # fmt: skip
_FAR_BELOW = 8  # a file whose highest value is this many times lower than that of all files is named


def write_table(
    path: Path,
    files: Mapping[str, Sequence[Description]],
    limits: Mapping[str, tuple[float, float]],
    shown: Callable[[str], str] = str,
) -> None:
    """Write one row for each file.

    Args:
        path: of the new CSV file.
        files: the descriptions of the ``image`` and the ``mask`` files.
        limits: lowest and highest stored value of the used slices of each image file, by its name.
        shown: gives the name of a file as it is written.
    """
    with path.open("w", encoding="utf-8", newline="") as stream:
        table = csv.writer(stream, lineterminator="\n")
        table.writerow(_COLUMNS)
        for kind, descriptions in files.items():
            for one in descriptions:
                low, high = limits.get(one.name, (None, None)) if kind == "image" else (None, None)
                table.writerow([
                    kind, shown(one.name), one.format, one.slices, one.height, one.width, one.dtype, one.bits, low, high,
                    str(one.white_is_zero).lower(), one.compression, *one.pixel_size, shown("; ".join(one.notes)),
                ])  # fmt: skip


def summary(kind: str, files: Sequence[Description]) -> str:
    """One sentence on the files of a ``kind``: number, formats, types, sizes, compressions, pixel sizes."""
    types = _counted(
        one.dtype + (f" ({one.bits} bits used)" if _narrow(one) else "")
        + (", 0 is white" if one.white_is_zero else "") for one in files
    )  # fmt: skip
    sizes = _counted(f"{one.width}x{one.height}" for one in files)
    parts = [
        f"{sum(one.slices for one in files):,} slices in {len(files):,} {'file' if len(files) == 1 else 'files'}",
        _counted(one.format for one in files),
        types,
        f"{sizes} pixels",
        _counted(one.compression for one in files if one.compression != "none"),
        _counted(_pixel_size(one) for one in files if any(one.pixel_size)),
    ]
    return f"{kind}: " + ", ".join(filter(None, parts))


def range_sentence(scaler: Scaler, limits: Mapping[str, tuple[float, float]], *, source: str) -> str:
    """One sentence on the intensity range and its ``source``, the values that were found, and the pixels that it clips."""
    used = scaler.range
    low = min(low for low, _ in limits.values())
    high = max(high for _, high in limits.values())
    return (
        f"intensity: {used.low:g} is black and {used.high:g} is white ({source}), "
        f"values from {low:g} to {high:g}, kept as {8 if used.levels == 255 else 16} bits; "
        f"clipped: {scaler.clipped_low:,} of {scaler.pixels:,} pixels to black, {scaler.clipped_high:,} to white"
    )


def differences(kind: str, files: Sequence[Description]) -> list[str]:
    """Sentences on what differs between the files of a ``kind`` and may matter."""
    found = []
    for what, values in (
        ("slices of different sizes", [f"{one.width}x{one.height}" for one in files]),
        ("pixels of different sizes", [_pixel_size(one) for one in files if any(one.pixel_size)]),
        (
            "different types",
            [one.dtype + (f" with {one.bits} bits" if _narrow(one) else "") for one in files],
        ),
        ("0 as black or as white", ["0 is white" if one.white_is_zero else "0 is black" for one in files]),
    ):
        if len(set(values)) > 1:
            found.append(f"the {kind} have {what}: {_counted(values)}")
    return found


def check_palettes(kind: str, files: Sequence[Description]) -> None:
    """:class:`DataError` where some palette images of a ``kind`` are read as greys and others as indices.

    What a palette means is decided by the entries that a file uses. A slice may use only the grey ones of a palette of
    labels, and its labels would have other values than those of its neighbours.
    """
    names = {what: [one.name for one in files if one.palette == what] for what in ("greys", "indices")}
    if all(names.values()):
        raise DataError(
            f"the {kind} have palettes of two kinds: {names['greys'][0]} uses only greys ({len(names['greys'])} files), and "
            f"{names['indices'][0]} uses colours ({len(names['indices'])} files); expected one kind, since a value would be a "
            "grey in some and a number of a colour in others. Save all of them as grey values, without a palette"
        )


def odd_ranges(limits: Mapping[str, tuple[float, float]]) -> list[str]:
    """A sentence on image files whose values end far below those of the others, as after an export in 8 bits."""
    highest = max(high for _, high in limits.values())
    black = min(0.0, *(low for low, _ in limits.values()))
    odd = [name for name, (_, high) in limits.items() if high - black < (highest - black) / _FAR_BELOW]
    if not odd:
        return []
    return [
        (
            f"the values of {len(odd)} of {len(limits)} image files end far below those of the others ({first_of(odd)}), whose highest "
            f"is {highest:g}: are they black, or of another range?"
        )
    ]


def blank_slices(blank: Mapping[str, int], slices: int) -> list[str]:
    """A sentence on slices that have one value everywhere, of ``slices`` in all: lost ones, or padding, are read as such."""
    if not blank:
        return []
    files = first_of([name if number == 1 else f"{name} ({number})" for name, number in blank.items()])
    return [
        (
            f"{sum(blank.values())} of the {slices} image slices that are used have one value everywhere ({files}): were they lost, "
            "as by an interrupted copy?"
        )
    ]


def _narrow(one: Description) -> bool:
    return one.dtype.rstrip("0123456789") in ("int", "uint") and one.bits < int(one.dtype.lstrip("uint"))


def _pixel_size(one: Description) -> str:
    z, y, x = one.pixel_size
    plane = "x".join(f"{value:g}" for value in ((x, y) if x != y else (x,)) if value is not None)
    return (f"{plane} nm/pixel" if plane else "") + (f", {z:g} nm between slices" if z is not None else "")


def _counted(values: Iterable[str]) -> str:
    """``3 a, 1 b``; without numbers where all are equal."""
    counts = Counter(values)
    if len(counts) == 1:
        return str(next(iter(counts)))
    return first_of([f"{number} {value}" for value, number in counts.most_common()], joined=" and ")
