"""A run directory: its paths, its index, where it comes from, and how it is made and extended.

May import :mod:`jobs.common` and :mod:`jobs.grid`, and the data part of :mod:`unet_models`.
"""
