"""One list of packages: pyproject.toml's, for every check and every installation."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest

from jobs.common.requirements import PROJECT, Requirement, release, requirements
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
