"""From packed data to batches. Shuffling and augmentation depend only on the seed, the epoch and the sample.

An epoch is therefore the same whether the process starts with it or before it, and a resumed point gets the same
batches as one that was not interrupted. Each batch is read from the files of the pack when it is needed.
"""

from __future__ import annotations

import atexit
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from unet_models.data.packed import PARTS, PackedData, Patches

# Batches that are made at the same time, and that wait to be used. This is more than any step needs: one core makes a
# batch of 32 patches of 256x256 in milliseconds.
_AT_ONCE, _AHEAD = 4, 4
_BLOCK = 256  # patches that are copied to a device at a time


def _steady(batches: tf.data.Dataset) -> tf.data.Dataset:
    """``batches`` without TensorFlow's automatic tuning.

    The tuner wakes up at intervals that double up to a minute, and closing an iterator waits until it does. Each
    validation and each training would end with idle time of up to its own duration.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return batches.with_options(options)


# No function here branches or loops on a tensor's value, so TensorFlow need not translate their source, which takes 0.2 s.
_as_written = tf.autograph.experimental.do_not_convert


@_as_written
def _scale(images: tf.Tensor, masks: tf.Tensor, levels: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Images (B, P, P), 0 to ``levels``, and masks, bool (B, P, P) -> float32 (B, P, P, 1) in [0, 1], twice."""
    # A division would not do: TensorFlow replaces it by this product in some graphs only, and the last bit differs.
    per_level = np.float32(1 / levels)
    return tf.cast(images, tf.float32)[..., None] * per_level, tf.cast(masks, tf.float32)[..., None]


