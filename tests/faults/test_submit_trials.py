"""No job that PBS has accepted is lost from the record, whenever a submission is killed or the disk is full.

The long form (``make test-faults``) has 200 kills and 200 full disks; a trial is repeated by its number.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from jobs import alter, cancel, submit
from jobs.grid.config import load_config
from jobs.run.create import make_run
from tests.conftest import TINY, write_images
from tests.faults.submit_trials import disk_filler, killed, trial

DISK_BYTES = 512 * 1024


@pytest.fixture
def template(tmp_path, write_grid):
    """A run of two points, each of which is submitted as a job of its own."""
    write_images(tmp_path / "data")
    grid = write_grid(f"{TINY}site: {{ job_arrays: false }}\n")
    return make_run(load_config(grid), tmp_path / "template", say=lambda text: None).run.paths.root


@pytest.fixture
def disk(tmp_path):
    """A file system of half a megabyte."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(place)]
    try:
        mounted = subprocess.run(command, capture_output=True, check=False, text=True)
    except FileNotFoundError:
        pytest.skip("there is no mount")
    if mounted.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def numbers(short: int) -> range:
    """The numbers of the trials; all of them with ``FAULT_TRIALS`` in the environment."""
    return range(int(os.environ.get("FAULT_TRIALS", short)))


def wrong(template: Path, place: Path, trouble, short: int) -> list[str]:
    found = [
        (number, trial(template, place, number=number, again=number % 2 == 1, trouble=trouble))
        for number in numbers(short)
    ]
    return [f"trial {number}: {problem}" for number, problem in found if problem]


def test_no_accepted_job_is_lost_when_a_submission_is_killed(template, tmp_path):
    place = tmp_path / "place"
    place.mkdir()
    assert wrong(template, place, killed, short=12) == []


def test_no_accepted_job_is_lost_when_the_disk_is_full(template, disk):
    assert wrong(template, disk, disk_filler(disk), short=12) == []


@pytest.mark.parametrize("command", [cancel, alter])
def test_with_a_full_disk_no_job_is_deleted_or_changed_off_the_record(template, disk, pbs, capsys, command):
    root = disk / "run"
    shutil.copytree(template, root)
    assert submit.main([str(root)]) == 0
    before = pbs.load()["jobs"]
    with (disk / "filler").open("wb", buffering=0) as filler, contextlib.suppress(OSError):
        while True:
            filler.write(b"x" * 4096)
    options = ["--walltime", "01:00:00"] if command is alter else []
    assert command.main([str(root), *options]) == 2
    error = capsys.readouterr().err
    assert error.count("No space left on device") == 1 and error.count("\n") == 1
    assert pbs.load()["jobs"] == before
    (disk / "filler").unlink()
    assert command.main([str(root), *options]) == 0
    assert pbs.load()["jobs"] != before
