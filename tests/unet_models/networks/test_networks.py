"""The three architectures: sizes, shapes, saving and loading without custom objects."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from unet_models.networks.fast_layers import FusedBatchNormalization
from unet_models.networks.networks import build_network, copy_weights
from unet_models.networks.parameters import ARCHITECTURES, parameter_count

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
    from unet_models.training.saving import save

    keras.utils.set_random_seed(1)  # with some initial weights so small a network is dead
    network = build_network(architecture, patch_size=32, base_filters=2, dropout=0.1)
    image = np.random.default_rng(0).random((3, 32, 32, 1), np.float32)
    before = network.predict_on_batch(image)
    save(network, tmp_path / f"m.{suffix}")
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


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_quick_form_has_the_weights_of_the_plain_one(architecture):
    sizes = {"patch_size": 32, "base_filters": 2, "dropout": 0.1}
    keras.utils.set_random_seed(3)
    plain = build_network(architecture, **sizes)
    keras.utils.set_random_seed(3)
    quick = build_network(architecture, quick=True, **sizes)
    assert quick.count_params() == plain.count_params()
    names = [layer.name for layer in plain.layers if layer.weights]
    assert sorted(names) == sorted(layer.name for layer in quick.layers if layer.weights)
    for name in names:
        theirs, ours = plain.get_layer(name).get_weights(), quick.get_layer(name).get_weights()
        # The same initial values, too: a seed means the same training in both forms.
        assert all(np.array_equal(a, b) for a, b in zip(theirs, ours, strict=True)), name


def without_trained_bias(network):
    """``network`` with every bias fixed that a batch normalisation subtracts again, as the quick form has them."""
    names = {layer.name for layer in network.layers}
    for layer in network.layers:
        if f"{layer.name}_norm" in names:
            layer.bias.trainable = False
    return network


def _steps(network, count):
    """Losses, gradients of the first step, all weights after ``count`` steps, and what is predicted then."""
    import tensorflow as tf

    generator = np.random.default_rng(0)
    images = tf.constant(generator.random((count, 4, 32, 32, 1)), tf.float32)
    truth = tf.constant(generator.random((count, 4, 32, 32, 1)) < 0.2, tf.float32)
    optimizer = keras.optimizers.SGD(0.05)
    losses, first = [], None
    for image, mask in zip(images, truth, strict=True):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((network(image, training=True) - mask) ** 2)
        gradients = tape.gradient(loss, network.trainable_variables)
        first = first or {
            variable.path: gradient.numpy()
            for variable, gradient in zip(network.trainable_variables, gradients, strict=True)
        }
        optimizer.apply_gradients(zip(gradients, network.trainable_variables, strict=True))
        losses.append(float(loss))
    weights = {layer.name: layer.get_weights() for layer in network.layers if layer.weights}
    return losses, first, weights, np.asarray(network(images[0], training=False))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_quick_form_trains_as_the_plain_one(architecture):
    """Forward, gradients, running statistics and inference agree to 1e-5 of each tensor's largest value."""
    sizes = {"patch_size": 32, "base_filters": 3, "levels": 3}
    found = []
    for quick in (False, True):
        keras.utils.set_random_seed(3)
        found.append(_steps(without_trained_bias(build_network(architecture, quick=quick, **sizes)), 4))
    (losses, first, weights, output), (quick_losses, quick_first, quick_weights, quick_output) = found
    np.testing.assert_allclose(quick_losses, losses, rtol=1e-5)
    np.testing.assert_allclose(quick_output, output, atol=1e-5)
    scale = max(np.abs(gradient).max() for gradient in first.values())
    for name, gradient in first.items():
        np.testing.assert_allclose(quick_first[name], gradient, atol=1e-5 * scale, err_msg=name)
    for name, arrays in weights.items():
        for one, other in zip(arrays, quick_weights[name], strict=True):
            np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-5, err_msg=name)


def test_weights_of_the_quick_form_move_to_the_plain_one():
    sizes = {"patch_size": 32, "base_filters": 2}
    keras.utils.set_random_seed(1)
    quick, plain = (build_network("Attention_ResUNet", quick=form, **sizes) for form in (True, False))
    image = np.random.default_rng(0).random((2, 32, 32, 1), np.float32)
    quick(image, training=True)
    copy_weights(quick, plain)
    for layer in filter(lambda one: one.weights, plain.layers):
        moved = quick.get_layer(layer.name).get_weights()
        assert all(np.array_equal(a, b) for a, b in zip(layer.get_weights(), moved, strict=True)), layer.name
    # The fused normalisation rounds otherwise than Keras' own.
    np.testing.assert_allclose(plain(image), quick(image), atol=1e-5)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_bias_that_is_not_trained_has_a_gradient_of_rounding_noise(architecture):
    """What the quick form leaves out is zero to the rounding of float64, and no other gradient is.

    In float32 the noise is about a millionth of the largest gradient, more or less by processor and initial weights.
    """
    sizes = {"patch_size": 32, "base_filters": 3, "levels": 3}
    trained = {
        variable.path for variable in build_network(architecture, quick=True, **sizes).trainable_variables
    }
    keras.utils.set_random_seed(3)
    usual = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy("float64")
    try:
        _, gradients, _, _ = _steps(build_network(architecture, **sizes), 1)
    finally:
        keras.mixed_precision.set_global_policy(usual)
    scale = max(np.abs(gradient).max() for gradient in gradients.values())
    relative = {name: np.abs(gradient).max() / scale for name, gradient in gradients.items()}
    left_out = relative.keys() - trained
    assert left_out and all(name.endswith("/bias") for name in left_out)
    assert max(relative[name] for name in left_out) < 1e-13
    assert min(relative[name] for name in trained) > 1e-6


@pytest.mark.parametrize(
    ("policy", "tolerance"), [("float32", 1e-6), ("mixed_bfloat16", 0.02), ("mixed_float16", 2e-3)]
)
def test_a_fused_normalisation_infers_as_keras_own(policy, tolerance):
    """With its running statistics, in inference and where it is not to be trained; they stay as they are."""
    generator = np.random.default_rng(0)
    values = [generator.uniform(0.5, 2, 3).astype("float32") for _ in range(4)]
    image = generator.normal(size=(2, 8, 8, 3)).astype("float32")
    outputs = []
    for kind in (keras.layers.BatchNormalization, FusedBatchNormalization):
        layer = kind(dtype=policy)
        layer.build(image.shape)
        layer.set_weights(values)
        outputs.append(keras.ops.convert_to_numpy(layer(image, training=False)).astype("float32"))
        layer.trainable = False
        outputs.append(keras.ops.convert_to_numpy(layer(image, training=True)).astype("float32"))
        assert all(np.array_equal(a, b) for a, b in zip(layer.get_weights(), values, strict=True))
    for output in outputs[1:]:
        np.testing.assert_allclose(output, outputs[0], rtol=tolerance, atol=tolerance)
