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


def answer(*arguments: str, folder: Path = REPOSITORY, **variables: str) -> tuple[int, str]:
    """The exit code and the output of a command that may fail."""
    result = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, **variables},
    )
    print("$ python", *arguments, "\n" + result.stdout + result.stderr, flush=True)
    return result.returncode, result.stdout + result.stderr


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
            ["qstat", "-x", "-f", "-F", "json", job],
            capture_output=True,
            text=True,
            errors="replace",  # PBS prints a path with an umlaut in pieces
            check=False,
        )
        found = json.loads(answer.stdout or "{}", strict=False).get("Jobs", {})
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


FIRST_ONLY = f"""#!{sys.executable}
# Answers a bulk query for its first job only, as development builds of OpenPBS do.
import re, subprocess, sys
jobs = [word for word in sys.argv[1:] if re.match(r"[0-9]+(\\[|\\.|$)", word)]
left_out = jobs[1:] if "json" in sys.argv else []
words = [word for word in sys.argv[1:] if word not in left_out]
sys.exit(subprocess.run([{shutil.which("qstat")!r}, *words]).returncode)
"""


@pytest.fixture(params=["as installed", "first job only"])
def qstat(request, tmp_path, monkeypatch):
    """Two kinds of ``qstat``: the installed one, and one that answers for one job at a time."""
    if request.param == "first job only":
        wrapper = tmp_path / "qstat"
        wrapper.write_text(FIRST_ONLY)
        wrapper.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return request.param


HELD = """
hyperparameters: {architecture: [UNet], learning_rate: [1e-3, 5e-3], batch_size: [8]}
training: {epochs: 2, base_filters: 2, levels: 2}
data: {source: sample, patch_size: 32, sample_slices: 24, sample_size: 64, validation_fraction: 0.25, gap_slices: 2}
site: {ncpus: 1, ngpus: 0, mem: 1gb, walltime: "00:10:00", extra_options: "-h", collect_mem: 1gb, collect_walltime: "00:10:00"}
"""


