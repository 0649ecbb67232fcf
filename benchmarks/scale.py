"""``python -m benchmarks.scale``: time and memory of each command at 36, 1,000 and 10,000 points.

Every command runs as users run it, in its own process, start-up included; the files are in the page cache, as after a
first look. ``growth`` is the time at 10,000 points divided by that at 1,000: a linear command has 10.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.filled_run import GRIDS, fill, grid_text, make_run_directory, not_synced
from benchmarks.table import keep, show
from jobs.run.provenance import REPOSITORY

# Exit codes of commands that worked: collect exits with 3 where points are missing.
_GOOD = (0, 3)


# A process begins with the peak memory of the one that started it, so one that is smaller than any command starts it.
_STARTER = """
import os, sys, time
began = time.perf_counter()
null = os.open(os.devnull, os.O_WRONLY)
child = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, null, 1)])
_, status, used = os.wait4(child, 0)
print(time.perf_counter() - began, used.ru_maxrss / 1000, os.waitstatus_to_exitcode(status))
"""


def timed(arguments: list[str]) -> tuple[float, float]:
    """Wall seconds and peak memory (MB) of one process of this interpreter."""
    answer = subprocess.run(
        [sys.executable, "-I", "-S", "-c", _STARTER, sys.executable, *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    seconds, megabytes, code = answer.stdout.split()
    if int(code) not in _GOOD:
        raise SystemExit(f"{' '.join(arguments)} ended with {code}: {answer.stderr[-2000:]}")
    return float(seconds), float(megabytes)


def commands(run: Path, grid: Path, fresh: Path) -> dict[str, list[str]]:
    """What is timed, by name; ``fresh`` is a folder that ``make_grid`` may make."""
    return {
        "make_grid": ["make_grid.py", str(grid), "--run-dir", str(fresh)],
        "status": ["-m", "jobs.status", str(run)],
        "collect": ["collect.py", str(run)],
        "resubmit --dry-run": ["-m", "jobs.resubmit", str(run), "--dry-run"],
        "analyze": ["analyze.py", str(run)],
    }


def measure(points: int, runs: int, folder: Path) -> dict[str, tuple[float, float]]:
    """Median seconds and largest memory of each command on a filled run of so many points."""
    root = folder / f"run_{points}"
    with not_synced():
        fill(make_run_directory(root, points))
    grid = folder / f"grid_{points}.yaml"
    grid.write_text(grid_text(points))
    found: dict[str, list[tuple[float, float]]] = {}
    for number in range(runs):
        fresh = folder / f"fresh_{points}_{number}"
        for name, arguments in commands(root, grid, fresh).items():
            found.setdefault(name, []).append(timed(arguments))
        shutil.rmtree(fresh)
    shutil.rmtree(root)
    return {
        name: (statistics.median(s for s, _ in cells), max(m for _, m in cells))
        for name, cells in found.items()
    }


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark with the arguments ``argv`` and return its exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--points", type=int, nargs="+", choices=sorted(GRIDS), default=sorted(GRIDS))
    parser.add_argument("--runs", type=int, default=1, help="of each command; the median counts")
    parser.add_argument("--json", type=Path, metavar="FOLDER", help="keep the figures there, too")
    arguments = parser.parse_args(argv)
    sizes = sorted(set(arguments.points))
    with tempfile.TemporaryDirectory(prefix="unet_scale_") as folder:
        found = {points: measure(points, arguments.runs, Path(folder)) for points in sizes}
    rows: list[dict[str, Any]] = []
    for name in found[sizes[0]]:
        row: dict[str, Any] = {"command": name}
        for points in sizes:
            seconds, megabytes = found[points][name]
            row |= {f"{points:,}: s": round(seconds, 3), f"{points:,}: MB": round(megabytes)}
        if {1_000, 10_000} <= set(sizes):
            row["growth"] = found[10_000][name][0] / found[1_000][name][0]
        rows.append(row)
    show(f"Cost of a command by points (median of {arguments.runs}; growth: 10,000 over 1,000)", rows)
    keep(arguments.json, "scale", rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
