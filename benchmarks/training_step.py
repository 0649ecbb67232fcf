"""``python -m benchmarks.training_step``: images per second of this product's training, and of three references.

(a) a textbook Keras network in plain ``model.fit`` on NumPy arrays, (b) the same network in PyTorch, (c) the
machine's peak: its best rate of a matrix product and of a 3x3 convolution. Network, batch, precision and threads are
the same; all take turns within one run.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.bursts import Gate, Worker, median_ratio, take_turns
from benchmarks.table import keep, show
from jobs.grid.settings import POINT
from unet_models.networks.flops import training_flops
from unet_models.networks.parameters import ARCHITECTURES

LEVELS = 5

STEPS = 2  # in a burst


def _patches(count: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (count, size, size), np.uint8)
    return images, generator.random((count, size, size)) < 0.1


def train_product(gate: Gate, *, threads: int, size: int, **settings: Any) -> None:
    """The training of this product, as a point runs it."""
    from unet_models.data.packed import PackedData
    from unet_models.training import training

    settings = {name: one.default for name, one in POINT.items()} | {"epochs": 10_000} | settings
    training.prepare_process(settings, threads=threads)
    images, masks = _patches(200, size)
    part = np.repeat(np.array([0, 1], np.int8), [192, 8])
    data = PackedData.of_arrays(
        images, masks, part, np.arange(200, dtype=np.int32), "noise", "contiguous", fingerprint="noise"
    )
    with tempfile.TemporaryDirectory() as folder:
        training.train(settings, data, model_file=Path(folder) / "model.keras", on_batch=gate)


def train_textbook(
    gate: Gate, *, threads: int, size: int, architecture: str, base_filters: int, batch_size: int
) -> None:
    """A textbook network in plain ``model.fit``, with the default settings of TensorFlow."""
    os.environ.pop("TF_ENABLE_ONEDNN_OPTS", None)  # set by this product's package
    import keras
    import tensorflow as tf

    from benchmarks.textbook import compiled

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    model = compiled(architecture, patch_size=size, base_filters=base_filters)
    images, masks = _patches(192, size)

    class Turns(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            float(logs["loss"])
            gate()

    model.fit(
        (images / np.float32(255))[..., None],
        masks.astype(np.float32)[..., None],
        batch_size=batch_size,
        epochs=10_000,
        verbose=0,
        callbacks=[Turns()],
    )


def train_torch(
    gate: Gate, *, threads: int, size: int, architecture: str, base_filters: int, batch_size: int
) -> None:
    """The same network in PyTorch, eager, in its fastest layout on a CPU."""
    import torch

    from benchmarks.torch_networks import Network, focal_loss

    torch.set_num_threads(threads)
    torch.manual_seed(1)
    model = Network(architecture, base_filters).train()
    optimizer = torch.optim.Adam(model.parameters(), 1e-3, eps=1e-7)
    images, masks = _patches(192, size)
    images, masks = torch.from_numpy(images), torch.from_numpy(masks)
    while True:
        for places in torch.randperm(len(images)).split(batch_size):
            image, mask = images[places, None].float() / 255, masks[places, None].float()
            optimizer.zero_grad()
            loss = focal_loss(model(image), mask)
            loss.backward()
            for parameter in model.parameters():  # what Keras calls clipnorm
                torch.nn.utils.clip_grad_norm_([parameter], 1.0)
            optimizer.step()
            float(loss.detach())
            gate()


def multiply(gate: Gate, *, threads: int) -> None:
    """Matrix products of :data:`PRODUCT_FLOPS`."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    square = tf.random.normal((PRODUCT_SIZE, PRODUCT_SIZE))
    _repeat(gate, tf.function(lambda: tf.matmul(square, square)))


