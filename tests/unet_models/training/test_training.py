"""Training does what the settings say, proves it before the first step, and learns."""

from __future__ import annotations

import math

import keras
import numpy as np
import pytest

from jobs.grid.settings import POINT
from unet_models.data.packed import PackedData
from unet_models.data.pipeline import training_batches
from unet_models.networks.networks import build_network
from unet_models.training import saving, training
from unet_models.training.callbacks import EpochRecorder
from unet_models.training.metrics import Jaccard
from unet_models.training.model import ACCUMULATES, build_model, compiles
from unet_models.training.read_back import read_back

SETTINGS = {key: setting.default for key, setting in POINT.items()} | {
    "base_filters": 2,
    "levels": 3,
    "epochs": 2,
    "learning_rate": 5e-3,
}


def discs(train=64, validation=8, test=4, size=32):
    """Bright discs on noise: an easy task for the smallest network."""
    generator = np.random.default_rng(0)
    count = train + validation + test
    rows, columns = np.indices((size, size))
    centres = generator.integers(8, size - 8, (count, 2))
    masks = np.stack([(rows - y) ** 2 + (columns - x) ** 2 < 36 for y, x in centres])
    images = np.clip(generator.normal(80, 15, masks.shape) + 90 * masks, 0, 255).astype(np.uint8)
    part = np.repeat([0, 1, 2], [train, validation, test]).astype(np.int8)
    return PackedData(images, masks, part, np.arange(count, dtype=np.int32), "discs", "contiguous", "f")


@pytest.fixture(autouse=True)
def _fresh_process():
    training.prepare_process({**SETTINGS, "deterministic": False})
    yield
    keras.mixed_precision.set_global_policy("float32")
    keras.backend.clear_session()


def built(settings=SETTINGS):
    data = discs()
    model, _ = build_model(settings, 32)
    batches = training_batches(
        *data.select("train"),
        batch_size=settings["batch_size"],
        seed=1,
        first_epoch=0,
        epochs=1,
        augment=False,
    )
    return model, batches


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd", "rmsprop"])
def test_what_is_built_is_what_was_asked_for(optimizer):
    settings = {**SETTINGS, "optimizer": optimizer, "learning_rate": 5e-4}
    effective = read_back(settings, *built(settings), 32)
    assert effective["learning_rate"] == 5e-4
    assert (effective["optimizer"], effective["clipnorm"]) == (optimizer, 1.0)
    assert effective["batch_shape"] == [8, 32, 32, 1]


@pytest.mark.parametrize(
    ("key", "asked", "words"),
    [
        ("learning_rate", 1e-4, "learning_rate: received 0.005, expected 0.0001"),
        ("clipnorm", None, "clipnorm: received 1.0, expected None"),
        ("global_clipnorm", 1.0, "global_clipnorm: received None, expected 1.0"),
        ("batch_size", 16, r"batch_shape: received \[8, 32, 32, 1\], expected \[16"),
        ("base_filters", 4, "parameters: received"),
        ("architecture", "Attention_UNet", "architecture: received 'UNet'"),
        ("optimizer", "sgd", "optimizer: received 'adam', expected 'sgd'"),
        ("precision", "mixed_bfloat16", "precision: received 'float32'"),
    ],
)
def test_the_read_back_catches_what_is_not_as_asked(key, asked, words):
    with pytest.raises(training.ReadBackError, match=words):
        read_back({**SETTINGS, key: asked}, *built(), 32)


def test_an_ignored_learning_rate_stops_the_point_before_it_trains(monkeypatch, tmp_path):
    """The predecessor's fault: whatever the grid said, the optimizer ran at its default."""
    monkeypatch.setattr(
        "unet_models.training.model.build_optimizer", lambda *asked: keras.optimizers.Adam(clipnorm=1.0)
    )
    epochs = []
    with pytest.raises(training.ReadBackError, match=r"learning_rate: received 0\.001, expected 0\.005"):
        training.train(SETTINGS, discs(), model_file=tmp_path / "m.hdf5", on_epoch=epochs.append)
    assert epochs == [] and not (tmp_path / "m.hdf5").exists()


def test_the_callbacks_follow_the_phases_of_a_training(tmp_path):
    seen = []
    training.train(
        SETTINGS,
        discs(train=16),
        model_file=tmp_path / "m.keras",
        on_built=lambda: seen.append("built"),
        on_batch=lambda: seen.append("batch"),
        on_epoch=lambda row: seen.append("epoch"),
        on_state=lambda state: seen.append("ended" if state.ended else "state"),
    )
    one = ["batch", "batch", "epoch"]
    # Three more between the parts of the end: the model is written, the training part and the test part are scored.
    assert seen == ["built", *one, "state", *one, "ended", "batch", "batch", "batch"]


