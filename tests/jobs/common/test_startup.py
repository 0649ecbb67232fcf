"""A command ends with one line, whatever Python, packages or streams it finds."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import pytest

from jobs.common import startup
from tests.conftest import REPOSITORY

SCRIPTS = ("make_grid.py", "run_point.py", "collect.py", "analyze.py")
MODULES = ("local", "probe", "resubmit", "status", "submit", "verify")
EXPLAIN = ("make_grid.py", "--explain", "docs/demo_grid.yaml")


def run(arguments, *, python=sys.executable, options=(), redirect=None, **environment):
    """The command as a user starts it; ``redirect`` is what follows it on a line of bash."""
    line = [python, *options, *arguments]
    if redirect is not None:
        quoted = " ".join(f"'{word}'" for word in line)
        line = ["bash", "-c", f"set -o pipefail; {quoted} {redirect}"]
    return subprocess.run(
        line, cwd=REPOSITORY, capture_output=True, text=True, env={**os.environ, **environment}, timeout=120
    )


@pytest.mark.parametrize(
    "command", [*((name,) for name in SCRIPTS), *(("-m", f"jobs.{name}") for name in MODULES[:-1])]
)
def test_a_python_without_the_packages_gives_one_line(command):
    ended = run([*command, "x"], options=("-S",))
    assert ended.returncode == 2 and ended.stdout == ""
    assert len(ended.stderr.splitlines()) == 1
    assert (
        "is not installed for" in ended.stderr and f"source {REPOSITORY}/.venv/bin/activate" in ended.stderr
    )


def test_a_package_that_is_broken_is_named(tmp_path):
    """As NumPy is that was built for another Python."""
    (tmp_path / "msgspec").mkdir()
    (tmp_path / "msgspec" / "__init__.py").write_text("from msgspec._core import Struct\n")
    ended = run(EXPLAIN, PYTHONPATH=str(tmp_path))
    assert ended.returncode == 2 and len(ended.stderr.splitlines()) == 1
    assert "make_grid: the package msgspec of" in ended.stderr and "jobs/make_environment.sh" in ended.stderr


def test_an_error_of_the_program_keeps_its_traceback(tmp_path):
    (tmp_path / "yaml").mkdir()
    (tmp_path / "yaml" / "__init__.py").write_text("import no_such_module_at_all\n")
    ended = run(EXPLAIN, PYTHONPATH=str(tmp_path))
    assert ended.returncode == 1 and "Traceback" in ended.stderr and "no_such_module_at_all" in ended.stderr


@pytest.mark.parametrize("path", ["jobs/__init__.py", *SCRIPTS])
def test_the_first_files_can_be_read_by_python_3_6(path):
    """It is the python3 of many clusters, and must get as far as the sentence that names a newer one."""
    tree = ast.parse((REPOSITORY / path).read_text(), feature_version=(3, 6))
    futures = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module == "__future__"]
    assert futures == []


def test_the_version_is_checked_before_anything_is_imported():
    body = ast.parse((REPOSITORY / "jobs/__init__.py").read_text()).body
    kinds = [type(node).__name__ for node in body]
    assert kinds.index("If") < kinds.index("ImportFrom")


@pytest.mark.parametrize(
    "arguments",
    [
        EXPLAIN,
        ("-m", "jobs.status", "--json", "{run}"),
        ("-m", "jobs.status", "{run}"),
        ("collect.py", "{run}"),
    ],
)
def test_a_reader_that_has_gone_ends_nothing(arguments, tiny_run):
    arguments = [word.format(run=tiny_run.paths.root) for word in arguments]
    alone = run(arguments)
    ended = run(arguments, redirect="| true")
    assert (ended.returncode, ended.stderr) == (alone.returncode, "")


def test_the_work_is_done_although_nobody_reads(tiny_run):
    assert run(["collect.py", str(tiny_run.paths.root)], redirect="| true").stderr == ""
    assert tiny_run.paths.summary.exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_a_full_disk_behind_the_output_is_one_line(tiny_run):
    for arguments in (EXPLAIN, ("-m", "jobs.status", str(tiny_run.paths.root))):
        ended = run(arguments, redirect="> /dev/full")
        assert ended.returncode == 2 and len(ended.stderr.splitlines()) == 1
        assert "its output could not be written (No space left on device)" in ended.stderr


@pytest.mark.parametrize("closed", [">&-", ">&- 2>&-", "<&- >&- 2>&-", "2>&-"])
def test_closed_streams_end_nothing(closed, tiny_run):
    ended = run(["collect.py", str(tiny_run.paths.root)], redirect=closed)
    assert ended.returncode == 4  # no point has a result
    assert tiny_run.paths.summary.read_text().startswith("architecture,")
    assert ended.stderr == ""


def test_nothing_printed_gets_into_a_file_that_is_opened_later(tiny_run):
    """With standard output closed, the next file that is opened would have its number."""
    run(["collect.py", str(tiny_run.paths.root)], redirect=">&- 2>&-")
    assert "rows" not in tiny_run.paths.summary.read_text()


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONWARNINGS": "error"},
        {"PYTHONSAFEPATH": "1"},
        {"LC_ALL": "C", "PYTHONIOENCODING": "ascii"},
        {"TMPDIR": "/dev/null/tmp"},
        {"HOME": "/dev/null/home"},
        {"PYTHONOPTIMIZE": "2"},
        {"COLUMNS": "5", "TERM": "dumb"},
        {"TZ": "Nowhere/Bad"},
    ],
    ids=",".join,
)
def test_the_environment_of_the_user_changes_nothing(environment):
    usual, ended = run(EXPLAIN), run(EXPLAIN, **environment)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, usual.stdout, "")


def test_a_training_does_not_end_by_a_warning_of_a_library(tiny_run):
    point = [str(REPOSITORY / "run_point.py"), str(tiny_run.paths.root), "1"]
    assert run(point, PYTHONWARNINGS="error", PYTHONSAFEPATH="1").returncode == 0


def test_no_filter_of_the_user_turns_a_warning_into_an_error():
    """A sitecustomize can set one without PYTHONWARNINGS."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        startup.usual_warnings()
        warnings.warn("an old name", DeprecationWarning, stacklevel=1)


def test_temporary_files_are_kept_in_memory_where_no_disk_takes_any(monkeypatch, tmp_path):
    def none_usable():
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setenv("TMPDIR", "/dev/null/tmp")
    monkeypatch.setattr(tempfile, "gettempdir", none_usable)
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(startup, "_MEMORY", str(tmp_path))
    startup.temporary_folder()
    assert tempfile.tempdir == os.environ["TMPDIR"] == str(tmp_path)


def test_a_file_that_an_import_cannot_read_is_one_line(monkeypatch, capsys):
    codes = []
    monkeypatch.setattr(os, "_exit", codes.append)
    error = PermissionError(13, "Permission denied", "/tmp/matplotlib-x")
    startup.explain_import_error(PermissionError, error, None)
    assert codes == [2]
    assert "/tmp/matplotlib-x: Permission denied; expected" in capsys.readouterr().err
