"""Opening an image file, whatever its format."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import cast

from unet_models.data.errors import DataError
from unet_models.data.files.description import ImageFile


@dataclass(frozen=True)
class Format:
    """A file format.

    Attributes:
        suffixes: of its files, in lower case.
        starts: the bytes that its files begin with, if all do.
        module: in this package, with its reader.
        reader: name of the class in ``module``, which takes a location.
    """

    suffixes: tuple[str, ...]
    starts: tuple[bytes, ...]
    module: str
    reader: str


FORMATS: dict[str, Format] = {
    "TIFF": Format((".tif", ".tiff"), (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), "tiff", "Tiff"),
    "image": Format(
        (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp"),
        (b"\x89PNG", b"\xff\xd8\xff", b"BM", b"GIF8", b"RIFF"),
        "raster",
        "Raster",
    ),
    "NPY": Format((".npy",), (b"\x93NUMPY",), "npy", "Npy"),
    "HDF5": Format((".h5", ".hdf5", ".hdf"), (b"\x89HDF",), "hdf5", "Hdf5"),
    "MRC": Format((".mrc", ".rec", ".st", ".map", ".ali"), (), "mrc", "Mrc"),
    "Zarr": Format((".zarr",), (), "zarr", "Zarr"),
}


# What is often found under the name of an image.
_NO_IMAGES = {
    b"\x1f\x8b\x08": "compressed by gzip; unpack it first: gunzip FILE.gz",
    b"BZh": "compressed by bzip2; unpack it first: bunzip2 FILE.bz2",
    b"\xfd7zXZ": "compressed by xz; unpack it first: unxz FILE.xz",
    b"\x28\xb5\x2f\xfd": "compressed by zstd; unpack it first: unzstd FILE.zst",
    b"PK\x03\x04": "a ZIP archive; unpack it first",
    b"version https://": "a pointer of Git LFS instead of the file; get the file: git lfs pull",
    b"<!DOCTYPE": "a web page, as when a download needs a login; download it again",
    b"<html": "a web page, as when a download needs a login; download it again",
}


def suffixes() -> tuple[str, ...]:
    """The suffixes of all formats, in lower case."""
    return tuple(suffix for one in FORMATS.values() for suffix in one.suffixes)


def split_location(location: str) -> tuple[str, str | None]:
    """The path of the file and the name of the array, ``None`` where the location has none."""
    if Path(location).exists() or ":/" not in location:
        return location, None
    path, name = location.split(":/", 1)
    return path, name.strip("/") or None


def is_image(path: Path) -> bool:
    """Whether ``path`` has the name of an image file, and is a file or, for Zarr, a folder."""
    return path.name.lower().endswith(suffixes()) and (not path.is_dir() or is_array_folder(path))


def is_array_folder(path: Path) -> bool:
    """Whether ``path`` is a Zarr folder, which is one image rather than a folder of images."""
    return path.is_dir() and path.name.lower().endswith(FORMATS["Zarr"].suffixes)


def _start(path: Path) -> bytes:
    """The first bytes of a file. A pipe or a device is not opened: that would wait until something is written to it."""
    if path.exists() and not path.is_file():
        raise DataError(f"{path} is a pipe, a socket or a device; expected an image file")
    with path.open("rb") as stream:
        return stream.read(16)


def open_image(location: str) -> ImageFile:
    """Open the image file, or the array of a container, at ``location``.

    Only the header is read. The content decides on the format, not the suffix: a file named ``.tif`` may be a PNG.

    Args:
        location: a path, or ``PATH:/NAME`` for the array ``NAME`` of an HDF5 file or a Zarr group.

    Raises:
        DataError: the file is missing, damaged, incomplete, of an unknown format, or has something other than grey
            slices: colour, transparency, channels or time points; or its container has several arrays and none is named.
    """
    path = Path(split_location(location)[0])
    try:
        start = b"" if path.is_dir() else _start(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); expected an image file") from error
    if not start and not path.is_dir():
        raise DataError(f"{path} cannot be read as an image: it is empty; copy it again")
    for first, what in _NO_IMAGES.items():
        if start.startswith(first):
            raise DataError(f"{path} cannot be read as an image: it is {what}")
    by_name = [one for one in FORMATS.values() if path.name.lower().endswith(one.suffixes)]
    # The width of an MRC file comes first: one of 19,778 pixels begins with BM, as BMP does.
    weak = len(b"BM") if any(not one.starts for one in by_name) else 0
    by_content = [
        one
        for one in FORMATS.values()
        if any(len(first) > weak and start.startswith(first) for first in one.starts)
    ]
    for one in (*by_content, *(other for other in by_name if not other.starts)):
        module = import_module(f"unet_models.data.files.{one.module}")
        return cast(Callable[[str], ImageFile], getattr(module, one.reader))(location)
    known = (
        f"it does not begin as {'/'.join(by_name[0].suffixes)} files do"
        if by_name
        else "its format is not known"
    )
    raise DataError(f"{path} cannot be read as an image: {known}; expected one of {', '.join(suffixes())}")
