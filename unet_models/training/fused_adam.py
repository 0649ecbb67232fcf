"""The Adam optimizer as Keras computes it, in fewer operations."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


class FusedAdam(keras.optimizers.Adam):
    """``keras.optimizers.Adam`` with one operation for the update of a variable.

    Keras uses about twenty. They are most of what TensorFlow traces and rewrites before the first step, and on a GPU
    each one launches a kernel. TensorFlow's ``ResourceApplyAdam`` computes the same formula (Kingma and Ba 2015,
    arXiv:1412.6980, the efficient order at the end of section 2) on the same variables, except that it computes
    1 - beta in float32: the moments differ by 1.3e-5 of their size. Gradients must be dense, as those of all layers in
    this package are.

    Raises:
        NotImplementedError: ``amsgrad`` is on.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        if self.amsgrad:
            raise NotImplementedError("FusedAdam does not support amsgrad; use keras.optimizers.Adam")

    def apply(self, grads: Any, trainable_variables: Any = None) -> Any:
        """Move every variable by its gradient; the arguments and result are those of Keras."""
        # Computed once for all variables, inside the branch of the graph that uses the values.
        step = tf.cast(self.iterations, tf.float32) + 1
        self._powers = tf.pow(self.beta_1, step), tf.pow(self.beta_2, step)
        try:
            return super().apply(grads, trainable_variables)
        finally:
            del self._powers

    def _clip_gradients(self, grads: list[Any]) -> list[Any]:
        # Keras calls this method in apply(). If Keras renames it, its own clipping does the same, but slower.
        if not self.clipnorm:
            clipped: list[Any] = super()._clip_gradients(grads)
            return clipped
        norms = tf.sqrt(2 * tf.stack([tf.nn.l2_loss(gradient) for gradient in grads]))
        factors = tf.unstack(self.clipnorm / tf.maximum(norms, self.clipnorm))
        return [gradient * factor for gradient, factor in zip(grads, factors, strict=True)]

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Move ``variable`` (float32) by its ``gradient`` (the same shape) and the learning rate."""
        index = self._get_variable_index(variable)
        beta_1_power, beta_2_power = self._powers
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            beta1_power=beta_1_power,
            beta2_power=beta_2_power,
            lr=tf.cast(learning_rate, tf.float32),
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=tf.cast(gradient, tf.float32),
        )
