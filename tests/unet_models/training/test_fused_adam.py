"""The fused Adam moves every variable as Keras' own does, and keeps the same state."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from unet_models.training.fused_adam import FusedAdam
from unet_models.training.model import ACCUMULATES

SHAPES = [(3, 3, 2, 4), (4,), (1, 1, 4, 1)]


def _trajectory(kind, steps=30, wrapped=False, **options):
    """Variables and the optimizer's after each of ``steps`` steps with gradients from 1e-6 to 1e3, in a graph."""
    generator = np.random.default_rng(2)
    variables = [keras.Variable(generator.normal(size=shape).astype("float32")) for shape in SHAPES]
    optimizer = inner = kind(learning_rate=3e-3, **options)
    if wrapped:
        optimizer = keras.optimizers.LossScaleOptimizer(inner, initial_scale=64.0)
    optimizer.build(variables)

    @tf.function
    def step(gradients):
        optimizer.apply(gradients, variables)

    places = []
    for number in range(steps):
        size = 10.0 ** (number % 10 - 6)
        step([tf.constant(generator.normal(size=shape) * size, tf.float32) for shape in SHAPES])
        places.append(
            [np.array(keras.ops.convert_to_numpy(one)) for one in (*variables, *optimizer.variables)]
        )
    return places, [tuple(one.shape) for one in inner.variables]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"clipnorm": 1.0},
        {"clipnorm": 0.01},
        {"global_clipnorm": 0.5},
        {"beta_1": 0.8, "beta_2": 0.99, "epsilon": 1e-3},
        {"clipnorm": 1.0, "wrapped": True},
        pytest.param(
            {"clipnorm": 1.0, "gradient_accumulation_steps": 3},
            marks=pytest.mark.skipif(not ACCUMULATES, reason="Keras before 3.5 accumulates no gradients"),
        ),
    ],
    ids=lambda options: ",".join(options) or "plain",
)
def test_every_step_is_that_of_keras_own_adam(options):
    """Variables, moments and counters within 5e-5 of their size after each of 30 steps.

    The kernel takes 1 - 0.999 in float32, which is 0.001 but for 1.3e-5 of it; Keras takes it in Python.
    """
    ours, our_shapes = _trajectory(FusedAdam, **options)
    theirs, their_shapes = _trajectory(keras.optimizers.Adam, **options)
    assert our_shapes == their_shapes
    for number, (one, other) in enumerate(zip(ours, theirs, strict=True)):
        for mine, wanted in zip(one, other, strict=True):
            np.testing.assert_allclose(mine, wanted, rtol=5e-5, atol=1e-6, err_msg=f"step {number}")
    assert not np.allclose(ours[0][0], ours[-1][0])


def test_a_learning_rate_that_is_changed_counts_from_the_next_step():
    variable = keras.Variable(np.ones(3, np.float32))
    optimizer = FusedAdam(learning_rate=0.1)
    optimizer.build([variable])
    step = tf.function(lambda: optimizer.apply([tf.ones(3)], [variable]))
    step()
    moved = 1 - float(variable[0])
    optimizer.learning_rate = 0.0
    step()
    assert moved == pytest.approx(0.1, rel=1e-4) and 1 - float(variable[0]) == moved


def test_a_gradient_that_is_not_a_number_is_not_hidden():
    variable = keras.Variable(np.ones(3, np.float32))
    optimizer = FusedAdam(clipnorm=1.0)
    optimizer.build([variable])
    optimizer.apply([tf.constant([1.0, np.nan, 1.0])], [variable])
    assert np.isnan(keras.ops.convert_to_numpy(variable)).all()


def test_what_it_does_not_compute_is_refused():
    with pytest.raises(NotImplementedError, match=r"keras\.optimizers\.Adam"):
        FusedAdam(amsgrad=True)
