#!/usr/bin/env python3
"""Collect the results of a run in RUN/hyperparameter_summary.csv, one row for every index, whatever its outcome.

It can be run at any time; while a run is in progress it writes the results so far and lists what is missing.
Exit codes: 0 every point has its result, 3 some are missing, 4 no point has one, 2 bad arguments.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))  # PYTHONSAFEPATH leaves it out

from jobs.common.errors import NOTHING, OK, PARTIAL, run_command
from jobs.monitor.summary import collect, describe, device_notes
from jobs.run.sharing import open_run

SHOWN = 20


def main(argv: list[str] | None = None) -> int:
    """Run the command with the arguments ``argv`` and return its exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", metavar="RUN", type=Path, help="the run directory")
    parser.add_argument(
        "--settle",
        action="store_true",
        help="first watch the points recorded as running on other nodes (a minute by default), so that dead ones are lost",
    )
    arguments = parser.parse_args(argv)

    def command() -> int:
        run = open_run(arguments.run)
        collected = collect(run, settle=arguments.settle)
        print(f"{run.paths.summary}: {collected.total} rows: {describe(collected.counts)}")
        for point in collected.missing[:SHOWN]:
            reason = f" ({point.reason})" if point.reason else ""
            print(f"  no result: {point.index} {point.name}: {point.state}{reason}")
        if len(collected.missing) > SHOWN:
            print(f"  and {len(collected.missing) - SHOWN} more; see the column 'status'")
        for note in device_notes(collected):
            print(f"note: {note}")
        if not collected.with_result:
            return NOTHING
        return PARTIAL if collected.missing else OK

    return run_command("collect", command)


if __name__ == "__main__":
    sys.exit(main())
