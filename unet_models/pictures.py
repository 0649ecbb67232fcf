"""The two pictures of a point, as PNG bytes: its learning curves, and predictions next to image and mask."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np

import unet_models.plotting  # first: it prepares Matplotlib  # isort: skip  # noqa: F401
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

# Wong, Nature Methods 8, 441 (2011): distinguishable with every common colour blindness.
_BLUE, _ORANGE, _GREEN, _GREY = "#0072B2", "#D55E00", "#009E73", "#777777"


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    return buffer.getvalue()


def curves(rows: Sequence[dict[str, Any]], *, title: str, chance: float, best_epoch: int | None) -> bytes:
    """A PNG of the Jaccard index, the loss and the learning rate over the epochs.

    Args:
        rows: the history (:data:`unet_models.training.history.COLUMNS`).
        title: may have several lines.
        chance: the chance level of the Jaccard index, 0 to 1, drawn as a line.
        best_epoch: drawn as a line if it is not ``None``.
    """
    epochs = [row["epoch"] for row in rows]
    figure = Figure(figsize=(10, 3.6))
    # Fixed positions: an automatic layout takes as long as the whole drawing, for every point.
    positions = {"left": 0.06, "right": 0.985, "bottom": 0.15, "top": 0.86, "wspace": 0.4}
    jaccard, loss, rate = figure.subplots(1, 3, gridspec_kw=positions)
    marker = "o" if len(epochs) < 20 else None
    for axes, columns in ((jaccard, ("jaccard", "val_jaccard")), (loss, ("loss", "val_loss"))):
        for column, colour, label in zip(columns, (_BLUE, _ORANGE), ("training", "validation"), strict=True):
            axes.plot(
                epochs, [row[column] for row in rows], color=colour, label=label, marker=marker, markersize=3
            )
    jaccard.axhline(chance, color=_GREY, linestyle=":", label=f"chance {chance:.2f}")
    if best_epoch is not None:
        jaccard.axvline(
            best_epoch, color=_GREEN, linestyle="--", linewidth=1, label=f"best epoch {best_epoch}"
        )
    jaccard.set(ylabel="Jaccard index (0 to 1)", ylim=(0, 1))
    loss.set(ylabel="loss")
    rate.plot(epochs, [row["learning_rate"] for row in rows], color=_BLUE, marker=marker, markersize=3)
    rate.set(ylabel="learning rate", yscale="log")
    for axes in (jaccard, loss, rate):
        axes.set_xlabel("epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.25)
    jaccard.legend(fontsize="x-small")
    loss.legend(fontsize="x-small")
    figure.suptitle(title, fontsize="medium")
    return _png(figure)


def choose_samples(share: np.ndarray, count: int) -> np.ndarray:
    """Indices, int (n,), of at most ``count`` masks, whose foreground shares, 0 to 1, are ``share``, float (N,).

    They are spread evenly over the masks whose foreground is at least the median of those that have any. The choice
    depends only on the masks, so it is the same for every point, whatever the point predicts.
    """
    some = share[share > 0]
    candidates = np.flatnonzero(share >= (np.median(some) if len(some) else 0.0))
    places = np.linspace(0, len(candidates) - 1, min(count, len(candidates)))
    chosen: np.ndarray = candidates[np.rint(places).astype(int)]
    return chosen


def predictions(images: np.ndarray, masks: np.ndarray, probabilities: np.ndarray, *, title: str) -> bytes:
    """A PNG with one row per patch: image, mask, predicted probability and errors at the threshold 0.5.

    Args:
        images: uint8 (n, P, P).
        masks: bool (n, P, P).
        probabilities: float (n, P, P), 0 to 1.
        title: may have two lines.
    """
    # In inches: the side of a panel, the gap between panels, the space below a row, the space above all for the titles.
    side, gap, below, above = 1.89, 0.095, 0.31, 0.95
    width, height = 8.0, above + len(images) * (side + below)
    figure = Figure(figsize=(width, height))
    # One axes in inches for all panels: sixteen axes take twice as long, for every point.
    axes = figure.add_axes((0, 0, 1, 1))
    axes.axis("off")
    margin = (width - 4 * side - 3 * gap) / 2
    for row, (image, truth, probability) in enumerate(zip(images, masks, probabilities, strict=True)):
        found = probability > 0.5
        errors = np.repeat(image[..., None].astype(float) / 255.0, 3, axis=-1)
        for place, colour in ((truth & found, _GREEN), (found & ~truth, _ORANGE), (truth & ~found, _BLUE)):
            rgb = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)]) / 255.0
            errors[place] = 0.35 * errors[place] + 0.65 * rgb
        union = (truth | found).sum()
        score = (truth & found).sum() / union if union else 1.0
        bottom = height - above - side - row * (side + below)
        panels: tuple[tuple[str, np.ndarray, dict[str, Any]], ...] = (
            ("image", image, {"cmap": "gray", "vmin": 0, "vmax": 255}),
            ("mask", truth, {"cmap": "gray", "vmin": 0, "vmax": 1}),
            ("probability (0 to 1)", probability, {"cmap": "viridis", "vmin": 0, "vmax": 1}),
            ("found / extra / missed", errors, {}),
        )
        for column, (name, values, look) in enumerate(panels):
            left = margin + column * (side + gap)
            axes.imshow(values, extent=(left, left + side, bottom, bottom + side), **look)
            axes.add_patch(Rectangle((left, bottom), side, side, fill=False, linewidth=0.8))
            if row == 0:
                axes.text(left + side / 2, bottom + side + 0.08, name, fontsize="small", ha="center")
        axes.text(
            left + side / 2, bottom - 0.04, f"Jaccard {score:.2f}", fontsize="small", ha="center", va="top"
        )
    axes.set(xlim=(0, width), ylim=(0, height), aspect="auto")
    figure.suptitle(title + "\ngreen: found, orange: extra, blue: missed", fontsize="small")
    return _png(figure)
