"""The process is set up as the settings say, and the device and its peak memory are reported."""

from __future__ import annotations

import random

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.unet_models.tiny import SETTINGS
from unet_models.training.process import hardware, prepare_process


@pytest.mark.parametrize(("threads", "expected"), [(1, (1, 1)), (2, (2, 2)), (8, (8, 2))])
def test_threads_are_limited(monkeypatch, threads, expected):
    """The second number is that of operations at the same time: more than two gain nothing here."""
    set_to = {}
    for name in ("intra", "inter"):
        monkeypatch.setattr(
            tf.config.threading,
            f"set_{name}_op_parallelism_threads",
            lambda count, name=name: set_to.update({name: count}),
        )
    prepare_process(SETTINGS)
    assert set_to == {}
    prepare_process(SETTINGS, threads=threads)
    assert (set_to["intra"], set_to["inter"]) == expected


def test_the_seed_decides_every_random_generator():
    def numbers(seed):
        keras.backend.clear_session()  # a process that trains has drawn no number before; older Keras goes on otherwise
        prepare_process({**SETTINGS, "seed": seed})
        return (
            random.random(),
            np.random.rand(),  # noqa: NPY002 - the generator that Keras seeds
            float(keras.random.uniform(())),
            float(tf.random.uniform(())),
        )

    assert numbers(3) == numbers(3)
    assert not set(numbers(3)) & set(numbers(4))


def test_precision_is_set():
    prepare_process({**SETTINGS, "precision": "mixed_bfloat16"})
    assert keras.mixed_precision.global_policy().name == "mixed_bfloat16"


def test_another_backend_is_refused(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    with pytest.raises(RuntimeError, match="runs on torch, .*expected TensorFlow: unset KERAS_BACKEND"):
        prepare_process(SETTINGS)


def test_the_device_and_its_peak_memory_are_reported(monkeypatch):
    assert hardware() == {"device": "CPU", "gpu_peak_memory_mb": None}
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["gpu"])
    experimental = tf.config.experimental
    monkeypatch.setattr(experimental, "get_device_details", lambda gpu: {"device_name": "A40"})
    memory = {"current": 1, "peak": 1610612736 + 52429}  # 1536.05 MB: binary, rounded to a tenth
    monkeypatch.setattr(experimental, "get_memory_info", lambda name: memory)
    assert hardware() == {"device": "A40", "gpu_peak_memory_mb": 1536.1}
