"""Makes each file and folder of a run unreadable (or read-only) in turn, and runs every command. Not to be run as root.

``python -m tests.permissions.trials FOLDER unreadable|unwritable PLACE...`` prints a JSON list of trials. It works with a
run of its own in FOLDER: a file of one's own with mode 000 is refused like another user's.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from unittest import mock

import analyze
import collect
import make_grid
import run_point
from jobs import alter, cancel, local, probe, resubmit, status, submit, supervise, verify
from jobs.common.records import write
from jobs.common.schema import ClaimRecord, Measurement
from jobs.common.states import STATES
from jobs.cost.measurements import kind, write_probe
from jobs.pbs.commands import Scheduler
from jobs.point.attempt import run_point as attempt
from jobs.point.claim import identity
from jobs.run.index import Entry, Run, read_run
from tests import standin_pbs
from tests.conftest import TINY, write_images
from tests.faults import stand_in
from tests.jobs.test_submit import give_result, give_state
from tests.standin_pbs import StandIn
from unet_models.training.history import COLUMNS, history_csv

GRID = TINY.replace("[1e-3, 5e-3]", "[1e-3, 2e-3, 3e-3, 4e-3, 5e-3, 6e-3]")


def made(folder: Path) -> Run:
    """A run with a point that is done, one that failed, one in training, one with a damaged file, and one that waits."""
    write_images(folder / "data")
    (folder / "grid.yaml").write_text(GRID)
    assert make_grid.main([str(folder / "grid.yaml"), "--run-dir", str(folder / "run")]) == 0
    run = read_run(folder / "run")
    give_result(run, 1)
    give_state(run, 2, "error", reason="an exception")
    give_state(run, 3, "running", **identity().fields() | {}, started="then", attempts=1)
    for index in (1, 2, 3):
        paths = run.point_paths(run.entry(index))
        paths.claims.mkdir(exist_ok=True, parents=True)
        write(paths.claim(1), ClaimRecord(**identity().fields(), started="then"))
        paths.log.write_text("one line\n")
        paths.history.write_text(history_csv([dict.fromkeys(COLUMNS, 0.25) | {"epoch": 1}]))
        paths.lock.touch()
    claimed = run.point_paths(run.entry(4))
    claimed.claims.mkdir(parents=True)  # a point that has just been claimed, and has not written anything yet
    write(claimed.claim(1), ClaimRecord(**identity().fields(), started="then"))
    (run.point_paths(run.entry(6)).quarantine / "kept").mkdir(parents=True)
    write_probe(run, [Measurement(settings=kind(run.entries[0].point.settings), status="oom")])
    assert submit.main([str(run.paths.root), "--force"]) == 0
    assert collect.main([str(run.paths.root)]) == 3
    assert analyze.main([str(run.paths.root)]) == 0
    (run.paths.logs / "submission_01_2.log").write_text("what PBS captured\n")
    (run.paths.logs / ".array_7").touch()
    return run


def commands(folder: Path) -> dict[str, Callable[[], int]]:
    """Every command, so that nothing is trained in earnest."""
    root = str(folder / "run")

    return {
        "status": lambda: status.main([root]),
        "status --live": lambda: status.main([root, "--live"]),
        "collect": lambda: collect.main([root]),
        "analyze": lambda: analyze.main([root]),
        "resubmit": lambda: resubmit.main([root]),
        "submit": lambda: submit.main([root, "--force"]),
        "submit --estimate": lambda: submit.main([root, "--estimate"]),
        "cancel": lambda: cancel.main([root]),
        "alter": lambda: alter.main([root, "--max-running", "1"]),
        "supervise": lambda: supervise.main([root, "--once"]),
        "local": lambda: local.main([root]),
        "probe": lambda: probe.main([root]),
        "make_grid": lambda: make_grid.main([str(folder / "grid.yaml"), "--run-dir", root]),
        "run_point": lambda: run_point.main([root, "2"]),
        "verify": lambda: verify.main([root]),
    }


def tried(command: Callable[[], int]) -> tuple[int | str, str, str]:
    """The exit code of a command, or its traceback; what it printed, and its errors."""
    out, err = io.StringIO(), io.StringIO()
    code: int | str
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = command()
        except BaseException:  # noqa: BLE001 - whatever it is, it is reported
            code = traceback.format_exc()
    return code, out.getvalue(), err.getvalue()


@contextlib.contextmanager
def idle(pbs: StandIn) -> Iterator[None]:
    """Train nothing, and take no time."""
    with (
        mock.patch.object(
            Scheduler, "_call", lambda _, *command, **options: _called(pbs, *command, **options)
        ),
        mock.patch.object(local, "run_local", return_value=True),
        mock.patch.object(probe, "measure", _measured),
        mock.patch.object(run_point, "train_in_process", _here),
        mock.patch.object(verify, "check_tensorflow", return_value=()),
        mock.patch.object(verify, "check_space", return_value=()),
        mock.patch("jobs.common.files._sync"),
        mock.patch("jobs.common.files._sync_folder"),
        mock.patch("analysis.report.report.findings", side_effect=_Reached),
    ):
        yield


def _called(
    pbs: StandIn, command: Sequence[str], folder: Path | None = None, **_: object
) -> subprocess.CompletedProcess[str]:
    """A command of PBS in this process: a process for each would take most of the time."""
    out, err = io.StringIO(), io.StringIO()
    here = Path.cwd()
    os.chdir(folder or here)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = standin_pbs.main(pbs.home, command[0], list(command[1:]))
    finally:
        os.chdir(here)
    return subprocess.CompletedProcess(command, code, out.getvalue(), err.getvalue())


class _Reached(Exception):
    """The report would be written now, which takes seconds."""


def _measured(_: Run, entry: Entry, **__: object) -> Measurement:
    return Measurement(kind(entry.point.settings), "oom")


def _here(run: Run, entry: Entry, **options: bool) -> int:
    """Train in this process."""
    return STATES[attempt(run, entry, echo=False, tell=lambda _: None, again=options["again"])].exit_code


def main() -> None:
    """Try all commands at each place, and print what came of it."""
    folder, mode = Path(sys.argv[1]), {"unreadable": 0o000, "unwritable": 0o555}[sys.argv[2]]
    pbs = StandIn(folder / "pbs")
    os.environ["PATH"] = f"{pbs.bin}{os.pathsep}{os.environ['PATH']}"
    os.chdir(folder)
    stand_in.install()
    found = []
    with contextlib.redirect_stdout(sys.stderr):
        summary = made(folder).paths.summary
        shutil.copytree(folder / "run", folder / "kept", symlinks=True)
        before = summary.read_bytes()
        jobs = pbs.load()
        with idle(pbs):
            for place in (folder / name for name in sys.argv[3:]):
                for name, command in commands(folder).items():
                    was = place.stat().st_mode
                    place.chmod(mode & (0o777 if place.is_dir() else 0o444))
                    try:
                        code, out, err = tried(command)
                    finally:
                        place.chmod(was)
                    trial = {
                        "place": str(place.relative_to(folder)),
                        "command": name,
                        "code": code,
                        "out": out,
                    }
                    found.append({**trial, "err": err, "kept": summary.read_bytes() == before})
                    pbs.save(jobs)
                    shutil.rmtree(folder / "run")
                    shutil.copytree(folder / "kept", folder / "run", symlinks=True)
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
