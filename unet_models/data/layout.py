"""Which slices a data set has and where their pixels are. Nothing here reads pixels except :class:`Pages`."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np

from unet_models.data.files.description import Description, ImageFile
from unet_models.data.files.opening import open_image

if TYPE_CHECKING:
    from typing_extensions import Self  # in typing from Python 3.11

_KEPT_OPEN = 16  # files at the same time; a login node allows 1024 to a process


@dataclass(frozen=True)
class Page:
    """One slice of an image file.

    Attributes:
        location: of the file or the array, as :func:`unet_models.data.files.opening.open_image` takes it.
        index: of the slice in it, from 0.
    """

    location: str
    index: int = 0


@dataclass(frozen=True)
class SliceSource:
    """One slice of a volume and its mask, not read yet.

    Attributes:
        z: slice number: its position in the volume.
        name: for messages, for example ``z012.png`` or ``training.tif[3]``.
        image: where its image is.
        mask: where its mask is.
    """

    z: int
    name: str
    image: Page
    mask: Page

    def pages(self) -> tuple[tuple[str, Page], ...]:
        """``image`` and ``mask``, by their names."""
        return ("image", self.image), ("mask", self.mask)


@dataclass(frozen=True)
class Volume:
    """Slices that were cut from one piece of tissue, in order of ``z``; ``name`` is empty where there is one only."""

    name: str
    slices: tuple[SliceSource, ...]


@dataclass(frozen=True)
class Layout:
    """All slices of a data set.

    Attributes:
        volumes: to train and validate on; at least one.
        test: only to be scored; may be empty.
        source: where the data come from, in words.
        descriptions: of every file, by its location.
        notes: what a reader should know about how the slices were found.
    """

    volumes: tuple[Volume, ...]
    test: tuple[Volume, ...]
    source: str
    descriptions: Mapping[str, Description]
    notes: tuple[str, ...] = ()


@dataclass
class Pages:
    """Reads pages and keeps the last few files open. A context manager, which closes them.

    ``arrays`` are volumes in memory, (slices, height, width), by their location: those of the sample.
    """

    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    _open: OrderedDict[str, ImageFile] = field(default_factory=OrderedDict)

    def read(self, page: Page) -> np.ndarray:
        """The stored values of ``page``, (height, width); :class:`DataError` where it is damaged."""
        if page.location in self.arrays:
            array: np.ndarray = self.arrays[page.location][page.index]
            return array
        if page.location not in self._open:
            if len(self._open) >= _KEPT_OPEN:
                self._open.popitem(last=False)[1].close()
            self._open[page.location] = open_image(page.location)
        self._open.move_to_end(page.location)
        return self._open[page.location].read(page.index)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._open:
            self._open.popitem()[1].close()
