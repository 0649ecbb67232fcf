"""The process that trains: what TensorFlow fixes at its first operation, and the device it computes on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from unet_models.wording import MAKE_ENVIRONMENT

CPU = "CPU"  # the device of a result where there was no GPU


def prepare_process(settings: Mapping[str, Any], *, threads: int | None = None) -> None:
    """Set the threads, GPU memory growth, TF32, random seeds, determinism and precision of this process.

    Call it once, before anything is built: TensorFlow fixes the threads at its first operation.

    Args:
        settings: of the point; ``seed``, ``deterministic``, ``tensor_float_32`` and ``precision`` are used.
        threads: number of cores that this process may use; ``None`` for all.

    Raises:
        RuntimeError: Keras is older than 3, or does not run on TensorFlow.
    """
    if int(keras.__version__.split(".")[0]) < 3:
        raise RuntimeError(
            f"Keras {keras.__version__} at {keras.__file__}: expected Keras 3; run {MAKE_ENVIRONMENT}. Packages in "
            "~/.local hide those of an environment: set PYTHONNOUSERSITE=1"
        )
    if keras.backend.backend() != "tensorflow":
        raise RuntimeError(
            f"Keras runs on {keras.backend.backend()}, because something imported it before this product; expected "
            "TensorFlow: unset KERAS_BACKEND"
        )
    # As Keras comes; unet_models sees to it that no keras.json is read, but something may have imported Keras before.
    keras.config.set_image_data_format("channels_last")
    keras.config.set_floatx("float32")
    keras.config.set_epsilon(1e-7)
    if threads is not None:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(max(1, min(2, threads)))
    for gpu in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(gpu, True)
    tf.config.experimental.enable_tensor_float_32_execution(settings["tensor_float_32"])
    keras.utils.set_random_seed(settings["seed"])
    if settings["deterministic"]:
        tf.config.experimental.enable_op_determinism()
    keras.mixed_precision.set_global_policy(settings["precision"])


def device() -> str:
    """The name of the GPU that TensorFlow computes on, or :data:`CPU`; the card is not used for it."""
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        return CPU
    name: str = tf.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU")
    return name


def built_for_gpus() -> bool:
    """Whether this TensorFlow can use GPUs; the build ``tensorflow-cpu`` cannot."""
    return bool(tf.test.is_built_with_gpu_support())


def hardware() -> dict[str, Any]:
    """The device that TensorFlow computes on, and its peak memory in MB (``None`` without a GPU).

    It also works after an exception, and then gives the memory in use when it ran out.
    """
    name = device()
    if name == CPU:
        return {"device": CPU, "gpu_peak_memory_mb": None}
    peak = tf.config.experimental.get_memory_info("GPU:0")["peak"] / 2**20
    return {"device": name, "gpu_peak_memory_mb": round(peak, 1)}
