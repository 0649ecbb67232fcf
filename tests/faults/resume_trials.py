"""``python -m tests.faults.resume_trials FOLDER ARCHITECTURE PLACE ...``: interrupt a real training, resume it, compare.

A place is a number of batches after which the training is interrupted, several joined by ``+`` for a training that is
interrupted again and again. Each goes through the files of a checkpoint. Dropout, augmentation, a learning rate that
is reduced and an early stop are all on. Prints one JSON object: what differs from the uninterrupted training.
"""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import keras

from jobs.point.checkpoints import Checkpoint, Checkpoints
from jobs.run.paths import PointPaths
from tests.unet_models.tiny import SETTINGS, discs
from unet_models.training import training
from unet_models.training.history import history_csv

RECIPE = {
    **SETTINGS,
    "deterministic": True,
    "dropout": 0.2,
    "levels": 2,
    "epochs": 12,
    "learning_rate": 2e-2,
    "reduce_lr_patience": 2,
    "reduce_lr_min_delta": 0.05,
    "early_stopping_patience": 5,
    "early_stopping_min_delta": 0.03,
}


class Interrupted(BaseException):
    pass


def train(settings, folder: Path, store: Checkpoints, stop: int | None):
    """One process's part of a training; what it left, or ``None`` if it was interrupted."""
    training.prepare_process(settings)
    batches = 0

    def on_batch() -> None:
        nonlocal batches
        batches += 1
        if batches == stop:
            raise Interrupted

    found = store.load()
    file = folder / "model.keras"
    try:
        trained = training.train(
            settings,
            discs(),
            model_file=file,
            resume=found.state if found else None,
            on_batch=on_batch,
            on_state=lambda state: store.save(Checkpoint("one", 1, [], state), check=lambda: None),
        )
    except Interrupted:
        return None
    weights = [array.tobytes() for array in keras.saving.load_model(file, compile=False).get_weights()]
    lines = list(csv.reader(history_csv(trained.history).splitlines()))
    place = lines[0].index("seconds")  # the clock is the one thing that cannot repeat
    metrics = {key: value for key, value in trained.metrics.items() if "seconds" not in key}
    return [line[:place] + line[place + 1 :] for line in lines], weights, metrics


def main() -> None:
    root, architecture, places = Path(sys.argv[1]), sys.argv[2], sys.argv[3:]
    settings = {**RECIPE, "architecture": architecture}

    def store(name: str) -> tuple[Path, Checkpoints]:
        paths = PointPaths(root / name, "point")
        paths.state.mkdir(parents=True)
        return paths.folder, Checkpoints(paths, "key")

    whole = train(settings, *store("whole"), None)
    rates = sorted({line[5] for line in whole[0][1:]}, key=float)
    found = {"epochs": len(whole[0]) - 1, "arrays": len(whole[1]), "learning_rates": rates, "different": []}
    for place in places:
        folder, checkpoints = store(f"at_{place}")
        epochs = []
        for stop in map(int, place.split("+")):
            assert train(settings, folder, checkpoints, stop) is None, f"{place}: it ended before"
            at = checkpoints.load()
            epochs.append(at.state.epoch if at else 0)
        again = train(settings, folder, checkpoints, None)
        for what, one, other in zip(("history", "weights", "metrics"), whole, again, strict=True):
            if one != other:
                found["different"].append(f"{what} after an interruption at batch {place}")
        found[place] = epochs
    print(json.dumps(found))


if __name__ == "__main__":
    main()
