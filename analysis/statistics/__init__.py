"""What the numbers show: linear models, analysis of variance, rank tests, noise, and the guide's hypotheses.

May import :mod:`analysis.summary`, no other part of :mod:`analysis`.
"""
