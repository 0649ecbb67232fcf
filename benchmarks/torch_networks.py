"""The three networks in PyTorch: same layers, same parameters, same loss, same optimizer. For comparison only."""

from __future__ import annotations

import itertools

import torch
from torch import nn
from torch.nn import functional

LEVELS = 5


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, momentum=0.1, eps=1e-3)  # Keras' epsilon, and its momentum of 0.9


class _Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, residual: bool) -> None:
        super().__init__()
        self.first, self.first_norm = nn.Conv2d(inputs, outputs, 3, padding=1), _norm(outputs)
        self.second, self.second_norm = nn.Conv2d(outputs, outputs, 3, padding=1), _norm(outputs)
        self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1), _norm(outputs)) if residual else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = functional.relu(self.first_norm(self.first(x)))
        y = self.second_norm(self.second(y))
        return functional.relu(y if self.shortcut is None else y + self.shortcut(x))


class _Gate(nn.Module):
    def __init__(self, skip: int, gate: int) -> None:
        super().__init__()
        self.theta = nn.Conv2d(skip, skip, 2, stride=2, bias=False)
        self.phi, self.psi = nn.Conv2d(gate, skip, 1), nn.Conv2d(skip, 1, 1)
        self.out, self.norm = nn.Conv2d(skip, skip, 1), _norm(skip)

    def forward(self, skip: torch.Tensor, gate: torch.Tensor) -> torch.Tensor:
        weights = torch.sigmoid(self.psi(functional.relu(self.theta(skip) + self.phi(gate))))
        weights = functional.interpolate(weights, scale_factor=2, mode="bilinear", align_corners=False)
        return self.norm(self.out(skip * weights))


class Network(nn.Module):
    """``architecture`` as in :mod:`unet_models.networks.networks`; (B, 1, P, P) to (B, 1, P, P)."""

    def __init__(self, architecture: str, base_filters: int) -> None:
        super().__init__()
        residual = architecture == "Attention_ResUNet"
        widths = [base_filters * 2**level for level in range(LEVELS)]
        self.down = nn.ModuleList(
            _Block(before, after, residual) for before, after in itertools.pairwise([1, *widths])
        )
        pairs = list(zip(widths[-2::-1], widths[:0:-1], strict=True))
        self.up = nn.ModuleList(_Block(skip + below, skip, residual) for skip, below in pairs)
        gated = architecture != "UNet"
        self.gates = nn.ModuleList(_Gate(skip, below) for skip, below in pairs) if gated else None
        self.head = nn.Conv2d(base_filters, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of shape (B, 1, P, P) for images of the same shape."""
        skips = []
        for number, block in enumerate(self.down):
            x = block(functional.max_pool2d(x, 2) if number else x)
            skips.append(x)
        for number, block in enumerate(self.up):
            skip = skips[-2 - number]
            if self.gates is not None:
                skip = self.gates[number](skip, x)
            x = block(torch.cat([functional.interpolate(x, scale_factor=2.0, mode="nearest"), skip], 1))
        return torch.sigmoid(self.head(x))


def focal_loss(predicted: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Binary focal cross-entropy with gamma 2, as Keras has it."""
    predicted = predicted.clamp(1e-7, 1 - 1e-7)
    right = truth * predicted + (1 - truth) * (1 - predicted)
    entropy = functional.binary_cross_entropy(predicted, truth, reduction="none")
    return ((1 - right) ** 2 * entropy).mean()
