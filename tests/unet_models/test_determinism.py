"""`deterministic: true` is bit for bit; tried in a process of its own, since TensorFlow cannot switch it off."""

from __future__ import annotations

import subprocess
import sys

from tests.conftest import REPOSITORY

SCRIPT = """
import sys
from pathlib import Path
from tests.unet_models.test_training import SETTINGS, discs
from unet_models import training
import keras

settings = {**SETTINGS, "deterministic": True, "dropout": 0.2, "architecture": "Attention_ResUNet"}
seen = []
for number in range(2):
    training.prepare_process(settings)
    file = Path(sys.argv[1]) / f"{number}.keras"
    trained = training.train(settings, discs(), model_file=file)
    rows = [{key: value for key, value in row.items() if key != "seconds"} for row in trained.history]
    weights = [array.tobytes() for array in keras.saving.load_model(file, compile=False).get_weights()]
    seen.append((rows, weights, trained.probabilities.tobytes()))
print("equal" if seen[0] == seen[1] else "different", len(seen[0][0]), len(seen[0][1]))
"""


def test_two_trainings_are_equal_to_the_bit(tmp_path):
    answer = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert answer.returncode == 0, answer.stderr[-3000:]
    assert answer.stdout.split()[:2] == ["equal", "2"] and int(answer.stdout.split()[2]) > 50
