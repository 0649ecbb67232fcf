"""One list of packages: pyproject.toml's, for every check and every installation."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import subprocess
import sys

import pytest

from jobs.common.requirements import PROJECT, Requirement, missing, release, requirements
from jobs.run.provenance import PACKAGES
from tests.conftest import REPOSITORY


def test_the_requirements_are_those_of_the_project():
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 has no reader of TOML")
    project = tomllib.loads(PROJECT.read_text())["project"]
    assert [str(one) for one in requirements()] == project["dependencies"]
    assert {"statsmodels", "msgspec", "jinja2"} <= {one.package for one in requirements()}


def test_every_required_module_can_be_found_and_its_version_is_recorded():
    for one in requirements():
        assert importlib.util.find_spec(one.module) is not None
        assert one.installed() == __import__("importlib.metadata").metadata.version(one.package)
        assert one.package in PACKAGES


def test_the_list_for_pip_needs_nothing_but_python():
    program = REPOSITORY / "jobs/common/requirements.py"
    answer = subprocess.run(
        [sys.executable, "-I", "-S", str(program)], capture_output=True, text=True, check=True
    )
    assert answer.stdout.splitlines() == [str(one) for one in requirements()]


def test_the_environment_over_an_image_gets_the_same_packages():
    script = (REPOSITORY / "jobs/make_environment.sh").read_text()
    imported = next(line for line in script.splitlines() if line.startswith("import filelock"))
    names = {name.strip() for name in imported.removeprefix("import ").split("#")[0].split(",")}
    assert names == {one.module for one in requirements()} - {"numpy"}


@pytest.mark.parametrize(
    ("version", "oldest", "enough"),
    [
        ("3.9.1", "3.10", False),  # as text it is the larger
        ("3.10", "3.9.1", True),
        ("3.30", "3.30", True),
        ("3.29.9", "3.30", False),
        ("2.16.1+nv24.06", "2.16.1", True),
        ("2.0.0rc1", "2.0", True),
        ("4", "3.0.5", True),
    ],
)
def test_versions_are_compared_as_numbers(version, oldest, enough):
    assert (release(version) >= release(oldest)) is enough


def test_a_package_without_metadata_is_found_by_its_module(tmp_path, monkeypatch):
    (tmp_path / "a_module_of_an_image.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    assert Requirement("a_module_of_an_image", "1.0").installed() == ""
    assert Requirement("no_such_package", "1.0").installed() is None


LOCKS = ("requirements.lock", "requirements-cluster.lock", "requirements-image.lock")


@pytest.mark.parametrize("name", LOCKS)
def test_every_package_of_a_lock_has_one_version_and_hashes(name):
    text = (REPOSITORY / name).read_text()
    entries = re.findall(r"^(?! |#)(\S.*(?:\n .*)*)", text, re.MULTILINE)
    assert len(entries) > 40
    for entry in entries:
        assert re.match(r"[a-z0-9._-]+(\[[a-z0-9,-]+\])?==[0-9][\w.!+]*( ; [^\\]*)? \\\n", entry), entry[:80]
        assert re.search(r"\n +--hash=sha256:[0-9a-f]{64}\b", entry), entry[:80]
    locked = {re.match(r"[a-z0-9._-]+", entry)[0] for entry in entries}
    assert {one.package for one in requirements()} | {"keras"} <= locked


def test_every_installation_checks_hashes_and_asks_one_index():
    makefile, script = ((REPOSITORY / name).read_text() for name in ("Makefile", "jobs/make_environment.sh"))
    for line in re.findall(r"^.*pip install.*$", makefile + script, re.MULTILINE):
        assert "--require-hashes" in line or re.search(r" [a-z-]+==[0-9.]+$", line), line
        assert "extra-index-url" not in line


def test_an_image_gets_what_it_lacks_as_it_is_locked_and_keeps_what_it_has(monkeypatch):
    installed = {
        "pandas": "2.2.0",
        "scipy": "1.0",
        "numpy": "1.0",
        "keras": "2.15.0",
        "six": "1.0",
        "filelock": "3.30",
    }

    def version(package):
        try:
            return installed[package]
        except KeyError:
            raise importlib.metadata.PackageNotFoundError from None

    monkeypatch.setattr(importlib.metadata, "version", version)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    lock = "\n".join(
        f"{name}==9.1 ; python_full_version >= '3.11' \\\n    --hash=sha256:{name}\n    # via x"
        for name in (*installed, "rich", "coverage[toml]")
    )
    found = missing(lock)
    assert [re.match(r"[a-z]+", entry)[0] for entry in found] == ["scipy", "keras", "rich", "coverage"]
    assert all("--hash=sha256:" in entry for entry in found)
