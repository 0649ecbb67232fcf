"""The number of floating-point operations (FLOPs) of a network, computed layer by layer without TensorFlow.

Only convolutions are counted, with 2 operations per multiply-add: they are nearly all of the arithmetic. Biases, batch
normalisation, activations, pooling, enlarging, the products and sums of gates and shortcuts, the loss and the optimizer
are left out. These need little arithmetic but do take time, because they move memory. A time computed from FLOPs
therefore assumes some utilisation; ``python -m jobs.probe`` measures the time instead.
"""

from __future__ import annotations

from unet_models.networks.parameters import check_network

# One pass forward; the gradients for the inputs and those for the weights take as much each. This is the convention of
# Kaplan et al. 2020 (arXiv:2001.08361, section 2.1) and Hoffmann et al. 2022 (arXiv:2203.15556, appendix F).
TRAINING_PASSES = 3


def _conv(side: int, inputs: int, outputs: int, size: int) -> int:
    """FLOPs of a ``size`` x ``size`` convolution with ``side`` x ``side`` outputs."""
    return 2 * side * side * inputs * outputs * size * size


def _block(side: int, inputs: int, outputs: int, *, residual: bool) -> int:
    body = _conv(side, inputs, outputs, 3) + _conv(side, outputs, outputs, 3)
    return body + (_conv(side, inputs, outputs, 1) if residual else 0)


def _gate(side: int, skip: int, gate: int) -> int:
    # The attention map is computed at the gate's resolution, half of the skip's.
    coarse = side // 2
    attention = _conv(coarse, skip, skip, 2) + _conv(coarse, gate, skip, 1) + _conv(coarse, skip, 1, 1)
    return attention + _conv(side, skip, skip, 1)


def forward_flops(architecture: str, *, patch_size: int, base_filters: int = 64, levels: int = 5) -> int:
    """FLOPs of one forward pass for one image of ``patch_size`` x ``patch_size`` pixels with one channel.

    Raises:
        ValueError: the architecture is unknown, or the patch cannot be halved ``levels - 1`` times.

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
    """FLOPs of one training step per image of its batch: forward and backward, three times the forward pass.

    The first layer needs no gradient for its input, but the convention counts it; with one channel this is below
    0.1 %. The arguments and errors are those of :func:`forward_flops`.
    """
    return TRAINING_PASSES * forward_flops(
        architecture, patch_size=patch_size, base_filters=base_filters, levels=levels
    )
