"""``python -m benchmarks``: all of them, one after another; ``make bench``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks import demo, publishers, scale, startup, training_step

ALL = {
    "training_step": training_step.main,
    "startup": startup.main,
    "demo": demo.main,
    "scale": scale.main,
    "publishers": publishers.main,
}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(ALL)}; default: all")
    parser.add_argument("--json", type=Path, metavar="FOLDER", help="keep all rows there, too")
    arguments = parser.parse_args(argv)
    if unknown := set(arguments.names) - set(ALL):
        parser.error(f"received {', '.join(sorted(unknown))}, expected names of {', '.join(ALL)}")
    options = ["--json", str(arguments.json)] if arguments.json else []
    return max(ALL[name](options) for name in arguments.names or ALL)


if __name__ == "__main__":
    sys.exit(main())
