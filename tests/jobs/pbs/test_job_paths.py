"""Paths arrive whole in a job, or are refused before anything is submitted."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from jobs.common.errors import UserError
from jobs.grid.settings import SITE
from jobs.pbs import job_paths
from jobs.pbs.job_paths import as_variable, check_paths, from_variable
from tests.conftest import REPOSITORY

PLAIN = ("/runs/a b", "/runs/a=b:c;d%20$HOME`x`[1]{~}#!&*?()|<>@+", "/runs/-x")
CHANGED = (
    "/it's",
    '/a"b',
    "/a,b",
    "/läuf",
    "/r😀",
    "/a ",
    "/a\tb",
    "/a\nb\n",
    os.fsdecode(b"/r\xff"),
    "/a\\nb %41",
)
NO_SITE = {name: setting.default for name, setting in SITE.items()}


@pytest.mark.parametrize("path", PLAIN)
def test_what_qsub_passes_on_stays_readable(path):
    assert as_variable(Path(path)) == path and from_variable(path) == Path(path)


@pytest.mark.parametrize("path", CHANGED)
def test_what_qsub_would_change_is_passed_as_ascii_and_read_back(path):
    text = as_variable(Path(path))
    assert text.startswith("file:///") and text.isascii() and not set(text) & set(" '\",\\\n\t")
    assert from_variable(text) == Path(path)


@pytest.mark.parametrize("path", [*PLAIN, *CHANGED])
@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_the_job_scripts_read_it_back(path, locale):
    code = f'source {REPOSITORY}/jobs/environment.sh; read_path place "$GIVEN"; printf "%s" "$place"'
    environment = {"PATH": os.environ["PATH"], "LC_ALL": locale, "GIVEN": as_variable(Path(path))}
    done = subprocess.run(["bash", "-euc", code], env=environment, capture_output=True, check=True)
    assert os.fsdecode(done.stdout) == path


@pytest.mark.parametrize(
    ("path", "site", "words"),
    [
        ("/a\\b", {}, "the path of the run, .* contains a backslash, which PBS does not escape"),
        ("/a^array_index^b", {}, "replaces by the index"),
        ("/a,b", {"container": "/tf.sif"}, "--bind of singularity"),
        ("/a:b", {"container": "/tf.sif", "container_command": "apptainer"}, "--bind of apptainer"),
        ("/a,b:c", {}, ""),
        ('/it\'s "läuf"\n', {"container": "/tf.sif"}, ""),
    ],
)
def test_what_pbs_or_a_container_cannot_take_is_refused(path, site, words):
    if not words:
        check_paths(Path(path), {**NO_SITE, **site})
        return
    with pytest.raises(UserError, match=words):
        check_paths(Path(path), {**NO_SITE, **site})


def test_the_repository_is_checked_too(monkeypatch):
    monkeypatch.setattr(job_paths, "REPOSITORY", Path("/a\\b"))
    with pytest.raises(UserError, match="the path of the repository"):
        check_paths(Path("/run"), NO_SITE)
