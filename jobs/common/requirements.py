"""The packages that the program needs, as ``pyproject.toml`` lists them.

Without TensorFlow and Keras, whose build depends on the machine. ``python jobs/common/requirements.py`` prints one
requirement per line. With the path of a lock, it prints the part of the lock that this Python lacks, for ``pip`` in
``jobs/make_environment.sh``. It needs nothing but Python 3.10.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import sys
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"
# Where the name of a module differs from that of its package.
MODULES = {"pyyaml": "yaml", "pillow": "PIL"}
_DEPENDENCIES = re.compile(r"^dependencies = \[\n(.*?)^\]", re.MULTILINE | re.DOTALL)
_REQUIREMENT = re.compile(r'^\s*"([A-Za-z0-9._-]+)>=([0-9.]+)"', re.MULTILINE)


@dataclass(frozen=True)
class Requirement:
    """A package and the oldest version that the program works with."""

    package: str
    oldest: str

    @property
    def module(self) -> str:
        """The name by which the package is imported."""
        return MODULES.get(self.package, self.package)

    def installed(self) -> str | None:
        """The installed version, empty where it is not known; ``None`` where the package is not there.

        It is looked up, not imported. A package without metadata, as in the image of a container, is found by its module.
        """
        try:
            return importlib.metadata.version(self.package)
        except importlib.metadata.PackageNotFoundError:
            module = self.module.replace("-", "_")
            return None if "." in module or importlib.util.find_spec(module) is None else ""

    def __str__(self) -> str:
        return f"{self.package}>={self.oldest}"


def release(version: str) -> tuple[int, ...]:
    """The numbers of a version, without what a vendor or a release candidate appends; versions compare by them.

    >>> release("3.9.1") < release("3.10"), release("2.16.1+nv24.06")
    (True, (2, 16, 1))
    """
    match = re.match(r"\d+(\.\d+)*", version)
    return tuple(map(int, match[0].split("."))) if match else ()


def requirements(project: Path = PROJECT) -> tuple[Requirement, ...]:
    """The requirements of ``pyproject.toml``, in its order.

    Python 3.10 has no reader of TOML: each is expected on a line of its own, as ``"name>=version",``.
    """
    section = _DEPENDENCIES.search(project.read_text(encoding="utf-8"))
    lines = _REQUIREMENT.findall(section[1]) if section else []
    return tuple(Requirement(package, oldest) for package, oldest in lines)


_LOCKED = re.compile(r"([A-Za-z0-9._-]+)(?:\[[^]]*\])?==.*(?:\n[ ].*)*")
# Keras 3 comes with TensorFlow's wheels since 2.16; the image of a vendor may have Keras 2.
_OF_THE_IMAGE = (Requirement("keras", "3.0.5"),)
_KEPT = ("numpy",)  # an image's TensorFlow is built for it, however old it is


def missing(lock: str) -> list[str]:
    """The entries of ``lock``, each with its version and hashes, of packages that this Python lacks or has too old.

    What is installed stays as it is, because other packages of an image rely on it.
    """
    oldest = {one.package: one for one in (*requirements(), *_OF_THE_IMAGE)}
    entries = []
    for entry in _LOCKED.finditer(lock):
        name = entry[1].lower()
        wanted = oldest.get(name, Requirement(name, "0"))
        found = wanted.installed()
        if name in _KEPT or (found is not None and (found == "" or release(found) >= release(wanted.oldest))):
            continue
        entries.append(entry[0])
    return entries


if __name__ == "__main__":
    print("\n".join(missing(Path(sys.argv[1]).read_text()) if sys.argv[1:] else map(str, requirements())))
