"""The three architectures: sizes, shapes, saving and loading without custom objects."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from unet_models.networks import build_network
from unet_models.parameters import ARCHITECTURES, parameter_count

PUBLISHED = {"UNet": 31_401_345, "Attention_UNet": 33_845_189, "Attention_ResUNet": 35_600_773}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_published_size_has_the_stated_parameters(architecture):
    assert build_network(architecture, patch_size=None).count_params() == PUBLISHED[architecture]
    assert parameter_count(architecture) == PUBLISHED[architecture]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize(("base_filters", "levels"), [(2, 2), (3, 4), (4, 5)])
def test_parameters_counted_on_paper_are_those_of_the_network(architecture, base_filters, levels):
    network = build_network(architecture, patch_size=32, base_filters=base_filters, levels=levels)
    assert network.count_params() == parameter_count(architecture, base_filters=base_filters, levels=levels)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("suffix", ["hdf5", "keras"])
def test_a_saved_network_loads_by_itself_and_predicts_the_same(architecture, suffix, tmp_path):
    from unet_models.training import _save

    network = build_network(architecture, patch_size=32, base_filters=2, dropout=0.1)
    image = np.random.default_rng(0).random((3, 32, 32, 1), np.float32)
    before = network.predict_on_batch(image)
    _save(network, tmp_path / f"m.{suffix}")
    after = keras.saving.load_model(tmp_path / f"m.{suffix}", compile=False).predict_on_batch(image)
    assert before.shape == (3, 32, 32, 1)
    np.testing.assert_array_equal(before, after)
    assert before.min() >= 0 and before.max() <= 1 and before.std() > 0


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_networks_are_built_without_lambda_layers(architecture):
    network = build_network(architecture, patch_size=32, base_filters=2)
    assert not [layer for layer in network.layers if isinstance(layer, keras.layers.Lambda)]
    assert all(
        layer.momentum == 0.9
        for layer in network.layers
        if isinstance(layer, keras.layers.BatchNormalization)
    )


def test_attention_looks_at_the_gate_and_the_skip():
    """Every weight of a gate gets a gradient: nothing in it is left out of the output."""
    import tensorflow as tf

    network = build_network("Attention_UNet", patch_size=32, base_filters=2, levels=2)
    image = tf.constant(np.random.default_rng(0).random((2, 32, 32, 1)), tf.float32)
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(network(image, training=True) ** 2)
    gradients = tape.gradient(loss, network.trainable_variables)
    assert all(gradient is not None for gradient in gradients)


@pytest.mark.parametrize(
    ("architecture", "patch", "words"),
    [
        ("VNet", 32, "unknown architecture: received 'VNet'"),
        ("UNet", 40, "received 40, expected .* multiple of 16"),
    ],
)
def test_an_impossible_network_is_refused(architecture, patch, words):
    with pytest.raises(ValueError, match=words):
        build_network(architecture, patch_size=patch)
