"""Copying the values of a network's and an optimizer's variables to arrays and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from unet_models.training.state import ResumeError


def network_variables(model: keras.Model) -> list[Any]:
    """Every variable of the network, including dropout's generators, without those of its metrics."""
    metrics = {id(variable) for variable in model.metrics_variables}
    return [variable for variable in model.variables if id(variable) not in metrics]


def values(variables: Sequence[Any]) -> list[np.ndarray]:
    """Copies of the variables' values, in the same order, shapes and types."""
    return [np.array(keras.ops.convert_to_numpy(variable)) for variable in variables]


def assign(variables: Sequence[Any], arrays: Sequence[np.ndarray], owner: str) -> None:
    """Set ``variables`` to ``arrays``; the inverse of :func:`values`.

    Raises:
        ResumeError: number, shapes or types differ; nothing was set. ``owner`` names in the message what the
            variables belong to.
    """
    expected = [(tuple(variable.shape), str(variable.dtype)) for variable in variables]
    received = [(array.shape, str(array.dtype)) for array in arrays]
    if expected != received:
        raise ResumeError(
            f"the checkpoint's {len(received)} arrays of the {owner} do not fit: expected {len(expected)} arrays with "
            "the shapes and types of the network that was built"
        )
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)