def test_it_learns_and_the_model_file_scores_what_it_says(tmp_path):
    rows = []
    trained = training.train(
        {**SETTINGS, "base_filters": 4, "epochs": 12},
        discs(),
        model_file=tmp_path / "m.keras",
        on_epoch=rows.append,
    )
    metrics = trained.metrics
    assert trained.outcome == "done" and rows == trained.history
    assert metrics["best_val_jaccard"] > 0.6 > 3 * metrics["chance_jaccard"]
    assert metrics["test_jaccard"] > 0.5
    best = rows[metrics["best_epoch"] - 1]
    positives = [best[f"val_{name}"] for name in ("true_positives", "false_positives", "false_negatives")]
    assert best["val_jaccard"] == pytest.approx(positives[0] / sum(positives), abs=1e-6)

    data = discs()
    images, masks = data.select("validation")
    model = keras.saving.load_model(tmp_path / "m.keras", compile=False)
    found = model.predict(images[..., None] / np.float32(255), verbose=0)[..., 0] > 0.5
    score = (found & masks).sum() / (found | masks).sum()
    assert score == pytest.approx(metrics["best_val_jaccard"], abs=1e-4)
    assert trained.probabilities.shape == (4, 32, 32)


def test_the_gaps_are_of_the_best_weights_and_evaluated_alike(tmp_path):
    metrics = training.train(SETTINGS, discs(), model_file=tmp_path / "m.hdf5").metrics
    assert metrics["overfitting_gap_at_best"] == pytest.approx(
        metrics["val_loss_at_best"] - metrics["train_loss_at_best"]
    )
    assert metrics["jaccard_gap"] == pytest.approx(
        metrics["train_jaccard_at_best"] - metrics["best_val_jaccard"], abs=1e-5
    )


def test_a_rate_that_explodes_is_a_result_called_diverged(tmp_path):
    settings = {**SETTINGS, "optimizer": "sgd", "learning_rate": 10.0, "clipnorm": None, "epochs": 30}
    data = discs()
    data.images[:] = 255
    settings["loss"] = "binary_crossentropy"
    model, _ = build_model(settings, 32)
    epochs = EpochRecorder(Jaccard(), lambda row: None, lambda: None)
    epochs.set_model(model)
    epochs.on_train_batch_end(4, {"loss": math.nan})
    assert model.stop_training and "nan in batch 5 of epoch 1" in epochs.diverged


def test_a_loss_that_is_not_finite_stops_at_once(monkeypatch, tmp_path):
    monkeypatch.setattr(
        "unet_models.training.model.build_loss",
        lambda settings: lambda truth, found: keras.ops.log(-1.0 - found),
    )
    trained = training.train({**SETTINGS, "epochs": 5}, discs(), model_file=tmp_path / "m.hdf5")
    assert trained.outcome == "diverged" and "nan" in trained.reason
    assert len(trained.history) <= 1 and trained.metrics["best_val_jaccard"] is None
    assert not (tmp_path / "m.hdf5").exists()


def test_plateau_and_early_stopping_follow_the_settings(monkeypatch, tmp_path):
    """A learning rate too small to change anything: every epoch after the first is a plateau."""
    settings = {
        **SETTINGS,
        "learning_rate": 1e-7,
        "epochs": 12,
        "reduce_lr_patience": 2,
        "reduce_lr_min_delta": 0.5,
        "reduce_lr_min_lr": 0.0,
        "early_stopping_patience": 5,
        "early_stopping_min_delta": 0.5,
    }
    rows = training.train(settings, discs(), model_file=tmp_path / "m.hdf5").history
    assert [row["learning_rate"] for row in rows] == pytest.approx(
        [1e-7, 1e-7, 1e-7, 5e-8, 5e-8, 2.5e-8], rel=1e-5
    )


def test_equal_seeds_give_equal_histories_and_others_do_not(tmp_path):
    def losses(seed):
        settings = {**SETTINGS, "seed": seed, "epochs": 1}
        training.prepare_process(settings)
        return [
            row["loss"] for row in training.train(settings, discs(), model_file=tmp_path / "m.hdf5").history
        ]

    assert losses(1) == pytest.approx(losses(1), rel=1e-5)
    assert losses(1) != pytest.approx(losses(2), rel=1e-3)


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_half_precision_keeps_a_float32_head_and_reads_back(precision, tmp_path):
    settings = {**SETTINGS, "precision": precision, "epochs": 1}
    training.prepare_process(settings)
    trained = training.train(settings, discs(), model_file=tmp_path / "m.keras")
    assert trained.effective["precision"] == precision
    assert trained.probabilities.dtype == np.float32


