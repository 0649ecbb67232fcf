"""Of 64 processes that publish at once, none loses a result, and a reader sees none by halves."""

from __future__ import annotations

import json
import subprocess
import sys

from tests.conftest import REPOSITORY


def test_of_64_processes_that_publish_at_once_nothing_is_lost_partial_or_double(tmp_path):
    # In a process of its own: it forks, and the tests' process may have TensorFlow's threads.
    command = [sys.executable, "-m", "benchmarks.publishers", "--processes", "64", "--each", "3"]
    answer = subprocess.run(
        [*command, "--folder", str(tmp_path), "--json", str(tmp_path / "kept")],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr[-3000:]
    (found,) = json.loads((tmp_path / "kept" / "publishers.json").read_text())
    assert found["processes"] == 64 and found["results"] == 64 * 3 + 40 and found["looks"] > 0
    faults = ("lost", "partial", "double", "changed", "left", "miscounted")
    assert {name: found[name] for name in faults} == dict.fromkeys(faults, 0)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
