"""``python -m benchmarks.calibration [NAME ...]``: simulations of the analysis with known truth; ``make calibrate``."""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.calibration.scenario import Scenario

KEPT = Path("bench_results", "calibration")


def _scenarios(tree: Path | None) -> dict[str, Scenario]:
    # Before the first import of the analysis, so that it is that of the tree.
    if tree is not None:
        if not (tree / "analysis").is_dir():
            raise SystemExit(f"{tree} has no folder analysis; give the root of a checkout")
        sys.path.insert(0, str(tree.resolve()))
    from benchmarks.calibration import best_configurations, outcomes, verdicts

    return {one.name: one for part in (verdicts, best_configurations, outcomes) for one in part.SCENARIOS}


def _markdown(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> str:
    """Both as one table, with the rows of ``after``."""
    known = {(row["truth"], row["what"]): row["text"] for row in before}
    lines = ["| what is true | what is counted | before | after | goal |", "|---|---|---:|---:|---|"]
    for row in after:
        old = known.get((row["truth"], row["what"]), "-")
        lines.append(f"| {row['truth']} | {row['what']} | {old} | {row['text']} | {row['goal']} |")
    return "\n".join(lines)


def _kept(folder: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for path in sorted(folder.glob("*.json"), key=lambda one: json.loads(one.read_text())["place"]):
        rows += json.loads(path.read_text())["figures"]
    return rows


def main(argv: list[str] | None = None) -> int:
    """Run the scenarios that the arguments name, all by default, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.calibration", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="scenarios; default: all")
    parser.add_argument("--replicates", type=int, default=1000, help="simulated summaries of each condition")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tree", type=Path, help="analyse with the code of another checkout")
    parser.add_argument("--json", type=Path, metavar="FOLDER", default=KEPT / "after")
    parser.add_argument("--list", action="store_true", help="only list the scenarios")
    parser.add_argument(
        "--table",
        nargs=2,
        type=Path,
        metavar=("BEFORE", "AFTER"),
        help="only show two folders as one Markdown table",
    )
    arguments = parser.parse_args(argv)
    if arguments.table:
        print(_markdown(*map(_kept, arguments.table)))
        return 0
    scenarios = _scenarios(arguments.tree)
    if arguments.list:
        print("\n".join(scenarios))
        return 0
    if unknown := set(arguments.names) - set(scenarios):
        parser.error(f"received {', '.join(sorted(unknown))}, expected names of {', '.join(scenarios)}")
    arguments.json.mkdir(parents=True, exist_ok=True)
    for place, (name, scenario) in enumerate(scenarios.items()):
        if arguments.names and name not in arguments.names:
            continue
        start, replicates = time.monotonic(), scenario.replicates(arguments.replicates)
        kept = []
        for one in scenario.figures(arguments.replicates, arguments.seed):
            kept.append(
                {
                    "truth": one.truth,
                    "what": one.what,
                    "value": None if math.isnan(one.value) else one.value,
                    "text": one.text,
                    "goal": one.goal,
                }
            )
            print(
                f"{name}: {one.truth}: {one.what}: {one.text}{f' (goal: {one.goal})' if one.goal else ''}",
                flush=True,
            )
        print(f"{name}: {replicates} replicates in {time.monotonic() - start:.0f} s", flush=True)
        (arguments.json / f"{name}.json").write_text(
            json.dumps({"place": place, "replicates": replicates, "figures": kept}, indent=1) + "\n"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
