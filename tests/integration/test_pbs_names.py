"""On a real PBS: runs of any name are trained and collected, and a job without its GPU trains nothing."""

from __future__ import annotations

import json
import re
import subprocess

import pytest

from jobs.point.status import read_status
from jobs.run.index import read_run
from tests.integration.test_pbs import answer, command, no_pbs, root, wait_for_end

pytestmark = [pytest.mark.pbs, pytest.mark.skipif(bool(no_pbs()), reason=no_pbs() or "PBS answers")]
__all__ = ["root"]  # a fixture

GRID = """
hyperparameters: {{architecture: [UNet], learning_rate: [{rates}], batch_size: [8]}}
training: {{epochs: 1, base_filters: 2, levels: 2}}
data: {{source: sample, patch_size: 32, sample_slices: 24, sample_size: 64, validation_fraction: 0.25, gap_slices: 2}}
site: {{ncpus: 1, {site}, mem: 1gb, walltime: "00:05:00", collect_mem: 1gb, collect_walltime: "00:10:00"}}
"""
# The node need not know the resource: what counts is what the submission says.
ONE_GPU = 'ngpus: 1, max_running: 1, select: "select=1:ncpus={ncpus}:mem={mem}"'


def made(root, name, rates="1e-3, 2e-3", site="ngpus: 0"):
    place = root.parent / name
    grid = root.parent / "grid.yaml"
    grid.write_text(GRID.format(rates=rates, site=site))
    command("make_grid.py", str(grid), "--run-dir", str(place))
    return place


@pytest.mark.parametrize("name", ["läuf", 'it\'s a, "b" ', "r \N{GRINNING FACE}"])
def test_a_run_of_any_name_is_trained_and_collected_as_it_was_submitted_and_by_hand(root, name):
    submitted = made(root, name)
    command("-m", "jobs.submit", str(submitted))
    record = json.loads((submitted / "submissions.json").read_text())["submissions"][0]
    by_hand = made(root, f"{name} 2")
    _, printed = answer("make_grid.py", str(root.parent / "grid.yaml"), "--run-dir", str(by_hand))
    lines = [line.strip() for line in printed.partition("or, by hand:")[2].splitlines()]
    done = subprocess.run(
        ["bash", "-ec", "\n".join(lines)], cwd="/", capture_output=True, text=True, check=True
    )
    for job in (record["collect"]["id"], done.stdout.split()[-1]):
        wait_for_end(job)
    for place in (submitted, by_hand):
        run = read_run(place)
        assert [read_status(run, entry).state for entry in run.entries] == ["done", "done"]
        logs = sorted(path.name for path in (place / "logs").glob("submission_01_*.log"))
        assert logs == [f"submission_01_{part}.log" for part in ("1", "2", "collect")]
        assert (place / "analysis" / "comprehensive_analysis_report.txt").exists()


def test_jobs_without_their_gpu_train_nothing_and_say_why(root):
    run = read_run(made(root, "run", "1e-3, 2e-3, 3e-3, 4e-3, 5e-3", ONE_GPU))
    command("-m", "jobs.submit", str(run.paths.root))
    record = json.loads(run.paths.submissions.read_text())["submissions"][0]
    command("-m", "jobs.submit", "--probe", str(run.paths.root))
    (probe,) = json.loads(run.paths.submissions.read_text())["probes"]
    for job in (record["collect"]["id"], probe["id"]):
        wait_for_end(job)
    statuses = [read_status(run, entry) for entry in run.entries]
    if statuses[0].state == "done":
        pytest.skip("the nodes have a GPU")
    assert [status.state for status in statuses] == ["error"] * 5
    assert statuses[0].reason.startswith("TensorFlow sees no GPU, although the job asked for 1 GPU. ")
    assert statuses[4].reason.startswith("not started: the first 3 points of this run all failed")
    assert not run.paths.probe.exists()
    assert re.search("jobs.probe: TensorFlow sees no GPU", run.paths.captured_probe.read_text())

    grid = run.paths.grid
    grid.write_text(grid.read_text().replace("ngpus: 1", "ngpus: 1, allow_cpu: true"))
    command("-m", "jobs.resubmit", str(run.paths.root), "--all-failed")
    record = json.loads(run.paths.submissions.read_text())["submissions"][1]
    wait_for_end(record["collect"]["id"])
    code, printed = answer("collect.py", str(run.paths.root))
    assert code == 0 and "5 points trained on the CPU, although their jobs asked for a GPU" in printed
    report = (run.paths.analysis / "comprehensive_analysis_report.txt").read_text()
    assert "trained on the CPU" in report
