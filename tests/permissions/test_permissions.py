"""No file or folder that a user may not read or write ends a command with a traceback, and nothing is trained for it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from jobs.common.permissions import denied_part, how_to_allow
from tests.conftest import REPOSITORY

NOBODY = 65534
READERS = {"status", "status --live", "collect"}
TRAINERS = {"resubmit", "submit", "local"}
COSTS = {"submit --estimate"}
MANAGERS = {"cancel", "alter", "supervise"}
ALL = READERS | TRAINERS | COSTS | MANAGERS | {"analyze", "probe", "make_grid", "run_point"}
LOOKS = READERS | TRAINERS  # at every point
QUEUED = LOOKS - {"status --live"}  # of the points without a result the scheduler says that they are queued

ONE, TWO, FOUR, SIX = (f"run/exp_0{n}_UNet_lr0.00{n}_bs8" for n in (1, 2, 4, 6))
# Which commands are refused where a place cannot be read.
UNREADABLE = {
    "run": ALL,
    "run/grid.yaml": ALL - {"analyze"},
    "run/index.csv": ALL - {"analyze"},
    "run/provenance.json": ALL,
    "run/data": TRAINERS | {"probe"},  # a sub-job's point ends as error, with the same sentence
    "run/data/pack.json": TRAINERS | {"probe"},
    "run/logs": LOOKS - {"collect"} | {"probe"},
    "run/submissions.json": LOOKS - {"collect", "local"} | MANAGERS,
    "run/probe.json": COSTS | {"probe"},
    "run/.submit.lock": TRAINERS - {"local"} | MANAGERS,
    "run/.make_grid.lock": {"make_grid"},
    "run/hyperparameter_summary.csv": {"analyze"},
    "run/analysis": set(),
    ONE: LOOKS | COSTS | {"analyze"},
    f"{ONE}/UNet_lr0.001_bs8_results.json": LOOKS | COSTS,
    f"{ONE}/UNet_lr0.001_bs8_history.csv": {"analyze"},
    f"{ONE}/training_log.txt": {"analyze"},
    f"{ONE}/state": set(),  # its result says all
    f"{TWO}/state": QUEUED | {"run_point"},
    f"{TWO}/state/status.json": QUEUED | {"run_point"},
    f"{TWO}/state/claims": QUEUED | {"run_point"},
    f"{TWO}/training_log.txt": {"analyze", "run_point"},
    f"{FOUR}/state/claims/0001.json": QUEUED,
    f"{SIX}/state/quarantine": QUEUED,
}
UNWRITABLE = {
    "run": TRAINERS | MANAGERS | {"collect", "probe", "make_grid"},
    "run/logs": TRAINERS | {"probe"},
    "run/.submit.lock": TRAINERS - {"local"} | MANAGERS,
    "run/.make_grid.lock": {"make_grid"},
    "run/index.csv": set(),  # it is replaced, not changed
    f"{TWO}/state": {"run_point"},
    f"{TWO}/state/claims": {"run_point"},
    f"{TWO}/training_log.txt": {"run_point"},
}


@pytest.fixture(scope="module")
def folder():
    """A folder in which a user can work who is not root."""
    found = Path(tempfile.mkdtemp(prefix="permissions_"))  # pytest's own may be entered by its user only
    if os.geteuid() == 0:
        os.chown(found, NOBODY, NOBODY)
    yield found
    shutil.rmtree(found)


def as_nobody(folder, *arguments):
    """Run a module of the tests as a user who is not root."""
    another = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
    environment = {
        **os.environ,
        "HOME": str(folder),
        "MPLCONFIGDIR": str(folder),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    try:
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=REPOSITORY,
            env={**environment, "PYTHONPATH": str(REPOSITORY)},
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
            **another,
        )
    except OSError as error:
        pytest.skip(f"nobody may not start {sys.executable} in {REPOSITORY}: {error}")


def trials(folder, how, places):
    probe = as_nobody(folder, "-c", "import make_grid, msgspec, numpy, tests.standin_pbs")
    if probe.returncode:
        pytest.skip(f"nobody may not read the repository or the environment: {probe.stderr[-300:]}")
    place = folder / how
    place.mkdir()
    if os.geteuid() == 0:
        os.chown(place, NOBODY, NOBODY)
    answer = as_nobody(folder, "-m", "tests.permissions.trials", str(place), how, *places)
    assert answer.returncode == 0, answer.stderr[-3000:]
    return json.loads(answer.stdout)


def refused(found):
    """By place, the commands that refused; everything else has done its work, and none has ended with a traceback."""
    by_place = {trial["place"]: set() for trial in found}
    for trial in found:
        said = f"{trial['place']}: {trial['command']}: {trial['code']}\n{trial['err']}"
        if isinstance(trial["code"], str):
            assert trial["code"].endswith("_Reached\n"), said  # the report would have been written
        elif trial["code"] in (2, 13) and trial["err"]:
            by_place[trial["place"]].add(trial["command"])
            assert trial["err"].count("\n") == 1 and "chmod " in trial["err"], said
            named = (trial["place"], str(Path(trial["place"]).parent), f"{trial['place']}/")
            assert any(name in trial["err"] for name in named) and trial["kept"], said
        else:
            assert trial["code"] in (0, 1, 3) or trial["command"] == "run_point", said
        assert "Traceback" not in trial["out"] + trial["err"], said
    return by_place


@pytest.mark.slow
def test_whatever_cannot_be_read_is_named_and_neither_trained_nor_collected_without(folder):
    found = trials(folder, "unreadable", UNREADABLE)
    assert refused(found) == UNREADABLE
    by = {(trial["place"], trial["command"]): trial for trial in found}
    # What can be seen is shown.
    shown = by[f"{TWO}/state", "status"]["out"]
    assert "1 unreadable" in shown and "1 done" in shown and "exp_01" in shown and "--indices 2" not in shown
    logs = by[f"{TWO}/training_log.txt", "status"]["out"]
    assert "training_log.txt cannot be read by this user" in logs


@pytest.mark.slow
def test_whatever_cannot_be_written_is_named(folder):
    assert refused(trials(folder, "unwritable", UNWRITABLE)) == UNWRITABLE


def test_the_owner_is_asked_for_what_is_missing(tmp_path, monkeypatch):
    """With the answers of the file system for another user's files."""
    run = tmp_path / "a run{}"
    (run / "state").mkdir(parents=True)
    inside = run / "state" / "status.json"
    inside.touch()
    may = {run / "state": os.R_OK}  # it cannot be searched
    monkeypatch.setattr(os, "access", lambda path, wanted: (may.get(Path(path), 7) & wanted) == wanted)
    assert denied_part(inside) == run / "state" == denied_part(inside, write=True)
    assert denied_part(run / "not there") is None and denied_part(run / "not there", write=True) is None
    assert how_to_allow(inside, whole=run) == f"it is yours: chmod -R u+rX '{run}'"
    owner, group = inside.stat().st_uid, inside.stat().st_gid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    monkeypatch.setattr("pwd.getpwuid", lambda _: type("Entry", (), {"pw_name": "alice"}))
    monkeypatch.setattr("grp.getgrgid", lambda _: type("Entry", (), {"gr_name": "lab"}))
    monkeypatch.setattr(os, "getgroups", lambda: [group])
    assert how_to_allow(inside, whole=run) == (
        f"it belongs to alice. Ask alice for: chmod -R g+rX '{run}'; "
        "for what is written later: umask in the site block of grid.yaml"
    )
    monkeypatch.setattr(os, "getgroups", list)
    monkeypatch.setattr(os, "getegid", lambda: group + 1)
    assert "Ask alice for: chmod -R o+rX" in how_to_allow(inside, whole=run)
    assert "(you are not in its group, lab)" in how_to_allow(inside, whole=run)
    # Above the run, one folder is enough: it may be a home.
    assert how_to_allow(inside) == (
        f"it belongs to alice. Ask alice for: chmod o+x '{run}/state' (you are not in its group, lab)"
    )
    assert f"chmod o+rX '{run}/state'" in how_to_allow(run / "state")
    may[run / "state"] = os.R_OK | os.X_OK
    assert "chmod -R o+rwX" in how_to_allow(run / "state", whole=run)
    assert "copy the run to a folder of yours" in how_to_allow(run / "state", whole=run)
    assert "although the mode allows it" in how_to_allow(run)


def test_a_removed_working_directory_does_not_hide_the_error(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tmp_path.rmdir()
    assert denied_part(Path("run")) is None and "ask its owner" in how_to_allow(Path("run"))
