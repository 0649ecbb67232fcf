"""Layers that compute the same as Keras' own in fewer operations. For training only: no saved model contains them.

Each has the variables of the layers that it replaces, with the same names, shapes and initial values, so that
weights can be copied between both forms of a network.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf
from keras import layers


class FusedBatchNormalization(layers.BatchNormalization):
    """``keras.layers.BatchNormalization`` over the last axis, in one operation.

    Keras computes moments, normalisation and their gradients one after another, in about ten passes over the
    tensor; TensorFlow's fused kernel (oneDNN on a CPU, cuDNN on a GPU) needs two. The kernel returns the
    unbiased variance and Keras keeps the biased one as running variance, so it is converted.
    """

    def __init__(self, **options: Any) -> None:
        # Statistics are float32 whatever the policy: Keras 3.0 would read them in half precision.
        super().__init__(autocast=False, **options)

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Normalise ``inputs`` (B, H, W, C): with the batch's statistics in training, else with the running ones."""
        learning = bool(training and self.trainable)
        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=tf.cast(inputs, self.compute_dtype),
            scale=tf.cast(self.gamma, tf.float32),
            offset=tf.cast(self.beta, tf.float32),
            mean=[] if learning else tf.cast(self.moving_mean, tf.float32),
            variance=[] if learning else tf.cast(self.moving_variance, tf.float32),
            epsilon=self.epsilon,
            is_training=learning,
        )
        if learning:
            count = tf.cast(tf.reduce_prod(tf.shape(inputs)[:-1]), tf.float32)
            variance *= tf.maximum(count - 1, 1) / count
            for running, batch in ((self.moving_mean, mean), (self.moving_variance, variance)):
                running.assign(running * self.momentum + batch * (1 - self.momentum))
        return outputs


class Conv2DBeforeNormalization(layers.Conv2D):
    """``keras.layers.Conv2D`` with a bias that is not trained, because a batch normalisation that follows removes it.

    The true gradient of such a bias is zero. The computed one is rounding noise, which Adam scales to full steps of
    the learning rate: a random walk that the normalisation removes in training, but not in validation, where the
    running mean lags behind.
    """

    def build(self, input_shape: Any) -> None:
        """Create the variables of ``Conv2D``."""
        super().build(input_shape)
        if self.bias is not None:
            self.bias.trainable = False


class UpSampledConv2D(layers.Layer):
    """A convolution of ``[x, skip]``: the same as ``Conv2D`` of ``Concatenate()([UpSampling2D(2)(x), skip])``.

    ``x`` is (B, H/2, W/2, C), ``skip`` (B, H, W, D), the result (B, H, W, ``filters``); ``size`` is 1 or 3,
    padding "same". A convolution is linear in its channels, so nothing needs to be concatenated and no gradient
    sliced. A 3x3 convolution of an image enlarged by repetition equals a 4x4 transposed convolution with stride 2,
    whose kernel contains sums of the 3x3 kernel's values: 4 multiplications per pixel and channel instead of 9. A 1x1
    convolution is done before the repetition: 1 instead of 4. Its bias is not trained
    (:class:`Conv2DBeforeNormalization`).

    Raises:
        ValueError: ``size`` is neither 1 nor 3.
    """

    def __init__(self, filters: int, size: int, **options: Any) -> None:
        if size not in (1, 3):
            raise ValueError(f"size: received {size}, expected 1 or 3")
        # The kernel's values are added in float32, whatever the policy.
        super().__init__(autocast=False, **options)
        self.filters, self.size = filters, size
        self._initializer = keras.initializers.HeNormal()

    def build(self, shapes: Any) -> None:
        """Create the variables that ``Conv2D`` of the concatenation would have. ``shapes`` are of ``x`` and ``skip``."""
        (*_, x_channels), (*_, skip_channels) = shapes
        self.split = x_channels
        self.kernel = self.add_weight(
            shape=(self.size, self.size, x_channels + skip_channels, self.filters),
            initializer=self._initializer,
            name="kernel",
        )
        self.bias = self.add_weight(shape=(self.filters,), initializer="zeros", trainable=False, name="bias")

    def call(self, inputs: Any) -> Any:
        """The convolution of ``inputs``, the pair ``[x, skip]``."""
        x, skip = (tf.cast(tensor, self.compute_dtype) for tensor in inputs)
        kernel = tf.convert_to_tensor(self.kernel)
        for_x, for_skip = tf.split(kernel, [self.split, kernel.shape[2] - self.split], axis=2)
        from_skip = tf.nn.bias_add(
            tf.nn.conv2d(skip, tf.cast(for_skip, self.compute_dtype), 1, "SAME"),
            tf.cast(self.bias, self.compute_dtype),
        )
        if self.size == 1:
            return _repeated(tf.nn.conv2d(x, tf.cast(for_x, self.compute_dtype), 1, "SAME")) + from_skip
        rows, columns = tf.shape(skip)[1], tf.shape(skip)[2]
        enlarging = tf.cast(enlarging_kernel(for_x), self.compute_dtype)
        shape = tf.stack([tf.shape(x)[0], rows, columns, self.filters])
        return tf.nn.conv2d_transpose(x, enlarging, shape, 2, "SAME") + from_skip

    def compute_output_shape(self, shapes: Any) -> tuple[Any, ...]:
        """(B, H, W, ``filters``) for the shapes of ``x`` and ``skip``."""
        return (*shapes[1][:-1], self.filters)


def enlarging_kernel(kernel: tf.Tensor) -> tf.Tensor:
    """The kernel (4, 4, F, C) of the transposed convolution with stride 2 that first repeats and then convolves.

    ``kernel`` (3, 3, C, F) is that of the convolution. Each input row becomes two output rows. The upper one reaches
    the input row above with the kernel's first row, and its own input row with the other two; the lower one is its
    mirror image. Columns likewise.
    """
    for axis in (0, 1):
        first, second, third = tf.unstack(kernel, axis=axis)
        kernel = tf.stack([third, second + third, first + second, first], axis=axis)
    return tf.transpose(kernel, (0, 1, 3, 2))


def _repeated(x: tf.Tensor) -> tf.Tensor:
    """(B, H, W, C) -> (B, 2H, 2W, C), each pixel four times."""
    return tf.repeat(tf.repeat(x, 2, axis=1), 2, axis=2)
