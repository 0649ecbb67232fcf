"""Packed arrays -> batches. Shuffling and augmentation depend on (seed, epoch, sample) and on nothing else.

So an epoch is the same whether the process began before it or with it, and a resumed point sees what an
uninterrupted one would have seen.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf


def _scale(images: tf.Tensor, masks: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """uint8 (B, P, P) and bool (B, P, P) -> float32 (B, P, P, 1) in [0, 1], twice."""
    return tf.cast(images, tf.float32)[..., None] / 255.0, tf.cast(masks, tf.float32)[..., None]


def symmetries(pair: tf.Tensor, codes: tf.Tensor) -> tf.Tensor:
    """Apply to each sample of ``pair`` (B, P, P, C) the symmetry of the square that its code, 0 to 7, names.

    Bit 0 transposes, bit 1 flips left to right, bit 2 upside down: all flips and quarter turns. Exact:
    pixels are moved, never interpolated.
    """
    for bit, move in enumerate(
        (lambda x: tf.transpose(x, (0, 2, 1, 3)), lambda x: tf.reverse(x, [2]), lambda x: tf.reverse(x, [1]))
    ):
        chosen = tf.bitwise.bitwise_and(codes, 1 << bit) > 0
        pair = tf.where(chosen[:, None, None, None], move(pair), pair)
    return pair


def training_batches(
    images: np.ndarray,
    masks: np.ndarray,
    *,
    batch_size: int,
    seed: int,
    first_epoch: int,
    epochs: int,
    augment: bool,
    parts: int = 1,
) -> tf.data.Dataset:
    """Batches of epochs ``first_epoch`` to ``epochs - 1`` (from 0), one after another.

    ``images`` uint8 (N, P, P), ``masks`` bool (N, P, P), N >= ``batch_size``; each epoch is a new order of
    all samples of which the last N % ``batch_size`` are left out, so every batch has the same size.
    ``parts`` divides ``batch_size``: the same batches, each in so many elements. Elements: float32
    (batch_size / parts, P, P, 1) image and mask.
    """
    count = len(images)
    stored_images, stored_masks = tf.constant(images), tf.constant(masks)

    def epoch_batches(epoch: tf.Tensor) -> tf.data.Dataset:
        epoch = tf.cast(epoch, tf.int32)

        def load(positions: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            samples = tf.random.experimental.index_shuffle(
                positions, seed=tf.stack([seed, epoch]), max_index=count - 1
            )
            image, mask = tf.gather(stored_images, samples), tf.gather(stored_masks, samples)
            if augment:
                codes = tf.random.stateless_uniform(
                    (batch_size,), tf.stack([seed, epoch * count + positions[0]]), 0, 8, tf.int32
                )
                both = tf.stack([image, tf.cast(mask, tf.uint8)], axis=-1)
                both = symmetries(both, codes)
                image, mask = both[..., 0], both[..., 1]
            return _scale(image, mask)

        return (
            tf.data.Dataset.range(count, output_type=tf.int32)
            .batch(batch_size, drop_remainder=True)
            .map(load, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        )

    # One stream over all epochs: the next epoch's first batches are ready when it begins.
    batches = tf.data.Dataset.range(first_epoch, epochs).flat_map(epoch_batches)
    if parts > 1:
        batches = batches.unbatch().batch(batch_size // parts, drop_remainder=True)
    return batches.prefetch(tf.data.AUTOTUNE)


def evaluation_batches(images: np.ndarray, masks: np.ndarray, *, batch_size: int) -> tf.data.Dataset:
    """All samples once, in order, the last batch smaller; elements as :func:`training_batches`."""
    return (
        tf.data.Dataset.from_tensor_slices((images, masks))
        .batch(batch_size)
        .map(_scale, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        .prefetch(tf.data.AUTOTUNE)
    )
