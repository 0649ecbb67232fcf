"""Panel (g): Spearman's rank correlations between hyperparameters and metrics."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh

from analysis.figures.drawing import explain_empty
from analysis.figures.panels.sheet import JACCARD, STABILITY, Sheet, set_title
from jobs.common.units import plural

LEAST_PAIRS = 4  # of a correlation: three points agree perfectly by chance in one of three cases
_LABELS = {
    "learning_rate": "learning rate",
    "batch_size": "batch size",
    JACCARD: "val. Jaccard",
    "test_jaccard": "test Jaccard",
    STABILITY: "SD of val. loss",
    "overfitting_gap": "overfitting gap",
    "epochs_to_best": "epochs to best",
    "training_time_seconds": "training time",
}


def correlations(rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Spearman's rank correlation of each pair of metrics, and a word that explains each NaN.

    Both frames have the metrics as rows and columns. A correlation is computed from the rows that have both metrics;
    it is NaN if there are fewer than :data:`LEAST_PAIRS` of them, or if one metric is constant.
    """
    columns = list(_LABELS)
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


def draw_correlations(axes: Axes, sheet: Sheet) -> None:
    """Draw the lower half of the correlation matrix; a grey cell has no value and contains the reason."""
    title = "(g) Spearman rank correlation over successful points"
    count = len(sheet.rows)
    if count < LEAST_PAIRS:
        set_title(axes, title)
        explain_empty(
            axes,
            f"No correlation: {plural(count, 'successful point')}, at least {LEAST_PAIRS} are needed."
            + sheet.why_empty(),
        )
        return
    values, words = correlations(sheet.rows)
    grey = _draw_matrix(axes, values.to_numpy(dtype=float), words.to_numpy(dtype=str))
    set_title(axes, title, f"n = {count}, fewer if a metric is missing; not tested for significance")
    if grey:
        sheet.note(
            f"{grey} of {len(values) * (len(values) - 1) // 2} correlations cannot be computed (grey): a metric is constant "
            f"(const.), or fewer than {LEAST_PAIRS} points have both (n=).",
            "g",
        )


def _draw_matrix(axes: Axes, values: np.ndarray, words: np.ndarray) -> int:
    """Draw the cells below the diagonal; returns how many of them have no value."""
    labels = list(_LABELS.values())
    lower = np.tril(np.ones(values.shape, dtype=bool), -1)
    numbers = np.ma.masked_where(~lower | np.isnan(values), values)[1:, :-1]
    # From blue over white to red: distinguishable with every common colour blindness.
    mesh = axes.pcolormesh(numbers, cmap="RdBu_r", vmin=-1, vmax=1, edgecolors="white", linewidth=1)
    grey = 0
    for y, x in zip(*np.nonzero(lower), strict=True):
        value, word = float(values[y, x]), str(words[y, x])
        if word:
            grey += 1
            axes.fill_between([x, x + 1], y - 1, y, color="#bbbbbb", edgecolor="white", linewidth=1)
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
    _draw_colour_bar(axes, mesh)
    return grey


def _draw_colour_bar(axes: Axes, mesh: QuadMesh) -> None:
    place = axes.inset_axes((0.52, 0.9, 0.46, 0.035))  # in the empty half
    bar = axes.figure.colorbar(mesh, cax=place, orientation="horizontal", ticks=[-1, -0.5, 0, 0.5, 1])
    bar.set_label("rank correlation (-1 to 1)", fontsize=7)
    bar.ax.tick_params(labelsize=7)
