"""Figures as PNG bytes. Readable at page width and with every common colour blindness."""

from __future__ import annotations

import io
import textwrap
import warnings

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from analysis.summary import architectures, common_text, extra_axes
from jobs.states import STATES

MOST_ARCHITECTURES = 6  # columns of a figure, and
MOST_VALUES = 16  # rows and columns of a heatmap: more cannot be read, and thousands cannot be drawn
_METRICS = (
    ("best_val_jaccard", "best validation Jaccard index (0 to 1, higher is better)", "viridis", "{:.3f}"),
    (
        "val_loss_stability",
        "SD of validation loss, last 10 epochs (loss units, lower is better)",
        "cividis",
        "{:.2g}",
    ),
)


def _cells(frame: pd.DataFrame, metric: str, rates: list[float], batches: list[float]):
    """Means over seeds and further axes, and what stands in a cell without one."""
    values = pd.DataFrame(np.nan, index=batches, columns=rates)
    words = pd.DataFrame("", index=batches, columns=rates)
    for batch in batches:
        for rate in rates:
            cell = frame[(frame["batch_size"] == batch) & (frame["learning_rate"] == rate)]
            numbers = cell.loc[cell["successful"], metric].dropna()
            if len(numbers):
                values.loc[batch, rate] = numbers.mean()
            else:
                states = [state for state in STATES if state != "done" and (cell["status"] == state).any()]
                words.loc[batch, rate] = (
                    "/".join(states) if states else "not in\nthe grid" if cell.empty else "no value"
                )
    return values, words


def _drawn(frame: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """The rows that a figure has room for, those of the best points first, and a sentence on what it lacks."""
    order = frame.sort_values(["successful", "best_val_jaccard"], ascending=False, kind="stable")
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
    """Performance and stability by learning rate and batch size, a column for each architecture.

    One colour scale for each metric over all architectures. A cell without a value says why: the class of
    the point's failure, or that the grid has no such point. Cells are means over seeds and further axes.
    """
    frame, left_out = _drawn(frame)
    names = architectures(frame)
    rates, batches = sorted(frame["learning_rate"].unique()), sorted(frame["batch_size"].unique())
    columns = max(1, len(names))
    width = max(6.4, 1.2 + columns * max(2.4, 0.85 * len(rates)))
    height = 1.5 + 2 * max(1.8, 0.55 * len(batches) + 0.9)
    figure = Figure(figsize=(width, height), layout="constrained")
    grid = figure.subplots(len(_METRICS), columns, squeeze=False)
    for row, (metric, title, colours, pattern) in zip(grid, _METRICS, strict=True):
        found = frame.loc[frame["successful"], metric].dropna()
        low, high = (found.min(), found.max()) if len(found) else (0.0, 1.0)
        if high <= low:
            low, high = low - 0.5, high + 0.5  # a constant metric still needs a scale
        for axes, name in zip(row, names, strict=False):
            values, words = _cells(frame[frame["architecture"] == name], metric, rates, batches)
            texts = values.map(lambda value, pattern=pattern: "" if pd.isna(value) else pattern.format(value))
            sns.heatmap(
                values,
                ax=axes,
                cmap=colours,
                vmin=low,
                vmax=high,
                annot=texts,
                fmt="",
                annot_kws={"fontsize": 8},
                cbar=False,
                linewidths=1,
                linecolor="white",
                xticklabels=[f"{rate:g}" for rate in rates],
                yticklabels=[f"{batch:g}" for batch in batches],
            )
            for y, batch in enumerate(batches):
                for x, rate in enumerate(rates):
                    if words.loc[batch, rate]:
                        axes.add_patch(
                            Rectangle((x, y), 1, 1, facecolor="#dddddd", edgecolor="white", hatch="//")
                        )
                        text = words.loc[batch, rate].replace("/", "\n")
                        axes.text(x + 0.5, y + 0.5, text, ha="center", va="center", fontsize=7)
            axes.set_title(name, fontsize="small", parse_math=False)
            axes.set(xlabel="learning rate", ylabel="batch size")
            axes.tick_params(labelsize=8, rotation=0)
        if row[0].collections:
            bar = figure.colorbar(row[0].collections[0], ax=list(row), fraction=0.03, pad=0.01)
            bar.set_label("\n".join(textwrap.wrap(title, 34)), fontsize=7)
            bar.ax.tick_params(labelsize=7)
    repeats = frame.groupby(["architecture", "learning_rate", "batch_size"]).size()
    several = int(repeats.max()) if len(repeats) else 0
    over = ["seeds" if frame["seed"].nunique() > 1 else "", *extra_axes(frame)]
    note = (
        f"cells are means of up to {several} points (over {', '.join(filter(None, over)) or 'repeats'})"
        if several > 1
        else "one point a cell: differences may be chance"
    )
    figure.suptitle("\n".join(filter(None, [_source(frame), note, left_out])), fontsize=8, parse_math=False)
    return png(figure)


def _source(frame: pd.DataFrame) -> str:
    return f"data: {common_text(frame, 'data_source') or 'source not recorded'}"


def png(figure: Figure) -> bytes:
    """The figure at 150 dpi."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # A box stands for what the font lacks; the report has the name as it is.
        warnings.filterwarnings("ignore", message="Glyph .* missing", category=UserWarning)
        figure.savefig(buffer, format="png", dpi=150)
    return buffer.getvalue()
