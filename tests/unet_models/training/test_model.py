"""The compiled network follows the settings, and its fast form trains as Keras' own layers do."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from tests.unet_models.tiny import SETTINGS
from unet_models.training.model import build_loss, build_model, build_optimizer, compiles
from unet_models.training.variables import network_variables


def test_auto_compiles_on_a_gpu_only_and_not_where_xla_fails(monkeypatch):
    import tensorflow as tf

    auto = {**SETTINGS, "jit_compile": "auto"}
    assert compiles(auto) == (False, "jit_compile: auto, no GPU")
    assert compiles({**auto, "jit_compile": "on"})[0] is True
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: ["GPU:0"])
    assert compiles(auto)[0] is True
    assert compiles({**auto, "deterministic": True}) == (False, "jit_compile: auto, deterministic")

    def broken(body, **options):
        raise tf.errors.InternalError(None, None, "libdevice not found at ./libdevice.10.bc")

    monkeypatch.setattr(tf, "function", broken)
    assert compiles(auto) == (
        False,
        "jit_compile: auto, XLA does not work here: libdevice not found at ./libdevice.10.bc",
    )


@pytest.mark.parametrize("gamma", [0.0, 2.0, 3.0])
def test_the_focal_loss_has_the_gamma_of_the_settings(gamma):
    truth, found = np.array([[1.0, 0.0]]), np.array([[0.9, 0.4]])
    right = np.array([0.9, 0.6])
    expected = np.mean(-((1 - right) ** gamma) * np.log(right))
    loss = build_loss({**SETTINGS, "focal_gamma": gamma})
    assert float(loss(truth, found)) == pytest.approx(expected, rel=1e-5)
    plain = build_loss({**SETTINGS, "loss": "binary_crossentropy", "focal_gamma": gamma})
    assert float(plain(truth, found)) == pytest.approx(np.mean(-np.log(right)), rel=1e-5)


def test_what_is_not_read_back_is_built_as_the_settings_say():
    settings = {**SETTINGS, "batch_norm_momentum": 0.8, "dropout": 0.3, "jit_compile": "off"}
    model, metric = build_model(settings, 32)
    momenta = {layer.momentum for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)}
    rates = {layer.rate for layer in model.layers if isinstance(layer, keras.layers.Dropout)}
    assert (momenta, rates) == ({0.8}, {0.3})
    assert metric.threshold == 0.5 and metric.counts() == (0, 0, 0)  # building leaves no counts
    assert model.jit_compile is False
    assert build_model({**settings, "jit_compile": "on"}, 32)[0].jit_compile is True
    assert build_model(settings, 32, compile_steps=True)[0].jit_compile is True


def test_accumulation_needs_a_keras_that_clips_the_sum(monkeypatch):
    monkeypatch.setattr("unet_models.training.model.ACCUMULATES", False)
    rate = keras.ops.convert_to_numpy(build_optimizer(SETTINGS).learning_rate)
    assert float(rate) == pytest.approx(5e-3)
    with pytest.raises(RuntimeError, match=r"needs Keras 3\.5 or newer"):
        build_optimizer(SETTINGS, 2)


def test_a_checkpoint_has_the_networks_variables_and_not_those_of_its_metric():
    model, metric = build_model({**SETTINGS, "dropout": 0.1}, 32)
    kept = {id(variable) for variable in network_variables(model)}
    assert {id(variable) for variable in model.weights} <= kept
    assert len(kept) > len(model.weights)  # the generators of dropout
    assert not kept & {id(variable) for variable in metric.variables}
