"""From ``grid.yaml`` to points: settings, site presets, the strict YAML reader, and the names and keys of points.

May import :mod:`jobs.common`, and the names and sizes of the networks from
:mod:`unet_models.networks.parameters`. A point's name is made in :func:`jobs.grid.points.point_name`.
"""
