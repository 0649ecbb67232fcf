"""How many floating-point operations a network takes, counted on paper: no TensorFlow, layer by layer.

Counted are the convolutions, 2 operations for each multiply-add: they are nearly all of the
arithmetic. Left out are biases, batch normalisation, activations, pooling, enlarging, the products and sums of gates and
shortcuts, the loss and the optimizer. These take little arithmetic and real time (they move memory), so a time computed
from FLOPs is a guess with a utilisation in it; ``python -m jobs.probe`` measures.
"""

from __future__ import annotations

from unet_models.networks.parameters import check_network

# One pass forward; backward the gradients by the inputs and those by the weights, each as much as forward.
# The convention of Kaplan et al. 2020 (arXiv:2001.08361, section 2.1) and of the Chinchilla paper's appendix F.
TRAINING_PASSES = 3


def _conv(side: int, inputs: int, outputs: int, size: int) -> int:
    """A ``size`` x ``size`` convolution with ``side`` x ``side`` outputs."""
    return 2 * side * side * inputs * outputs * size * size


def _block(side: int, inputs: int, outputs: int, *, residual: bool) -> int:
    body = _conv(side, inputs, outputs, 3) + _conv(side, outputs, outputs, 3)
    return body + (_conv(side, inputs, outputs, 1) if residual else 0)


def _gate(side: int, skip: int, gate: int) -> int:
    # The map is found at the resolution of the gate, half of the skip's.
    coarse = side // 2
    found = _conv(coarse, skip, skip, 2) + _conv(coarse, gate, skip, 1) + _conv(coarse, skip, 1, 1)
    return found + _conv(side, skip, skip, 1)


def forward_flops(architecture: str, *, patch_size: int, base_filters: int = 64, levels: int = 5) -> int:
    """Operations of one forward pass for one image of ``patch_size`` x ``patch_size`` pixels, one channel.

    ``ValueError`` for an unknown architecture or a patch that cannot be halved ``levels - 1`` times.

    >>> round(forward_flops("UNet", patch_size=256) / 1e9)
    111
    """
    check_network(architecture, patch_size, levels)
    residual = architecture == "Attention_ResUNet"
    widths = [base_filters * 2**level for level in range(levels)]
    sides = [patch_size // 2**level for level in range(levels)]
    total = sum(
        _block(side, before, after, residual=residual)
        for side, before, after in zip(sides, [1, *widths], widths, strict=False)
    )
    for level in reversed(range(levels - 1)):
        skip, below = widths[level], widths[level + 1]
        total += _block(sides[level], skip + below, skip, residual=residual)
        if architecture != "UNet":
            total += _gate(sides[level], skip, below)
    return total + _conv(patch_size, base_filters, 1, 1)


def training_flops(architecture: str, *, patch_size: int, base_filters: int = 64, levels: int = 5) -> int:
    """Operations of one training step for each image of its batch: forward and backward, three times forward.

    The first layer needs no gradient by its input, which the convention counts all the same: with one channel that is
    below 0.1 %.
    """
    return TRAINING_PASSES * forward_flops(
        architecture, patch_size=patch_size, base_filters=base_filters, levels=levels
    )
