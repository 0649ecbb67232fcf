"""UNet, Attention_UNet and Attention_ResUNet.

Common ground: ``levels`` resolutions (5), ``base_filters`` (64) doubled at each, blocks of two 3x3
convolutions each followed by batch normalisation and ReLU, max-pooling, up-sampling by repetition and
concatenation with the skip, and a 1x1 convolution with a sigmoid in float32 as the head.

* ``UNet``: Ronneberger, Fischer and Brox, MICCAI 2015 (with batch normalisation and same padding).
* ``Attention_UNet``: additive attention gates on the skips; Oktay et al., MIDL 2018.
* ``Attention_ResUNet``: residual blocks with a 1x1 convolution and batch normalisation on the shortcut
  (He et al., CVPR 2016; Zhang, Liu and Wang, IEEE GRSL 2018) and the same gates.

Trainable and other parameters at the published size (``base_filters=64``, ``levels=5``, one channel):

=================  ==========
UNet               31,401,345
Attention_UNet     33,845,189
Attention_ResUNet  35,600,773
=================  ==========
"""

from __future__ import annotations

from collections.abc import Callable

import keras
from keras import layers

from unet_models.parameters import check_network


def _convolution(x, filters: int, size: int, **options):
    return layers.Conv2D(filters, size, padding="same", kernel_initializer="he_normal", **options)(x)


def _conv_block(x, filters: int, momentum: float, dropout: float):
    for number in range(2):
        x = _convolution(x, filters, 3)
        x = layers.BatchNormalization(momentum=momentum)(x)
        x = layers.Activation("relu")(x)
        if dropout and number == 0:
            x = layers.Dropout(dropout)(x)
    return x


def _residual_block(x, filters: int, momentum: float, dropout: float):
    shortcut = layers.BatchNormalization(momentum=momentum)(_convolution(x, filters, 1))
    x = _convolution(x, filters, 3)
    x = layers.BatchNormalization(momentum=momentum)(x)
    x = layers.Activation("relu")(x)
    if dropout:
        x = layers.Dropout(dropout)(x)
    x = _convolution(x, filters, 3)
    x = layers.BatchNormalization(momentum=momentum)(x)
    return layers.Activation("relu")(layers.Add()([x, shortcut]))


def _attention_gate(skip, gate, momentum: float):
    """The skip (H, W, C) weighted by a map (H, W, 1) that the coarser ``gate`` (H/2, W/2, D) helps to find.

    The map is computed at the gate's resolution and enlarged afterwards; the product broadcasts over
    channels, so no layer repeats a tensor and the model loads without custom objects.
    """
    filters = skip.shape[-1]
    theta = _convolution(skip, filters, 2, strides=2, use_bias=False)
    phi = _convolution(gate, filters, 1)
    weights = layers.Activation("relu")(layers.Add()([theta, phi]))
    weights = layers.Conv2D(1, 1, activation="sigmoid")(weights)
    weights = layers.UpSampling2D(2, interpolation="bilinear")(weights)
    gated = _convolution(layers.Multiply()([skip, weights]), filters, 1)
    return layers.BatchNormalization(momentum=momentum)(gated)


_BLOCKS: dict[str, tuple[Callable, bool]] = {
    "UNet": (_conv_block, False),
    "Attention_UNet": (_conv_block, True),
    "Attention_ResUNet": (_residual_block, True),
}


def build_network(
    architecture: str,
    *,
    patch_size: int | None,
    base_filters: int = 64,
    levels: int = 5,
    dropout: float = 0.0,
    batch_norm_momentum: float = 0.9,
) -> keras.Model:
    """The network ``architecture``: input (batch, P, P, 1) in [0, 1], output (batch, P, P, 1) in [0, 1].

    ``patch_size`` may be ``None`` for images of any size that ``levels`` can halve. ``ValueError`` for
    an unknown architecture or a patch size that cannot be halved ``levels - 1`` times.

    >>> build_network("UNet", patch_size=32, base_filters=2).output_shape
    (None, 32, 32, 1)
    """
    check_network(architecture, patch_size, levels)
    block, gated = _BLOCKS[architecture]
    inputs = keras.Input((patch_size, patch_size, 1), name="image")
    x = inputs
    skips = []
    for level in range(levels - 1):
        x = block(x, base_filters * 2**level, batch_norm_momentum, dropout)
        skips.append(x)
        x = layers.MaxPooling2D(2)(x)
    x = block(x, base_filters * 2 ** (levels - 1), batch_norm_momentum, dropout)
    for level in reversed(range(levels - 1)):
        skip = _attention_gate(skips[level], x, batch_norm_momentum) if gated else skips[level]
        x = layers.Concatenate()([layers.UpSampling2D(2)(x), skip])
        x = block(x, base_filters * 2**level, batch_norm_momentum, dropout)
    x = layers.Conv2D(1, 1)(x)
    # float32 whatever the policy: a sigmoid in half precision has too few values near 0 and 1
    outputs = layers.Activation("sigmoid", dtype="float32", name="mitochondria")(x)
    return keras.Model(inputs, outputs, name=architecture)
