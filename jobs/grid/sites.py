"""What differs between clusters, as presets of ``grid.yaml``'s ``site`` block.

Each preset holds only what it changes against a generic OpenPBS (the defaults in :data:`jobs.grid.settings.SITE`).
Where a preset comes from, and whether it was ever tried there, stands in ``docs/clusters.md``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Site:
    """A cluster: its ``title``, the values it changes, and the keys that a user there must write."""

    title: str
    values: Mapping[str, Any] = field(default_factory=dict)
    needs: tuple[str, ...] = ()


SITES: dict[str, Site] = {
    "openpbs": Site("a generic OpenPBS"),
    "nus_vanda": Site(
        "NUS Vanda",
        {
            "log_options": "-j oe -k oed",
            "container": "/app1/common/singularity-img/hopper/tensorflow/tensorflow_2.16.1-cuda_12.5.0_24.06.sif",
        },
    ),
    # A100 nodes; the queue `normal` routes by what is asked for. At most 100 jobs for each user.
    "nscc_aspire2a": Site(
        "NSCC ASPIRE2A",
        {"ncpus": 16, "mem": "110gb", "queue": "normal", "max_running": 100},
        needs=("project",),
    ),
    # gpuvolta: 12 CPUs for each GPU, no select statement, -l wd for the folder of qsub, storage named in
    # extra_options. Written for a PBS without job arrays: one job for each point.
    "nci_gadi": Site(
        "NCI Gadi",
        {
            "ncpus": 12,
            "mem": "90gb",
            "queue": "gpuvolta",
            "select": "ncpus={ncpus},ngpus={ngpus},mem={mem}",
            "job_arrays": False,
            "collect_queue": "normal",
            "collect_select": "ncpus={ncpus},mem={mem}",
        },
        needs=("project", "extra_options"),
    ),
    "imperial": Site(
        "Imperial College CX3",
        {
            "select": "select=1:ncpus={ncpus}:mem={mem}:ngpus={ngpus}",
            "max_array_size": 10000,
            "max_running": 50,
        },
    ),
}


def gpu_resources(site: Mapping[str, Any]) -> str:
    """What follows ``-l`` for one sub-job; without GPUs the resource is not named: a PBS may not know it.

    >>> gpu_resources({"select": "select=1:ncpus={ncpus}:ngpus={ngpus}", "ncpus": 8, "ngpus": 0, "mem": "32gb"})
    'select=1:ncpus=8'
    """
    template = site["select"]
    if site["ngpus"] == 0:
        template = template.replace(":ngpus={ngpus}", "").replace(",ngpus={ngpus}", "")
    return template.format(ncpus=site["ncpus"], ngpus=site["ngpus"], mem=site["mem"])


def collect_resources(site: Mapping[str, Any]) -> str:
    """What follows ``-l`` for the collect job, which needs no GPU."""
    return site["collect_select"].format(ncpus=site["collect_ncpus"], mem=site["collect_mem"])


def seconds(walltime: str) -> int:
    """``"04:00:00"`` -> 14400."""
    hours, minutes, rest = map(int, walltime.split(":"))
    return hours * 3600 + minutes * 60 + rest


def size_mb(mem: str) -> float:
    """``"32gb"`` -> 32768.0."""
    return int(mem[:-2]) * {"kb": 1 / 1024, "mb": 1.0, "gb": 1024.0, "tb": 1024.0**2}[mem[-2:].lower()]
