"""Figures as PNG bytes. Readable at page width and with every common colour blindness."""

from __future__ import annotations

import io
import math
import textwrap
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.patches import Rectangle

from analysis.summary import architectures, common_text, extra_axes
from jobs.common.errors import one_line
from jobs.common.states import STATES

MOST_ARCHITECTURES = 6  # columns of a figure, and
MOST_VALUES = 16  # rows and columns of a heatmap: more cannot be read, and thousands cannot be drawn
RATE_LABEL = "learning rate (log scale)"
BATCH_LABEL = "batch size (patches, log scale)"
_METRICS = (
    ("best_val_jaccard", "best validation Jaccard index (0 to 1, higher is better)", "viridis", "{:.3f}"),
    (
        "val_loss_stability",
        "SD of validation loss, last 10 epochs (loss units, lower is better)",
        "cividis",
        "{:.2g}",
    ),
)


def source_text(frame: pd.DataFrame, width: int = 110) -> str:
    """Where the numbers come from and how they were split, in lines of ``width`` characters."""
    source = one_line(common_text(frame, "data_source"), 150) or "source not recorded"
    split = one_line(common_text(frame, "split"), 60) or "not recorded"
    return "\n".join(textwrap.wrap(f"data: {source}; split: {split}", width))


def status_counts(rows: pd.DataFrame) -> str:
    """``2 oom, 1 lost``: the points of ``rows`` without success by class; empty where there is none."""
    counts = rows.loc[~rows["successful"], "status"].value_counts()
    return ", ".join(f"{counts[state]} {state}" for state in STATES if counts.get(state, 0))


def best_first(frame: pd.DataFrame) -> pd.DataFrame:
    """Successful points, best first, then the others; ties in the order of the index."""
    return frame.sort_values(["successful", "best_val_jaccard"], ascending=False, kind="stable")


def spans_decades(values: pd.Series) -> bool:
    """Whether the positive ones of ``values`` span more than a factor of ten, so that only a log axis shows all."""
    positive = values[values > 0]
    return len(positive) > 1 and positive.max() > 10 * positive.min()


def limits(values: Sequence[float], *, log: bool = False, share: float = 0.08) -> tuple[float, float]:
    """The ends of an axis that holds ``values`` (positive where ``log``), also where they are all equal."""
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
    """A learning rate in four digits."""
    return f"{rate:.4g}"


def value_ticks(axes: Axes, values: Sequence[float], *, base: int, label: str) -> None:
    """A log x axis with plain tick labels at the ``values`` themselves, as many as stand side by side."""
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
    """A legend whose names are shown as they are: Matplotlib drops ``_x`` and reads ``$x$`` as a formula."""
    legend = axes.legend(handles, ["-"] * len(handles), **options)
    for text, name in zip(legend.get_texts(), names, strict=True):
        text.set_parse_math(False)
        text.set_text(name)
    return legend


def say(axes: Axes, text: str, width: int = 56) -> None:
    """Say in the middle of empty ``axes`` why they are empty."""
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
        color="#444444",
        parse_math=False,
    )


def _cells(frame: pd.DataFrame, metric: str, rates: list[float], batches: list[float]):
    """Means over seeds and further axes, the text of each cell, and what stands in a cell without a mean."""
    values = pd.DataFrame(np.nan, index=batches, columns=rates)
    words = pd.DataFrame("not in\nthe grid", index=batches, columns=rates)
    partly = pd.DataFrame("", index=batches, columns=rates)
    for (batch, rate), cell in frame.groupby(["batch_size", "learning_rate"]):
        numbers = cell.loc[cell["successful"], metric].dropna()
        bad = cell.loc[~cell["successful"], "status"].value_counts()
        states = [state for state in STATES if state in bad.index]
        if len(numbers):
            values.loc[batch, rate] = numbers.mean()
            words.loc[batch, rate] = ""
            partly.loc[batch, rate] = "".join(f"\n{bad[state]} {state}" for state in states)
        else:
            words.loc[batch, rate] = "\n".join(states) or "no value"
    return values, words, partly


