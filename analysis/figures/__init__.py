"""Figures as PNG bytes, readable at page width and with every common colour blindness.

Each figure has a module with the name of its PNG file, and :mod:`analysis.figures.catalogue` lists them all: add a new
one there. ``comprehensive_analysis.png`` is drawn in :mod:`analysis.figures.comprehensive`, each of its kinds of panel in
a module of :mod:`analysis.figures.panels`. May import :mod:`analysis.summary` and :mod:`analysis.ranking`, no report.
"""
