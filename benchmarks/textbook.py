"""The three networks as a Keras textbook writes them, trained by plain ``model.fit`` on NumPy arrays."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

LEVELS = 5


def _convolution(x: Any, filters: int, size: int, **options: Any) -> Any:
    return layers.Conv2D(filters, size, padding="same", kernel_initializer="he_normal", **options)(x)


def _block(x: Any, filters: int, residual: bool) -> Any:
    before = x
    for number in range(2):
        x = layers.BatchNormalization(momentum=0.9)(_convolution(x, filters, 3))
        if residual and number:
            x = layers.Add()([x, layers.BatchNormalization(momentum=0.9)(_convolution(before, filters, 1))])
        x = layers.Activation("relu")(x)
    return x


def _gate(skip: Any, gate: Any) -> Any:
    filters = skip.shape[-1]
    theta = _convolution(skip, filters, 2, strides=2, use_bias=False)
    weights = layers.Activation("relu")(layers.Add()([theta, _convolution(gate, filters, 1)]))
    weights = layers.Conv2D(1, 1, activation="sigmoid")(weights)
    weights = layers.UpSampling2D(2, interpolation="bilinear")(weights)
    return layers.BatchNormalization(momentum=0.9)(
        _convolution(layers.Multiply()([skip, weights]), filters, 1)
    )


def network(architecture: str, *, patch_size: int, base_filters: int) -> keras.Model:
    """``architecture`` from Keras' own layers only."""
    residual = architecture == "Attention_ResUNet"
    inputs = x = keras.Input((patch_size, patch_size, 1))
    skips = []
    for level in range(LEVELS):
        x = _block(layers.MaxPooling2D(2)(x) if level else x, base_filters * 2**level, residual)
        skips.append(x)
    for level in reversed(range(LEVELS - 1)):
        skip = skips[level] if architecture == "UNet" else _gate(skips[level], x)
        x = layers.Concatenate()([layers.UpSampling2D(2)(x), skip])
        x = _block(x, base_filters * 2**level, residual)
    return keras.Model(inputs, layers.Conv2D(1, 1, activation="sigmoid")(x))


def compiled(architecture: str, *, patch_size: int, base_filters: int) -> keras.Model:
    """The network with the recipe's optimizer and loss, ready for plain ``fit``."""
    model = network(architecture, patch_size=patch_size, base_filters=base_filters)
    model.compile(
        optimizer=keras.optimizers.Adam(1e-3, clipnorm=1.0),
        loss=keras.losses.BinaryFocalCrossentropy(gamma=2.0),
        metrics=[keras.metrics.BinaryIoU([1], 0.5)],
        jit_compile=False,
    )
    return model
