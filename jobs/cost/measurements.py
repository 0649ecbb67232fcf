"""Kinds of points, and ``probe.json``: what :mod:`jobs.probe` has measured of each.

:class:`jobs.common.schema.Measurements` is the schema of the file and explains each field.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from jobs.common.errors import UserError, shown
from jobs.common.hints import hint
from jobs.common.permissions import cannot_read
from jobs.common.records import DamagedRecord, read, write
from jobs.common.schema import CostSettings, Measurement, Measurements
from jobs.run.index import Entry, Run
from jobs.run.provenance import now

COST = CostSettings.__struct_fields__
WARM_STEPS = 3  # left out after the first step, which compiles: caches and memory pools are still filling


def kind(settings: Mapping[str, Any]) -> CostSettings:
    """The kind of a point with ``settings``: equal for points whose steps cost the same."""
    values = {name: settings[name] for name in COST}
    return CostSettings(**{**values, "dropout": settings["dropout"] > 0})


def kinds(entries: Iterable[Entry]) -> dict[CostSettings, list[Entry]]:
    """The points by their :func:`kind`, in the order of the first of each."""
    found: dict[CostSettings, list[Entry]] = {}
    for entry in entries:
        found.setdefault(kind(entry.point.settings), []).append(entry)
    return found


def read_probe(run: Run) -> dict[CostSettings, Measurement]:
    """The measurements of the kinds of this run; empty where there is no ``probe.json``.

    Raises :class:`UserError`, which names the file and what to do, where it is damaged, was edited, does not have the
    expected shape, or is of other data or of another recipe.
    """
    path = run.paths.probe
    again = f"move it away and measure again: {hint('jobs.probe', run.paths.root)}"
    try:
        record = read(path, Measurements)
    except FileNotFoundError:
        return {}
    except DamagedRecord as error:
        if not error.content:
            raise cannot_read(error, path, whole=run.paths.root) from error
        raise UserError(f"{error}; {again}") from error
    if record.fingerprint != run.fingerprint:
        raise UserError(
            f"{path} was measured with the data {shown(record.fingerprint)}, expected those of this run, "
            f"{run.fingerprint}: it belongs to another run; {again}"
        )
    measured = {one.settings: one for one in record.combinations}
    wanted = kinds(run.entries)
    found = {key: one for key, one in measured.items() if key in wanted}
    if measured and not found:
        received, expected = record.combinations[0].settings.fields(), next(iter(wanted)).fields()
        differing = [
            f"{name}: received {shown(received[name])}, expected {shown(expected[name])}"
            for name in COST
            if received[name] != expected[name]
        ]
        raise UserError(
            f"{path} was measured with another recipe: none of its {len(measured)} combinations is one of this run "
            f"({', '.join(differing[:4])}); {again}"
        )
    return found


def write_probe(run: Run, measurements: Iterable[Measurement]) -> None:
    """Replace ``probe.json`` of ``run`` by these measurements, all at once."""
    write(run.paths.probe, Measurements(run.fingerprint, run.source, now(), tuple(measurements)))
