"""The fork server imports what every point needs; a module that cannot be imported there would be ignored without a message."""

from __future__ import annotations

import subprocess
import sys

from jobs.run.provenance import REPOSITORY


def test_it_imports_what_a_point_needs_and_keeps_it_from_the_collector():
    script = (
        "import gc, sys, importlib\n"
        "from jobs.local import PRELOADED\n"
        "[importlib.import_module(name) for name in PRELOADED]\n"
        "wanted = ['jobs.local', 'jobs.point.attempt', 'unet_models.training.training', 'unet_models.pictures', 'tensorflow']\n"
        "print([name for name in wanted if name not in sys.modules], gc.get_freeze_count() > 100_000)\n"
        "import tensorflow.python.eager.context as context\n"
        "print(context.context()._initialized)"  # its threads would not live in a fork
    )
    ran = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True)
    assert ran.stdout.splitlines()[-2:] == ["[] True", "False"], ran.stderr[-2000:]
