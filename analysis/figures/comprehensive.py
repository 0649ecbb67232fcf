"""``comprehensive_analysis.png``: trends, box plots, trade-off and correlations on one sheet."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy.special import stdtrit

from analysis.figures.heatmaps import (
    BATCH_LABEL,
    MOST_ARCHITECTURES,
    RATE_LABEL,
    best_first,
    limits,
    name_legend,
    png,
    say,
    source_text,
    spans_decades,
    status_counts,
    value_ticks,
)
from analysis.ranking import pareto_front
from analysis.summary import architectures, extra_axes

JACCARD, STABILITY = "best_val_jaccard", "val_loss_stability"
MOST_DOTS = 500  # points that a trend shows one by one
LEAST_PAIRS = 4  # of a correlation: three points are in perfect order by chance once in three times
_LABELS = {
    JACCARD: "best validation Jaccard index (0 to 1)",
    STABILITY: "SD of val. loss, last 10 epochs (loss units)",
}
_SHORT = {JACCARD: "Jaccard index", STABILITY: "SD of validation loss"}
_CORRELATED = {
    "learning_rate": "learning rate",
    "batch_size": "batch size",
    JACCARD: "val. Jaccard",
    "test_jaccard": "test Jaccard",
    STABILITY: "SD of val. loss",
    "overfitting_gap": "overfitting gap",
    "epochs_to_best": "epochs to best",
    "training_time_seconds": "training time",
}
_STYLES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (7, 2)))
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")  # of the batch sizes; any further ones are dots
_OTHER = "."
_GREY, _DARK = "#bbbbbb", "#444444"


@dataclass(frozen=True)
class _Sheet:
    """What all panels share; ``rows`` are successful, of the ``names`` that are shown."""

    frame: pd.DataFrame
    rows: pd.DataFrame
    names: list[str]
    looks: dict[str, dict[str, Any]]
    repeated: bool  # settings of which several seeds have a score
    log_stability: bool
    notes: dict[str, list[str]] = field(default_factory=dict)

    def note(self, text: str, *panels: str) -> None:
        """Add to the notes; what several panels say stands there once, with all their letters."""
        self.notes.setdefault(text, []).extend(f"({panel})" for panel in panels)


def comprehensive_analysis(frame: pd.DataFrame) -> bytes:
    """Seven panels, 1500 pixels wide. ``frame`` is that of :func:`analysis.summary.load_summary`.

    (a, b) Jaccard index over learning rate and batch size, (c, d) the same of the stability, each with 95 %
    confidence bands; (e) box plots by architecture; (f) trade-off with its Pareto front; (g) Spearman
    correlations. What cannot be computed is said where it would stand and in the notes beside (g).
    """
    return png(comprehensive_figure(frame))


def comprehensive_figure(frame: pd.DataFrame) -> Figure:
    """The figure of :func:`comprehensive_analysis`."""
    sheet = _sheet(frame)
    legend_lines = _legend_lines(sheet.names)
    heights = [0.22 * legend_lines + 0.3, *([0.8] * 4 if sheet.rows.empty else [3.2, 3.2, 3.5, 3.9])]
    figure = Figure(figsize=(10, sum(heights) + 0.5), layout="constrained")
    grid = figure.add_gridspec(5, 2, height_ratios=heights)
    top = figure.add_subplot(grid[0, :])
    _legends(top, sheet, legend_lines)
    for row, metric in ((1, JACCARD), (2, STABILITY)):
        for side, column in ((0, "learning_rate"), (1, "batch_size")):
            letter = "abcd"[2 * (row - 1) + side]
            _trend(figure.add_subplot(grid[row, side]), sheet, column, metric, letter)
    _boxes(figure.add_subplot(grid[3, 0]), sheet)
    _trade_off(figure.add_subplot(grid[3, 1]), sheet)
    _correlations(figure.add_subplot(grid[4, 0]), sheet)
    _notes(figure.add_subplot(grid[4, 1]), sheet)
    figure.suptitle(source_text(frame), fontsize=8.5, parse_math=False)
    return figure


def _cell(frame: pd.DataFrame) -> list[str]:
    return ["architecture", "learning_rate", "batch_size", *extra_axes(frame)]


def _sheet(frame: pd.DataFrame) -> _Sheet:
    every = list(best_first(frame)["architecture"].unique())
    counts = _counts(frame)
    if len(every) > MOST_ARCHITECTURES:
        frame = frame[frame["architecture"].isin(every[:MOST_ARCHITECTURES])]
    rows = frame[frame["successful"]]
    names = architectures(frame)
    colours = sns.color_palette("colorblind")
    looks = {
        name: {"color": colour, "linestyle": style}
        for name, colour, style in zip(names, colours, _STYLES, strict=False)
    }
    repeated = bool(len(rows)) and bool(rows.groupby(_cell(rows), dropna=False).size().max() > 1)
    sheet = _Sheet(frame, rows, names, looks, repeated, spans_decades(rows[STABILITY]))
    sheet.note(counts)
    if len(every) > len(names):
        sheet.note(f"Shown: {len(names)} of {len(every)} architectures, those of the best points.")
    if rows.empty:
        sheet.note("No point was successful: nothing can be drawn.", *"abcdefg")
        return sheet
    if repeated:
        sheet.note(
            "Bands: 95 % confidence of the mean, from the run-to-run spread of points with equal settings.",
            *"abcd",
        )
    else:
        sheet.note(
            "Bands: 95 % confidence of the mean over the other settings, from the spread BETWEEN these settings. No "
            "setting was repeated: run-to-run noise is not known and not shown.",
            *"abcd",
        )
    if len(names) > 1:
        sheet.note("Lines are set apart sideways a little, so that none hides another.", *"abcd")
    if sheet.log_stability:
        sheet.note("The stability spans more than a factor of ten: log axis, geometric means.", *"cd")
        if zero := int((rows[STABILITY] <= 0).sum()):
            sheet.note(f"{_points(zero)} with a stability of 0: no place on a log axis, left out.", *"cdf")
    if missing := int(rows[STABILITY].isna().sum()):
        sheet.note(f"{_points(missing)} with success but without stability: left out.", *"cdf")
    return sheet


def _points(count: int) -> str:
    return f"{count} point" + ("" if count == 1 else "s")


def _counts(frame: pd.DataFrame) -> str:
    waiting = frame["status"].isin(["waiting", "running"])
    failed, unfinished = status_counts(frame[~waiting]), status_counts(frame[waiting])
    text = f"{_points(len(frame))}, {int(frame['successful'].sum())} successful"
    text += f"; failed: {failed}" if failed else "; none failed"
    return text + (f"; not finished: {unfinished}." if unfinished else ".")


def _legend_lines(names: list[str]) -> int:
    return -(-len(names) // _legend_columns(names)) if names else 1


def _legend_columns(names: list[str]) -> int:
    return min(6, max(1, 150 // (max(map(len, names), default=0) + 10)))


def _legends(axes: Axes, sheet: _Sheet, lines: int) -> None:
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


def _title(axes: Axes, text: str, caption: str = "") -> None:
    lines = [text, *textwrap.wrap(caption, 76)]
    axes.set_title("\n".join(lines), fontsize=7.5, loc="left", parse_math=False)
    axes.tick_params(which="both", labelsize=7.5)


def _transformed(sheet: _Sheet, metric: str) -> pd.DataFrame:
    """The rows with ``metric``, as its logarithm where the axis is logarithmic."""
    rows = sheet.rows[sheet.rows[metric].notna()]
    if metric == STABILITY and sheet.log_stability:
        rows = rows[rows[metric] > 0]
        return rows.assign(**{metric: np.log10(rows[metric])})
    return rows


def confidence(rows: pd.DataFrame, column: str, metric: str, *, repeated: bool) -> pd.DataFrame:
    """Mean of ``metric`` at each value of ``column`` with the half width of its 95 % interval (Student's t).

    The mean is that of the means of settings (cells). ``repeated``: the interval comes from the spread within
    cells, pooled (degrees of freedom: points less cells); otherwise from the spread between the cells.
    ``half`` is NaN without a degree of freedom.
    """
    # Own names for all columns: an axis that the user added may be called "count".
    cell = rows.groupby(_cell(rows), dropna=False).ngroup()
    points = pd.DataFrame({column: rows[column], "cell": cell, "value": rows[metric]})
    cells = points.groupby([column, "cell"])["value"].agg(["mean", "count", "var"]).reset_index()
    cells["spare"] = cells["count"] - 1
    cells["squares"] = (cells["spare"] * cells["var"]).where(cells["spare"] > 0, 0.0)
    cells["share"] = 1 / cells["count"]
    groups = cells.groupby(column, sort=True)
    found = groups.agg(
        mean=("mean", "mean"),
        between=("mean", "var"),
        cells=("mean", "size"),
        squares=("squares", "sum"),
        spare=("spare", "sum"),
        share=("share", "sum"),
    )
    freedom = found["spare"] if repeated else found["cells"] - 1
    certain = freedom.clip(lower=1)
    if repeated:
        error = np.sqrt(found["squares"] / certain * found["share"]) / found["cells"]
    else:
        error = np.sqrt(found["between"] / found["cells"])
    half = (stdtrit(certain.to_numpy(dtype=float), 0.975) * error).where(freedom > 0)
    return pd.DataFrame({"mean": found["mean"], "half": half})


def _trend(axes: Axes, sheet: _Sheet, column: str, metric: str, letter: str) -> None:
    """Means of ``metric`` over ``column``, a line with its 95 % band for each architecture."""
    word = {"learning_rate": "learning rate", "batch_size": "batch size"}[column]
    rows = _transformed(sheet, metric)
    log = metric == STABILITY and sheet.log_stability
    title = f"({letter}) {_SHORT[metric]} over {word}"
    if rows.empty:
        _title(axes, title)
        say(axes, "Nothing to draw: no successful point has this metric." + _because(sheet))
        return
    lines = {}
    for name in sheet.names:
        own = rows[rows["architecture"] == name]
        if len(own):
            lines[name] = confidence(own, column, metric, repeated=sheet.repeated)
    means = np.concatenate([line["mean"].to_numpy() for line in lines.values()])
    points = [*means, *rows[metric]] if len(rows) <= MOST_DOTS else means
    bands = np.concatenate([_band(line, metric) for line in lines.values()], axis=1).ravel()
    low, high = limits(points)
    wide_low, wide_high = limits([*points, *bands])
    if wide_high - wide_low <= 2.5 * (high - low):
        low, high = wide_low, wide_high
    else:
        sheet.note("Bands run beyond the panel: few settings, far apart.", letter)
    values = sorted(rows[column].unique())
    shifts = _shifts(values, list(lines))
    for name, line in lines.items():
        look, x = sheet.looks[name], line.index.to_numpy(dtype=float) * shifts[name]
        bottom, top = (_shown(edge, log) for edge in _band(line, metric))
        axes.fill_between(x, bottom, top, color=look["color"], alpha=0.13, linewidth=0)
        # A band beside a gap has no width; the bar shows it.
        axes.vlines(x, bottom, top, color=look["color"], alpha=0.55, linewidth=1)
        axes.plot(x, _shown(line["mean"].to_numpy(), log), marker="o", markersize=4, linewidth=1.6, **look)
        if len(rows) <= MOST_DOTS:
            own = rows[rows["architecture"] == name]
            axes.plot(
                own[column] * shifts[name],
                _shown(own[metric].to_numpy(), log),
                linestyle="",
                marker=".",
                markersize=4,
                color=look["color"],
                alpha=0.5,
                markeredgewidth=0,
            )
    batch = column == "batch_size"
    value_ticks(axes, values, base=2 if batch else 10, label=BATCH_LABEL if batch else RATE_LABEL)
    if log:
        axes.set_yscale("log")
    axes.set_ylim(*_shown(np.array([low, high]), log))
    axes.set_ylabel(_LABELS[metric] + (", log" if log else ""), fontsize=7.5)
    axes.grid(alpha=0.25)
    _title(axes, title, _caption(sheet, lines, rows, word, letter))
    if len(values) == 1:
        sheet.note(f"One {word} only: there is no trend over it.", letter)


def _band(line: pd.DataFrame, metric: str) -> np.ndarray:
    """Lower and upper edges, shape (2, n); those of a Jaccard index end at 0 and 1."""
    edges = np.array([line["mean"] - line["half"], line["mean"] + line["half"]])
    return np.clip(edges, 0, 1) if metric == JACCARD else edges


def _shifts(values: list[float], names: list[str]) -> dict[str, float]:
    """The factor by which the x values of each line are moved: at most a third of the way to the next one."""
    low, high = limits(values, log=True)
    gaps = np.diff(np.log(values))
    step = min(0.012 * np.log(high / low), 0.33 * gaps.min() / len(names) if len(gaps) else np.inf)
    return {name: float(np.exp(step * (place - (len(names) - 1) / 2))) for place, name in enumerate(names)}


def _shown(values: np.ndarray, log: bool) -> np.ndarray:
    return np.power(10.0, np.clip(values, -250, 250)) if log else values


def _caption(
    sheet: _Sheet, lines: dict[str, pd.DataFrame], rows: pd.DataFrame, word: str, letter: str
) -> str:
    """What the band of a trend is, and where there is none."""
    half = pd.concat([line["half"] for line in lines.values()])
    lacking = int(half.isna().sum())
    geometric = "geometric mean" if letter in "cd" and sheet.log_stability else "mean"
    dots = "; dots: points" if len(rows) <= MOST_DOTS else ""
    if lacking == len(half):
        why = "no setting was repeated there" if sheet.repeated else f"one point at each {word}"
        sheet.note(f"No confidence band: {why}.", letter)
        return f"line: {geometric}{dots}; no confidence band: {why}"
    if lacking:
        why = "no setting was repeated" if sheet.repeated else "only one point is there"
        sheet.note(f"{lacking} of {len(half)} means have no band: {why}.", letter)
    if sheet.repeated:
        return f"line: {geometric}{dots}; band: 95 % confidence, run-to-run (repeats of equal settings)"
    return (
        f"line: {geometric}{dots}; band: 95 % confidence from the spread BETWEEN settings, "
        "no repeats: not run-to-run noise"
    )


def _because(sheet: _Sheet) -> str:
    if len(sheet.rows):
        return ""
    counts = status_counts(sheet.frame)
    return f" The points: {counts}." if counts else " The summary has no point."


def _boxes(axes: Axes, sheet: _Sheet) -> None:
    """Quartiles of the Jaccard index by architecture, every point, and the chance level."""
    rows, title = sheet.rows, "(e) Jaccard index by architecture"
    if rows.empty:
        _title(axes, title)
        say(axes, "No box: no point was successful." + _because(sheet))
        return
    random = np.random.default_rng(0)  # the same picture every time
    labels, small = [], 0
    for place, name in enumerate(sheet.names):
        scores = rows.loc[rows["architecture"] == name, JACCARD].to_numpy()
        wrapped = textwrap.wrap(name.replace("_", "_ "), max(9, 54 // len(sheet.names)))
        labels.append("\n".join([*(line.replace("_ ", "_") for line in wrapped), f"n = {len(scores)}"]))
        colour = sheet.looks[name]["color"]
        if len(scores) >= 3:
            axes.boxplot(
                scores,
                positions=[place],
                widths=0.55,
                showfliers=False,
                patch_artist=True,
                boxprops={"facecolor": (*colour, 0.2), "edgecolor": _DARK},
                medianprops={"color": "black", "linewidth": 1.6},
            )
        else:
            small += 1
        crowd = len(scores) > 300
        axes.plot(
            place + random.uniform(-0.18, 0.18, len(scores)) * (len(scores) > 1),
            scores,
            linestyle="",
            marker="o",
            markersize=2 if crowd else 4,
            markeredgecolor="white",
            markeredgewidth=0 if crowd else 0.4,
            color=colour,
            alpha=0.35 if crowd else 0.85,
        )
    if small:
        sheet.note("An architecture with fewer than 3 points has no box.", "e")
    if len(sheet.names) == 1:
        sheet.note("One architecture only: nothing to compare.", "e")
    chance = sheet.frame["chance_jaccard"].dropna()
    ends = [*rows[JACCARD]]
    caption = "box: quartiles, median; whiskers: 1.5 quartile ranges"
    if chance.empty:
        sheet.note("The chance level was not recorded.", "e")
        caption += "; chance level not recorded"
    else:
        low, high = float(chance.min()), float(chance.max())
        for level in sorted({low, high}):
            axes.axhline(level, color="black", linestyle="--", linewidth=1)
        ends += [low, high]
        one = f"{low:.3f}" == f"{high:.3f}"
        level = f"{low:.3f}" if one else f"{low:.3f} to {high:.3f}"
        caption += f"; dashed: chance {level}"
    axes.set_xticks(range(len(labels)), labels, parse_math=False)
    axes.set_xlim(-0.6, len(labels) - 0.4)
    axes.set_ylim(*limits(ends))
    axes.set_ylabel(_LABELS[JACCARD], fontsize=7.5)
    axes.grid(axis="y", alpha=0.25)
    _title(axes, title, caption)


def _trade_off(axes: Axes, sheet: _Sheet) -> None:
    """Jaccard index against stability with the Pareto front; a marker for each batch size."""
    title = "(f) trade-off: Jaccard index against stability"
    rows = sheet.rows[sheet.rows[STABILITY].notna()]
    if sheet.log_stability:
        rows = rows[rows[STABILITY] > 0]
    if rows.empty:
        _title(axes, title)
        say(axes, "No trade-off: no successful point has both metrics." + _because(sheet))
        return
    batches = sorted(rows["batch_size"].unique())
    handles, names = [], []
    crowd = len(rows) > 300
    look = {"s": 10 if crowd else 34, "edgecolors": "white", "linewidths": 0 if crowd else 0.5}
    for place, batch in enumerate(batches):
        marker = _MARKERS[place] if place < len(_MARKERS) else _OTHER
        own = rows[rows["batch_size"] == batch]
        colours = [sheet.looks[name]["color"] for name in own["architecture"]]
        axes.scatter(
            own[STABILITY], own[JACCARD], c=colours, marker=marker, alpha=0.5 if crowd else 0.9, **look
        )
        if place <= len(_MARKERS):
            handles.append(Line2D([], [], linestyle="", marker=marker, color=_DARK, markersize=5))
            names.append(f"{batch:g}" if place < len(_MARKERS) else "others")
    front = pareto_front(rows, STABILITY)[::-1]  # the steps rise from left to right
    axes.plot(
        front[STABILITY], front[JACCARD], drawstyle="steps-post", color="black", linewidth=1, linestyle=":"
    )
    axes.plot(
        front[STABILITY],
        front[JACCARD],
        linestyle="",
        marker="o",
        markersize=9,
        markerfacecolor="none",
        markeredgecolor="black",
        markeredgewidth=0.8,
    )
    handles.append(
        Line2D([], [], color="black", linestyle=":", marker="o", markersize=8, markerfacecolor="none")
    )
    names.append("front")
    if sheet.log_stability:
        axes.set_xscale("log")
    axes.set_xlim(*limits(rows[STABILITY], log=sheet.log_stability))
    low, high = limits(rows[JACCARD])
    axes.set_ylim(low, high)
    axes.set_xlabel(_LABELS[STABILITY] + (", log" if sheet.log_stability else ""), fontsize=8)
    axes.set_ylabel(_LABELS[JACCARD], fontsize=7.5)
    axes.grid(alpha=0.25)
    legend = name_legend(
        axes,
        handles,
        names,
        loc="lower left",
        bbox_to_anchor=(0, 1.0),
        ncols=len(names),
        fontsize=7,
        frameon=False,
        columnspacing=0.9,
        handletextpad=0.2,
        borderaxespad=0.1,
    )
    legend.set_in_layout(False)
    # The last line is the legend's.
    _title(axes, title + "\nmarker: batch size; dotted: Pareto front (best is top left)\n ")
    if len(rows) == 1:
        sheet.note("A single point: it is its own Pareto front.", "f")


def correlations(rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Spearman's rank correlation of each pair of metrics, and where it is NaN the reason in a word.

    Over the rows that have both; NaN with fewer than :data:`LEAST_PAIRS` of them, or where one is constant.
    """
    columns = list(_CORRELATED)
    values = pd.DataFrame(np.nan, index=columns, columns=columns)
    words = pd.DataFrame("", index=columns, columns=columns)
    for one in columns:
        for other in columns:
            if one == other:
                continue
            pair = rows[[one, other]].dropna()
            if len(pair) < LEAST_PAIRS:
                words.loc[one, other] = f"n={len(pair)}"
            elif pair[one].nunique() < 2 or pair[other].nunique() < 2:
                words.loc[one, other] = "const."
            else:
                ranks = pair.rank()
                values.loc[one, other] = float(np.corrcoef(ranks[one], ranks[other])[0, 1])
    return values, words


def _correlations(axes: Axes, sheet: _Sheet) -> None:
    title = "(g) Spearman rank correlation over successful points"
    if len(sheet.rows) < LEAST_PAIRS:
        _title(axes, title)
        say(
            axes,
            f"No correlation: {_points(len(sheet.rows))} with success, at least {LEAST_PAIRS} are needed."
            + _because(sheet),
        )
        return
    values, words = correlations(sheet.rows)
    labels = list(_CORRELATED.values())
    lower = np.tril(np.ones(values.shape, dtype=bool), -1)
    numbers = np.ma.masked_where(~lower | values.isna().to_numpy(), values.to_numpy())[1:, :-1]
    # Blue to red with white between: told apart with every common colour blindness.
    mesh = axes.pcolormesh(numbers, cmap="RdBu_r", vmin=-1, vmax=1, edgecolors="white", linewidth=1)
    grey = 0
    for y in range(1, len(labels)):
        for x in range(y):
            value, word = values.iat[y, x], words.iat[y, x]
            if word:
                grey += 1
                axes.fill_between([x, x + 1], y - 1, y, color=_GREY, edgecolor="white", linewidth=1)
            axes.text(
                x + 0.5,
                y - 0.5,
                word or f"{value:.2f}",
                ha="center",
                va="center",
                fontsize=7,
                color="white" if abs(value) > 0.65 else "black",
            )
    axes.set_xticks(np.arange(len(labels) - 1) + 0.5, labels[:-1], rotation=90)
    axes.set_yticks(np.arange(len(labels) - 1) + 0.5, labels[1:])
    axes.invert_yaxis()
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    place = axes.inset_axes((0.52, 0.9, 0.46, 0.035))  # in the empty half
    bar = axes.figure.colorbar(mesh, cax=place, orientation="horizontal", ticks=[-1, -0.5, 0, 0.5, 1])
    bar.set_label("rank correlation (-1 to 1)", fontsize=7)
    bar.ax.tick_params(labelsize=7)
    _title(axes, title, f"n = {len(sheet.rows)}, fewer where a metric is missing; no test was made")
    if grey:
        sheet.note(
            f"{grey} of {lower.sum()} correlations cannot be computed (grey): a metric is constant (const.) or fewer "
            f"than {LEAST_PAIRS} points have both (n=).",
            "g",
        )


def _notes(axes: Axes, sheet: _Sheet) -> None:
    """All that the panels could not show, and why."""
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
