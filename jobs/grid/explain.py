"""The output of ``make_grid.py --explain``: the grid as the program reads it."""

from __future__ import annotations

from typing import Any

from jobs.common.units import plural
from jobs.grid.config import GridConfig
from jobs.grid.points import Point, expand, point_name
from jobs.grid.received import code_of, files_of
from jobs.grid.settings import POINT
from unet_models.networks.parameters import parameter_count


def _parameters(point: Point) -> int:
    settings = point.settings
    return parameter_count(
        settings["architecture"], base_filters=settings["base_filters"], levels=settings["levels"]
    )


def _written(value: Any) -> str:
    """``value`` as it is written in ``grid.yaml``."""
    if isinstance(value, tuple):
        return f"[{', '.join(value)}]"
    return "null" if value is None else str(value)


def explain(config: GridConfig) -> str:
    """The axes, the number of excluded and included points, the settings, and one line per point."""
    points = expand(config)
    full = len(config.seeds)
    for values in config.axes.values():
        full *= len(values)
    lines = [f"{config.path}: {plural(len(points), 'point')}", "", "axes"]
    for axis, values in config.axes.items():
        lines.append(f"  {axis:<14} {', '.join(POINT[axis].to_text(value) for value in values)}")
    lines.append(f"  {'seed':<14} {', '.join(map(str, config.seeds))}")
    lines.append(
        f"  {full} combinations - {full + len(config.include) - len(points)} excluded + {len(config.include)} included"
    )
    lines += ["", "settings of every point"]
    lines += [
        f"  {key:<26} {POINT[key].to_text(value)}"
        for key, value in config.training.items()
        if key not in config.axes
    ]
    lines += ["", "data"]
    lines += [f"  {key:<26} {_written(value)}" for key, value in config.data.items()]
    lines += ["", "site: the resources that each sub-job requests, and where it runs"]
    lines += [f"  {key:<26} {'null' if value is None else value}" for key, value in config.site.items()]
    lines += [
        "",
        "executed and read besides this repository: look at it before you use a file that you received",
    ]
    lines += [f"  {one}" for one in (*code_of(config.site), *files_of(config.data))] or ["  nothing"]
    lines += ["", f"{'name':<48} {'parameters':>12}"]
    for index, point in enumerate(points, start=1):
        lines.append(f"{point_name(index, point.stem):<48} {_parameters(point):>12,}")
    return "\n".join(lines)
