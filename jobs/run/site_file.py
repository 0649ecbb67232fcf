"""``site.conf``: the part of the site block that the job scripts need before any Python runs.

It is data. ``jobs/environment.sh`` takes the keys that it knows from it, checks the form of each value, and never executes
it. Jobs that the commands submit do not read the file at all: they get the same values with ``qsub``, so that a file that is
exchanged while a job waits has no effect. Only a job that was submitted by hand reads it.

Values are as written in ``grid.yaml``. ``~/`` and variables of the environment are replaced by the job, because their values
may be secret, and the file is not.
"""

from __future__ import annotations

import os
import re
import urllib.parse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jobs.common.errors import UserError, shown
from jobs.common.files import write_text_atomically
from jobs.common.permissions import written_with
from jobs.grid.settings import SITE
from jobs.run.index import Run
from jobs.run.sharing import umask_for

_KEYS = ("modules", "container", "container_command", "container_binds", "environment", "ngpus")
_EXPANDED = ("container", "container_binds", "environment")
_NAME = re.compile(r"\$(?:\{([A-Za-z_]\w*)\}|([A-Za-z_]\w*))", re.ASCII)
_MODE = 0o644  # what jobs execute is changed by the commands only


def write_site(run: Run) -> None:
    """Write the file of ``run``."""
    text = site_text(run.paths.root, run.site)
    with written_with(umask_for(run.paths.root, run.site.get("umask"))):
        write_text_atomically(run.paths.site, text, _MODE)


def site_text(root: Path, site: Mapping[str, Any]) -> str:
    """The content of the file for the run at ``root``: a line ``key=value`` for each key."""
    values = {key: "" if site[key] is None else str(site[key]) for key in _KEYS}
    values["umask"] = f"{umask_for(root, site['umask']):04o}"
    for key, value in values.items():
        _check_one_line(key, value)
    return "".join(
        [
            "# Made from the site block of grid.yaml by make_grid.py and jobs.submit; edits are lost.\n",
            *(f"{key}={value}\n" for key, value in values.items()),
        ]
    )


def site_variables(run: Run) -> dict[str, str]:
    """The variables by which jobs of ``run`` get the same values with ``qsub``: ``SITE_BLOCK``, ``key:value`` joined by ``+``.

    It has the values that differ from the defaults, in which everything but letters, digits and ``/._-`` is
    percent-encoded: ``qsub`` would change or refuse some characters.
    """
    values = {key: str(run.site[key]) for key in _KEYS if run.site[key] not in (None, SITE[key].default)}
    values["umask"] = f"{umask_for(run.paths.root, run.site.get('umask')):04o}"
    for key, value in values.items():
        _check_one_line(key, value)
    encoded = (f"{key}:{_encoded(value)}" for key, value in values.items())
    return {"SITE_BLOCK": "+".join(encoded)}


def site_names(run: Run) -> list[str]:
    """The variables of the environment that the paths of the site block contain and that jobs get with ``qsub``.

    ``qsub`` reads their values itself, and no file of the run has them. Only folders, which is what such a variable is for:
    no run that was received may pass a secret on. Where one is missing here, the job must have it.
    """
    text = " ".join(str(run.site[key] or "") for key in _EXPANDED)
    names = dict.fromkeys(one or other for one, other in _NAME.findall(text))
    return [name for name in names if _is_folder(os.environ.get(name, ""))]


def _is_folder(value: str) -> bool:
    # Other characters are refused by qsub, or change.
    return re.fullmatch(r"/[\w./+@-]*", value, re.ASCII) is not None and Path(value).is_dir()


def _encoded(value: str) -> str:
    return urllib.parse.quote_from_bytes(os.fsencode(value), safe="/").replace("~", "%7E")


def _check_one_line(key: str, value: str) -> None:
    if not value.isprintable():
        raise UserError(f"site.{key}: received {shown(value)}, expected one line without control characters")
