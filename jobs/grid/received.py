"""What a ``grid.yaml`` makes jobs execute or read: the part of a run that is code, whoever wrote it.

A run is data, and opening it executes nothing of it. But its site block says which Python its jobs start. Who received a
run from somebody else reads this list before a job of it is started.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jobs.common.errors import one_line


@dataclass(frozen=True)
class Executed:
    """A ``key`` of ``grid.yaml`` with its ``value`` as written, on one line, and what is done with it."""

    key: str
    value: str
    meaning: str

    def __str__(self) -> str:
        return f"{self.key}: {self.value} ({self.meaning})"


# In this order. Only a key that has a value names anything.
_CODE = {
    "modules": "loaded by every job: a module may set any variable",
    "container": "the image in which every job runs",
    "container_binds": "folders that the image sees in place of its own",
    "environment": "its Python, with all packages in it, is started by every job",
}


def code_of(site: Mapping[str, Any]) -> tuple[Executed, ...]:
    """What jobs with this ``site`` block execute besides the code of the repository; empty where it names nothing.

    >>> [str(one) for one in code_of({"environment": "/lab/env", "container": None, "modules": None})]
    ['environment: /lab/env (its Python, with all packages in it, is started by every job)']
    """
    return tuple(
        Executed(key, one_line(site[key]), meaning)
        for key, meaning in _CODE.items()
        if site.get(key) is not None
    )


# Each names files that make_grid.py opens with the rights of its user; a run that is made has its own copy.
_READ = ("path", "images", "masks", "test_images", "test_masks")


def files_of(data: Mapping[str, Any]) -> tuple[Executed, ...]:
    """What ``make_grid.py`` reads for this ``data`` block; empty where the data are generated."""
    return tuple(
        Executed(f"data.{key}", one_line(data[key]), "read by make_grid.py")
        for key in _READ
        if data.get(key) is not None
    )
