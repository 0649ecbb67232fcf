"""The filled run is one that the product takes for its own, and the benchmark of its commands leaves nothing behind."""

from __future__ import annotations

import json
import tempfile

import pytest

from benchmarks import scale
from benchmarks.filled_run import GRIDS, fill, grid_text, make_run_directory, not_synced
from jobs.grid.config import load_config
from jobs.grid.points import expand
from jobs.monitor.summary import collect


@pytest.mark.parametrize("points", sorted(GRIDS))
def test_a_grid_has_the_points_that_it_is_called_by(points, tmp_path):
    path = tmp_path / "grid.yaml"
    path.write_text(grid_text(points))
    assert len(expand(load_config(path))) == points


def test_a_filled_run_has_results_of_all_classes_and_none_that_the_product_refuses(tmp_path):
    with not_synced():
        run = make_run_directory(tmp_path / "run", 1_000)
        fill(run)
    expected = {"done": 900, "diverged": 40}
    expected |= dict.fromkeys(("oom", "error", "timeout", "lost", "running", "waiting"), 10)
    assert collect(run).counts == expected
    assert not list(run.paths.root.rglob("quarantine")) and not list(run.paths.root.rglob("*.tmp*"))


def test_every_command_is_timed_and_no_file_is_left(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    kept = tmp_path / "kept"
    assert scale.main(["--points", "36", "--runs", "1", "--json", str(kept)]) == 0
    rows = json.loads((kept / "scale.json").read_text())
    assert [row["command"] for row in rows] == [
        "make_grid",
        "status",
        "collect",
        "resubmit --dry-run",
        "analyze",
    ]
    assert all(row["36: s"] > 0 and row["36: MB"] > 0 for row in rows)
    assert "analyze" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
