"""Packed arrays -> batches. Shuffling and augmentation depend on (seed, epoch, sample) and on nothing else.

So an epoch is the same whether the process began before it or with it, and a resumed point sees what an
uninterrupted one would have seen.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

_PER_LEVEL = np.float32(1 / 255)
# How many batches are made at a time, and how many wait to be used. Far more than a step can use up: a batch of 32
# patches of 256x256 takes a core milliseconds.
_AT_ONCE, _AHEAD = 4, 4


def _steady(batches: tf.data.Dataset) -> tf.data.Dataset:
    """``batches`` without automatic tuning.

    It looks at the pipeline at intervals that double up to a minute, and closing an iterator waits for the
    next look: each validation and each training ended with up to as much idle time again as it had lasted.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return batches.with_options(options)


# Nothing here branches or loops by a tensor's value: TensorFlow need not translate the functions' source (0.2 s).
_as_written = tf.autograph.experimental.do_not_convert


@_as_written
def _scale(images: tf.Tensor, masks: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """uint8 (B, P, P) and bool (B, P, P) -> float32 (B, P, P, 1) in [0, 1], twice."""
    # TensorFlow turns a division into this product within some graphs and not within others: a bit of difference.
    return tf.cast(images, tf.float32)[..., None] * _PER_LEVEL, tf.cast(masks, tf.float32)[..., None]


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


class ResidentPatches:
    """All patches of a run in the memory of the device that computes, for steps that fetch their batch there.

    Then a step gets 8 bytes a sample from the host: its row here and its symmetry. The values are float16,
    in which 0 to 255 are exact and for which every operation here has a GPU kernel (uint8 has not): 4 bytes a pixel.
    """

    LIMIT = 4 * 2**30  # bytes; an eleventh of an A40. Beyond it, batches are streamed.

    def __init__(self, images: np.ndarray, masks: np.ndarray, device: str) -> None:
        """Copy ``images`` uint8 (N, P, P) and ``masks`` bool (N, P, P) to ``device``, such as ``GPU:0``."""
        with tf.device(device):
            self._pairs = tf.constant(np.stack([images, masks], axis=-1, dtype=np.float16, casting="unsafe"))

    @classmethod
    def fits(cls, images: np.ndarray) -> bool:
        """Whether so many patches may be resident."""
        return 4 * images.size <= cls.LIMIT

    def fetch(self, rows: tf.Tensor, codes: tf.Tensor | None = None) -> tuple[tf.Tensor, tf.Tensor]:
        """float32 (B, P, P, 1) image and mask of ``rows`` int32 (B,), moved as ``codes`` int32 (B,) say."""
        pairs = tf.gather(self._pairs, rows)
        if codes is not None:
            pairs = symmetries(pairs, codes)
        return _scale(pairs[..., 0], pairs[..., 1])


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
    rows: np.ndarray | None = None,
) -> tf.data.Dataset:
    """Batches of epochs ``first_epoch`` to ``epochs - 1`` (from 0), one after another.

    ``images`` uint8 (N, P, P), ``masks`` bool (N, P, P), N >= ``batch_size``; each epoch is a new order of
    all samples of which the last N % ``batch_size`` are left out, so every batch has the same size.
    ``parts`` divides ``batch_size``: the same batches, each in so many elements. Elements: float32
    (batch_size / parts, P, P, 1) image and mask. With ``rows`` (N,), where the samples stand among
    :class:`ResidentPatches`, elements are the arguments of its ``fetch`` that give these batches.
    """
    count = len(images)
    if rows is None:
        stored_images, stored_masks = tf.constant(images), tf.constant(masks)
    else:
        stored_rows = tf.constant(rows, tf.int32)

    @_as_written
    def epoch_batches(epoch: tf.Tensor) -> tf.data.Dataset:
        epoch = tf.cast(epoch, tf.int32)

        @_as_written
        def load(positions: tf.Tensor) -> tuple[tf.Tensor, ...]:
            samples = tf.random.experimental.index_shuffle(
                positions, seed=tf.stack([seed, epoch]), max_index=count - 1
            )
            codes = None
            if augment:
                codes = tf.random.stateless_uniform(
                    (batch_size,), tf.stack([seed, epoch * count + positions[0]]), 0, 8, tf.int32
                )
            if rows is not None:
                chosen = tf.gather(stored_rows, samples)
                return (chosen,) if codes is None else (chosen, codes)
            image, mask = tf.gather(stored_images, samples), tf.gather(stored_masks, samples)
            if codes is not None:
                both = tf.stack([image, tf.cast(mask, tf.uint8)], axis=-1)
                both = symmetries(both, codes)
                image, mask = both[..., 0], both[..., 1]
            return _scale(image, mask)

        return (
            tf.data.Dataset.range(count, output_type=tf.int32)
            .batch(batch_size, drop_remainder=True)
            .map(load, num_parallel_calls=_AT_ONCE, deterministic=True)
        )

    # One stream over all epochs: the next epoch's first batches are ready when it begins.
    batches = tf.data.Dataset.range(first_epoch, epochs).flat_map(epoch_batches)
    if parts > 1:
        batches = batches.unbatch().batch(batch_size // parts, drop_remainder=True)
    return _steady(batches.prefetch(_AHEAD))


def evaluation_batches(
    images: np.ndarray, masks: np.ndarray, *, batch_size: int, rows: np.ndarray | None = None
) -> tf.data.Dataset:
    """All samples once, in order, the last batch smaller; elements as :func:`training_batches`."""
    samples = (images, masks) if rows is None else (np.asarray(rows, np.int32),)
    batches = tf.data.Dataset.from_tensor_slices(samples).batch(batch_size)
    if rows is None:
        batches = batches.map(_scale, num_parallel_calls=_AT_ONCE, deterministic=True)
    return _steady(batches.prefetch(_AHEAD))