def _drawn(frame: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """The rows that a figure has room for, those of the best points first, and a sentence on what it lacks."""
    order = best_first(frame)
    missing = []
    rows = pd.Series(True, index=frame.index)
    for column, most in (
        ("architecture", MOST_ARCHITECTURES),
        ("learning_rate", MOST_VALUES),
        ("batch_size", MOST_VALUES),
    ):
        values = order[column].unique()
        rows &= frame[column].isin(values[:most])
        if len(values) > most:
            missing.append(f"{most} of {len(values)} values of {column}")
    return frame[rows], f"shown: {', '.join(missing)}, those of the best points" if missing else ""


def detailed_heatmaps(frame: pd.DataFrame) -> bytes:
    """Performance and stability by learning rate and batch size, for each architecture.

    One colour scale for each metric over all architectures, logarithmic where the stability spans more than
    a factor of ten. A cell without a value says why: the class of the point's failure, or that the grid has
    no such point. Cells are means over seeds and further axes; one of which only some points failed
    says how many, and their class.
    """
    return png(heatmap_figure(frame))


def heatmap_figure(frame: pd.DataFrame) -> Figure:
    """The figure of :func:`detailed_heatmaps`: metrics below each other, or side by side in a large grid."""
    frame, left_out = _drawn(frame)
    names = architectures(frame)
    rates, batches = sorted(frame["learning_rate"].unique()), sorted(frame["batch_size"].unique())
    if not names:
        figure = Figure(figsize=(6.4, 2), layout="constrained")
        say(figure.subplots(), "No heatmap: the summary has no point.")
        return figure
    side_by_side = len(names) * len(rates) > 12  # would be wider than a page
    width = 10.0 if side_by_side else max(6.4, 1.2 + len(names) * max(2.4, 0.73 * len(rates)))
    cell = (width - 2.6) / (len(_METRICS) if side_by_side else len(names)) / len(rates)
    narrow = cell < 0.6  # inches: "cancelled" does not fit
    cells = len(frame.drop_duplicates(["architecture", "learning_rate", "batch_size"]))
    words = not frame["successful"].all() or cells < len(names) * len(rates) * len(batches)
    tall = 0.95 + (0.55 if words or not narrow else 0.42) * max(2, len(batches))
    rows = len(names) if side_by_side else len(_METRICS)
    figure = Figure(figsize=(width, 1.0 + rows * tall), layout="constrained")
    if side_by_side:
        grid = figure.subplots(rows, len(_METRICS), squeeze=False).T
    else:
        grid = figure.subplots(rows, len(names), squeeze=False)
    for row, (metric, title, colours, pattern) in zip(grid, _METRICS, strict=True):
        good = frame[frame["successful"]]
        found = good.groupby(["architecture", "learning_rate", "batch_size"])[metric].mean().dropna()
        norm = _scale(found, log=metric == "val_loss_stability")
        for axes, name in zip(row, names, strict=True):
            drawn = _cells(frame[frame["architecture"] == name], metric, rates, batches)
            mesh = _heatmap(axes, *drawn, norm=norm, colours=colours, pattern=pattern, narrow=narrow)
            axes.set_title(name, fontsize=8, parse_math=False)
            # The values stand as they are at every cell: evenly spaced, whatever their distances.
            axes.set_xlabel("learning rate", fontsize=8)
            axes.set_ylabel("batch size (patches)", fontsize=8)
        if len(found):
            place = (
                {"location": "top", "aspect": 40} if side_by_side else {"location": "right", "fraction": 0.03}
            )
            bar = figure.colorbar(mesh, ax=list(row), pad=0.01, **place)
            bar.set_label("\n".join(textwrap.wrap(title, 70 if side_by_side else 34)), fontsize=7)
            bar.ax.tick_params(labelsize=7)
    repeats = frame.groupby(["architecture", "learning_rate", "batch_size"]).size()
    several = int(repeats.max())
    over = ["seeds" if frame["seed"].nunique() > 1 else "", *extra_axes(frame)]
    note = (
        f"cells are means of up to {several} points (over {', '.join(filter(None, over)) or 'repeats'})"
        if several > 1
        else "one point a cell: differences may be chance"
    )
    characters = int(width * 13)
    lines = [source_text(frame, characters), *textwrap.wrap(one_line(note, 300), characters), left_out]
    if not frame["successful"].any():
        lines.append(f"no value at all: no point was successful ({status_counts(frame)})")
    figure.suptitle("\n".join(filter(None, lines)), fontsize=8, parse_math=False)
    return figure


def _scale(found: pd.Series, *, log: bool) -> Normalize:
    """The colour scale of all cells of a metric; a constant metric still needs one."""
    if log and spans_decades(found):
        return LogNorm(found[found > 0].min(), found.max(), clip=True)
    low, high = (found.min(), found.max()) if len(found) else (0.0, 1.0)
    if high <= low:
        low, high = limits([low])
    return Normalize(low, high)


def _heatmap(
    axes: Axes,
    values: pd.DataFrame,
    words: pd.DataFrame,
    partly: pd.DataFrame,
    *,
    norm: Normalize,
    colours: str,
    pattern: str,
    narrow: bool,
) -> Any:
    """One heatmap with the texts of :func:`_cells`; where the cells are ``narrow``, texts are upright."""
    numbers = values.to_numpy(dtype=float)
    drawn = np.ma.masked_invalid(numbers)
    if isinstance(norm, LogNorm):
        drawn = np.ma.maximum(drawn, norm.vmin)  # zero has no logarithm; its text says 0
    mesh = axes.pcolormesh(drawn, cmap=colours, norm=norm, edgecolors="white", linewidth=1)
    shades = mesh.cmap(norm(drawn))[..., :3] @ [0.299, 0.587, 0.114]
    for (y, x), number in np.ndenumerate(numbers):
        text, colour = words.iat[y, x], "black"
        if text:
            axes.add_patch(Rectangle((x, y), 1, 1, facecolor="#dddddd", edgecolor="white", hatch="//"))
        else:
            text = pattern.format(number) + partly.iat[y, x]
            colour = "black" if shades[y, x] > 0.5 else "white"
        axes.text(
            x + 0.5,
            y + 0.5,
            text,
            ha="center",
            va="center",
            fontsize=7,
            color=colour,
            rotation=90 if narrow else 0,
            in_layout=False,  # thousands of them, all inside
        )
    axes.set_xticks(np.arange(values.shape[1]) + 0.5, [rate_text(rate) for rate in values.columns])
    axes.set_yticks(np.arange(values.shape[0]) + 0.5, [f"{batch:g}" for batch in values.index])
    axes.tick_params(labelsize=7.5, length=0)
    axes.tick_params(axis="x", rotation=90 if narrow else 0)
    axes.invert_yaxis()
    axes.spines[:].set_visible(False)
    return mesh


def png(figure: Figure) -> bytes:
    """The figure at 150 dpi."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # A box stands for what the font lacks; the report has the name as it is.
        warnings.filterwarnings("ignore", message="Glyph .* missing", category=UserWarning)
        figure.savefig(buffer, format="png", dpi=150)
    return buffer.getvalue()
