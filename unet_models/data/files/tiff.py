"""TIFF files, read by tifffile and imagecodecs, and every count in them checked against every other.

Other readers guess: they take channels, thumbnails or reduced copies for slices, return fewer slices of an interrupted
copy, or fill missing strips with black. Here, what is not clear is refused.
"""

from __future__ import annotations

import contextlib
import logging
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tifffile import TiffFile

from unet_models.data.errors import DataError
from unet_models.data.files.channels import Palette, as_grey, palette_of
from unet_models.data.files.description import Description, ImageFile
from unet_models.data.files.guard import guarded
from unet_models.data.files.tiff_chain import page_offsets
from unet_models.data.files.tiff_counts import SliceCounter

if TYPE_CHECKING:
    from tifffile import TiffPage

_MINISWHITE, _MINISBLACK, _RGB, _PALETTE, _MASK, _YCBCR = 0, 1, 2, 3, 4, 6
_REDUCED, _TRANSPARENCY = 1, 4  # bits of NewSubfileType
_LOSSY = {6, 7, 22610, 33003, 33005, 33007, 34712, 34887, 34892, 34934, 50001, 50002, 52546}
# The largest number of bytes that one byte can become, by the codecs' formats: LZW's codes of 12 bits stand for 2048
# bytes on average, deflate's longest match takes 2 bits. Others have no such limit; theirs is a guard against headers
# that ask for all memory.
_RATIOS = {1: 1, 5: 3000, 8: 1100, 32946: 1100, 32773: 70}
_OTHER_RATIO = 100_000
_ALWAYS = 2**28  # bytes that are decoded whatever the ratio: some codecs store an empty mask in a few bytes
_SMALLEST_PAGE = 256  # bytes; smaller gaps are padding, not a lost page
_LONGEST_TEXT = 2**20  # bytes of a description
_NO_BREAKS = str.maketrans("", "", "\t\n\r")
_NM = {
    "nm": 1.0, "nanometer": 1.0, "um": 1e3, "µm": 1e3, "μm": 1e3, "micron": 1e3, "microns": 1e3, "micrometer": 1e3,
    "mm": 1e6, "cm": 1e7, "m": 1e9, "pm": 1e-3, "Å": 0.1, "å": 0.1, "angstrom": 0.1, "inch": 2.54e7,
}  # fmt: skip
_SMALLEST, _LARGEST = (
    0.01,
    10_000.0,
)  # nm: 300 dots per inch are 85,000 nm, which says nothing of the specimen


@contextlib.contextmanager
def _guarded(name: str) -> Iterator[list[str]]:
    """:func:`guarded`, with a list of the errors that tifffile logs instead of raising them; it prints nothing."""
    logger = logging.getLogger("tifffile")
    said: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.levelno >= logging.ERROR:
                said.append(record.getMessage())

    collector, before, level = Collector(), logger.propagate, logger.level
    logger.addHandler(collector)
    logger.propagate = False
    logger.setLevel(logging.WARNING)
    try:
        with guarded(name, "a complete TIFF file"):
            yield said
    finally:
        logger.removeHandler(collector)
        logger.propagate = before
        logger.setLevel(level)


