"""Whole runs on a real PBS: submit 36 points, lose three in three ways, collect, resubmit those three, finish.

Runs wherever a PBS server answers; skipped, with the reason, where none does. Takes about six minutes.
"""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from jobs.point.status import read_result, read_status
from jobs.run.index import read_run
from tests.conftest import REPOSITORY

pytestmark = pytest.mark.pbs

GRID = """
hyperparameters:
  architecture: [UNet, Attention_UNet, Attention_ResUNet]
  learning_rate: [1e-4, 5e-4, 1e-3, 5e-3]
  batch_size: [8, 16, 32]
training: {epochs: 2, base_filters: 2, levels: 2}
data: {source: sample, patch_size: 32, sample_slices: 24, sample_size: 64, validation_fraction: 0.25, gap_slices: 2}
site: {ncpus: 1, ngpus: 0, mem: 1gb, walltime: "00:01:00", max_running: 2, collect_mem: 1gb, collect_walltime: "00:10:00"}
"""
FAILS, DELETED, TOO_SLOW = 7, 36, 2


def no_pbs() -> str:
    for command in ("qsub", "qstat", "qdel", "qalter"):
        if shutil.which(command) is None:
            return f"no PBS here: {command} is not on PATH"
    answer = subprocess.run(["qstat", "-B"], capture_output=True, text=True, timeout=60, check=False)
    if answer.returncode:
        return f"no PBS server answers: {answer.stderr.strip()}"
    return "PBS takes no jobs from root" if os.getuid() == 0 else ""


def command(*arguments: str) -> str:
    answer = subprocess.run(
        [sys.executable, *arguments], cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=False
    )
    print("$ python", *arguments, "\n" + answer.stdout + answer.stderr, flush=True)
    assert answer.returncode == 0
    return answer.stdout


def states(root: Path) -> dict[int, str]:
    progress = json.loads(command("-m", "jobs.status", str(root), "--live", "--json"))
    assert progress["scheduler_problem"] == ""
    named = {item["index"]: item["state"] for item in progress["failed"]}
    return {index: named.get(index, "other") for index in (FAILS, DELETED, TOO_SLOW)} | {
        0: progress["with_result"]
    }


def wait_for_end(job: str, limit: float = 600) -> int:
    """Wait until PBS reports that the job has finished; returns its exit status."""
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        answer = subprocess.run(
            ["qstat", "-x", "-f", "-F", "json", job], capture_output=True, text=True, check=False
        )
        found = json.loads(answer.stdout or "{}").get("Jobs", {})
        for attributes in found.values():
            if attributes["job_state"] == "F":
                return attributes.get("Exit_status", 0)
        time.sleep(3)
    pytest.fail(f"{job} did not end within {limit:g} s")


