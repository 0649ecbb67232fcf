"""``test_scoring: slices`` counts each pixel of the test slices once, as a direct computation on whole slices does."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from tests.conftest import write_images
from tests.unet_models.data.builders import block, build
from tests.unet_models.tiny import SETTINGS
from unet_models.data.patches import windows
from unet_models.training import training
from unet_models.training.training import slices_jaccard

SHAPE = (75, 50)  # 32 fits neither side: the last patches lie over those before them
SLICES = 3


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("volumes")
    write_images(folder)
    write_images(folder / "test", slices=SLICES, size=SHAPE, seed=1)
    return build(block(path=str(folder), test_scoring="slices", border="drop"))


def assembled(predict, data):
    """Foreground found and true foreground of the whole slices, bool (slices, height, width)."""
    images, masks = data.select("test")
    found, truth = np.zeros((2, SLICES, *SHAPE), bool)
    places = list(windows("", *SHAPE, 32, shift=True))
    assert len(images) == SLICES * len(places)
    for z in range(SLICES):
        free = np.ones(SHAPE, bool)
        for number, window in enumerate(places):
            patch = z * len(places) + number
            area = window.of(32)
            values = predict(images[patch : patch + 1])[0] > 0.5
            found[z][area] = np.where(free[area], values, found[z][area])
            truth[z][area] = np.where(free[area], masks[patch], truth[z][area])
            free[area] = False
        assert not free.any()
    return found, truth


class ByPlace:
    """Takes a pixel for foreground by its value and its place in the patch, so that overlapping patches disagree."""

    def predict_on_batch(self, images):
        rows = np.arange(32)[:, None, None]
        return (np.rint(images * 255) > 100 + 3 * (rows % 20)).astype(np.float32)


@pytest.mark.parametrize("size", [1, 4, 100])
def test_each_pixel_counts_once_and_for_the_first_patch_that_covers_it(data, size):
    model = ByPlace()
    found, truth = assembled(lambda images: model.predict_on_batch(images[..., None] / 255.0)[..., 0], data)
    direct = (found & truth).sum() / (found | truth).sum()
    calls = []
    score = slices_jaccard(model, data.patches("test"), size, lambda: calls.append(1))
    assert score == direct
    assert len(calls) == -(-len(data.patches("test")) // size)
    images, masks = data.select("test")
    patches = model.predict_on_batch(images[..., None] / 255.0)[..., 0] > 0.5
    assert score != (patches & masks).sum() / (patches | masks).sum()


def test_the_slices_are_those_of_the_files(data):
    """The masks that were put together again are the discs that were drawn."""
    _, truth = assembled(lambda images: images, data)
    rows, columns = np.indices(SHAPE)
    for z in range(SLICES):
        assert np.array_equal(truth[z], (rows - 20 - z) ** 2 + (columns - 30) ** 2 < 150)


@pytest.mark.parametrize("resident", [False, True])
def test_a_training_scores_its_test_slices_so(data, tmp_path, resident):
    trained = training.train(
        {**SETTINGS, "epochs": 4, "batch_size": 4}, data, model_file=tmp_path / "m.keras", resident=resident
    )
    model = keras.saving.load_model(tmp_path / "m.keras", compile=False)
    found, truth = assembled(
        lambda images: model.predict(images[..., None] / np.float32(255), verbose=0)[..., 0], data
    )
    assert found.any() and not found.all()
    direct = (found & truth).sum() / (found | truth).sum()
    assert trained.metrics["test_jaccard"] == pytest.approx(direct, abs=2e-3)
