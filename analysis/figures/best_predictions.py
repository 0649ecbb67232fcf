"""``best_predictions.png``: predictions of the best point of each architecture, next to image and mask."""

from __future__ import annotations

import struct
import textwrap
import warnings
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from PIL import Image

from analysis.figures.drawing import GREY, MOST_ARCHITECTURES, png, source_text
from analysis.figures.run_files import is_readable, point_paths
from analysis.ranking import best_of_each_architecture

WIDTH = 9.0  # inches
LARGEST_FILE = 50_000_000  # bytes
MOST_PIXELS = 40_000_000  # of an unpacked picture
_DRAWN_WIDTH = 1350  # pixels of a picture on the sheet
_TALLEST = 2.5  # height divided by width; taller pictures are made smaller


def best_predictions(frame: pd.DataFrame, run_root: Path) -> bytes | None:
    """The predictions of the best point of each architecture, one picture below the other, 1350 pixels wide.

    Each picture was made when its point was trained: rows of image, mask, probability and errors. Its title contains
    the name of the point, the validation Jaccard index (0 to 1) and the chance level. If a picture is missing or cannot
    be read, the reason is shown instead. ``None`` if no best point has a picture. Of more than
    :data:`analysis.figures.drawing.MOST_ARCHITECTURES` architectures the best are shown.
    """
    figure = predictions_figure(frame, run_root)
    return None if figure is None else png(figure)


def predictions_figure(frame: pd.DataFrame, run_root: Path) -> Figure | None:
    """The figure of :func:`best_predictions`; ``None`` if no best point has a picture."""
    best = best_of_each_architecture(frame)
    shown: list[tuple[str, np.ndarray | str]] = []
    found = False
    for _, row in best.head(MOST_ARCHITECTURES).iterrows():
        paths = point_paths(run_root, row["name"])
        path = None if paths is None else paths.predictions
        chance = row["chance_jaccard"]
        level = "not recorded" if pd.isna(chance) else f"{chance:.3f}"
        title = f"{row['name']}: best validation Jaccard index {row['best_val_jaccard']:.3f} (chance {level})"
        picture: np.ndarray | str = "no picture of predictions: it was not made, or is not in the run"
        if path is not None and path.exists():
            found = True
            picture = _picture(path, run_root)
        shown.append((title, picture))
    if not found:
        return None
    lines = [source_text(frame)]
    if len(best) > MOST_ARCHITECTURES:
        lines.append(f"only the best {MOST_ARCHITECTURES} of {len(best)} architectures are shown")
    return _stacked(shown, "\n".join(lines))


def _picture(path: Path, run_root: Path) -> np.ndarray | str:
    """The picture as an array of bytes, shape (height, width, 3), or the reason why it is not shown."""
    if not is_readable(path, run_root, LARGEST_FILE):
        return f"{path.name} is not shown: not a plain file in the run, or larger than {LARGEST_FILE:,} bytes"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            warnings.filterwarnings("ignore", category=UserWarning)
            with Image.open(path, formats=["PNG"]) as image:
                width, height = image.size
                if width * height > MOST_PIXELS:
                    return f"{path.name} is not shown: {width} x {height} pixels, more than {MOST_PIXELS:,}"
                picture = image.convert("RGB")
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        return f"{path.name} is not shown: too many pixels"
    except (OSError, ValueError, SyntaxError, EOFError, struct.error, zlib.error) as error:
        return f"{path.name} cannot be read: {str(error)[:200] or type(error).__name__}"
    picture.thumbnail((_DRAWN_WIDTH, int(_TALLEST * _DRAWN_WIDTH)))
    return np.asarray(picture)


def _stacked(shown: list[tuple[str, np.ndarray | str]], heading: str) -> Figure:
    """Titles and pictures below each other, each as wide as the sheet unless it would be too tall."""
    title, gap, top = 0.3, 0.15, 0.25 + 0.17 * (heading.count("\n") + 1)
    heights = []
    for _, picture in shown:
        if isinstance(picture, str):
            heights.append(0.7)
        else:
            heights.append(min(_TALLEST, picture.shape[0] / picture.shape[1]) * (WIDTH - 0.2))
    total = top + sum(heights) + (title + gap) * len(shown)
    figure = Figure(figsize=(WIDTH, total))
    figure.suptitle(heading, fontsize=8.5, y=1 - 0.1 / total, va="top", parse_math=False)
    place = total - top
    for (text, picture), height in zip(shown, heights, strict=True):
        place -= title + height
        axes = figure.add_axes((0.1 / WIDTH, place / total, 1 - 0.2 / WIDTH, height / total))
        axes.axis("off")
        axes.set_title("\n".join(textwrap.wrap(text, 120)), fontsize=8.5, loc="left", parse_math=False)
        if isinstance(picture, str):
            axes.text(
                0.02,
                0.5,
                "\n".join(textwrap.wrap(picture, 110)),
                va="center",
                fontsize=8.5,
                color=GREY,
                parse_math=False,
            )
        else:
            axes.imshow(picture, interpolation="antialiased")
        place -= gap
    return figure
