"""How many slices a TIFF file has, by its pages and by what it says about itself; both must agree."""

from __future__ import annotations

import json
import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unet_models.data.errors import DataError

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage


_OME_TYPES = {
    **{name: name for name in ("int8", "int16", "int32", "uint8", "uint16", "uint32")},
    "float": "float32",
    "double": "float64",
}


class SliceCounter:
    """Counts the slices of one file.

    Args:
        name: of the file, for errors.
        file: the open file.
        pages: its pages at full resolution, at least one.
    """

    def __init__(self, name: str, file: TiffFile, pages: Sequence[TiffPage]) -> None:
        self._name, self._file, self._pages, self._page = name, file, pages, pages[0]

    def count(self) -> tuple[int, Sequence[int] | None]:
        """The number of slices, and their pages in order, or ``None`` where they follow each other in the first page."""
        file = self._file
        if file.is_imagej:
            return self._imagej(file.imagej_metadata or {})
        if file.is_ome:
            return self._ome(file.ome_metadata or "")
        self._refuse_special()
        shapes = [self._shape_of(page) for page in self._pages]
        if any(shape is not None for shape in shapes):
            return self._shaped(shapes)
        return len(self._pages), range(len(self._pages))

    def _refuse_special(self) -> None:
        """Formats of microscopes keep several planes in a page, or channels as pages; tifffile tells."""
        flags = {
            "stk",
            "lsm",
            "fluoview",
            "scanimage",
            "mmstack",
            "nih",
            "flir",
            "eer",
            "sis",
            "scn",
            "ndtiff",
            "qpi",
        }
        found = sorted(flags & set(self._file.flags))
        if not found:
            return
        main = self._file.series[0]
        axes = "".join(
            axis
            for axis, length in zip(main.axes, main.shape, strict=True)
            if length > 1 and axis not in "YX"
        )
        planes = math.prod(main.shape) // max(1, self._page.imagewidth * self._page.imagelength)
        if axes not in ("", "Z", "I", "Q") or planes != len(self._pages):
            raise DataError(
                f"{self._name} is of the kind {found[0]}, with the axes {main.axes} {main.shape}; expected grey slices, one "
                "to a page. Save it as a plain TIFF stack, for example with ImageJ"
            )

    def _imagej(self, metadata: Mapping[str, Any]) -> tuple[int, Sequence[int] | None]:
        number = {
            key: _whole_number(metadata.get(key, 1)) for key in ("images", "channels", "slices", "frames")
        }
        for key, advice in (
            ("channels", "save one channel (Image > Color > Split Channels)"),
            ("frames", "if they are slices, swap the two in Image > Properties, and save the stack again"),
        ):
            if number[key] > 1:
                raise DataError(
                    f"{self._name} is an ImageJ stack of {number['channels']} channels, {number['slices']} slices and "
                    f"{number['frames']} frames; expected slices only: {advice}"
                )
        if (
            not {"images", "slices"} & metadata.keys()
        ):  # it does not say: a description that another program copied
            return len(self._pages), range(len(self._pages))
        images = max(number["images"], number["slices"])
        return self._counted(images, f"ImageJ's description says that it has {images}")

    def _ome(self, text: str) -> tuple[int, Sequence[int] | None]:
        root = ET.fromstring(text)  # noqa: S314 - expat limits the growth of entities
        space = re.match(r"\{.*\}", root.tag)
        prefix = space[0] if space else ""
        images = root.findall(f"{prefix}Image")
        if root.find(f"{prefix}BinaryOnly") is not None or not images:
            raise DataError(
                f"{self._name} is an OME-TIFF file whose description is in another file; expected one complete file"
            )
        if len(images) > 1:
            raise DataError(
                f"{self._name} is an OME-TIFF file of {len(images)} images; expected one image: save it alone"
            )
        pixels = images[0].find(f"{prefix}Pixels")
        if pixels is None:
            raise DataError(f"{self._name} is an OME-TIFF file without pixels")
        parts = list(pixels.iter(f"{prefix}UUID"))
        names = {one.get("FileName") or one.text for one in parts} - {None}
        if len(names) > 1:
            raise DataError(
                f"{self._name} is one of {len(names)} files of an OME-TIFF data set; expected one complete file: save the "
                "whole stack in one file"
            )
        stated, stored = pixels.get("Type", ""), str(self._page.dtype)
        if stated in _OME_TYPES and _OME_TYPES[stated] != stored:
            raise DataError(
                f"{self._name} has values of the type {stored}, but its OME description says {stated}; expected one type: save it anew"
            )
        size = {axis: int(pixels.get(f"Size{axis}", "1")) for axis in "ZCT"}
        samples = max(1, self._page.samplesperpixel)
        if size["C"] // samples > 1 or size["T"] > 1:
            raise DataError(
                f"{self._name} has {size['C']} channels, {size['Z']} slices and {size['T']} time points (OME); expected "
                "slices only: save one channel and one time point"
            )
        count, order = self._counted(size["Z"], f"its OME description says that it has {size['Z']}")
        if order is not None:
            order = self._ome_order(pixels, prefix, count)
        return count, order

    def _ome_order(self, pixels: ET.Element, prefix: str, count: int) -> Sequence[int]:
        """The page of each slice, by the ``TiffData`` elements."""
        pages: dict[int, int] = {}
        for data in pixels.findall(f"{prefix}TiffData"):
            first, z = int(data.get("IFD", "0")), int(data.get("FirstZ", "0"))
            length = int(data.get("PlaneCount", "1" if "IFD" in data.attrib else str(count)))
            pages |= {z + step: first + step for step in range(min(length, count))}
        if not pages:
            return range(count)
        # They count all directories of the file, also those of reduced copies.
        full = {page.index: number for number, page in enumerate(self._pages)}
        pages = {z: full.get(number, -1) for z, number in pages.items()}
        if sorted(pages) != list(range(count)) or sorted(pages.values()) != list(range(count)):
            raise DataError(
                f"{self._name}: its OME description does not give each of its {count} slices a page of its own; expected "
                "a complete file"
            )
        return [pages[z] for z in range(count)]

    @staticmethod
    def _shape_of(page: TiffPage) -> tuple[tuple[int, ...], str] | None:
        """The shape and the axes in a description that tifffile wrote, or ``None``."""
        text = page.description
        if not text.startswith('{"shape": '):
            return None
        words = json.loads(text)
        return tuple(int(length) for length in words["shape"]), str(words.get("axes", ""))

    def _shaped(
        self, shapes: Sequence[tuple[tuple[int, ...], str] | None]
    ) -> tuple[int, Sequence[int] | None]:
        """Files of tifffile: each description tells the shape of an array, which may have several pages."""
        plane = self._page.imagewidth * self._page.imagelength * self._page.samplesperpixel
        said = 0
        for number, found in enumerate(shapes):
            if found is None:
                said += number >= said
                continue
            shape, axes = found
            self._check_shape(shape)
            if self._page.samplesperpixel == 1 and shape[-1] == 1 and len(shape) > 2:
                shape, axes = shape[:-1], axes[:-1]  # one channel, as machine learning keeps it
            leading = [
                (length, axes[place] if len(axes) == len(shape) else "")
                for place, length in enumerate(
                    shape[: max(0, len(shape) - 2 - (self._page.samplesperpixel > 1))]
                )
                if length > 1
            ]
            if len(leading) > 1 or any(axis in "CTSHLAPREVM" for _, axis in leading if axis):
                raise DataError(
                    f"{self._name} has the shape {shape}"
                    + (f" with the axes {axes}" if axes else "")
                    + "; expected slices only, (slices, height, width)"
                )
            said = max(said, number) + max(1, math.prod(shape) // max(1, plane))
        return self._counted(said, f"its description says that it has {said}")

    def _check_shape(self, shape: tuple[int, ...]) -> None:
        """A shape in a description of tifffile ends with that of the page: else one of the two is damaged."""
        page = self._page
        plane, samples = (page.imagelength, page.imagewidth), page.samplesperpixel
        padded = (1, 1, *shape)
        if samples == 1:
            alike = plane in (padded[-2:], padded[-3:-1] if padded[-1] == 1 else plane[:0])
        else:
            alike = padded[-3:] in ((*plane, samples), (samples, *plane))
        if not alike:
            raise DataError(
                f"{self._name} has pages of {page.imagewidth}x{page.imagelength} pixels, but its description says that it "
                f"has the shape {shape}; the file is damaged"
            )

    def _counted(self, said: int, words: str) -> tuple[int, Sequence[int] | None]:
        """``said`` slices are all there: as pages, or one after another in the first page."""
        if said == len(self._pages):
            return said, range(said)
        if len(self._pages) == 1 and said > 1:
            first = self._page
            # ImageJ writes stacks above 4 GB with one directory.
            if (
                first.is_contiguous
                and first.compression == 1
                and first.samplesperpixel == 1
                and first.bitspersample % 8 == 0
            ):
                needed = first.dataoffsets[0] + said * first.nbytes
                size = Path(self._name).stat().st_size
                if size >= needed:
                    return said, None
                raise DataError(
                    f"{self._name} ends after {(size - first.dataoffsets[0]) // first.nbytes} of {said} slices ({size:,} of "
                    f"{needed:,} bytes); expected a complete file: copy it again"
                )
        raise DataError(
            f"{self._name} has {len(self._pages)} slices, but {words}; expected a complete file: copy it again, or save "
            "the stack anew"
        )


def _whole_number(value: Any) -> int:
    return int(value) if isinstance(value, int | float) or str(value).isdecimal() else 1
