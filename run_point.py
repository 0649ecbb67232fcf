#!/usr/bin/env python3
"""Train one point of a run and publish its result.

The index counts from 1. It comes from the command line or, in a PBS sub-job, from PBS_ARRAY_INDEX (from POINT_INDEX in
a job that is not an array). A sub-job beyond the last point has nothing to do and exits with 0. Everything that the
point prints is also written to RUN/exp_NN_.../training_log.txt. Exit codes: 0 done (or diverged, which is a result),
10 out of memory, 11 timeout, 12 cancelled, 13 error, 14 lost, 15 another process is training this point, 2 bad
arguments. SIGTERM, or the end of the walltime, loses nothing: the next attempt continues after the last whole epoch.
"""

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))  # PYTHONSAFEPATH leaves it out

from jobs.common.errors import OK, UserError, run_command
from jobs.point.gpus import claimed_gpu
from jobs.point.worker import train_in_process
from jobs.run.sharing import open_run
from jobs.run.trust import add_trust_argument


def _index_from_environment() -> int:
    for name in ("PBS_ARRAY_INDEX", "POINT_INDEX"):
        text = os.environ.get(name)
        if text is None:
            continue
        if not (text.isascii() and text.isdigit()):
            raise UserError(f"{name}: received {text!r}, expected a whole number")
        return int(text)
    raise UserError("no index: give it after the run, or submit an array job (PBS_ARRAY_INDEX is not set)")


def main(argv: list[str] | None = None) -> int:
    """Run the command with the arguments ``argv`` and return its exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", metavar="RUN", type=Path, help="the run directory that make_grid.py made")
    parser.add_argument("index", metavar="INDEX", type=int, nargs="?", help="default: PBS_ARRAY_INDEX")
    parser.add_argument("--threads", type=int, help="cores to use (default: all that the process may use)")
    parser.add_argument(
        "--again",
        action="store_true",
        help="train a point that has a result; the old result is kept until the new one is complete",
    )
    add_trust_argument(parser)
    arguments = parser.parse_args(argv)

    def command() -> int:
        if arguments.threads is not None and arguments.threads < 1:
            raise UserError(f"--threads: received {arguments.threads}, expected at least 1")
        run = open_run(arguments.run, trust=arguments.trust)
        index = arguments.index
        if index is None:
            index = _index_from_environment()
            last = max(entry.index for entry in run.entries)
            if index > last:
                print(f"run_point: {run.paths.root} has {last} points; sub-job {index} has nothing to do")
                return OK
        entry = run.entry(index)
        with claimed_gpu():
            return train_in_process(run, entry, threads=arguments.threads, again=arguments.again)

    return run_command("run_point", command)


if __name__ == "__main__":
    sys.exit(main())
