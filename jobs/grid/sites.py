"""The presets of ``grid.yaml``'s ``site`` block: the differences between clusters.

A preset has only the values that differ from a generic OpenPBS (the defaults in :data:`jobs.grid.settings.SITE`).
``docs/clusters.md`` gives the source of each preset and says whether it was tried on the cluster. To add one, add it
here and to :data:`jobs.grid.settings.PRESETS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Site:
    """A cluster: its ``title``, the ``values`` it changes, and the keys that its users must write (``needs``)."""

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
    # A100 nodes; the queue `normal` routes jobs by the resources they request. At most 100 jobs per user.
    "nscc_aspire2a": Site(
        "NSCC ASPIRE2A",
        {"ncpus": 16, "mem": "110gb", "queue": "normal", "max_running": 100},
        needs=("project",),
    ),
    # gpuvolta: 12 CPUs per GPU, no select statement, -l wd to start in the folder of qsub, storage requested in
    # extra_options. This PBS has no job arrays: one job per point.
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
    """The argument of ``-l`` for one sub-job; without ``ngpus`` if it is 0, because a PBS may not know that resource.

    >>> gpu_resources({"select": "select=1:ncpus={ncpus}:ngpus={ngpus}", "ncpus": 8, "ngpus": 0, "mem": "32gb"})
    'select=1:ncpus=8'
    """
    template: str = site["select"]
    if site["ngpus"] == 0:
        template = template.replace(":ngpus={ngpus}", "").replace(",ngpus={ngpus}", "")
    return template.format(ncpus=site["ncpus"], ngpus=site["ngpus"], mem=site["mem"])


def collect_resources(site: Mapping[str, Any]) -> str:
    """The argument of ``-l`` for the collect job, which needs no GPU."""
    template: str = site["collect_select"]
    return template.format(ncpus=site["collect_ncpus"], mem=site["collect_mem"])


def seconds(walltime: str) -> int:
    """``"04:00:00"`` -> 14400."""
    hours, minutes, rest = map(int, walltime.split(":"))
    return hours * 3600 + minutes * 60 + rest


def size_mb(mem: str) -> float:
    """``"32gb"`` -> 32768.0."""
    return int(mem[:-2]) * {"kb": 1 / 1024, "mb": 1.0, "gb": 1024.0, "tb": 1024.0**2}[mem[-2:].lower()]
