"""What a figure is drawn from, and what is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from analysis.schema import Findings

History = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Material:
    """What the figures show.

    ``frame`` is that of :func:`analysis.summary.load_summary`, ``findings`` are those of the frame, and ``histories``
    the epochs of its points by their names (:func:`analysis.figures.run_files.read_histories`).
    """

    frame: pd.DataFrame
    findings: Findings
    histories: Mapping[str, History] = field(default_factory=dict)


@dataclass(frozen=True)
class Plot:
    """A drawn figure, and ``alt``: what is seen in it, in sentences with its numbers."""

    figure: Figure
    alt: str


@dataclass(frozen=True)
class Drawn:
    """A figure for the page. ``file`` is its name; ``dark`` is its version for a dark page, if it has one.

    ``title`` and ``caption`` are shown with it, ``alt`` is read aloud instead of it. An SVG file has a size in points.
    """

    file: str
    title: str
    caption: str
    alt: str
    light: bytes
    dark: bytes | None = None


@dataclass(frozen=True)
class NotDrawn:
    """A figure that could not be drawn, and why."""

    file: str
    why: str
