"""FLOPs counted on paper are those of the network that is built, by two counts that know nothing of the paper."""

from __future__ import annotations

import math

import keras
import pytest
import tensorflow as tf

from unet_models.networks.flops import forward_flops, training_flops
from unet_models.networks.networks import build_network
from unet_models.networks.parameters import ARCHITECTURES


def walked(network):
    """2 x outputs x (kernel x input channels), over every convolution that the network has."""
    total = 0
    for layer in network.layers:
        if isinstance(layer, keras.layers.Conv2D):
            _, height, width, channels = layer.output.shape
            kernel_height, kernel_width, inputs, outputs = layer.kernel.shape
            assert outputs == channels
            total += 2 * height * width * channels * kernel_height * kernel_width * inputs
    return total


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize(
    ("patch", "base_filters", "levels"), [(32, 2, 2), (32, 3, 4), (32, 4, 5), (64, 8, 3)]
)
def test_the_count_is_that_of_the_networks_own_layers(architecture, patch, base_filters, levels):
    network = build_network(architecture, patch_size=patch, base_filters=base_filters, levels=levels)
    counted = forward_flops(architecture, patch_size=patch, base_filters=base_filters, levels=levels)
    assert counted == walked(network)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_published_size_agrees_with_its_layers(architecture):
    assert forward_flops(architecture, patch_size=256) == walked(build_network(architecture, patch_size=256))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_tensorflows_profiler_finds_the_same_in_the_graph(architecture):
    """Its count of the graph's convolutions; the graph holds no others, whatever Keras made of the layers."""
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2
    from tensorflow.python.profiler import model_analyzer, option_builder

    network = build_network(architecture, patch_size=32, base_filters=4, levels=4)
    function = tf.function(lambda image: network(image, training=False)).get_concrete_function(
        tf.TensorSpec((1, 32, 32, 1), tf.float32)
    )
    graph = convert_variables_to_constants_v2(function).graph
    options = option_builder.ProfileOptionBuilder.float_operation()
    builder = option_builder.ProfileOptionBuilder(options).with_empty_output()
    convolutions = builder.with_accounted_types(["Conv2D"]).build()
    with graph.as_default():
        found = model_analyzer.profile(graph, cmd="op", options=convolutions)
    by_operation = {child.name: child.total_float_ops for child in found.children}
    total = max([found.total_float_ops, *by_operation.values()])
    assert total == forward_flops(architecture, patch_size=32, base_filters=4, levels=4)


def test_what_a_step_takes_grows_with_pixels_and_with_the_square_of_the_filters():
    one = training_flops("UNet", patch_size=64, base_filters=32)
    assert one == 3 * forward_flops("UNet", patch_size=64, base_filters=32)
    assert training_flops("UNet", patch_size=128, base_filters=32) == 4 * one
    assert math.isclose(training_flops("UNet", patch_size=64, base_filters=64) / one, 4, rel_tol=0.02)


def test_an_impossible_network_is_refused():
    with pytest.raises(ValueError, match="received 40, expected .* multiple of 16"):
        forward_flops("UNet", patch_size=40)
    with pytest.raises(ValueError, match="unknown architecture: received 'VNet'"):
        training_flops("VNet", patch_size=32)
