#!/usr/bin/env python3
"""Make a run directory from grid.yaml: a frozen grid.yaml, index.csv, provenance.json and the packed data.

With --run-dir on an existing run, add points to it: known ones keep their index and their results. Exit codes: 0 made,
2 something in grid.yaml or in the data must be fixed (nothing was made).
"""

import argparse
import os
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))  # PYTHONSAFEPATH leaves it out

from jobs.common.errors import UserError, path_argument, run_command
from jobs.common.hints import hint
from jobs.common.signals import answered_by
from jobs.common.units import plural
from jobs.grid.config import load_config
from jobs.grid.explain import explain
from jobs.pbs.job_paths import check_paths
from jobs.pbs.qsub_arguments import by_hand
from jobs.run.create import make_run
from jobs.run.index import read_run
from jobs.run.known import remember
from jobs.run.paths import RunPaths
from jobs.run.sharing import umask_for, umask_for_new
from jobs.run.trust import add_trust_argument, check_trust, remember_made


def _refused_by_pbs(root: Path, site: Mapping[str, Any]) -> str:
    """Why PBS could not run jobs of a run at ``root`` (or below it); empty where it can.

    On a machine with PBS that is an error, before any data are read. Elsewhere the run can be trained all the same.
    """
    try:
        check_paths(root, site)
    except UserError as error:
        if shutil.which("qsub") is not None:
            raise
        return str(error)
    return ""


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def main(argv: list[str] | None = None) -> int:
    """Run the command with the arguments ``argv`` and return its exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("grid", metavar="grid.yaml", type=Path, nargs="?", default=Path("grid.yaml"))
    parser.add_argument(
        "--run-dir", type=path_argument, help="default: hyperparameter_optimization_YYYYMMDD_HHMMSS"
    )
    parser.add_argument(
        "--explain",
        action="store_true",
        help="print the grid as it was understood; make nothing, read no data",
    )
    add_trust_argument(parser)
    arguments = parser.parse_args(argv)

    def command() -> int:
        config = load_config(arguments.grid)
        if arguments.explain:
            print(explain(config))
            return 0
        umask = config.site["umask"]
        os.umask(
            umask_for_new(Path.cwd(), umask)
            if arguments.run_dir is None
            else umask_for(arguments.run_dir, umask)
        )
        if arguments.run_dir is not None and RunPaths(arguments.run_dir).index.exists():
            check_trust(read_run(arguments.run_dir), trust=arguments.trust)
        refused = _refused_by_pbs(arguments.run_dir or Path.cwd(), config.site)
        if refused:
            print(f"note: it cannot be submitted to PBS: {refused}", flush=True)
        if arguments.run_dir is None:
            # A job that is submitted by hand takes the newest run of that time, which PBS notes to the second. A run that is
            # begun after it must not be made in the same second.
            time.sleep(1 - time.time() % 1)
        with answered_by(_interrupt):
            made = make_run(config, arguments.run_dir)
        root = made.run.paths.root
        remember(root)
        remember_made(made.run)
        total = len(made.run.entries)
        print(f"{root}: {plural(total, 'point')}, {made.added} new, {made.known} known before")
        if made.orphaned:
            print(
                f"note: {plural(made.orphaned, 'point')} of the run no longer in {config.path}; results are kept"
            )
        print(f"\nOn this machine:\n  {hint('jobs.local', root)}")
        if not refused:
            print(f"On a PBS cluster:\n  {hint('jobs.submit', root)}")
            print("or, by hand:", *by_hand(made.run), sep="\n  ")
        return 0

    return run_command("make_grid", command)


if __name__ == "__main__":
    sys.exit(main())
