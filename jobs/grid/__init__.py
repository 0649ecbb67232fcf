"""From ``grid.yaml`` to points: settings, presets of sites, the strict YAML reader, the names and keys of points.

May import :mod:`jobs.common`. A point's name is made in :func:`jobs.grid.points.point_name`.
"""