class Samples(Protocol):
    """What batches are made of: patches of a part, or the random crops of an epoch."""

    def __len__(self) -> int:
        """Number of samples in an epoch."""

    @property
    def size(self) -> int:
        """Side of a sample, in pixels."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the images: uint8 or uint16."""

    def take(self, rows: np.ndarray, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Images (k, P, P) and masks, bool (k, P, P), of ``rows``, int (k,), of an epoch."""


class _Orders:
    """Counts the batches that TensorFlow's threads are having Python read, so that a process can end in order.

    A thread that needs Python's lock while the interpreter ends never gets it. An iterator that still exists then
    waits for its threads, and the interpreter for the iterator, for ever.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open = 0
        self._last = 0.0
        atexit.register(self.wait)

    def __enter__(self) -> None:
        with self._lock:
            self._open += 1

    def __exit__(self, *_error: object) -> None:
        with self._lock:
            self._open -= 1
            self._last = time.monotonic()

    def wait(self) -> None:
        """Wait until no batch is being read and none was for a moment: an iterator orders only a few in advance."""
        given_up = time.monotonic() + 10.0
        while time.monotonic() < given_up:
            with self._lock:
                if not self._open and time.monotonic() - self._last > 0.1:
                    return
            time.sleep(0.01)


_ORDERS = _Orders()


def _read(
    samples: Samples, rows: tf.Tensor, epoch: tf.Tensor, codes: tf.Tensor | None = None
) -> tuple[tf.Tensor, tf.Tensor]:
    """The images and masks of ``rows``, int32 (B,), read when the batch is needed; ``codes`` are their symmetries."""
    kind = tf.as_dtype(samples.dtype)

    def take(rows: np.ndarray, epoch: np.ndarray, *codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        with _ORDERS:
            images, masks = samples.take(rows, int(epoch))
            return (moved(images, *codes), moved(masks, *codes)) if codes else (images, masks)

    arguments = [rows, epoch] if codes is None else [rows, epoch, codes]
    images, masks = tf.numpy_function(take, arguments, (kind, tf.bool), stateful=False)
    shape = (rows.shape[0], samples.size, samples.size)
    return tf.ensure_shape(images, shape), tf.ensure_shape(masks, shape)


def moved(images: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """:func:`symmetries` of ``images`` (B, P, P) in memory, which takes a tenth of the time."""
    result = np.empty_like(images)
    for image, code, place in zip(images, codes.tolist(), result, strict=True):
        turned = image.T if code & 1 else image
        turned = turned[:, ::-1] if code & 2 else turned
        place[...] = turned[::-1] if code & 4 else turned
    return result


_MOVES: tuple[Callable[[tf.Tensor], tf.Tensor], ...] = (
    lambda x: tf.transpose(x, (0, 2, 1, 3)),
    lambda x: tf.reverse(x, [2]),
    lambda x: tf.reverse(x, [1]),
)


def symmetries(pair: tf.Tensor, codes: tf.Tensor) -> tf.Tensor:
    """Apply one of the 8 symmetries of the square to each sample.

    Args:
        pair: any type, (B, P, P, C).
        codes: int32 (B,), 0 to 7. Bit 0 transposes, then bit 1 flips left to right, then bit 2 flips upside down;
            together they give all flips and quarter turns.

    Returns:
        The same type and shape as ``pair``. Pixels are moved, never interpolated.
    """
    for bit, move in enumerate(_MOVES):
        chosen = tf.bitwise.bitwise_and(codes, 1 << bit) > 0
        pair = tf.where(chosen[:, None, None, None], move(pair), pair)
    return pair


def _exact(dtype: np.dtype[Any]) -> type[np.floating[Any]]:
    """The smallest type that represents all values of ``dtype`` and has GPU kernels for all that is done with them."""
    return np.float16 if dtype == np.uint8 else np.float32


class ResidentPatches:
    """All patches of a run in the memory of the device that trains.

    Each step then gets only 8 bytes per sample from the host: its row number and its symmetry. The values are float16,
    which represents 0 to 255 exactly and has GPU kernels for every operation used here (uint8 does not), or float32 for
    patches of 16 bits. A pixel with its mask takes 4 or 8 bytes.
    """

    LIMIT = 4 * 2**30  # bytes, an eleventh of an A40's memory; larger data are streamed

    def __init__(self, parts: Sequence[Patches], device: str) -> None:
        """Copy all patches of ``parts``, one part after another, to ``device``, for example ``GPU:0``.

        The host needs memory for a block of them only.
        """
        self._levels = int(np.iinfo(parts[0].dtype).max)
        exact = _exact(parts[0].dtype)
        size = parts[0].size
        with tf.device(device):
            filled = tf.Variable(tf.zeros((sum(map(len, parts)), size, size, 2), exact), trainable=False)
            done = 0
            for patches in parts:
                for start in range(0, len(patches), _BLOCK):
                    pair = np.stack(
                        patches.read(slice(start, start + _BLOCK)), axis=-1, dtype=exact, casting="unsafe"
                    )
                    filled[done : done + len(pair)].assign(pair)
                    done += len(pair)
            self._pairs = filled.read_value()  # of the same memory: nothing is copied

    @staticmethod
    def bytes(data: PackedData) -> int:
        """What all patches of ``data`` and their masks take on the device."""
        pixels = sum(data.patches(part).images.size for part in PARTS)
        return 2 * np.dtype(_exact(data.dtype)).itemsize * pixels

    @classmethod
    def fits(cls, data: PackedData) -> bool:
        """Whether the patches of ``data`` take at most :data:`LIMIT` bytes. Random crops are streamed."""
        return data.crops is None and cls.bytes(data) <= cls.LIMIT

    def fetch(self, rows: tf.Tensor, codes: tf.Tensor | None = None) -> tuple[tf.Tensor, tf.Tensor]:
        """Image and mask, each float32 (B, P, P, 1), 0 to 1, of the patches ``rows``, int32 (B,).

        ``codes``, int32 (B,), are their symmetries; ``None`` for none.
        """
        pairs = tf.gather(self._pairs, rows)
        if codes is not None:
            pairs = symmetries(pairs, codes)
        image, mask = _scale(pairs[..., 0], pairs[..., 1], self._levels)
        return image, mask


def training_batches(
    samples: Samples,
    *,
    batch_size: int,
    seed: int,
    first_epoch: int,
    epochs: int,
    augment: bool,
    parts: int = 1,
    rows: np.ndarray | None = None,
) -> tf.data.Dataset:
    """The batches of the epochs ``first_epoch`` to ``epochs - 1``, counted from 0, one after another.

    Each epoch has all samples in a new order, without the last N % ``batch_size``, so that all batches have the same
    size.

    Args:
        samples: N of them, N >= ``batch_size``.
        batch_size: samples per step of the optimizer.
        seed: of shuffling and augmentation.
        first_epoch: number of epochs that are already done.
        epochs: number of epochs in total.
        augment: whether each sample gets a random symmetry in each epoch, all 8 with equal probability.
        parts: a divisor of ``batch_size``; each batch comes in this many elements.
        rows: int (N,), the samples' row numbers in :class:`ResidentPatches`; the samples are then not read.

    Returns:
        A dataset whose elements are image and mask, each float32 (batch_size / parts, P, P, 1), 0 to 1. With
        ``rows``, its elements are the arguments of :meth:`ResidentPatches.fetch` that give these batches.
    """
    count = len(samples)
    levels = int(np.iinfo(samples.dtype).max)
    stored_rows = None if rows is None else tf.constant(rows, tf.int32)

    @_as_written
    def epoch_batches(epoch: tf.Tensor) -> tf.data.Dataset:
        epoch = tf.cast(epoch, tf.int32)

        @_as_written
        def load(positions: tf.Tensor) -> tuple[tf.Tensor, ...]:
            chosen = tf.random.experimental.index_shuffle(
                positions, seed=tf.stack([seed, epoch]), max_index=count - 1
            )
            codes = None
            if augment:
                codes = tf.random.stateless_uniform(
                    (batch_size,), tf.stack([seed, epoch * count + positions[0]]), 0, 8, tf.int32
                )
            if stored_rows is not None:
                chosen = tf.gather(stored_rows, chosen)
                return (chosen,) if codes is None else (chosen, codes)
            image, mask = _scale(*_read(samples, chosen, epoch, codes), levels)
            return image, mask

        return (
            tf.data.Dataset.range(count, output_type=tf.int32)
            .batch(batch_size, drop_remainder=True)
            .map(load, num_parallel_calls=_AT_ONCE, deterministic=True)
        )

    # One stream over all epochs: the first batches of an epoch are ready before it begins.
    batches = tf.data.Dataset.range(first_epoch, epochs).flat_map(epoch_batches)
    if parts > 1:
        batches = batches.unbatch().batch(batch_size // parts, drop_remainder=True)
    return _steady(batches.prefetch(_AHEAD))


def evaluation_batches(
    samples: Samples, *, batch_size: int, rows: np.ndarray | None = None
) -> tf.data.Dataset:
    """All samples once and in order; the last batch may be smaller. Arguments and elements as in :func:`training_batches`."""
    if rows is not None:
        resident = tf.data.Dataset.from_tensor_slices((np.asarray(rows, np.int32),)).batch(batch_size)
        return _steady(resident.prefetch(_AHEAD))
    levels = int(np.iinfo(samples.dtype).max)

    @_as_written
    def load(chosen: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        image, mask = _scale(*_read(samples, chosen, tf.constant(0)), levels)
        return image, mask

    batches = tf.data.Dataset.range(len(samples), output_type=tf.int32).batch(batch_size)
    batches = batches.map(load, num_parallel_calls=_AT_ONCE, deterministic=True)
    return _steady(batches.prefetch(_AHEAD))
