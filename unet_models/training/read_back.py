"""Compares what was built with what was requested, before the first step.

In the predecessor of this program ``Adam(lr=...)`` was ignored without an error, and all 108 of its runs trained at a
learning rate of 0.001.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from unet_models.networks.parameters import parameter_count
from unet_models.training.model import OPTIMIZERS


class ReadBackError(Exception):
    """What was built is not what ``grid.yaml`` requests; nothing was trained."""


def learning_rate(optimizer: keras.optimizers.Optimizer) -> float:
    """The current learning rate, as the shortest decimal that rounds to its float32: 0.001, not 0.0010000000475."""
    return _shortest(keras.ops.convert_to_numpy(optimizer.learning_rate))


def _shortest(value: Any) -> float:
    return float(str(np.float32(value)))


def _optimizer_name(optimizer: keras.optimizers.Optimizer) -> str:
    names = {kind: name for name, kind in OPTIMIZERS.items()}
    return names.get(type(optimizer), type(optimizer).__name__.lower())


def read_back(
    settings: Mapping[str, Any],
    model: keras.Model,
    batches: tf.data.Dataset,
    patch_size: int,
    accumulation: int = 1,
) -> dict[str, Any]:
    """What was built, read from the network, the optimizer and the batches themselves.

    Args:
        settings: of the point: what was requested.
        model: the compiled network.
        batches: the training batches that it will get.
        patch_size: P, in pixels.
        accumulation: number of batches per optimizer step; each has ``batch_size / accumulation`` samples.

    Returns:
        Architecture, parameter count, optimizer, learning rate, clipping, accumulation, batch shape,
        precision and TF32, by the names used in results.

    Raises:
        ReadBackError: one of these differs from ``settings``; the message lists every difference.
    """
    optimizer = model.optimizer
    # Mixed float16 wraps the optimizer in one that scales the loss.
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    patches = model.patches
    image, mask = (batches if patches is None else batches.map(patches.fetch)).element_spec
    shape = (settings["batch_size"] // accumulation, patch_size, patch_size, 1)
    effective = {
        "architecture": model.name,
        "parameters": model.count_params(),
        "optimizer": _optimizer_name(inner),
        "learning_rate": learning_rate(inner),
        "clipnorm": inner.clipnorm,
        "global_clipnorm": inner.global_clipnorm,
        "gradient_accumulation_steps": getattr(inner, "gradient_accumulation_steps", None) or 1,
        "batch_shape": list(image.shape),
        "precision": keras.mixed_precision.global_policy().name,
        "tensor_float_32": tf.config.experimental.tensor_float_32_execution_enabled(),
    }
    expected = {
        "architecture": settings["architecture"],
        "parameters": parameter_count(
            settings["architecture"], base_filters=settings["base_filters"], levels=settings["levels"]
        ),
        "optimizer": settings["optimizer"],
        "learning_rate": _shortest(settings["learning_rate"]),
        "clipnorm": settings["clipnorm"],
        "global_clipnorm": settings["global_clipnorm"],
        "gradient_accumulation_steps": accumulation,
        "batch_shape": list(shape),
        "precision": settings["precision"],
        "tensor_float_32": settings["tensor_float_32"],
    }
    wrong = [
        f"{key}: received {effective[key]!r}, expected {value!r}"
        for key, value in expected.items()
        if effective[key] != value
    ]
    if tuple(mask.shape) != shape:
        wrong.append(f"mask batch: received {tuple(mask.shape)}, expected {shape}")
    if wrong:
        raise ReadBackError("the network that was built differs from grid.yaml: " + "; ".join(wrong))
    return effective
