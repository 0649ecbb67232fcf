"""Running the search. The modules on this level are commands (``python -m jobs.NAME``); their machinery is in the rooms.

Each room may import those before it: common, grid, run, pbs, point, monitor, cost, commands. ``make lint`` checks
that. Nothing here imports TensorFlow at module level: a command that answers at the prompt must not wait for it.

This file is read before anything else of the product, also by a Python that is too old for it or lacks its packages. It
must therefore be valid for Python 3.6, the ``python3`` of many clusters.
"""

import sys

OLDEST_PYTHON = (3, 10)

if sys.version_info < OLDEST_PYTHON:
    import shlex
    from pathlib import Path

    _repository = Path(__file__).resolve().parents[1]
    sys.stderr.write(
        "Python {}.{} found at {}, but 3.10 or newer is needed; activate the environment: source {} "
        "(bash {} makes one), then repeat\n".format(
            *sys.version_info[:2],
            sys.executable,
            shlex.quote(str(_repository / ".venv" / "bin" / "activate")),
            shlex.quote(str(_repository / "jobs" / "make_environment.sh")),
        )
    )
    sys.exit(2)

from jobs.common.startup import prepare_command  # noqa: E402 - an older Python cannot read it

prepare_command()