@pytest.mark.skipif(not ACCUMULATES, reason="Keras before 3.5 accumulates no gradients")
def test_accumulated_parts_make_the_same_number_of_steps_and_are_read_back(tmp_path):
    states = []
    trained = training.train(
        SETTINGS, discs(), model_file=tmp_path / "m.keras", accumulation=4, on_state=states.append
    )
    assert trained.effective["gradient_accumulation_steps"] == 4
    assert trained.effective["batch_shape"] == [2, 32, 32, 1]
    assert trained.metrics["steps_per_epoch"] == 8 and len(trained.history) == 2
    plain = build_model({**SETTINGS, "batch_size": 2}, 32)[0]
    with pytest.raises(training.ReadBackError, match="gradient_accumulation_steps: received 1, expected 4"):
        read_back(SETTINGS, plain, built()[1], 32, 4)


def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    states = []
    options = {"model_file": tmp_path / "m.keras", "on_state": states.append}
    training.train({**SETTINGS, "epochs": 1}, discs(), **options)
    with pytest.raises(training.ResumeError, match="arrays of the best network"):
        training.train({**SETTINGS, "base_filters": 3}, discs(), resume=states[0], **options)
    with pytest.raises(training.ResumeError, match="has the counters of"):
        training.train({**SETTINGS, "early_stopping_patience": None}, discs(), resume=states[0], **options)


def _history(settings, tmp_path, **options):
    training.prepare_process(settings)
    trained = training.train(settings, discs(), model_file=tmp_path / "m.keras", **options)
    rows = [{key: value for key, value in row.items() if key != "seconds"} for row in trained.history]
    return rows, trained


# Adam scales a gradient that is only rounding noise to a whole step; plain descent leaves it as small as it is.
STEADY = {**SETTINGS, "optimizer": "sgd", "learning_rate": 0.05, "epochs": 3}


def _assert_same(one, other):
    for key in ("loss", "val_loss"):
        assert [row[key] for row in one] == pytest.approx([row[key] for row in other], rel=1e-4)
    for key in ("jaccard", "val_jaccard"):
        assert [row[key] for row in one] == pytest.approx([row[key] for row in other], abs=5e-3)


@pytest.mark.parametrize("resident", [True, False])
def test_compiled_steps_train_as_others_do(resident, tmp_path):
    """By XLA, with the patches resident or not: losses within 1e-4, the index within 0.005, over three epochs."""
    usual, _ = _history({**STEADY, "jit_compile": "off"}, tmp_path)
    compiled, trained = _history({**STEADY, "jit_compile": "on"}, tmp_path, resident=resident)
    assert trained.effective["jit_compile"] is True and trained.effective["resident"] is resident
    _assert_same(compiled, usual)


@pytest.mark.parametrize("architecture", ["UNet", "Attention_UNet", "Attention_ResUNet"])
def test_the_quick_form_gives_the_history_of_keras_own_layers(architecture, monkeypatch, tmp_path):
    """Whole trainings, same seed, dropout on: losses within 1e-4, the index within 0.005, over three epochs."""
    settings = {**STEADY, "architecture": architecture, "dropout": 0.1}
    quick, _ = _history(settings, tmp_path)
    build = build_network
    monkeypatch.setattr(
        "unet_models.training.model.build_network",
        lambda *names, quick=False, **options: build(*names, **options),
    )
    plain, trained = _history(settings, tmp_path)
    assert trained.outcome == "done" and len(plain) == 3
    _assert_same(quick, plain)


def test_a_file_that_was_not_written_as_trained_is_told(monkeypatch, tmp_path):
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


def test_the_start_is_parted_into_what_takes_time(tmp_path):
    _, trained = _history({**SETTINGS, "epochs": 1}, tmp_path)
    assert set(trained.startup) == {"build", "first_step"}
    assert all(seconds > 0 for seconds in trained.startup.values())


@pytest.mark.parametrize("allowed", [True, False])
def test_tensor_float_32_is_as_the_settings_say(allowed):
    settings = {**SETTINGS, "tensor_float_32": allowed}
    training.prepare_process(settings)
    assert read_back(settings, *built(), 32)["tensor_float_32"] is allowed
    with pytest.raises(training.ReadBackError, match="tensor_float_32: received"):
        read_back({**settings, "tensor_float_32": not allowed}, *built(), 32)


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
