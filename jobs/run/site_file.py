"""``site.sh``: the part of the site block that the job scripts need before any Python runs."""

from __future__ import annotations

import os
import shlex

from jobs.common.files import write_text_atomically
from jobs.run.index import Run
from jobs.run.sharing import umask_of

# Each becomes SITE_NAME in the file.
_VARIABLES = ("queue", "modules", "container", "container_command", "container_binds", "environment", "ngpus")
_EXPANDED = ("container", "environment", "container_binds")


def write_site(run: Run) -> None:
    """Write the file; environment variables in paths are replaced by their values now."""
    lines = ["# Made from the site block of grid.yaml by make_grid.py and jobs.submit; edits are lost."]
    for key in _VARIABLES:
        value = run.site[key]
        if key in _EXPANDED and value is not None:
            value = os.path.expandvars(value)
        lines.append(f"SITE_{key.upper()}={shlex.quote('' if value is None else str(value))}")
    lines.append(f"SITE_UMASK={umask_of(run):04o}")
    write_text_atomically(run.paths.site, "\n".join(lines) + "\n")
