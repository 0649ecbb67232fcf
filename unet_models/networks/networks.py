"""The networks UNet, Attention_UNet and Attention_ResUNet.

All have ``levels`` resolutions (5), ``base_filters`` filters (64) at the first and twice as many at each following one,
blocks of two 3x3 convolutions, each followed by batch normalisation and ReLU, max-pooling, up-sampling by repetition
and concatenation with the skip, and a 1x1 convolution with a sigmoid in float32 as the head.

* ``UNet``: Ronneberger, Fischer and Brox, MICCAI 2015 (with batch normalisation and same padding).
* ``Attention_UNet``: additive attention gates on the skips; Oktay et al., MIDL 2018.
* ``Attention_ResUNet``: residual blocks with a 1x1 convolution and batch normalisation on the shortcut
  (He et al., CVPR 2016; Zhang, Liu and Wang, IEEE GRSL 2018) and the same gates.

Parameters, trainable or not, at the published size (``base_filters=64``, ``levels=5``, one channel):

=================  ==========
UNet               31,401,345
Attention_UNet     33,845,189
Attention_ResUNet  35,600,773
=================  ==========
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
from keras import layers

from unet_models.networks.fast_layers import (
    Conv2DBeforeNormalization,
    FusedBatchNormalization,
    UpSampledConv2D,
)
from unet_models.networks.parameters import check_network


@dataclass(frozen=True)
class _Kit:
    """Builds the layers of a network in its plain or its fast form.

    Layers with weights have names, by which :func:`copy_weights` finds them in the other form.
    """

    momentum: float
    dropout: float
    quick: bool

    def convolution(
        self,
        x: Any,
        filters: int,
        size: int,
        name: str,
        kind: type[layers.Conv2D] = layers.Conv2D,
        **options: Any,
    ) -> Any:
        return kind(filters, size, padding="same", kernel_initializer="he_normal", name=name, **options)(x)

    def normalised(self, x: Any, filters: int, size: int, name: str) -> Any:
        """A convolution of ``x`` and its batch normalisation.

        ``x`` may be a pair (coarser tensor, skip): the first is enlarged, then both are concatenated.
        """
        if not self.quick:
            if isinstance(x, tuple):
                x = layers.Concatenate()([layers.UpSampling2D(2)(x[0]), x[1]])
            x = self.convolution(x, filters, size, name)
            return layers.BatchNormalization(momentum=self.momentum, name=f"{name}_norm")(x)
        if isinstance(x, tuple):
            x = UpSampledConv2D(filters, size, name=name)(list(x))
        else:
            x = self.convolution(x, filters, size, name, Conv2DBeforeNormalization)
        return FusedBatchNormalization(momentum=self.momentum, name=f"{name}_norm")(x)


def _conv_block(kit: _Kit, x: Any, filters: int, name: str) -> Any:
    x = layers.Activation("relu")(kit.normalised(x, filters, 3, f"{name}_conv1"))
    if kit.dropout:
        x = layers.Dropout(kit.dropout)(x)
    return layers.Activation("relu")(kit.normalised(x, filters, 3, f"{name}_conv2"))


def _residual_block(kit: _Kit, x: Any, filters: int, name: str) -> Any:
    shortcut = kit.normalised(x, filters, 1, f"{name}_shortcut")
    x = layers.Activation("relu")(kit.normalised(x, filters, 3, f"{name}_conv1"))
    if kit.dropout:
        x = layers.Dropout(kit.dropout)(x)
    x = kit.normalised(x, filters, 3, f"{name}_conv2")
    return layers.Activation("relu")(layers.Add()([x, shortcut]))


def _attention_gate(kit: _Kit, skip: Any, gate: Any, name: str) -> Any:
    """The skip (H, W, C) weighted by an attention map (H, W, 1), computed from it and the coarser ``gate`` (H/2, W/2, D).

    Oktay et al. 2018, arXiv:1804.03999. The map is computed at the gate's resolution and then enlarged; the product
    broadcasts over channels, so no layer repeats a tensor and the model loads without custom objects.
    """
    filters = skip.shape[-1]
    theta = kit.convolution(skip, filters, 2, f"{name}_theta", strides=2, use_bias=False)
    phi = kit.convolution(gate, filters, 1, f"{name}_phi")
    weights = layers.Activation("relu")(layers.Add()([theta, phi]))
    weights = layers.Conv2D(1, 1, activation="sigmoid", name=f"{name}_psi")(weights)
    weights = layers.UpSampling2D(2, interpolation="bilinear")(weights)
    return kit.normalised(layers.Multiply()([skip, weights]), filters, 1, f"{name}_out")


_BLOCKS: dict[str, tuple[Callable[..., Any], bool]] = {
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
    quick: bool = False,
    kind: type[keras.Model] = keras.Model,
) -> keras.Model:
    """The network ``architecture``: input (B, P, P, 1) from 0 to 1, output (B, P, P, 1) from 0 to 1.

    Args:
        architecture: one of :data:`unet_models.networks.parameters.ARCHITECTURES`.
        patch_size: P, in pixels; ``None`` for images of any size that can be halved ``levels - 1`` times.
        base_filters: filters at the full resolution.
        levels: number of resolutions.
        dropout: share of values that are set to 0 between the convolutions of a block, 0 to 1.
        batch_norm_momentum: share of the running statistics that is kept at each step, 0 to 1.
        quick: build it from :mod:`unet_models.networks.fast_layers`. This is the same function of the same weights, up
            to the order of additions, in less time, but its file could only be loaded with these layers;
            :func:`copy_weights` copies the weights to the plain form.
        kind: the class of the model.

    Raises:
        ValueError: the architecture is unknown, or the patch cannot be halved ``levels - 1`` times.

    >>> build_network("UNet", patch_size=32, base_filters=2).output_shape
    (None, 32, 32, 1)
    """
    check_network(architecture, patch_size, levels)
    block, gated = _BLOCKS[architecture]
    kit = _Kit(batch_norm_momentum, dropout, quick)
    inputs = keras.Input((patch_size, patch_size, 1), name="image")
    x = inputs
    skips = []
    for level in range(levels):
        x = block(kit, layers.MaxPooling2D(2)(x) if level else x, base_filters * 2**level, f"down{level}")
        skips.append(x)
    for level in reversed(range(levels - 1)):
        skip = _attention_gate(kit, skips[level], x, f"gate{level}") if gated else skips[level]
        x = block(kit, (x, skip), base_filters * 2**level, f"up{level}")
    x = layers.Conv2D(1, 1, name="head")(x)
    # float32 whatever the policy: a sigmoid in half precision has too few values near 0 and 1.
    outputs = layers.Activation("sigmoid", dtype="float32", name="mitochondria")(x)
    return kind(inputs, outputs, name=architecture)


def copy_weights(source: keras.Model, target: keras.Model) -> None:
    """Copy the weights of ``source`` to ``target``, another form of the same network with layers of the same names.

    Raises:
        ValueError: a layer of ``target`` is not in ``source``, or has other shapes there.
    """
    for layer in target.layers:
        if layer.weights:
            layer.set_weights(source.get_layer(layer.name).get_weights())
