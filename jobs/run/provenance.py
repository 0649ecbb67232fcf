"""The origin of a run: commit, packages, command, machine. A year later it shows what made a figure."""

from __future__ import annotations

import contextlib
import getpass
import os
import pwd
import socket
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path

from jobs.common.schema import Git, Made

PACKAGES = (
    "tensorflow",
    "tensorflow-cpu",
    "keras",
    "numpy",
    "pandas",
    "scipy",
    "statsmodels",
    "matplotlib",
    "seaborn",
    "pyyaml",
    "filelock",
    "pillow",
    "tifffile",
    "imagecodecs",
    "mrcfile",
    "h5py",
    "zarr",
    "rich",
    "msgspec",
    "jinja2",
)
REPOSITORY = Path(__file__).resolve().parents[2]


def package_versions() -> dict[str, str]:
    """The installed versions by package, without those that are not installed; imports none of them."""
    import importlib.metadata  # here, because a look at a run does without it and its import

    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def _git(*arguments: str) -> str | None:
    try:
        answer = subprocess.run(
            ["git", "-C", str(REPOSITORY), *arguments], capture_output=True, text=True, timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()


def git_state() -> Git:
    """The commit of the code and whether files differ from it; ``None`` for both without git or a repository."""
    commit = _git("rev-parse", "HEAD")
    changes = _git("status", "--porcelain")
    return Git(commit=commit, dirty=None if commit is None or changes is None else bool(changes))


def user_name() -> str:
    """The name of this user; ``unknown`` where there is none."""
    # Not from LOGNAME or USER first, which may be another's after `su` or `sudo`.
    with contextlib.suppress(KeyError):
        return pwd.getpwuid(os.geteuid()).pw_name
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container whose user has no name
        return "unknown"


def now() -> str:
    """The time in UTC, to the second, as ISO 8601."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def provenance(fingerprint: str) -> Made:
    """One entry of ``provenance.json``: the state of code and machine when the run is made or extended."""
    return Made(
        made=now(),
        command=(sys.executable, *sys.argv),
        git=git_state(),
        packages=package_versions(),
        python=sys.version.split()[0],
        host=socket.gethostname(),
        user=user_name(),
        data_fingerprint=fingerprint,
    )
