"""The figures on the page: PNG or SVG files, embedded, with a second set for dark mode if there is one."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from analysis.figures.catalogue import FIGURES

_SVG_SIZE = re.compile(rb'<svg[^>]*?\b(width|height)="([\d.]+)(pt|px)?"[^>]*?\b(width|height)="([\d.]+)(pt|px)?"', re.DOTALL)


@dataclass(frozen=True)
class ShownFigure:
    """A figure on the page. ``light`` and ``dark`` are addresses that contain the file; ``dark`` may be empty.

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


def dark_name(file: str) -> str:
    """The name of the file of a figure for dark mode."""
    path = Path(file)
    return f"{path.stem}_dark{path.suffix}"


def shown_figures(pictures: Mapping[str, bytes]) -> list[ShownFigure]:
    """The figures among ``pictures`` (files by name), in the order of the catalogue."""
    found = []
    for figure in FIGURES:
        if content := pictures.get(figure.file):
            dark = pictures.get(dark_name(figure.file))
            width, height = _size(content)
            found.append(
                ShownFigure(
                    figure.file,
                    figure.title,
                    figure.caption,
                    f"{figure.title}. {figure.caption}",
                    _address(figure.file, content),
                    _address(figure.file, dark) if dark else Markup(""),
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
    sizes = {match[1]: float(match[2]) * scale.get(match[3], 1), match[4]: float(match[5]) * scale.get(match[6], 1)}
    return round(sizes.get(b"width", 800)), round(sizes.get(b"height", 500))
