"""Figures, readable at page width and with every common colour blindness.

Charts are small: SVG for the page, with a dark version, and any format for a paper. Sheets are large PNG files.
:mod:`analysis.figures.catalogue` lists them all: add a new one there. ``comprehensive_analysis.png`` is drawn in
:mod:`analysis.figures.comprehensive`, each of its kinds of panel in a module of :mod:`analysis.figures.panels`. May
import :mod:`analysis.summary`, :mod:`analysis.ranking` and the types of :mod:`analysis.schema`, no report.
"""

import unet_models.plotting  # noqa: F401 - first: it prepares Matplotlib
