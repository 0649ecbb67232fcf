"""The proposed commands work as they are, and add points without changing those that exist."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from analysis.configurations import indistinguishable, ranking
from analysis.next_steps import next_steps
from jobs.run.index import read_run
from tests.analysis.figures.samples import loaded
from tests.analysis.report.test_report import fail, frame


def steps(tmp_path, content, root):
    data = loaded(tmp_path, content)
    order = ranking(data)
    return {step.kind: step for step in next_steps(data, order, indistinguishable(order), root)}


def of_run(run):
    """A summary of a run whose points are done."""
    rows = pd.DataFrame(
        [{**dict(entry.point.settings), "name": entry.name, "index": entry.index} for entry in run.entries]
    )
    rows = rows[["architecture", "learning_rate", "batch_size", "seed", "name", "index"]]
    return rows.assign(
        training_successful="True", status="done", best_val_jaccard=np.linspace(0.5, 0.6, len(rows))
    )


@pytest.fixture(params=["", "include: []   # none\n"])
def run_in_space(tiny_run, request):
    """A run whose path has a space, as its grid.yaml is with and without an include."""
    root = tiny_run.paths.root.rename(tiny_run.paths.root.with_name("my run"))
    grid = root / "grid.yaml"
    grid.write_text(grid.read_text() + request.param)
    return read_run(root)


def test_the_command_for_more_seeds_works_and_keeps_the_keys_of_known_points(tmp_path, run_in_space):
    run = run_in_space
    step = steps(tmp_path, of_run(run), run.paths.root)["seeds"]
    *lines, local, submit = step.command.splitlines()
    (run.paths.root / "analysis").mkdir()
    (run.paths.root / "analysis" / step.file).write_text(step.content)
    assert local.startswith("python -m jobs.local '")
    assert submit.startswith("# on a PBS cluster: python -m jobs.submit '")
    script = "\n".join(lines).replace("python make_grid.py", f"{sys.executable} make_grid.py")
    done = subprocess.run(["bash", "-ec", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    grown = read_run(run.paths.root)
    before = {entry.index: (entry.key, entry.name) for entry in run.entries}
    assert {entry.index: (entry.key, entry.name) for entry in grown.entries[: len(before)]} == before
    new = grown.entries[len(before) :]
    assert len(new) % 2 == 0 and {entry.point.settings["seed"] for entry in new} == {2, 3}
    assert f"{len(new)} new points" in step.why
    # The grid can be continued once more.
    again = steps(tmp_path, of_run(grown).query("seed == 1"), run.paths.root)["seeds"].content
    assert again.count("include:") == 1 and again.startswith((run.paths.root / "grid.yaml").read_text())


def test_failed_and_waiting_points_come_first(tmp_path):
    content = fail(fail(fail(frame(), 3, "oom"), 4, "waiting"), 5, "diverged")
    found = steps(tmp_path, content, tmp_path / "a run")
    assert list(found)[:2] == ["finish", "rerun"] and len(found) <= 3
    assert "1 oom" in found["rerun"].why and "diverged" not in found["rerun"].why
    assert "'" in found["rerun"].command and "--all-failed" in found["rerun"].command


def test_without_a_run_there_is_nothing_to_continue(tmp_path):
    assert steps(tmp_path, frame(), None) == {}


def test_a_best_learning_rate_at_the_border_is_tried_beyond(tmp_path, tiny_run):
    (tmp_path / "run" / "grid.yaml").touch()
    found = steps(tmp_path, frame(), tiny_run.paths.root)["extend"]
    assert "learning_rate: 0.025" in found.content and "UNet is best at 0.005, the largest rate" in found.why


def test_settings_that_no_grid_accepts_are_not_put_into_a_command(tmp_path, tiny_run):
    content = frame(architectures=("UNet; rm -rf ~", "B"))
    found = steps(tmp_path, content, tiny_run.paths.root)
    assert "seeds" not in found and "extend" not in found
