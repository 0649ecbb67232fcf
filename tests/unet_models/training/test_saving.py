"""A model file that is not the trained network is refused."""

from __future__ import annotations

import pytest

from tests.unet_models.tiny import SETTINGS, discs
from unet_models.training import saving, training


def test_a_file_that_does_not_predict_as_trained_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr("unet_models.training.saving.copy_weights", lambda source, target: None)
    with pytest.raises(RuntimeError, match="predicts probabilities that differ"):
        training.train({**SETTINGS, "epochs": 4}, discs(), model_file=tmp_path / "m.keras")

    save = saving.save

    def damaged(model, path):
        weights = model.get_weights()
        model.set_weights([weights[0] + 1e-3, *weights[1:]])
        save(model, path)
        model.set_weights(weights)

    monkeypatch.undo()
    monkeypatch.setattr(saving, "save", damaged)
    with pytest.raises(RuntimeError, match="contains different weights"):
        training.train(SETTINGS, discs(), model_file=tmp_path / "m.keras")
