"""Where a run cannot be made or extended, everything is as it was before, whatever the reason."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time

import pytest

import make_grid
from jobs.common import files
from jobs.common.errors import UserError
from jobs.grid.config import load_config
from jobs.run import create
from jobs.run.create import make_run
from jobs.run.index import read_run
from tests.conftest import REPOSITORY, TINY, write_images

LARGER = TINY.replace("[1e-3, 5e-3]", "[1e-4, 1e-3, 5e-3]")


def contents(folder):
    """Every file with what is in it, and every folder."""
    return {
        path.relative_to(folder): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")
    }


@pytest.fixture
def place(tmp_path, write_grid, monkeypatch):
    write_images(tmp_path / "data")
    write_grid()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def bad_data(place, write_grid, monkeypatch):
    (place / "data" / "masks" / "z003.png").unlink()


def large_batch(place, write_grid, monkeypatch):
    write_grid(TINY.replace("[8]", "[64]"))


def interrupted(place, write_grid, monkeypatch):
    def interrupt(points, data):
        raise KeyboardInterrupt

    monkeypatch.setattr(create, "check_batches", interrupt)


def interrupted_late(place, write_grid, monkeypatch):
    def interrupt(fingerprint):
        raise KeyboardInterrupt

    monkeypatch.setattr(create, "provenance", interrupt)


def full_disk(number):
    """The disk is full when the file with this number is written."""

    def fill(place, write_grid, monkeypatch):
        written, count = files.written_beside, [0]

        def no_space(path, data, mode):
            count[0] += 1
            if count[0] > number:
                raise OSError(errno.ENOSPC, "No space left on device", str(path))
            return written(path, data, mode)

        monkeypatch.setattr(files, "written_beside", no_space)

    fill.__name__ = f"full_disk_{number}"
    return fill


CAUSES = [bad_data, large_batch, interrupted, interrupted_late, *(full_disk(number) for number in range(4))]


@pytest.mark.parametrize("cause", CAUSES, ids=lambda cause: cause.__name__)
@pytest.mark.parametrize("arguments", [[], ["--run-dir", "a/b/run"], ["--run-dir", "empty"]], ids=str)
def test_a_run_that_cannot_be_made_leaves_nothing(place, write_grid, monkeypatch, capsys, cause, arguments):
    (place / "empty").mkdir()
    cause(place, write_grid, monkeypatch)
    before = contents(place)
    assert make_grid.main(arguments) == (130 if "interrupted" in cause.__name__ else 2)
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert contents(place) == before


@pytest.mark.parametrize("cause", CAUSES, ids=lambda cause: cause.__name__)
def test_a_run_that_cannot_grow_is_unchanged(place, write_grid, monkeypatch, cause):
    assert make_grid.main(["--run-dir", "run"]) == 0
    before = contents(place / "run")
    write_grid(LARGER)
    cause(place, write_grid, monkeypatch)
    assert make_grid.main(["--run-dir", "run"]) in (2, 130)
    assert contents(place / "run") == before
    monkeypatch.undo()
    assert len(read_run(place / "run").entries) == 2


@pytest.mark.parametrize("new", ["epochs: 3", "batch_norm_momentum: 0.5"])
def test_other_settings_are_refused_before_the_data_are_read(place, write_grid, monkeypatch, new):
    assert make_grid.main(["--run-dir", "run"]) == 0
    before = contents(place / "run")
    monkeypatch.setattr(create, "pack_data", lambda *arguments, **options: pytest.fail("the data are read"))
    config = load_config(write_grid(LARGER.replace("epochs: 2", new)))
    with pytest.raises(UserError, match="expected that value"):
        make_run(config, place / "run", say=lambda text: None)
    assert contents(place / "run") == before


@pytest.mark.parametrize("folder", ["data/images/z000.png/run", "mine"])
def test_a_folder_that_cannot_be_used_is_unchanged(place, capsys, folder):
    (place / "mine").mkdir()
    (place / "mine" / "thesis.tex").write_text("my own")
    before = contents(place)
    assert make_grid.main(["--run-dir", folder]) == 2
    assert contents(place) == before


def test_files_of_others_in_the_folder_stay(place, write_grid, monkeypatch):
    """Also what was put there while the run was being made."""

    def interrupt(points, data):
        (place / "a" / "run" / "notes.txt").write_text("mine")
        raise KeyboardInterrupt

    monkeypatch.setattr(create, "check_batches", interrupt)
    assert make_grid.main(["--run-dir", "a/run"]) == 130
    assert [path.name for path in (place / "a" / "run").iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("signal_name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_leaves_nothing(place, write_grid, signal_name):
    """Sent while a large volume is packed: by Ctrl-C, by a closed terminal, by the end of a job."""
    program = f"""
import os, signal, sys, time
sys.path.insert(0, {str(REPOSITORY)!r})
import make_grid
from jobs.run import create
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_DFL if number != signal.SIGINT else signal.default_int_handler)
def slow(points, data):
    open("packing", "w").close()
    time.sleep(60)
create.check_batches = slow
sys.exit(make_grid.main(["--run-dir", "a/run"]))
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=place,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    deadline = time.monotonic() + 120
    while not (place / "packing").exists():
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    os.kill(process.pid, getattr(signal, signal_name))
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (130, "make_grid: interrupted\n")
    assert not (place / "a").exists()
