"""The names of the networks and their numbers of parameters, computed without TensorFlow.

The computation is independent of the code that builds the networks: a point compares both numbers and does not train
if they differ (:mod:`unet_models.training.read_back`).
"""

from __future__ import annotations

ARCHITECTURES = ("UNet", "Attention_UNet", "Attention_ResUNet")


def check_network(architecture: str, patch_size: int | None, levels: int) -> None:
    """Check that a network can be built.

    Raises:
        ValueError: the architecture is unknown, or the patch cannot be halved ``levels - 1`` times.
    """
    if architecture not in ARCHITECTURES:
        raise ValueError(
            f"unknown architecture: received {architecture!r}, expected one of {', '.join(ARCHITECTURES)}"
        )
    if patch_size is not None and (patch_size <= 0 or patch_size % 2 ** (levels - 1)):
        raise ValueError(
            f"the patch size cannot be halved for {levels} levels: received {patch_size}, "
            f"expected a positive multiple of {2 ** (levels - 1)}"
        )


def _conv(inputs: int, outputs: int, size: int, *, bias: bool = True) -> int:
    return inputs * outputs * size * size + (outputs if bias else 0)


def _norm(channels: int) -> int:
    return 4 * channels  # scale, shift, and the running mean and variance


def _block(inputs: int, outputs: int, *, residual: bool) -> int:
    body = _conv(inputs, outputs, 3) + _norm(outputs) + _conv(outputs, outputs, 3) + _norm(outputs)
    return body + (_conv(inputs, outputs, 1) + _norm(outputs) if residual else 0)


def _gate(skip: int, gate: int) -> int:
    theta, phi, psi = _conv(skip, skip, 2, bias=False), _conv(gate, skip, 1), _conv(skip, 1, 1)
    return theta + phi + psi + _conv(skip, skip, 1) + _norm(skip)


def parameter_count(architecture: str, *, base_filters: int = 64, levels: int = 5) -> int:
    """Number of parameters, including batch normalisation's running statistics, for one input channel.

    Raises:
        ValueError: the architecture is unknown.
    """
    check_network(architecture, None, levels)
    residual = architecture == "Attention_ResUNet"
    widths = [base_filters * 2**level for level in range(levels)]
    total = sum(
        _block(before, after, residual=residual) for before, after in zip([1, *widths], widths, strict=False)
    )
    for level in reversed(range(levels - 1)):
        skip, below = widths[level], widths[level + 1]
        total += _block(skip + below, skip, residual=residual)
        if architecture != "UNet":
            total += _gate(skip, below)
    return total + _conv(base_filters, 1, 1)
