#!/usr/bin/env python3
"""Make a run directory from grid.yaml: a frozen grid.yaml, index.csv, provenance.json and the packed data.

With --run-dir on an existing run, add points to it: known ones keep their index and their results. Exit codes: 0 made,
2 something in grid.yaml or in the data must be fixed (nothing was made).
"""

import argparse
import contextlib
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))  # PYTHONSAFEPATH leaves it out

from jobs.common.errors import UserError, path_argument, run_command
from jobs.common.hints import hint
from jobs.common.units import plural
from jobs.grid.config import load_config
from jobs.grid.explain import explain
from jobs.pbs.qsub_arguments import by_hand
from jobs.run.create import default_run_directory, make_run
from jobs.run.known import remember
from jobs.run.sharing import umask_for


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
    arguments = parser.parse_args(argv)

    def command() -> int:
        config = load_config(arguments.grid)
        if arguments.explain:
            print(explain(config))
            return 0
        os.umask(umask_for(arguments.run_dir or Path.cwd() / "run", config.site["umask"]))
        root = arguments.run_dir or default_run_directory()
        if arguments.run_dir is None:
            # A job that is submitted by hand takes the newest run of that time, which PBS notes to the second. A run that is
            # begun after it must not be made in the same second.
            time.sleep(1 - time.time() % 1)
        try:
            made = make_run(config, root)
        finally:
            if arguments.run_dir is None:
                with contextlib.suppress(OSError):  # only an empty folder can be removed
                    root.rmdir()
        remember(root)
        total = len(made.run.entries)
        print(f"{root}: {plural(total, 'point')}, {made.added} new, {made.known} known before")
        if made.orphaned:
            print(
                f"note: {plural(made.orphaned, 'point')} of the run no longer in {config.path}; results are kept"
            )
        print(f"\nOn this machine:\n  {hint('jobs.local', root)}")
        print(f"On a PBS cluster:\n  {hint('jobs.submit', root)}")
        try:
            lines = by_hand(made.run)
        except UserError as error:  # the run is made, and can be trained here
            print(f"note: it cannot be submitted to PBS: {error}")
            return 0
        print("or, by hand:", *lines, sep="\n  ")
        return 0

    return run_command("make_grid", command)


if __name__ == "__main__":
    sys.exit(main())
