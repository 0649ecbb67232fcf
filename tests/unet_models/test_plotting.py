"""Pictures are the same whatever the user's Matplotlib is set to; training the same whatever Keras is set to."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY

DRAW = """
import hashlib
from unet_models.pictures import curves
row = {"epoch": 1, "jaccard": .5, "val_jaccard": .4, "loss": .2, "val_loss": .3, "learning_rate": 1e-3}
print(hashlib.sha256(curves([row, {**row, "epoch": 2}], title="a_b $x$", chance=.1, best_epoch=1)).hexdigest())
"""
KERAS = """
import unet_models.training.process as process
from jobs.grid.settings import POINT
process.prepare_process({name: one.default for name, one in POINT.items()} | {"seed": 1})
import keras
print(keras.backend.backend(), keras.config.image_data_format(), keras.config.floatx(), keras.config.epsilon())
"""


def output(program, folder=REPOSITORY, **environment):
    ended = subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), **environment},
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.strip()


@pytest.fixture(scope="module")
def usual():
    return output(DRAW)


@pytest.mark.parametrize(
    "settings",
    [
        "text.usetex: True",
        "not.utf8: \udcff",
        "savefig.dpi: 30\nfont.size: 40\naxes.facecolor: black\nfont.family: NoSuchFont\naxes.formatter.use_locale: True",
        "backend: TkAgg\nno.such.key: 1\naxes.labelsize: nonsense",
    ],
)
def test_a_picture_does_not_depend_on_matplotlibrc(tmp_path, usual, settings):
    (tmp_path / "matplotlibrc").write_text(settings + "\n", errors="surrogateescape")
    place = {"MPLCONFIGDIR": str(tmp_path), "MATPLOTLIBRC": str(tmp_path / "matplotlibrc")}
    assert output(DRAW, tmp_path, **place) == usual  # found there, too, and before all others


@pytest.mark.parametrize("environment", [{"MPLBACKEND": "nonsense"}, {"MPLCONFIGDIR": "/proc/nothing"}])
def test_a_picture_does_not_depend_on_the_environment(usual, environment):
    assert output(DRAW, **environment) == usual


@pytest.mark.slow
@pytest.mark.parametrize(
    ("content", "environment"),
    [
        (
            {"image_data_format": "channels_first", "floatx": "float16", "epsilon": 1e-3, "backend": "torch"},
            {"KERAS_MAX_EPOCHS": "1", "TF_USE_LEGACY_KERAS": "1"},
        ),
        (None, {"KERAS_BACKEND": "theano"}),
    ],
)
def test_keras_is_set_as_the_product_needs_it(tmp_path, content, environment):
    (tmp_path / ".keras").mkdir()
    text = "{broken" if content is None else json.dumps(content)
    (tmp_path / ".keras" / "keras.json").write_text(text)
    homes = {"HOME": str(tmp_path), "KERAS_HOME": str(tmp_path / ".keras")}
    assert output(KERAS, **homes, **environment) == "tensorflow channels_last float32 1e-07"
