"""``python -m benchmarks``: all of them, one after another; ``make bench``."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import demo, publishers, scale, size, startup, training_step
from benchmarks.table import keep, show

ALL = {
    "training_step": training_step.main,
    "startup": startup.main,
    "demo": demo.main,
    "scale": scale.main,
    "size": size.main,
    "publishers": publishers.main,
}


def medians(folders: Sequence[Path], name: str) -> list[dict[str, Any]]:
    """The rows of benchmark ``name``, each number the median of those in ``folders``."""
    runs = [json.loads((folder / f"{name}.json").read_text()) for folder in folders]
    return [
        {
            key: statistics.median(row[key] for row in rows) if type(value) in (int, float) else value
            for key, value in rows[0].items()
        }
        for rows in zip(*runs, strict=True)
    ]


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark with the arguments ``argv`` and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(ALL)}; default: all")
    parser.add_argument("--repeat", type=int, default=1, help="run all so many times; shows the medians, too")
    parser.add_argument("--json", type=Path, metavar="FOLDER", default=Path("bench_results"))
    arguments = parser.parse_args(argv)
    if unknown := set(arguments.names) - set(ALL):
        parser.error(f"received {', '.join(sorted(unknown))}, expected names of {', '.join(ALL)}")
    names = arguments.names or list(ALL)
    folders = [arguments.json / f"run_{number}" for number in range(1, arguments.repeat + 1)]
    code = 0
    for folder in folders:
        for name in names:
            code = max(code, ALL[name](["--json", str(folder)]))
    if len(folders) > 1:
        for name in names:
            rows = medians(folders, name)
            show(f"{name}: medians of {len(folders)} runs", rows)
            keep(arguments.json / "medians", name, rows)
    return code


if __name__ == "__main__":
    sys.exit(main())
