"""Importing the package is light, and decides how TensorFlow convolves before TensorFlow is imported."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from jobs.run.provenance import REPOSITORY


@pytest.mark.parametrize(("given", "kept"), [(None, "1"), ("0", "0")])
def test_onednn_convolves_unless_the_user_says_otherwise(given, kept):
    environment = {name: value for name, value in os.environ.items() if name != "TF_ENABLE_ONEDNN_OPTS"}
    if given is not None:
        environment["TF_ENABLE_ONEDNN_OPTS"] = given
    script = (
        "import os, sys, unet_models; print(os.environ['TF_ENABLE_ONEDNN_OPTS'], 'tensorflow' in sys.modules)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script], cwd=REPOSITORY, env=environment, capture_output=True, text=True
    )
    assert ran.stdout.split() == [kept, "False"], ran.stderr