class Tiff(ImageFile):
    """An open TIFF file whose full-resolution pages, or the parts of whose one page, are its slices."""

    def __init__(self, location: str) -> None:
        """Open the file; its chain of pages is followed to the end, but no pixel is read unless it has a palette."""
        self._name = location
        with contextlib.ExitStack() as stack:
            said = stack.enter_context(_guarded(location))
            offsets = page_offsets(Path(location))
            self._file = stack.enter_context(TiffFile(location, _multifile=False))
            if len(self._file.pages) != len(offsets):
                raise DataError(
                    f"{location} has {len(offsets)} pages, of which only {len(self._file.pages)} can be read; expected a "
                    "complete TIFF file: copy it again"
                )
            # With all their tags, of which tifffile may keep less, and only once.
            self._every: list[TiffPage] = [page.aspage() for page in self._file.pages]
            pages = [page for page in self._every if _is_full(page)]
            if said or not pages:
                raise DataError(
                    f"{location} cannot be read as an image ({said[0] if said else 'no page at full resolution'}); "
                    "expected a complete TIFF file"
                )
            self._page, self._pages = pages[0], pages
            self._check_reduced()
            self._check_alike()
            self._count, self._order = SliceCounter(location, self._file, pages).count()
            self._check_bytes()
            self._check_gaps()
            self._kind()
            self.description = self._described()
            stack.pop_all()
        self.close = self._file.close  # type: ignore[method-assign]

    def _check_reduced(self) -> None:
        """What is marked as a reduced copy is smaller than the image: else it may be a slice."""
        size = self._page.imagewidth, self._page.imagelength
        for number, page in enumerate(self._every):
            if _is_reduced(page) and (page.imagewidth, page.imagelength) == size:
                raise DataError(
                    f"{self._name}: page {number} is marked as a reduced copy (NewSubfileType), but is as large as the image; expected "
                    "slices without that mark: save the stack anew, or remove the page"
                )

    def _check_alike(self) -> None:
        """All full pages are of one shape, type and kind, and of one slice each."""
        first = self._page
        depth = max(page.imagedepth for page in self._pages)
        if depth > 1:
            raise DataError(
                f"{self._name} is a volumetric TIFF: one page has {depth} slices (ImageDepth); expected a page for each slice: "
                "save it as a stack, for example with ImageJ, or with tifffile.imwrite without volumetric=True"
            )
        for number, page in enumerate(self._pages):
            for what in ("shaped", "dtype", "bitspersample", "photometric", "planarconfig"):
                one, other = getattr(first, what), getattr(page, what)
                if one != other:
                    raise DataError(
                        f"{self._name}: page {number} has {what} {_plain(other)} and page 0 has {_plain(one)}; expected "
                        "slices of one shape and type. A thumbnail or reduced copy must be marked as such (NewSubfileType), "
                        "or be removed"
                    )

    def _check_bytes(self) -> None:
        """Every strip and tile is in the file, and all of them together can hold the pixels."""
        size = Path(self._name).stat().st_size
        for number, page in enumerate(self._pages):
            expected = math.prod(page.chunked)
            offsets, counts = page.dataoffsets, page.databytecounts
            part = "tiles" if page.is_tiled else "strips"
            if (len(offsets) != expected or len(counts) != expected) and not (
                page.is_contiguous and offsets and sum(counts) >= page.nbytes
            ):
                raise DataError(
                    f"{self._name}: page {number} has {min(len(offsets), len(counts))} {part}, expected {expected}; the "
                    "file is damaged"
                )
            for offset, count in zip(offsets, counts, strict=False):
                if offset <= 0 or count <= 0 or offset + count > size:
                    raise DataError(
                        f"{self._name}: page {number} has {part} that are not in the file (at byte {offset:,}, {count:,} "
                        f"bytes, of {size:,}); expected a complete file: copy it again"
                    )
            ratio = _RATIOS.get(int(page.compression))
            room = max(sum(counts) * _OTHER_RATIO, _ALWAYS) if ratio is None else sum(counts) * ratio
            needed = math.prod(page.shaped) * int(page.bitspersample) // 8
            if room < needed:
                raise DataError(
                    f"{self._name}: page {number} has {page.imagewidth}x{page.imagelength} pixels, which do not fit into its "
                    f"{sum(counts):,} bytes; the file is damaged"
                )

    def _check_gaps(self) -> None:
        """No gap in the file has room for a slice.

        A program that was stopped leaves pixels that no directory names; one changed byte in the chain of directories leaves
        out a page. Both are files of fewer slices that look complete.
        """
        size = Path(self._name).stat().st_size
        used = [np.array([(0, 16), (size, size)], np.int64)]
        for page in self._every:
            if page.subifds:  # reduced copies, whose bytes are not followed
                return
            tags = [(tag.valueoffset, tag.valueoffset + tag.valuebytecount) for tag in page.tags]
            used.append(np.array([(page.offset, page.offset + 20 * (len(tags) + 1)), *tags], np.int64))
            length = min(len(page.dataoffsets), len(page.databytecounts))
            starts = np.array(page.dataoffsets[:length], np.int64)
            used.append(np.stack([starts, starts + np.array(page.databytecounts[:length], np.int64)], axis=1))
        if self._order is None:
            start = self._page.dataoffsets[0]
            used.append(np.array([(start, start + self._count * self._page.nbytes)], np.int64))
        parts = np.concatenate(used)
        parts = parts[np.argsort(parts[:, 0])]
        ends = np.maximum.accumulate(parts[:-1, 1])
        gaps = parts[1:, 0] - ends
        slice_size = sum(sum(page.databytecounts) for page in self._pages) // len(self._pages)
        for place in np.flatnonzero(gaps >= max(_SMALLEST_PAGE, slice_size)):
            if not self._is_text(int(ends[place]), int(gaps[place])):
                raise DataError(
                    f"{self._name} has {self._count} {'slice' if self._count == 1 else 'slices'}, and {int(gaps[place]):,} "
                    "bytes in a row that belong to none, as when the program that wrote it was stopped; expected a complete "
                    "file: write it again, or copy it again"
                )

    def _is_text(self, place: int, length: int) -> bool:
        """Whether the bytes are, or were, a text: a description that a program replaced by a longer one elsewhere."""
        if length > _LONGEST_TEXT:
            return False
        with Path(self._name).open("rb") as stream:
            stream.seek(place)
            text = stream.read(length).strip(b"\0")
        # Zeros are an erased text; at the end of the file, or in place of pixels, they are an interrupted copy.
        if not text:
            return int(self._page.compression) != 1 and place + length < Path(self._name).stat().st_size
        return text.isascii() and text.decode("ascii").translate(_NO_BREAKS).isprintable()

    def _kind(self) -> None:
        """What a stored sample means: grey, palette or colour; refuse anything else."""
        page = self._page
        dtype = page.dtype
        # Programs do not agree on the order of the three bytes of 24 bits.
        odd = dtype is not None and page.bitspersample % 8 == 0 and page.bitspersample != 8 * dtype.itemsize
        if dtype is None or dtype.kind not in "biuf" or odd:
            kind = page.sampleformat if dtype is None else dtype
            raise DataError(
                f"{self._name} has samples of the type {kind} with {page.bitspersample} bits; "
                "expected whole or floating-point numbers"
            )
        photometric = int(page.photometric)
        if photometric not in (_MINISWHITE, _MINISBLACK, _RGB, _PALETTE, _YCBCR):
            raise DataError(
                f"{self._name} is of the kind {_plain(page.photometric)}; expected grey values (MINISBLACK or MINISWHITE), "
                "grey as RGB, or a palette"
            )
        colours = 3 if photometric in (_RGB, _YCBCR) else 1
        self._colours, self._extra = colours, page.samplesperpixel - colours
        if self._extra < 0 or (self._extra > 1):
            raise DataError(
                f"{self._name} has {page.samplesperpixel} samples for each pixel; expected one channel: save each "
                "channel as a file of its own"
            )
        alpha = {1, 2} & {int(kind) for kind in page.extrasamples}  # premultiplied or not; 0 is unspecified
        if self._extra and not alpha and photometric != _RGB:
            raise DataError(
                f"{self._name} has 2 channels; expected one: save each channel as a file of its own"
            )
        self._palette: Palette | None = None
        if photometric == _PALETTE:
            if page.colormap is None:
                raise DataError(f"{self._name} has a palette image without a palette; the file is damaged")
            maps = [np.asarray(other.colormap) for other in self._pages]
            if any(not np.array_equal(maps[0], other) for other in maps[1:]):
                raise DataError(f"{self._name} has pages with different palettes; expected one palette")
            self._palette = palette_of(
                np.asarray(page.colormap).T, lambda: (self._stored(index) for index in range(self._count))
            )

    def _described(self) -> Description:
        page, file = self._page, self._file
        dtype, bits = np.dtype(page.dtype), int(page.bitspersample)
        if dtype.kind == "b":
            dtype = np.dtype(np.uint8)
        notes = []
        white = int(page.photometric) == _MINISWHITE
        if "PhotometricInterpretation" not in page.tags:
            white = False
            notes.append("the file does not say whether 0 is black or white; black is assumed")
        if self._palette is not None:
            dtype, bits, white = (
                self._palette.dtype or dtype,
                self._palette.bits or bits,
                self._palette.white_is_zero,
            )
            notes += self._palette.notes
        notes += self._page_notes()
        if len(file.pages) > len(self._pages):
            notes.append(
                f"{len(file.pages) - len(self._pages)} of its pages are reduced copies or masks, and are not used"
            )
        if int(page.compression) in _LOSSY:
            notes.append("the pixels were compressed, perhaps with loss")
        calibration = (
            {key: (file.imagej_metadata or {}).get(key) for key in ("c0", "c1")} if file.is_imagej else {}
        )
        if any(value is not None for value in calibration.values()):
            shown = ", ".join(f"{key}={value}" for key, value in calibration.items())
            notes.append(f"ImageJ's calibration ({shown}) is ignored: the values are used as they are stored")
        if self._extra:
            notes.append("an opaque alpha channel is left out")
        compression = _plain(page.compression).lower()
        return Description(
            name=self._name,
            format="TIFF",
            slices=self._count,
            height=page.imagelength,
            width=page.imagewidth,
            dtype=dtype.newbyteorder("=").name,
            bits=bits,
            white_is_zero=white,
            compression="none" if compression in ("none", "1") else compression,
            palette=self._palette.kind if self._palette is not None else "",
            pixel_size=self._pixel_size(),
            notes=tuple(notes),
        )

    def _page_notes(self) -> list[str]:
        """Notes on tags of all pages."""
        notes = []
        turned = {one.tags.valueof("Orientation", 1): None for one in self._pages}
        turned.pop(1, None)
        if turned:
            shown = ", ".join(_plain(one) for one in turned)
            notes.append(f"an orientation tag ({shown}) is ignored: the pixels are used as they are stored")
        numbers = [one.tags.valueof("PageNumber", (0, 0)) for one in self._pages]
        with contextlib.suppress(TypeError, ValueError):  # a damaged tag says nothing
            last = max(max(int(number) + 1, int(total)) for number, total in numbers)
            if len(numbers) > 1 and last > len(numbers):
                notes.append(
                    f"its {len(numbers)} pages are numbered as pages of {last} (PageNumber): are some missing?"
                )
        bar = ((self._file.fei_metadata or {}).get("PrivateFei") or {}).get("DatabarHeight")
        if bar and str(bar) != "0":
            notes.append(
                f"its lowest {bar} rows are the data bar of the microscope: cut them off, for masks alike"
            )
        return notes

    def _pixel_size(self) -> tuple[float | None, float | None, float | None]:
        page = self._page
        found: dict[str, float | None] = {"z": None, "y": None, "x": None}
        with contextlib.suppress(Exception):  # a size that cannot be read is not known
            imagej = self._file.imagej_metadata if self._file.is_imagej else None
            if self._file.is_ome:
                text = self._file.ome_metadata or ""
                for axis in "xyz":
                    value = re.search(rf'PhysicalSize{axis.upper()}="([^"]+)"', text)
                    named = re.search(rf'PhysicalSize{axis.upper()}Unit="([^"]+)"', text)
                    if value:
                        found[axis] = float(value[1]) * _NM[named[1] if named else "µm"]
            else:
                unit = {2: "inch", 3: "cm"}.get(int(page.tags.valueof("ResolutionUnit", 2)), "")
                if imagej is not None:
                    unit = str(imagej.get("unit", "")).replace("\\u00B5", "µ").strip() or unit
                    if "spacing" in imagej and unit in _NM:
                        found["z"] = float(imagej["spacing"]) * _NM[unit]
                for axis in "yx":
                    number, base = page.tags.valueof(f"{axis.upper()}Resolution", (0, 1))
                    if number and unit in _NM:
                        found[axis] = base / number * _NM[unit]
        kept = {
            axis: None if size is None or not _SMALLEST <= size <= _LARGEST else float(f"{size:.6g}")
            for axis, size in found.items()
        }
        return kept["z"], kept["y"], kept["x"]

    def _stored(self, index: int) -> np.ndarray:
        """The samples of a slice as they are stored: (planes or 1, height, width, samples)."""
        page = self._page
        if self._order is None:
            handle = self._file.filehandle
            handle.seek(page.dataoffsets[0] + index * page.nbytes)
            dtype = np.dtype(page.dtype).newbyteorder(self._file.byteorder)
            array = handle.read_array(dtype, page.imagelength * page.imagewidth)
            return np.asarray(array, dtype.newbyteorder("=")).reshape(page.imagelength, page.imagewidth, 1)
        page = self._pages[self._order[index]]
        # tifffile's shape is that of planes, depth, height, width and samples.
        planes: np.ndarray = np.asarray(page.asarray(squeeze=False)).reshape(page.shaped)[:, 0]
        return np.moveaxis(planes[..., 0], 0, -1) if len(planes) > 1 else planes[0]

    def read(self, index: int) -> np.ndarray:
        """As :meth:`ImageFile.read`."""
        name = f"{self._name}[{index}]" if self._count > 1 else self._name
        with _guarded(name) as said:
            array = self._stored(index)
            if said:
                raise DataError(
                    f"{self._name}: slice {index} is damaged ({said[0]}); expected a complete TIFF file"
                )
            if array.dtype.kind == "b":
                array = array.astype(np.uint8)
            array = as_grey(name, array, self._colours)
            if self._palette is not None:
                array = self._palette.applied(array)
            return np.ascontiguousarray(array, array.dtype.newbyteorder("="))


def _is_full(page: TiffPage) -> bool:
    """Whether ``page`` is at full resolution and no mask."""
    return not (_is_reduced(page) or int(page.subfiletype) & _TRANSPARENCY or int(page.photometric) == _MASK)


def _is_reduced(page: TiffPage) -> bool:
    """Whether ``page`` is marked as a reduced copy, by the tag of today or by that of TIFF 5."""
    old = page.tags.valueof("OldSubfileType", page.tags.valueof("SubfileType", 1))
    mask = int(page.subfiletype) & _TRANSPARENCY or int(page.photometric) == _MASK
    return not mask and (bool(int(page.subfiletype) & _REDUCED) or int(old) == 2)


def _plain(value: Any) -> str:
    """The name of an enumeration's member, or the value."""
    return str(getattr(value, "name", value))