def queued_for(root: Path) -> list[str]:
    """The jobs in the queue whose run directory is ``root``."""
    # Jobs of others may have anything in their environment.
    answer = subprocess.run(
        ["qstat", "-f", "-F", "json"], capture_output=True, text=True, errors="replace", check=True
    )
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
    # The walltime is neither the site block's, nor the script's, nor the one that was known at the submission.
    variables = f"RUN_DIR={root},REPOSITORY={REPOSITORY},WALLTIME_SECONDS=600"
    submitted = subprocess.run(
        [
            *("qsub", "-h", "-J", "1-2", "-l", "select=1:ncpus=1:mem=1gb", "-l", "walltime=00:10:00"),
            *("-v", variables, "-o", f"{root}/logs/^array_index^.log"),
            str(REPOSITORY / "jobs/train_array.pbs"),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    array = submitted.stdout.strip()
    subprocess.run(["qalter", "-l", "walltime=00:00:35", array], check=True)
    subprocess.run(["qrls", array], check=True)
    wait_for_end(array)
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


def held_run(root: Path, **site: str) -> None:
    grid = root.parent / "grid.yaml"
    more = "".join(f", {key}: {value}" for key, value in site.items())
    grid.write_text(
        HELD.replace("[1e-3, 5e-3]", "[1e-3, 2e-3, 5e-3, 1e-2]").replace(
            ", collect_mem", f"{more}, collect_mem"
        )
    )
    command("make_grid.py", str(grid), "--run-dir", str(root))


@pytest.mark.skipif(bool(no_pbs()), reason=no_pbs() or "PBS answers")
def test_every_array_in_the_queue_is_known_and_nothing_is_submitted_twice(root, qstat):
    held_run(root, max_array_size="2")
    command("-m", "jobs.submit", str(root))
    waiting = sorted(queued_for(root))
    assert len(waiting) == 3  # two arrays, and the job that collects
    shown = command("-m", "jobs.status", str(root), "--live")
    assert "4 queued" in shown and shown.count("2 points held, queued since") == 2
    assert answer("-m", "jobs.submit", str(root))[0] == 6
    for choice in ([], ["--all-failed"], ["--class", "lost"]):
        code, said = answer("-m", "jobs.resubmit", str(root), *choice)
        assert code == 0 and "nothing to run again (4 queued)" in said
    # A server that cannot be reached is no reason to submit anything again.
    for name in ("resubmit", "submit"):
        code, said = answer("-m", f"jobs.{name}", str(root), PBS_BATCH_SERVICE_PORT="9")
        assert code == 6 and "does not report" in said
    assert sorted(queued_for(root)) == waiting


@pytest.mark.skipif(bool(no_pbs()), reason=no_pbs() or "PBS answers")
def test_an_array_that_was_submitted_by_hand_is_known_before_and_after_its_first_sub_job(root, qstat):
    held_run(root)
    script = [str(REPOSITORY / "jobs/train_array.pbs")]
    options = ["-h", "-l", "select=1:ncpus=1:mem=1gb", "-o", f"{root}/logs/^array_index^.log"]
    options += ["-v", f"RUN_DIR={root},REPOSITORY={REPOSITORY}"]
    first, second = (
        subprocess.run(
            ["qsub", "-J", part, *options, *script], capture_output=True, text=True, check=True
        ).stdout.strip()
        for part in ("1-2", "3-4%1")
    )
    try:
        assert "4 queued" in command("-m", "jobs.status", str(root), "--live")
        assert "nothing to run again (4 queued)" in answer("-m", "jobs.resubmit", str(root))[1]
        assert answer("-m", "jobs.submit", str(root))[0] == 6
        subprocess.run(["qrls", second], check=True)
        deadline = time.monotonic() + 120
        while read_status(read_run(root), read_run(root).entry(3)).state == "waiting":
            assert time.monotonic() < deadline, "the first sub-job did not start"
            time.sleep(0.2)
        said = answer("-m", "jobs.resubmit", str(root))[1]
        assert "nothing to run again" in said and "waiting" not in said
    finally:
        subprocess.run(["qdel", first, second], capture_output=True, check=False)


@pytest.mark.skipif(bool(no_pbs()), reason=no_pbs() or "PBS answers")
def test_by_hand_a_job_takes_the_run_that_was_newest_when_it_was_submitted(root):
    root.parent.mkdir(exist_ok=True)
    copy = root.parent / "a copy"
    ignored = shutil.ignore_patterns(".*", "hyperparameter_optimization_*", "__pycache__")
    shutil.copytree(REPOSITORY, copy, ignore=ignored)
    (copy / ".venv").symlink_to(Path(sys.prefix))
    grid = copy / "grid.yaml"
    grid.write_text(HELD)

    def made() -> Path:
        before = set(copy.glob("hyperparameter_optimization_*"))
        assert answer("make_grid.py", folder=copy)[0] == 0
        (new,) = set(copy.glob("hyperparameter_optimization_*")) - before
        return new

    def qsub(*arguments: str) -> str:
        options = ["-l", "select=1:ncpus=1:mem=1gb", "-o", f"{copy}/^array_index^.log"]
        return subprocess.run(
            ["qsub", *arguments[:-1], *options, arguments[-1]],
            cwd=copy,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()

    first = made()
    array = qsub("-h", "-J", "1-2", "jobs/train_array.pbs")
    second = made()
    other = qsub("-h", "-J", "1-2", "jobs/train_array.pbs")
    collect = subprocess.run(
        ["qsub", "-W", f"depend=afterany:{array}", "-l", "select=1:ncpus=1:mem=1gb", "-o", f"{copy}/collect.log", "jobs/collect.pbs"],
        cwd=copy, capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    made()  # a third run, which is empty
    subprocess.run(["qrls", array, other], check=True)
    wait_for_end(array)
    wait_for_end(other)
    assert wait_for_end(collect) == 0, (copy / "collect.log").read_text()
    assert [row["status"] for row in summary(first)] == ["done", "done"]
    run = read_run(second)
    assert [read_status(run, entry).state for entry in run.entries] == ["done", "done"]
    assert not run.paths.summary.exists()


STOPPED = LONG.replace("heartbeat_seconds: 1,", "heartbeat_seconds: 1, max_running: 1,")


@pytest.mark.skipif(bool(no_pbs()), reason=no_pbs() or "PBS answers")
def test_a_run_is_cancelled_without_being_collected_and_goes_on_when_it_is_submitted_again(root, qstat):
    grid = root.parent / "grid.yaml"
    grid.write_text(STOPPED.replace("epochs: 300", "epochs: 60"))
    command("make_grid.py", str(grid), "--run-dir", str(root))
    run = read_run(root)
    command("-m", "jobs.submit", str(root))
    deadline = time.monotonic() + 120
    while not run.point_paths(run.entry(1)).checkpoint.exists():
        assert time.monotonic() < deadline, "the first point did not start"
        time.sleep(0.2)
    assert "changed: 1 job" in command(
        "-m", "jobs.alter", str(root), "--max-running", "2", "--walltime", "00:20:00"
    )
    said = command("-m", "jobs.cancel", str(root))
    assert "deleted: 2 points" in said
    deadline = time.monotonic() + 120
    while queued_for(root):
        assert time.monotonic() < deadline, "the jobs are still in the queue"
        time.sleep(1)
    assert not run.paths.summary.exists()
    assert answer("-m", "jobs.supervise", str(root), "--once")[0] == 3  # it does not go on by itself
    command("-m", "jobs.resubmit", str(root), "--max-running", "2")
    record = json.loads((root / "submissions.json").read_text())["submissions"][-1]
    assert wait_for_end(record["collect"]["id"]) == 0
    assert [row["status"] for row in summary(root)] == ["done", "done"]
    assert read_result(run, run.entry(1)).resumed


@pytest.mark.skipif(bool(no_pbs()), reason=no_pbs() or "PBS answers")
def test_a_supervised_run_ends_complete_after_a_timeout_and_a_kill(root, qstat):
    grid = root.parent / "grid.yaml"
    retry = 'retry: {timeout: {times: 5, walltime: x3, walltime_up_to: "00:10:00"}, lost: 2}, max_queued: 3'
    text = LONG.replace('walltime: "04:00:00"', f'walltime: "00:00:25", {retry}').replace(
        "[1e-3, 5e-3]", "[1e-3, 2e-3, 5e-3]"
    )
    grid.write_text(text.replace("epochs: 300", "epochs: 500"))
    command("make_grid.py", str(grid), "--run-dir", str(root))
    run = read_run(root)
    killed = False
    deadline = time.monotonic() + 900
    while True:
        code, _ = answer("-m", "jobs.supervise", str(root), "--once")
        log = run.paths.supervisor_log.read_text()
        if "ended:" in log:
            break
        assert code == 0 and time.monotonic() < deadline
        assert len(queued_for(root)) <= 3
        second = read_status(run, run.entry(2))
        if not killed and second.state == "running" and second.record.epoch > 0:
            os.kill(second.record.pid, signal.SIGKILL)
            killed = True
        time.sleep(5)
    assert killed and code == 0, log
    assert "again, after timeout" in log and "again, after lost" in log and "every point has a result" in log
    deadline = time.monotonic() + 120
    while not run.paths.summary.exists() or queued_for(root):
        assert time.monotonic() < deadline, "it was not collected"
        time.sleep(1)
    for entry in run.entries:
        assert [row.epoch for row in read_result(run, entry).history] == list(range(1, 501))
