"""The look of the figures for the page and for a paper: colours of two themes, sizes, and files that never change.

A figure is drawn once, in the colours of the light theme. Its dark version is the same file with other colours, so the
two always show the same.
"""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from analysis.figures.drawing import limits, rate_text

FORMATS = ("svg", "pdf", "png")
INK, MUTED, RULE, PAPER = "#1f2328", "#57606a", "#d0d7de", "#fefefe"
# Okabe and Ito's colours, which every common colour blindness can tell apart, and lighter ones for a dark page.
_HUES = {
    "#0072b2": "#56b4e9",
    "#d55e00": "#ff9447",
    "#009e73": "#35d6a8",
    "#cc79a7": "#f0a3cb",
    "#8a6d00": "#f0e442",
    "#6a51a3": "#b9a6f0",
}
HUES = tuple(_HUES)
MARKERS = ("o", "s", "^", "D", "v", "P")
_STEPS = 64


def _ramp(low: float, high: float) -> list[str]:
    return [to_hex(colour) for colour in mpl.colormaps["plasma"](np.linspace(low, high, _STEPS))]


_RAMP = _ramp(0.0, 0.63)  # the brightest colours cannot be seen on white
_DARK = {
    **dict(zip(_RAMP, _ramp(0.44, 1.0), strict=True)),
    **_HUES,
    INK: "#e6edf3",
    MUTED: "#9ea7b3",
    RULE: "#3d444d",
    PAPER: "#0d1117",
}
_CHARACTER = 0.62  # the width of a character, in sizes of the text
_MOST_TICKS = 12
_HASHED = re.compile(rb'(?<=["#])\w*[0-9a-f]{10}(?=[")])')  # ids of clip paths, markers and hatches
_COLOUR = re.compile(rb"#[0-9a-f]{6}\b")


@dataclass(frozen=True)
class Look:
    """The ``width`` of a figure in inches, and the ``size`` of its text in points."""

    width: float
    size: float

    @property
    def wide(self) -> bool:
        """Whether panels can be side by side."""
        return self.width > 5


# On a phone 390 pixels wide, 8 points of a figure of 4.4 inches are as high as text of 9 pixels.
PAGE = Look(4.4, 8.0)
# The columns of most journals: 89 and 183 mm.
COLUMN, DOUBLE_COLUMN = Look(89 / 25.4, 7.0), Look(183 / 25.4, 7.5)


def ramp(count: int) -> list[str]:
    """Colours for ``count`` ordered levels, the first one for the lowest."""
    return [_RAMP[int(place)] for place in np.linspace(0, _STEPS - 1, max(count, 1)).round()]


def ramp_of(share: float) -> str:
    """The colour of a number from 0 to 1 on the scale of :func:`ramp`."""
    return _RAMP[round(min(max(share, 0.0), 1.0) * (_STEPS - 1))]


@contextmanager
def look_of(look: Look) -> Iterator[None]:
    """Matplotlib's settings for figures of this look, whatever the user's own are."""
    with own_settings():
        mpl.rcParams.update(
            {
                "font.size": look.size,
                "axes.titlesize": look.size,
                "axes.labelsize": look.size,
                "xtick.labelsize": look.size - 0.5,
                "ytick.labelsize": look.size - 0.5,
                "legend.fontsize": look.size - 0.5,
                "legend.frameon": False,
                "axes.titlelocation": "left",
                "axes.spines.top": False,
                "axes.spines.right": False,
                "axes.linewidth": 0.6,
                "axes.axisbelow": True,
                "grid.color": RULE,
                "grid.linewidth": 0.5,
                "lines.linewidth": 1.3,
                "lines.markersize": 3.5,
                "hatch.linewidth": 0.5,
                **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), INK),
                **dict.fromkeys(("axes.edgecolor",), MUTED),
                **dict.fromkeys(("figure.facecolor", "axes.facecolor", "savefig.facecolor"), "none"),
                "svg.fonttype": "none",  # text stays text, which can be searched, read aloud and edited
                "pdf.fonttype": 42,
                "svg.hashsalt": "figures",  # ids are random without it
            }
        )
        yield


