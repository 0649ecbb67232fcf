"""Each test gets a process prepared for the small settings, in float32."""

from __future__ import annotations

import keras
import pytest

from tests.unet_models.tiny import SETTINGS
from unet_models.training.process import prepare_process


@pytest.fixture(autouse=True)
def _fresh_process():
    prepare_process({**SETTINGS, "deterministic": False})
    yield
    keras.mixed_precision.set_global_policy("float32")
    keras.backend.clear_session()
