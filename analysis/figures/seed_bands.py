"""Learning curves of the configurations, with bands over their seeds."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from analysis.figures.drawing import MOST_ARCHITECTURES, rate_text
from analysis.figures.drawn import History, Material, Plot
from analysis.figures.look import INK, Look, panels, ramp_of
from analysis.schema import Configuration
from analysis.summary import architectures

_MOST = 16  # configurations in a panel, best first
_BANDS = 3  # configurations of a panel with a band: more bands hide each other
_LISTED = 8  # learning rates in the legend
_MOST_EPOCHS = 400  # drawn of one curve


def seed_bands(material: Material, look: Look) -> Plot | None:
    """The validation score by epoch: the mean over the seeds, and from the lowest to the highest seed.

    A curve ends where the first of its seeds ended, because a mean over fewer would jump. ``None`` without a history.
    """
    curves: dict[str, list[tuple[Configuration, np.ndarray]]] = {}
    hidden = 0
    for one in material.findings.configurations:
        runs = [_scores(material.histories[name]) for name in one.names if name in material.histories]
        if not runs:
            continue
        own = curves.setdefault(one.architecture, [])
        if len(own) >= _MOST:
            hidden += 1
            continue
        shortest = min(len(run) for run in runs)
        own.append((one, np.array([run[:shortest] for run in runs])))
    best = list(curves)[:MOST_ARCHITECTURES]
    names = [name for name in architectures(material.frame) if name in best]
    if not names:
        return None
    rates = [one.learning_rate for name in names for one, _ in curves[name]]
    low, high = min(rates), max(rates)
    norm = LogNorm(low, high) if high > low else LogNorm(low / 2, high * 2)
    figure, every = panels(look, names, 1.75 if look.wide else 1.5, "validation score")
    for axes, name in zip(every, names, strict=True):
        for place, (one, runs) in reversed(list(enumerate(curves[name]))):
            _draw(axes, runs, ramp_of(float(norm(one.learning_rate))), place)
        axes.grid(visible=True)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    values = sorted(set(rates))
    values = [values[int(place)] for place in np.linspace(0, len(values) - 1, min(len(values), _LISTED))]
    figure.legend(
        [Line2D([], [], color=ramp_of(float(norm(value)))) for value in values],
        [rate_text(value) for value in values],
        loc="outside upper left",
        ncols=4,
        title="learning rate (thick line: best configuration of the panel)",
        alignment="left",
    )
    figure.supxlabel("epoch", fontsize=look.size)
    return Plot(figure, _alt(curves, names, hidden))


def _scores(history: History) -> np.ndarray:
    values = pd.to_numeric(
        pd.Series([row.get("val_jaccard") for row in history], dtype=object), errors="coerce"
    )
    scores = values.to_numpy(float)
    return np.where((scores >= 0) & (scores <= 1), scores, np.nan)


def _draw(axes: Axes, runs: np.ndarray, colour: str, place: int) -> None:
    """The curve of one configuration, which has this ``place`` in its panel, 0 for the best."""
    epochs = np.arange(1, runs.shape[1] + 1)
    kept = np.unique(np.linspace(0, len(epochs) - 1, min(len(epochs), _MOST_EPOCHS)).astype(int))
    known = np.isfinite(runs).all(axis=0)
    mean = np.where(known, np.where(known, runs, 0).mean(axis=0), np.nan)
    if len(runs) > 1 and place < _BANDS:
        filled = np.where(known, runs, np.nan)
        axes.fill_between(
            epochs[kept],
            filled.min(axis=0)[kept],
            filled.max(axis=0)[kept],
            color=colour,
            alpha=0.25,
            linewidth=0,
        )
    axes.plot(epochs[kept], mean[kept], color=colour, linewidth=2.2 if place == 0 else 0.8)
    if place == 0:
        axes.plot(epochs[-1:], mean[-1:], marker="o", color=INK, markersize=3)


def _alt(curves: dict[str, list[tuple[Configuration, np.ndarray]]], names: list[str], hidden: int) -> str:
    seen = []
    for name in names:
        one, runs = curves[name][0]
        last = runs[:, -1]
        seeds = f" (seeds {np.nanmin(last):.3f} to {np.nanmax(last):.3f})" if len(runs) > 1 else ""
        if np.isfinite(last).any():
            seen.append(f"{one.settings} ends at {np.nanmean(last):.3f}{seeds} in epoch {runs.shape[1]}")
    text = f"Learning curves of {sum(len(curves[name]) for name in names)} configurations. "
    text += f"The best of each architecture: {'; '.join(seen)}." if seen else ""
    return text + (f" {hidden} more are not drawn." if hidden else "")
