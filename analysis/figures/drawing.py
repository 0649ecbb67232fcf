"""Functions that several figures use: the order of points, limits and ticks of axes, legends, and saving as PNG."""

from __future__ import annotations

import io
import math
import textwrap
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.legend import Legend

from analysis.summary import common_text
from jobs.common.errors import one_line
from jobs.common.states import STATES

MOST_ARCHITECTURES = 6  # in one figure
RATE_LABEL = "learning rate (log scale)"
BATCH_LABEL = "batch size (patches, log scale)"
GREY = "#444444"  # of texts and markers that belong to no architecture


def source_text(frame: pd.DataFrame, width: int = 110) -> str:
    """The source of the data and how they were split, in lines of at most ``width`` characters."""
    source = one_line(common_text(frame, "data_source"), 150) or "source not recorded"
    split = one_line(common_text(frame, "split"), 60) or "not recorded"
    return "\n".join(textwrap.wrap(f"data: {source}; split: {split}", width))


def status_counts(rows: pd.DataFrame) -> str:
    """The unsuccessful points of ``rows`` by class, such as ``2 oom, 1 lost``; empty if there are none."""
    counts = rows.loc[~rows["successful"], "status"].value_counts()
    return ", ".join(f"{counts[state]} {state}" for state in STATES if counts.get(state, 0))


def best_first(frame: pd.DataFrame) -> pd.DataFrame:
    """Successful points, best first, then the others; ties in the order of the index."""
    return frame.sort_values(["successful", "best_val_jaccard"], ascending=False, kind="stable")


def spans_decades(values: pd.Series) -> bool:
    """Whether the positive ``values`` span more than a factor of ten, so that only a log axis shows them all."""
    positive = values[values > 0]
    return len(positive) > 1 and bool(positive.max() > 10 * positive.min())


def limits(values: npt.ArrayLike, *, log: bool = False, share: float = 0.08) -> tuple[float, float]:
    """The ends of an axis that shows ``values`` with a margin of ``share`` of their range on both sides.

    Values that are not finite are ignored; with ``log`` all others must be positive. Equal values get a margin, too.
    """
    found = np.asarray(values, dtype=float)
    found = found[np.isfinite(found)]
    if not len(found):
        return (0.1, 1.0) if log else (0.0, 1.0)
    if log:
        low, high = np.log10(found.min()), np.log10(found.max())
        pad = share * (high - low) if high > low else 0.5
        return float(10 ** (low - pad)), float(10 ** (high + pad))
    low, high = float(found.min()), float(found.max())
    least = 1e-6 * max(abs(low), abs(high))
    pad = share * (high - low) if high - low > least else 0.05 * abs(high) or 0.05
    return low - pad, high + pad


def rate_text(rate: float) -> str:
    """A learning rate with four digits."""
    return f"{rate:.4g}"


def value_ticks(axes: Axes, values: Sequence[float], *, base: int, label: str) -> None:
    """Make the x axis logarithmic with plain tick labels at the ``values``, as many as fit side by side."""
    axes.set_xscale("log", base=base)
    low, high = limits(values, log=True)
    axes.set_xlim(low, high)
    width = math.log(high / low)
    text = rate_text if base == 10 else "{:g}".format
    kept: list[float] = []
    for value in sorted(set(values)):
        if not kept or math.log(value / kept[-1]) / width > 0.02 * len(text(value)):
            kept.append(value)
    axes.set_xticks(kept, [text(value) for value in kept])
    axes.set_xticks([], minor=True)
    axes.set_xlabel(label, fontsize=8)


def name_legend(axes: Axes, handles: Sequence[Any], names: Sequence[str], **options: Any) -> Legend:
    """A legend that shows any ``names`` unchanged: Matplotlib drops ``_x`` and reads ``$x$`` as a formula."""
    legend = axes.legend(handles, ["-"] * len(handles), **options)
    for text, name in zip(legend.get_texts(), names, strict=True):
        text.set_parse_math(False)
        text.set_text(name)
    return legend


def explain_empty(axes: Axes, text: str, width: int = 56) -> None:
    """Write the reason why there is nothing to draw in the middle of ``axes``."""
    axes.set_xticks([])
    axes.set_yticks([])
    lines = "\n".join(textwrap.wrap(text, width))
    axes.text(
        0.5,
        0.5,
        lines,
        transform=axes.transAxes,
        ha="center",
        va="center",
        fontsize=8,
        color=GREY,
        parse_math=False,
    )


def png(figure: Figure) -> bytes:
    """The figure as a PNG file with 150 pixels per inch."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # A character that the font lacks is drawn as a box. The report shows the name itself.
        warnings.filterwarnings("ignore", message="Glyph .* missing", category=UserWarning)
        figure.savefig(buffer, format="png", dpi=150)
    return buffer.getvalue()
