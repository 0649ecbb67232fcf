"""On a real PBS: the check of a login node and of a node, and a walltime that is changed while a job runs."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import time

import pytest

from jobs.point.status import read_status
from jobs.run.index import read_run
from tests.conftest import REPOSITORY
from tests.integration.test_pbs import LONG, answer, command, no_pbs, root, wait_for_end

__all__ = ["root"]  # a fixture

pytestmark = [
    pytest.mark.pbs,
    pytest.mark.skipif(bool(no_pbs()), reason=no_pbs() or "PBS answers"),
]


def checked(root, **site: str) -> tuple[int, str]:
    """What ``jobs.verify`` prints, where the site block of the run has these values besides."""
    grid = root / "grid.yaml"
    more = "".join(f"{key}: {value}, " for key, value in site.items())
    grid.write_text(re.sub("^site: {", "site: {" + more, LONG, flags=re.MULTILINE))
    return answer("-m", "jobs.verify", str(root))


def test_what_the_cluster_can_never_run_is_found_before_it_is_submitted(root):
    grid = root.parent / "grid.yaml"
    grid.write_text(LONG)
    command("make_grid.py", str(grid), "--run-dir", str(root))
    code, said = checked(root)
    assert code == 0 and "FAILURE" not in said and "not known, because qstat" not in said
    assert re.search(r"^ok +queue: \S+ \(the server's default\)", said, re.MULTILINE)
    assert re.search(r"^(ok|warning) +nodes: \d+ of \d+ nodes? can run a sub-job", said, re.MULTILINE)
    line = re.search(r"^next +check a node as well: (.*)$", said, re.MULTILINE)[1]
    code, said = checked(root, queue="no_such_queue")
    assert code == 1 and "FAILURE  queue: no_such_queue does not exist; the queues are " in said

    grid = root / "grid.yaml"
    grid.write_text(LONG.replace("mem: 1gb, walltime", "mem: 900tb, walltime"))
    code, said = answer("-m", "jobs.verify", str(root))
    assert code == 1 and "FAILURE  nodes: no node can ever run a sub-job (ncpus=1, mem=9.216e+05gb)" in said

    grid.write_text(LONG)
    job = subprocess.run(
        shlex.split(line), capture_output=True, text=True, check=True, cwd="/"
    ).stdout.strip()
    assert wait_for_end(job) == 0
    result = (root / "logs" / "verify_job.log").read_text()
    assert f"ok       PBS: job {job} on " in result and result.splitlines()[-1] == "ready"

    grid.write_text(LONG.replace("ngpus: 0", "ngpus: 1"))
    job = subprocess.run(
        shlex.split(line), capture_output=True, text=True, check=True, cwd="/"
    ).stdout.strip()
    assert wait_for_end(job) in (0, 1)
    result = (root / "logs" / "verify_job.log").read_text()
    if shutil.which("nvidia-smi") is None:
        assert "FAILURE  TensorFlow: " in result and "although the job asked for 1 GPU" in result


def test_a_site_file_that_is_exchanged_while_a_job_is_held_has_no_effect(root):
    grid = root.parent / "grid.yaml"
    grid.write_text(LONG.replace("epochs: 300", "epochs: 1").replace("site: {", "site: {array_options: -h, "))
    command("make_grid.py", str(grid), "--run-dir", str(root))
    command("-m", "jobs.submit", str(root))
    record = json.loads((root / "submissions.json").read_text())["submissions"][0]
    mark, program = root.parent / "mark", root.parent / "environment" / "bin" / "python"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\ntouch {mark}\n")
    program.chmod(0o755)
    (root / "site.sh").write_text(f"touch {mark}\n")
    (root / "site.conf").write_text(f"environment={program.parent.parent}\n")
    subprocess.run(["qrls", record["jobs"][0]["id"]], check=True)
    assert wait_for_end(record["collect"]["id"]) == 0
    assert not mark.exists()
    run = read_run(root)
    assert [read_status(run, entry).state for entry in run.entries] == ["done", "done"]


def test_a_job_by_hand_uses_no_file_that_a_stranger_may_have_written(root):
    grid = root.parent / "grid.yaml"
    grid.write_text(LONG)
    command("make_grid.py", str(grid), "--run-dir", str(root))
    mark, elsewhere = root.parent / "mark", root.parent / "elsewhere"
    (elsewhere / "jobs").mkdir(parents=True)
    (elsewhere / "jobs" / "environment.sh").write_text(f"touch {mark}\n")
    (elsewhere / "run_point.py").touch()
    (elsewhere / "below").mkdir()
    elsewhere.chmod(0o1777)
    (root / "site.conf").write_text(f"environment={elsewhere}\n")
    (root / "site.conf").chmod(0o666)
    options = ["-C", "", "-j", "oe", "-l", "select=1:ncpus=1:mem=1gb", "-l", "walltime=00:02:00"]
    for number, (folder, variables, said) in enumerate(
        [
            (elsewhere, f"RUN_DIR={root}", "anyone may write it"),
            (elsewhere / "below", f"RUN_DIR={root}", "call qsub in the folder that contains run_point.py"),
            (REPOSITORY, f"RUN_DIR={root},REPOSITORY={REPOSITORY}", "site.conf: anyone may write it"),
        ]
    ):
        log = root / "logs" / f"by_hand_{number}.log"
        job = subprocess.run(
            ["qsub", *options, "-v", variables, "-o", str(log), str(REPOSITORY / "jobs/train_array.pbs")],
            cwd=folder,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        assert wait_for_end(job) == 2 and said in log.read_text() and not mark.exists()


def test_a_point_that_is_ended_at_a_walltime_that_was_shortened_is_no_cancelled_one(root):
    grid = root.parent / "grid.yaml"
    grid.write_text(LONG.replace("epochs: 300", "epochs: 5000"))
    command("make_grid.py", str(grid), "--run-dir", str(root))
    run = read_run(root)

    def start(index: int) -> str:
        variables = f"RUN_DIR={root},REPOSITORY={REPOSITORY},POINT_INDEX={index},WALLTIME_SECONDS=600"
        options = ["-C", "", "-j", "oe", "-l", "select=1:ncpus=1:mem=1gb", "-l", "walltime=00:10:00"]
        script = str(REPOSITORY / "jobs/train_array.pbs")
        return subprocess.run(
            ["qsub", *options, "-v", variables, "-o", f"{root}/logs/{index}.log", script],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()

    shortened, deleted = start(1), start(2)
    deadline = time.monotonic() + 120
    while not all(_trains(run, entry) for entry in run.entries):
        assert time.monotonic() < deadline, "the points did not start"
        time.sleep(0.5)
    subprocess.run(["qalter", "-l", "walltime=00:00:10", shortened], check=True)
    subprocess.run(["qdel", deleted], check=True)
    wait_for_end(shortened)
    wait_for_end(deleted)
    assert [read_status(run, entry).state for entry in run.entries] == ["timeout", "cancelled"]
    assert "stopped by PBS at the walltime after epoch" in read_status(run, run.entry(1)).reason


def _trains(run, entry) -> bool:
    status = read_status(run, entry)
    return status.state == "running" and status.record.epoch >= 2
