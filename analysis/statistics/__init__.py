"""Statistics of a summary: linear models, analysis of variance, rank tests, noise, and the hypotheses of the guide.

May import :mod:`analysis.summary`, :mod:`analysis.schema` and :mod:`analysis.metrics`, no other part of :mod:`analysis`.
"""
