"""The read-back finds every difference between what was built and what was requested."""

from __future__ import annotations

import pytest

from tests.unet_models.tiny import SETTINGS, built
from unet_models.training.process import prepare_process
from unet_models.training.read_back import ReadBackError, read_back


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd", "rmsprop"])
def test_what_is_built_is_what_was_asked_for(optimizer):
    settings = {**SETTINGS, "optimizer": optimizer, "learning_rate": 5e-4}
    effective = read_back(settings, *built(settings), 32)
    assert effective["learning_rate"] == 5e-4
    assert (effective["optimizer"], effective["clipnorm"]) == (optimizer, 1.0)
    assert effective["batch_shape"] == [8, 32, 32, 1]


@pytest.mark.parametrize(
    ("key", "asked", "words"),
    [
        ("learning_rate", 1e-4, "learning_rate: received 0.005, expected 0.0001"),
        ("clipnorm", None, "clipnorm: received 1.0, expected None"),
        ("global_clipnorm", 1.0, "global_clipnorm: received None, expected 1.0"),
        ("batch_size", 16, r"batch_shape: received \[8, 32, 32, 1\], expected \[16"),
        ("base_filters", 4, "parameters: received"),
        ("architecture", "Attention_UNet", "architecture: received 'UNet'"),
        ("optimizer", "sgd", "optimizer: received 'adam', expected 'sgd'"),
        ("precision", "mixed_bfloat16", "precision: received 'float32'"),
    ],
)
def test_the_read_back_catches_what_is_not_as_asked(key, asked, words):
    with pytest.raises(ReadBackError, match=words):
        read_back({**SETTINGS, key: asked}, *built(), 32)


@pytest.mark.parametrize("allowed", [True, False])
def test_tensor_float_32_is_as_the_settings_say(allowed):
    settings = {**SETTINGS, "tensor_float_32": allowed}
    prepare_process(settings)
    assert read_back(settings, *built(), 32)["tensor_float_32"] is allowed
    with pytest.raises(ReadBackError, match="tensor_float_32: received"):
        read_back({**settings, "tensor_float_32": not allowed}, *built(), 32)


def test_masks_of_another_shape_than_their_images_are_found():
    model, batches = built()
    cropped = batches.map(lambda image, mask: (image, mask[:, :16]))
    with pytest.raises(
        ReadBackError, match=r"mask batch: received \(8, 16, 32, 1\), expected \(8, 32, 32, 1\)"
    ):
        read_back(SETTINGS, model, cropped, 32)
