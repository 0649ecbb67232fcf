"""From ``grid.yaml`` to points: settings, presets of sites, the strict YAML reader, the names and keys of points.

May import :mod:`jobs.common`, and the names and sizes of the networks from
:mod:`unet_models.networks.parameters`. A point's name is made in :func:`jobs.grid.points.point_name`.
"""
