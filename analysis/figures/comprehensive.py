"""``comprehensive_analysis.png``: trends, box plots, trade-off and correlations on one sheet."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from analysis.figures.drawing import png, source_text
from analysis.figures.panels.box_plots import draw_box_plots
from analysis.figures.panels.correlations import draw_correlations
from analysis.figures.panels.sheet import (
    JACCARD,
    STABILITY,
    draw_legend,
    draw_notes,
    legend_lines,
    make_sheet,
)
from analysis.figures.panels.trade_off import draw_trade_off
from analysis.figures.panels.trends import Trend, draw_trend

# Two columns of panels.
_TRENDS = (
    (Trend("a", JACCARD, "learning_rate"), Trend("b", JACCARD, "batch_size")),
    (Trend("c", STABILITY, "learning_rate"), Trend("d", STABILITY, "batch_size")),
)


def comprehensive_analysis(frame: pd.DataFrame) -> bytes:
    """Seven panels, 1500 pixels wide. ``frame`` is that of :func:`analysis.summary.load_summary`.

    (a, b) Jaccard index over learning rate and batch size, (c, d) the same of the stability, each with 95 %
    confidence bands; (e) box plots by architecture; (f) trade-off with its Pareto front; (g) Spearman
    correlations. A panel that cannot be drawn contains the reason, and so do the notes next to (g).
    """
    return png(comprehensive_figure(frame))


def comprehensive_figure(frame: pd.DataFrame) -> Figure:
    """The figure of :func:`comprehensive_analysis`."""
    sheet = make_sheet(frame)
    heights = [0.22 * legend_lines(sheet) + 0.3, *([0.8] * 4 if sheet.rows.empty else [3.2, 3.2, 3.5, 3.9])]
    figure = Figure(figsize=(10, sum(heights) + 0.5), layout="constrained")
    grid = figure.add_gridspec(5, 2, height_ratios=heights)
    draw_legend(figure.add_subplot(grid[0, :]), sheet)
    for row, trends in enumerate(_TRENDS, start=1):
        for column, trend in enumerate(trends):
            draw_trend(figure.add_subplot(grid[row, column]), sheet, trend)
    draw_box_plots(figure.add_subplot(grid[3, 0]), sheet)
    draw_trade_off(figure.add_subplot(grid[3, 1]), sheet)
    draw_correlations(figure.add_subplot(grid[4, 0]), sheet)
    draw_notes(figure.add_subplot(grid[4, 1]), sheet)
    figure.suptitle(source_text(frame), fontsize=8.5, parse_math=False)
    return figure
