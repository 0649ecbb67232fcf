"""`deterministic: true` is bit for bit, wherever the patches are; tried in a process of its own, since TensorFlow cannot switch it off."""

from __future__ import annotations

import subprocess
import sys

from tests.conftest import REPOSITORY

SCRIPT = """
import sys
from pathlib import Path
from tests.unet_models.tiny import SETTINGS, discs
from unet_models.training import training
import keras

settings = {**SETTINGS, "deterministic": True, "dropout": 0.2, "architecture": "Attention_ResUNet"}
seen = []
for number in range(3):
    training.prepare_process(settings)
    file = Path(sys.argv[1]) / f"{number}.keras"
    trained = training.train(settings, discs(), model_file=file, resident=number == 2)
    rows = [{key: value for key, value in row.items() if key != "seconds"} for row in trained.history]
    weights = [array.tobytes() for array in keras.saving.load_model(file, compile=False).get_weights()]
    seen.append((rows, weights, trained.probabilities.tobytes()))
print("equal" if seen[0] == seen[1] else "different", "equal" if seen[0] == seen[2] else "different", len(seen[0][0]), len(seen[0][1]))
"""


def test_trainings_are_equal_to_the_bit_with_resident_patches_too(tmp_path):
    answer = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr[-3000:]
    *equal, epochs, arrays = answer.stdout.split()
    assert equal == ["equal", "equal"] and epochs == "2" and int(arrays) > 50
