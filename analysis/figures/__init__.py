"""Figures as PNG bytes. May import :mod:`analysis.summary` and :mod:`analysis.ranking`, no report."""
