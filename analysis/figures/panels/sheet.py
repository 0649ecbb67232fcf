"""The data that all panels of the comprehensive analysis share: points, colours and notes."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from analysis.figures.drawing import MOST_ARCHITECTURES, best_first, name_legend, spans_decades, status_counts
from analysis.summary import architectures, extra_axes
from jobs.common.units import plural

JACCARD, STABILITY = "best_val_jaccard", "val_loss_stability"
LABELS = {
    JACCARD: "best validation Jaccard index (0 to 1)",
    STABILITY: "SD of val. loss, last 10 epochs (loss units)",
}
_LINE_STYLES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (7, 2)))


@dataclass(frozen=True)
class Sheet:
    """The data that all panels share.

    ``frame`` has the points of the architectures ``names`` that are shown, ``rows`` the successful ones of them.
    ``looks`` has the colour and the line style of each architecture. ``repeated``: settings were trained successfully
    with several seeds. ``log_stability``: the stability has a log axis. ``notes`` maps each note to its panels, such
    as ``["(c)", "(d)"]``.
    """

    frame: pd.DataFrame
    rows: pd.DataFrame
    names: list[str]
    looks: dict[str, dict[str, Any]]
    repeated: bool
    log_stability: bool
    notes: dict[str, list[str]] = field(default_factory=dict)

    def note(self, text: str, *panels: str) -> None:
        """Add a note. If it exists already, only the letters of ``panels`` are added to it."""
        self.notes.setdefault(text, []).extend(f"({panel})" for panel in panels)

    def with_stability(self) -> pd.DataFrame:
        """The rows whose stability can be shown on its axis."""
        rows = self.rows[self.rows[STABILITY].notna()]
        return rows[rows[STABILITY] > 0] if self.log_stability else rows

    def why_empty(self) -> str:
        """A sentence that explains why there is no successful point; empty if there is one."""
        if len(self.rows):
            return ""
        counts = status_counts(self.frame)
        return f" The points: {counts}." if counts else " The summary has no point."


def configuration_columns(frame: pd.DataFrame) -> list[str]:
    """The columns in which two points with equal settings are equal: all axes but the seed."""
    return ["architecture", "learning_rate", "batch_size", *extra_axes(frame)]


def make_sheet(frame: pd.DataFrame) -> Sheet:
    """The sheet of ``frame``, with the notes that concern several panels.

    Of more than :data:`analysis.figures.drawing.MOST_ARCHITECTURES` architectures those of the best points are shown.
    """
    every = list(best_first(frame)["architecture"].unique())
    counts = _counts(frame)
    if len(every) > MOST_ARCHITECTURES:
        frame = frame[frame["architecture"].isin(every[:MOST_ARCHITECTURES])]
    rows = frame[frame["successful"]]
    names = architectures(frame)
    colours = sns.color_palette("colorblind")
    looks = {
        name: {"color": colour, "linestyle": style}
        for name, colour, style in zip(names, colours, _LINE_STYLES, strict=False)
    }
    repeated = bool(len(rows)) and bool(
        rows.groupby(configuration_columns(rows), dropna=False).size().max() > 1
    )
    sheet = Sheet(frame, rows, names, looks, repeated, spans_decades(rows[STABILITY]))
    sheet.note(counts)
    if len(every) > len(names):
        sheet.note(f"Shown: {len(names)} of {len(every)} architectures, those with the best points.")
    if rows.empty:
        sheet.note("No point was successful: nothing can be drawn.", *"abcdefg")
    else:
        _note_bands(sheet)
        _note_missing_stability(sheet)
    return sheet


def _counts(frame: pd.DataFrame) -> str:
    waiting = frame["status"].isin(["waiting", "running"])
    failed, unfinished = status_counts(frame[~waiting]), status_counts(frame[waiting])
    text = f"{plural(len(frame), 'point')}, {int(frame['successful'].sum())} successful"
    text += f"; failed: {failed}" if failed else "; none failed"
    return text + (f"; not finished: {unfinished}." if unfinished else ".")


def _note_bands(sheet: Sheet) -> None:
    if sheet.repeated:
        sheet.note(
            "Bands: 95 % confidence interval of the mean, from the run-to-run spread of points with equal settings.",
            *"abcd",
        )
    else:
        sheet.note(
            "Bands: 95 % confidence interval of the mean over the other settings, from the spread BETWEEN these settings. "
            "No setting was repeated, so run-to-run noise is not known and not shown.",
            *"abcd",
        )
    if len(sheet.names) > 1:
        sheet.note("Lines are shifted sideways a little, so that they do not overlap.", *"abcd")


def _note_missing_stability(sheet: Sheet) -> None:
    stability = sheet.rows[STABILITY]
    if sheet.log_stability:
        sheet.note("The stability spans more than a factor of ten: log axis, geometric means.", *"cd")
        if zero := int((stability <= 0).sum()):
            sheet.note(
                f"Left out: {plural(zero, 'point')} with a stability of 0, which a log axis cannot show.",
                *"cdf",
            )
    if missing := int(stability.isna().sum()):
        sheet.note(f"Left out: {plural(missing, 'successful point')} without stability.", *"cdf")


def set_title(axes: Axes, text: str, caption: str = "") -> None:
    """Set the title of a panel, with ``caption`` in the lines below it, and the size of its tick labels."""
    lines = [text, *textwrap.wrap(caption, 76)]
    axes.set_title("\n".join(lines), fontsize=7.5, loc="left", parse_math=False)
    axes.tick_params(which="both", labelsize=7.5)


def legend_lines(sheet: Sheet) -> int:
    """The number of lines that :func:`draw_legend` needs."""
    return -(-len(sheet.names) // _legend_columns(sheet.names)) if sheet.names else 1


def _legend_columns(names: list[str]) -> int:
    return min(6, max(1, 150 // (max(map(len, names), default=0) + 10)))


def draw_legend(axes: Axes, sheet: Sheet) -> None:
    """The colours and line styles of the architectures, on ``axes`` of their own."""
    axes.axis("off")
    if sheet.names:
        handles = [Line2D([], [], linewidth=2, **sheet.looks[name]) for name in sheet.names]
        name_legend(
            axes,
            handles,
            sheet.names,
            loc="center",
            ncols=_legend_columns(sheet.names),
            fontsize=8,
            frameon=False,
            handlelength=3,
            title="architecture: colour, and line style in (a) to (d)",
            title_fontsize=7.5,
        )


def draw_notes(axes: Axes, sheet: Sheet) -> None:
    """All notes, on ``axes`` of their own."""
    axes.axis("off")
    lines = []
    for text, panels in sheet.notes.items():
        note = f"{', '.join(panels)} {text}" if panels else text
        lines += textwrap.wrap(note, 72, initial_indent="- ", subsequent_indent="   ")
    axes.text(
        0.02,
        1.0,
        "Notes\n" + "\n".join(lines),
        transform=axes.transAxes,
        va="top",
        fontsize=7.5,
        linespacing=1.25,
        in_layout=False,
        parse_math=False,
    )
