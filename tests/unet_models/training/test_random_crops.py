"""A training on random crops learns, scores the crops of the first epoch, and is resumed exactly."""

from __future__ import annotations

import numpy as np
import pytest

from tests.conftest import write_images
from tests.unet_models.data.builders import block, build
from tests.unet_models.tiny import SETTINGS
from unet_models.data.crops import DrawnCrops
from unet_models.training import training

CROPS = 20
SETTLED = {**SETTINGS, "epochs": 3, "base_filters": 4}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("crops")
    write_images(folder, size=(70, 90))
    return build(block(path=str(folder), sampling="random", crops_per_epoch=CROPS, foreground_share=0.75))


@pytest.fixture(scope="module")
def states():
    return []


@pytest.fixture(scope="module")
def trained(data, states, tmp_path_factory):
    return train(data, tmp_path_factory.mktemp("whole"), on_state=states.append)


def train(data, folder, **options):
    training.prepare_process(SETTLED)
    return training.train(SETTLED, data, model_file=folder / "m.keras", **options)


def test_an_epoch_has_the_crops_that_were_asked_for(data, trained):
    assert trained.metrics["steps_per_epoch"] == CROPS // SETTLED["batch_size"]
    assert trained.effective["resident"] is False
    assert data.count("train") == CROPS and data.count("validation") > 0


def test_the_score_of_the_training_part_is_that_of_the_crops_of_the_first_epoch(data, trained, tmp_path):
    import keras

    train(data, tmp_path)
    model = keras.saving.load_model(tmp_path / "m.keras", compile=False)
    images, masks = DrawnCrops(data.crops, SETTLED["seed"]).take(np.arange(CROPS), 0)
    found = model.predict(images[..., None] / np.float32(255), verbose=0)[..., 0] > 0.5
    score = (found & masks).sum() / (found | masks).sum()
    assert trained.metrics["train_jaccard_at_best"] == pytest.approx(score, abs=2e-3)


def test_a_resumed_training_gets_the_same_crops(data, trained, states, tmp_path):
    again = train(data, tmp_path, resume=states[0])
    columns = ("loss", "jaccard", "val_loss", "val_jaccard")
    for one, other in zip(again.history, trained.history, strict=True):
        assert [one[name] for name in columns] == pytest.approx([other[name] for name in columns], abs=2e-3)


def test_every_epoch_has_other_crops(data):
    drawn = DrawnCrops(data.crops, 1)
    first, second = (drawn.take(np.arange(CROPS), epoch)[0] for epoch in (0, 1))
    assert not np.array_equal(first, second)