def summary(root: Path) -> list[dict[str, str]]:
    with (root / "hyperparameter_summary.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture
def root():
    # The nodes can read a home directory, but rarely /tmp.
    with tempfile.TemporaryDirectory(prefix=".unet_pbs_test_", dir=Path.home()) as folder:
        yield Path(folder) / "run"
        record_file = Path(folder) / "run/submissions.json"
        submissions = json.loads(record_file.read_text())["submissions"] if record_file.exists() else []
        for record in submissions:
            for job in (*record["jobs"], record["collect"] or {}):
                if job:
                    subprocess.run(["qdel", job["id"]], capture_output=True, check=False)
        time.sleep(2)


@pytest.mark.skipif(bool(no_pbs()), reason=no_pbs() or "PBS answers")
def test_a_run_loses_points_in_three_ways_and_ends_complete(root):
    grid = root.parent / "grid.yaml"
    grid.write_text(GRID)
    command("make_grid.py", str(grid), "--run-dir", str(root))
    run = read_run(root)
    obstacle = run.point_paths(run.entry(FAILS)).folder
    obstacle.write_text("a file where the point's folder belongs\n")

    command("-m", "jobs.submit", str(root))
    record = json.loads((root / "submissions.json").read_text())["submissions"][0]
    array, collect = record["jobs"][0]["id"], record["collect"]["id"]
    subprocess.run(["qdel", array.replace("[]", f"[{DELETED}]")], check=True)
    again = subprocess.run(
        [sys.executable, "-m", "jobs.submit", str(root)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert again.returncode == 6 and "is active: " in again.stderr

    deadline = time.monotonic() + 120
    while read_status(run, run.entry(TOO_SLOW)).state != "running":
        assert time.monotonic() < deadline, "the point that is to be too slow did not start"
        time.sleep(0.2)
    slow = read_status(run, run.entry(TOO_SLOW)).record
    assert slow.host == socket.gethostname(), "this test stops a process and must run where the sub-jobs run"
    os.kill(slow.pid, signal.SIGSTOP)

    assert wait_for_end(collect) == 0
    rows = summary(root)
    assert len(rows) == 36 and sum(row["training_successful"] == "True" for row in rows) == 33
    assert states(root) == {0: 33, FAILS: "lost", DELETED: "cancelled", TOO_SLOW: "timeout"}

    obstacle.unlink()
    command("-m", "jobs.resubmit", str(root), "--all-failed", "--dry-run")
    command("-m", "jobs.resubmit", str(root), "--walltime", "00:03:00")
    second = json.loads((root / "submissions.json").read_text())["submissions"][1]
    assert len(second["jobs"]) == 2  # {2, 7, 36}: two progressions
    assert wait_for_end(second["collect"]["id"]) == 0
    assert all(row["training_successful"] == "True" for row in summary(root))
    assert states(root)[0] == 36
    assert (root / "analysis" / "comprehensive_analysis_report.txt").exists()
    print(command("-m", "jobs.status", str(root)))


HELD = """
hyperparameters: {architecture: [UNet], learning_rate: [1e-3, 5e-3], batch_size: [8]}
training: {epochs: 2, base_filters: 2, levels: 2}
data: {source: sample, patch_size: 32, sample_slices: 24, sample_size: 64, validation_fraction: 0.25, gap_slices: 2}
site: {ncpus: 1, ngpus: 0, mem: 1gb, walltime: "00:10:00", extra_options: "-h", collect_mem: 1gb, collect_walltime: "00:10:00"}
"""


def queued_for(root: Path) -> list[str]:
    """The jobs in the queue whose run directory is ``root``."""
    answer = subprocess.run(["qstat", "-f", "-F", "json"], capture_output=True, text=True, check=True)
    found = json.loads(answer.stdout, strict=False).get("Jobs", {})
    return [name for name, job in found.items() if job.get("Variable_List", {}).get("RUN_DIR") == str(root)]


@pytest.mark.skipif(bool(no_pbs()), reason=no_pbs() or "PBS answers")
@pytest.mark.parametrize(("name", "codes"), [("submit", [0, 6]), ("resubmit", [0, 0])])
def test_of_two_submissions_at_once_exactly_one_is_queued(root, name, codes):
    grid = root.parent / "grid.yaml"
    grid.write_text(HELD)
    command("make_grid.py", str(grid), "--run-dir", str(root))
    for _ in range(10):
        pair = [
            subprocess.Popen(
                [sys.executable, "-m", f"jobs.{name}", str(root)],
                cwd=REPOSITORY,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for _ in range(2)
        ]
        said = [process.communicate(timeout=300)[0] for process in pair]
        assert sorted(process.returncode for process in pair) == codes, said
        (record,) = json.loads((root / "submissions.json").read_text())["submissions"]
        ids = [record["jobs"][0]["id"], record["collect"]["id"]]
        assert sorted(queued_for(root)) == sorted(ids)
        subprocess.run(["qdel", *ids], check=True)
        (root / "submissions.json").unlink()


LONG = """
hyperparameters: {architecture: [UNet], learning_rate: [1e-3, 5e-3], batch_size: [8]}
training: {epochs: 300, base_filters: 2, levels: 2, early_stopping_patience: null}
data: {source: sample, patch_size: 32, sample_slices: 24, sample_size: 64, validation_fraction: 0.25, gap_slices: 2}
site: {ncpus: 1, ngpus: 0, mem: 1gb, walltime: "04:00:00", heartbeat_seconds: 1, collect_mem: 1gb, collect_walltime: "00:10:00"}
"""


@pytest.mark.skipif(bool(no_pbs()), reason=no_pbs() or "PBS answers")
def test_points_stop_before_a_walltime_that_only_the_scheduler_knows_and_go_on_when_resubmitted(root):
    grid = root.parent / "grid.yaml"
    grid.write_text(LONG)
    command("make_grid.py", str(grid), "--run-dir", str(root))
    run = read_run(root)
    # By hand, with a walltime that is neither the site block's nor the script's.
    submitted = subprocess.run(
        [
            *("qsub", "-J", "1-2", "-l", "select=1:ncpus=1:mem=1gb", "-l", "walltime=00:00:35"),
            *("-v", f"RUN_DIR={root},REPOSITORY={REPOSITORY}", "-o", f"{root}/logs/^array_index^.log"),
            str(REPOSITORY / "jobs/train_array.pbs"),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    wait_for_end(submitted.stdout.strip())
    for entry in run.entries:
        status = read_status(run, entry)
        print(entry.name, status.state, status.reason, flush=True)
        assert status.state == "timeout" and "of the walltime (35 s) are left" in status.reason
        assert status.record.epoch > 3 and run.point_paths(entry).checkpoint.exists()

    command("-m", "jobs.resubmit", str(root), "--walltime", "00:08:00")
    record = json.loads((root / "submissions.json").read_text())["submissions"][0]
    # One of them loses its training process, as by a person or a fault of the node.
    deadline = time.monotonic() + 120
    while read_status(run, run.entry(1)).attempts != 2:
        assert time.monotonic() < deadline, "the second attempt did not start"
        time.sleep(0.2)
    os.kill(read_status(run, run.entry(1)).record.pid, signal.SIGKILL)
    assert wait_for_end(record["collect"]["id"]) == 0
    assert read_status(run, run.entry(1)).state == "lost" and read_status(run, run.entry(2)).state == "done"
    command("-m", "jobs.resubmit", str(root), "--walltime", "00:08:00")
    record = json.loads((root / "submissions.json").read_text())["submissions"][1]
    assert wait_for_end(record["collect"]["id"]) == 0
    for entry, attempts in zip(run.entries, (3, 2), strict=True):
        result = read_result(run, entry)
        # One that was killed before its first epoch ended has left nothing to be resumed from.
        assert result.attempts == attempts and 1 <= len(result.resumed) < attempts
        assert [row.epoch for row in result.history] == list(range(1, 301))


PROBED = """
hyperparameters: {architecture: [UNet], learning_rate: [1e-3], batch_size: [8], base_filters: [2, 12]}
training: {epochs: 40, levels: 2}
data: {source: sample, patch_size: 32, sample_slices: 24, sample_size: 64, validation_fraction: 0.25, gap_slices: 2}
site: {ncpus: 1, ngpus: 0, mem: 1gb, walltime: "00:10:00", collect_mem: 1gb, collect_walltime: "00:10:00"}
"""


@pytest.mark.skipif(bool(no_pbs()), reason=no_pbs() or "PBS answers")
def test_a_probe_measures_in_a_job_and_a_search_is_submitted_with_what_it_proposes(root):
    grid = root.parent / "grid.yaml"
    grid.write_text(PROBED)
    command("make_grid.py", str(grid), "--run-dir", str(root))
    assert not json.loads(command("-m", "jobs.submit", str(root), "--estimate", "--json"))["measured"]
    said = command("-m", "jobs.submit", str(root), "--probe")
    assert wait_for_end(re.search(r"^  (\d+\S*)$", said, re.MULTILINE)[1]) == 0
    found = json.loads(command("-m", "jobs.submit", str(root), "--estimate", "--json"))
    assert found["measured"] and {cost["source"] for cost in found["costs"]} == {"probe"}
    print(command("-m", "jobs.submit", str(root), "--estimate"))

    command("-m", "jobs.submit", str(root), "--proposed")
    record = json.loads((root / "submissions.json").read_text())["submissions"][0]
    for job in record["jobs"]:
        answer = subprocess.run(
            ["qstat", "-x", "-f", "-F", "json", job["id"]], capture_output=True, text=True, check=True
        )
        (attributes,) = json.loads(answer.stdout)["Jobs"].values()
        asked = attributes["Resource_List"]
        assert (asked["walltime"], asked["mem"]) == (job["asked"]["walltime"], job["asked"]["mem"])
        assert asked["walltime"] != "00:10:00"
    wait_for_end(record["collect"]["id"])
    rows = summary(root)
    assert [row["training_successful"] for row in rows] == ["True", "True"]
    used = [float(row["wall_seconds"]) for row in rows]
    print("predicted", found["durations"], "used", used)