@contextmanager
def own_settings() -> Iterator[None]:
    """Matplotlib's own defaults: a user's matplotlibrc may ask for LaTeX, or for text that nobody can read."""
    with mpl.rc_context(), warnings.catch_warnings():
        # A character that the font lacks is drawn as a box. The page shows the name itself.
        warnings.filterwarnings("ignore", message="Glyph .* missing", category=UserWarning)
        mpl.rcdefaults()
        yield


def saved(figure: Figure, kind: str) -> bytes:
    """The figure as a file of one of :data:`FORMATS`: always the same bytes, without a date."""
    buffer = io.BytesIO()
    undated = {
        "svg": {"Date": None, "Creator": None},
        "pdf": {"CreationDate": None},
        "png": {"Software": None},
    }
    figure.savefig(
        buffer,
        format=kind,
        dpi=300 if kind == "png" else "figure",
        metadata=undated[kind],
        facecolor="white" if kind == "png" else "none",
    )
    return _with_numbered_ids(buffer.getvalue()) if kind == "svg" else buffer.getvalue()


def _with_numbered_ids(svg: bytes) -> bytes:
    """An SVG file whose hashed ids are numbers in the order of the file.

    Matplotlib hashes places with all their digits, and the last ones of the constrained layout differ between
    processes.
    """
    numbers: dict[bytes, bytes] = {}
    return _HASHED.sub(lambda match: numbers.setdefault(match[0], b"part%d" % (len(numbers) + 1)), svg)


def for_dark(svg: bytes) -> bytes:
    """An SVG file of the light theme in the colours of the dark one."""
    return _COLOUR.sub(lambda match: _DARK.get(match[0].decode(), match[0].decode()).encode(), svg)


def legend_columns(look: Look, names: Sequence[str]) -> int:
    """The number of columns of a legend of ``names`` that is as wide as the figure."""
    longest = max(map(len, names), default=0) + 5  # the marker and the gaps
    return max(1, min(len(names), int(look.width * 72 / (_CHARACTER * look.size * longest))))


def rate_axis(axes: Axes, rates: Sequence[float], look: Look, columns: int) -> None:
    """A logarithmic axis of learning rates, with labels as close as the text allows."""
    low, high = limits(rates, log=True)
    values = sorted(set(rates))
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    space = 0.8 * look.width * 72 / columns
    kept: list[float] = []
    for value in values if len(values) <= _MOST_TICKS else _decades(low, high):
        width = _CHARACTER * look.size * (len(rate_text(value)) + 1)
        if not kept or math.log(value / kept[-1]) / math.log(high / low) * space > width:
            kept.append(value)
    axes.set_xticks(kept, [rate_text(value) for value in kept])
    axes.set_xticks([], minor=True)


def _decades(low: float, high: float) -> list[float]:
    found = [10.0**power for power in range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)]
    return found if len(found) > 1 else [low, high]


def panel_columns(look: Look, count: int) -> int:
    """How many of ``count`` panels are side by side."""
    return min(count, 3) if look.wide else 1


def panels(look: Look, titles: Sequence[str], height: float, label: str) -> tuple[Figure, list[Axes]]:
    """One panel for each of ``titles``, ``height`` inches high: below each other, or side by side if that fits.

    ``label`` is that of the vertical axes.
    """
    columns = panel_columns(look, len(titles))
    rows = -(-len(titles) // columns)
    figure = Figure(figsize=(look.width, rows * height + 0.35), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    every = list(grid.flat)
    for axes, title in zip(every, titles, strict=False):
        axes.set_title(title, parse_math=False)
    for axes in every[len(titles) :]:
        axes.remove()
    for row in grid:
        row[0].set_ylabel(label)
    return figure, every[: len(titles)]