def convolve(gate: Gate, *, threads: int) -> None:
    """3x3 convolutions of :data:`CONVOLUTION_FLOPS`, at the size that is fastest on a CPU."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    image, kernel = tf.random.normal((8, 32, 32, 256)), tf.random.normal((3, 3, 256, 256))
    _repeat(gate, tf.function(lambda: tf.nn.conv2d(image, kernel, 1, "SAME")))


def _repeat(gate: Gate, operation: Callable[[], Any]) -> None:
    while True:
        for _ in range(REPEATS):
            operation()
        gate()


PRODUCT_SIZE = 2048
PRODUCT_FLOPS = 2 * PRODUCT_SIZE**3
CONVOLUTION_FLOPS = 2 * 9 * 8 * 32**2 * 256**2
REPEATS = 2


def measure(
    architecture: str,
    *,
    rounds: int,
    size: int,
    base_filters: int,
    batch_size: int,
    variants: dict[str, dict],
) -> list[dict[str, Any]]:
    """One row per program: images per second, and the medians of the ratios of all rounds."""
    threads = len(os.sched_getaffinity(0))
    network = {"architecture": architecture, "base_filters": base_filters, "batch_size": batch_size}
    common = {"threads": threads, "size": size, **network}
    workers = {"matrix product": Worker(multiply, threads=threads)}
    workers["3x3 convolution"] = Worker(convolve, threads=threads)
    workers["plain Keras"] = Worker(train_textbook, **common)
    if find_spec("torch") is not None:
        workers["PyTorch"] = Worker(train_torch, **common)
    for name, options in variants.items():
        workers[name] = Worker(train_product, **common, **options)
    try:
        found = take_turns(workers, rounds=rounds, steps=STEPS)
    finally:
        for worker in workers.values():
            worker.close()
    flops = training_flops(architecture, patch_size=size, base_filters=base_filters, levels=LEVELS)
    for one in found:
        one["peak"] = 1 / max(
            REPEATS * PRODUCT_FLOPS / one["matrix product"],
            REPEATS * CONVOLUTION_FLOPS / one["3x3 convolution"],
        )
    rows = []
    for name, worker in workers.items():
        if name in ("matrix product", "3x3 convolution"):
            continue
        for one in found:
            one[f"flop of {name}"] = one[name] / (batch_size * flops)
        rows.append(
            {
                "architecture": architecture,
                "training": name,
                "images/s": statistics.median(batch_size / one[name] for one in found),
                "of PyTorch": median_ratio(found, "PyTorch", name) if "PyTorch" in workers else None,
                "of plain Keras": median_ratio(found, "plain Keras", name),
                "of the peak": median_ratio(found, "peak", f"flop of {name}"),
                "GFLOP/s": statistics.median(batch_size * flops / one[name] for one in found) / 1e9,
                "peak GFLOP/s": statistics.median(1 / one["peak"] for one in found) / 1e9,
                "first steps s": worker.first_seconds,
            }
        )
    return rows


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark with the arguments ``argv`` and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.training_step",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--architectures", nargs="+", default=list(ARCHITECTURES), choices=ARCHITECTURES)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--size", type=int, default=128, help="pixels along a patch (128)")
    parser.add_argument("--base-filters", type=int, default=16)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument(
        "--xla", action="store_true", help="also with jit_compile: on, which compiles for a minute"
    )
    parser.add_argument("--json", type=Path, metavar="FOLDER", help="keep the rows there, too")
    arguments = parser.parse_args(argv)
    if find_spec("torch") is None:
        print("PyTorch is not installed: pip install torch==2.13.0 (the CPU build); going on without it")
    rows = []
    for architecture in arguments.architectures:
        rows += measure(
            architecture,
            rounds=arguments.rounds,
            size=arguments.size,
            base_filters=arguments.base_filters,
            batch_size=arguments.batch_size,
            variants={"ours": {}, "ours, XLA": {"jit_compile": "on"}} if arguments.xla else {"ours": {}},
        )
    show(f"Training, {arguments.size}x{arguments.size}, width {arguments.base_filters}, float32", rows)
    keep(arguments.json, "training_step", rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
