"""The figures on the page: PNG or SVG files, embedded, with a second set for dark mode if there is one."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from dataclasses import dataclass

from markupsafe import Markup

from analysis.figures.drawn import Drawn

_SVG_SIZE = re.compile(
    rb'<svg[^>]*?\b(width|height)="([\d.]+)(pt|px)?"[^>]*?\b(width|height)="([\d.]+)(pt|px)?"', re.DOTALL
)
WIDE = 700  # pixels
MOST_SHEETS = (
    1_000_000  # bytes of wide figures in the page: the others are linked, so that the page stays small
)
# The page has these as tables with the same intervals: a text is larger there, and the numbers can be read.
AS_TABLES = ("adjusted_means.svg", "differences.svg", "failures.svg")


@dataclass(frozen=True)
class ShownFigure:
    """A figure on the page. ``light`` and ``dark`` are addresses that contain the file; they may be empty.

    ``width`` and ``height`` are in pixels; they keep the page from jumping while it loads.
    """

    file: str
    title: str
    caption: str
    alt: str
    light: Markup
    dark: Markup
    width: int
    height: int

    @property
    def folded(self) -> bool:
        """Whether it is so wide that it would fill the page, like the sheets with many panels."""
        return self.width > WIDE

    @property
    def linked(self) -> bool:
        """Whether the file is also next to the page."""
        return self.file.endswith(".png")


def shown_figures(drawn: Iterable[Drawn]) -> list[ShownFigure]:
    """The figures of the page: all of ``drawn`` that it does not show as tables.

    Wide ones beyond :data:`MOST_SHEETS` have no address and are only linked.
    """
    found = []
    room = MOST_SHEETS
    for one in drawn:
        if one.file in AS_TABLES:
            continue
        width, height = _size(one.light)
        embedded = True
        if width > WIDE:
            room -= len(one.light)
            embedded = room >= 0
        found.append(
            ShownFigure(
                one.file,
                one.title,
                one.caption,
                one.alt,
                _address(one.file, one.light) if embedded else Markup(""),
                _address(one.file, one.dark) if one.dark else Markup(""),
                width,
                height,
            )
        )
    return found


def _address(file: str, content: bytes) -> Markup:
    kind = "svg+xml" if file.endswith(".svg") else "png"
    return Markup(f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}")  # noqa: S704 - no markup


def _size(content: bytes) -> tuple[int, int]:
    """Width and height in pixels of a PNG or an SVG file."""
    if not content.lstrip().startswith(b"<"):
        return int.from_bytes(content[16:20], "big"), int.from_bytes(content[20:24], "big")
    match = _SVG_SIZE.search(content)
    if match is None:
        return 800, 500
    scale = {b"pt": 96 / 72}
    sizes = {
        match[1]: float(match[2]) * scale.get(match[3], 1),
        match[4]: float(match[5]) * scale.get(match[6], 1),
    }
    return round(sizes.get(b"width", 800)), round(sizes.get(b"height", 500))
