"""``python -m benchmarks.demo``: a whole search in miniature, 36 points, like ``make demo`` after the installation."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.table import keep, show
from jobs.run.provenance import REPOSITORY


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark with the arguments ``argv`` and return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FOLDER", help="keep the rows there, too")
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="unet_demo_") as folder:
        root = str(Path(folder) / "run")
        since = time.perf_counter()
        rows = []
        for name, command in {
            "make_grid": ["make_grid.py", "docs/demo_grid.yaml", "--run-dir", root],
            "jobs.local": ["-m", "jobs.local", root, "--workers", "2"],
            "collect": ["collect.py", root],
            "analyze": ["analyze.py", root],
        }.items():
            began = time.perf_counter()
            subprocess.run([sys.executable, *command], cwd=REPOSITORY, check=True, capture_output=True)
            rows.append({"command": name, "seconds": time.perf_counter() - began})
        rows.append({"command": "all", "seconds": time.perf_counter() - since})
    show("The demo: 36 points on two workers", rows)
    keep(arguments.json, "demo", rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
