"""``site.sh``: the part of the site block that the job scripts need before any Python runs."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jobs.common.files import write_text_atomically
from jobs.run.index import Run
from jobs.run.sharing import umask_for

# Each becomes SITE_NAME in the file.
_VARIABLES = ("queue", "modules", "container", "container_command", "container_binds", "environment", "ngpus")
_EXPANDED = ("container", "environment", "container_binds")


def write_site(run: Run) -> None:
    """Write the file of ``run``."""
    write_text_atomically(run.paths.site, site_text(run.paths.root, run.site))


def site_text(root: Path, site: Mapping[str, Any]) -> str:
    """The content of the file for the run at ``root``; environment variables in paths are replaced by their values now."""
    lines = ["# Made from the site block of grid.yaml by make_grid.py and jobs.submit; edits are lost."]
    for key in _VARIABLES:
        value = site[key]
        if key in _EXPANDED and value is not None:
            value = os.path.expandvars(value)
        lines.append(f"SITE_{key.upper()}={shlex.quote('' if value is None else str(value))}")
    lines.append(f"SITE_UMASK={umask_for(root, site['umask']):04o}")
    return "\n".join(lines) + "\n"
