"""A training does what the settings say, learns, and reports each number of the part that it names."""

from __future__ import annotations

import time
from dataclasses import replace
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from tests.unet_models.tiny import SETTINGS, built, discs
from unet_models.data.packed import PackedData
from unet_models.networks.networks import build_network
from unet_models.training import callbacks, training
from unet_models.training.model import ACCUMULATES, build_model
from unet_models.training.read_back import read_back


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


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """A training whose parts have discs of different sizes, in numbers that fill no batch of the evaluation."""
    file = tmp_path_factory.mktemp("scored") / "m.keras"
    data = discs(train=40, validation=19, test=11)
    images, masks = data.images, data.masks
    rows, columns = np.indices((32, 32))
    generator = np.random.default_rng(5)
    for part, radius in ((0, 6), (1, 9), (2, 4)):
        for number in np.flatnonzero(data.part == part):
            y, x = generator.integers(10, 22, 2)
            masks[number] = (rows - y) ** 2 + (columns - x) ** 2 < radius**2
            noise = generator.normal(80, 25, (32, 32)) + 60 * masks[number]
            images[number] = np.clip(noise, 0, 255).astype(np.uint8)
    data = PackedData.of_arrays(images, masks, data.part, data.z, "discs", "contiguous", fingerprint="f")
    settings = {**SETTINGS, "base_filters": 4, "epochs": 6}
    training.prepare_process(settings)
    states = []
    trained = training.train(settings, data, model_file=file, on_state=states.append)
    model = keras.saving.load_model(file, compile=False)

    def measure(part):
        """Loss, Jaccard index and its counts of one part, computed from the file with NumPy."""
        images, masks = data.select(part)
        found = model.predict(images[..., None] / np.float32(255), verbose=0)[..., 0].astype(np.float64)
        right = np.clip(np.where(masks, found, 1 - found), 1e-7, 1)
        loss = float(np.mean(-((1 - right) ** 2.0) * np.log(right)))
        above = found > 0.5
        counts = int((above & masks).sum()), int((above & ~masks).sum()), int((~above & masks).sum())
        return loss, counts[0] / sum(counts), counts

    return data, trained, {part: measure(part) for part in ("train", "validation", "test")}, states


def test_each_score_is_that_of_its_own_part(scored):
    """With the best weights, from the model's file: training, validation and test part, none for another."""
    _, trained, found, _ = scored
    metrics = trained.metrics
    scores = sorted(jaccard for _, jaccard, _ in found.values())
    losses = sorted(loss for loss, _, _ in found.values())
    assert min(np.diff(scores)) > 0.01 and min(np.diff(losses)) > 0.001  # a mix-up would show
    close = {"abs": 2e-4}
    assert metrics["test_jaccard"] == pytest.approx(found["test"][1], **close)
    assert metrics["train_jaccard_at_best"] == pytest.approx(found["train"][1], **close)
    assert metrics["best_val_jaccard"] == pytest.approx(found["validation"][1], **close)
    assert metrics["train_loss_at_best"] == pytest.approx(found["train"][0], **close)
    assert metrics["val_loss_at_best"] == pytest.approx(found["validation"][0], **close)


def test_the_gaps_compare_training_and_validation_at_the_best_weights(scored):
    _, trained, found, _ = scored
    metrics = trained.metrics
    loss_gap = metrics["val_loss_at_best"] - metrics["train_loss_at_best"]
    jaccard_gap = metrics["train_jaccard_at_best"] - metrics["best_val_jaccard"]
    assert metrics["overfitting_gap_at_best"] == loss_gap
    assert metrics["jaccard_gap"] == jaccard_gap
    assert loss_gap == pytest.approx(found["validation"][0] - found["train"][0], abs=4e-4)
    assert jaccard_gap == pytest.approx(found["train"][1] - found["validation"][1], abs=4e-4)


def test_the_chance_level_is_the_foreground_share_of_the_validation_part(scored):
    data, trained, _, _ = scored
    shares = [data.masks[data.part == part].mean() for part in (0, 1, 2)]
    assert len({round(share, 3) for share in shares}) == 3
    assert trained.metrics["chance_jaccard"] == shares[1]


def test_the_history_counts_pixels_of_the_validation_part(scored):
    data, trained, found, _ = scored
    best = trained.history[trained.metrics["best_epoch"] - 1]
    positives, extra, missed = (
        best[f"val_{name}"] for name in ("true_positives", "false_positives", "false_negatives")
    )
    expected = found["validation"][2]
    # The network that is trained adds in another order than that of the file: a few pixels at the threshold.
    assert (positives, extra, missed) == pytest.approx(expected, abs=6)
    assert any(row["val_false_positives"] != row["val_false_negatives"] for row in trained.history)
    for row in trained.history:
        counts = [row[f"val_{name}"] for name in ("true_positives", "false_positives", "false_negatives")]
        assert counts[0] + counts[2] == data.masks[data.part == 1].sum()
        assert row["val_jaccard"] == pytest.approx(counts[0] / sum(counts), abs=1e-6)


def test_the_patches_shown_are_of_the_validation_part_with_their_own_predictions(scored):
    data, trained, _, _ = scored
    assert trained.shown.max() < data.count("validation") and len(trained.shown) == 4
    masks = data.select("validation")[1][trained.shown]
    found = trained.probabilities > 0.5
    own = (found & masks).sum() / (found | masks).sum()
    others = [
        (found & np.roll(masks, by, 0)).sum() / (found | np.roll(masks, by, 0)).sum() for by in (1, 2, 3)
    ]
    assert own > max(others)


def test_a_resumed_training_counts_the_seconds_of_the_attempts_before(scored, tmp_path):
    data, _, _, states = scored
    settings = {**SETTINGS, "base_filters": 4, "epochs": 6}
    assert [len(state.rows) for state in states] == [state.epoch for state in states] == [1, 2, 3, 4, 5, 6]
    assert [state.ended for state in states] == [False] * 5 + [True]
    assert [state.seconds for state in states] == sorted(state.seconds for state in states)
    later = []
    resume = replace(states[4], seconds=5000.0)
    began = time.monotonic()
    again = training.train(
        settings, data, model_file=tmp_path / "m.keras", resume=resume, on_state=later.append
    )
    spent = time.monotonic() - began
    assert [state.epoch for state in later] == [6]
    assert 5000 < later[0].seconds <= again.metrics["training_time_seconds"] <= 5000 + spent
    assert again.metrics["epochs_completed"] == 6 == len(again.history)
    assert [row["epoch"] for row in again.history] == [1, 2, 3, 4, 5, 6]


def test_resident_patches_give_the_same_scores_of_each_part(scored, tmp_path):
    data, trained, _, states = scored
    settings = {**SETTINGS, "base_filters": 4, "epochs": 6}
    again = training.train(settings, data, model_file=tmp_path / "m.keras", resume=states[-1], resident=True)
    assert again.effective["resident"] is True and trained.effective["resident"] is False
    for name in ("test_jaccard", "train_jaccard_at_best", "train_loss_at_best"):
        assert again.metrics[name] == pytest.approx(trained.metrics[name], rel=1e-4)


def test_scores_are_those_of_the_best_epoch_not_of_the_last(scored, tmp_path):
    """The best epoch is the first of two, with the good weights; the other one goes on from worse ones."""
    data, trained, _, states = scored
    first = {**states[0].rows[0], "val_jaccard": 0.99, "val_loss": 0.125}
    resume = replace(states[0], rows=[first], best=states[-1].best, best_epoch=1)
    settings = {**SETTINGS, "base_filters": 4, "epochs": 2}
    again = training.train(settings, data, model_file=tmp_path / "m.keras", resume=resume).metrics
    assert (again["best_epoch"], again["best_val_jaccard"], again["epochs_completed"]) == (1, 0.99, 2)
    assert again["val_loss_at_best"] == 0.125 != again["final_val_loss"]
    assert again["overfitting_gap_at_best"] == 0.125 - again["train_loss_at_best"]
    assert again["jaccard_gap"] == again["train_jaccard_at_best"] - 0.99
    for name in ("test_jaccard", "train_jaccard_at_best", "train_loss_at_best"):
        assert again[name] == pytest.approx(trained.metrics[name], rel=1e-4)


def test_a_training_that_had_ended_is_scored_again_without_another_epoch(scored, tmp_path):
    data, trained, _, states = scored
    settings = {**SETTINGS, "base_filters": 4, "epochs": 6}
    seen = []
    again = training.train(
        settings, data, model_file=tmp_path / "m.keras", resume=states[-1], on_epoch=seen.append
    )
    assert seen == [] and again.history == trained.history
    timed = ("training_time_seconds",)
    assert {k: v for k, v in again.metrics.items() if k not in timed} == pytest.approx(
        {k: v for k, v in trained.metrics.items() if k not in timed}, rel=1e-5
    )
    assert set(again.startup) == {"build"}


def test_without_a_test_part_there_is_no_test_score(tmp_path):
    trained = training.train(
        {**SETTINGS, "epochs": 1}, discs(train=20, test=0), model_file=tmp_path / "m.keras"
    )
    assert "test_jaccard" not in trained.metrics
    assert trained.metrics["steps_per_epoch"] == 2 and trained.metrics["epochs_requested"] == 1


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


# Adam scales a gradient that is only rounding noise to a full step; plain descent leaves it as small as it is.
STEADY = {**SETTINGS, "optimizer": "sgd", "learning_rate": 0.05, "epochs": 3}


def _assert_same(one, other):
    # Three epochs let rounding grow, by kernels that differ between processors: 0.00011 on one with AVX-512.
    for key in ("loss", "val_loss"):
        assert [row[key] for row in one] == pytest.approx([row[key] for row in other], rel=3e-4)
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
def test_the_fast_form_gives_the_history_of_keras_own_layers(architecture, monkeypatch, tmp_path):
    """Whole trainings, same seed, dropout on: losses within 3e-4, the index within 0.005, over three epochs."""
    settings = {**STEADY, "architecture": architecture, "dropout": 0.1}
    quick, _ = _history(settings, tmp_path)
    build = build_network
    monkeypatch.setattr(
        "unet_models.training.model.build_network",
        lambda *names, quick=False, **options: build(*names, **options),  # noqa: PLW0108 - without `quick`
    )
    plain, trained = _history(settings, tmp_path)
    assert trained.outcome == "done" and len(plain) == 3
    _assert_same(quick, plain)


def test_the_start_up_is_reported_in_two_parts(tmp_path):
    _, trained = _history({**SETTINGS, "epochs": 1}, tmp_path)
    assert set(trained.startup) == {"build", "first_step"}
    assert all(seconds > 0 for seconds in trained.startup.values())


@pytest.mark.parametrize("augment", [True, False])
def test_the_batches_are_those_of_the_settings(monkeypatch, tmp_path, augment):
    class MadeError(Exception):
        pass

    seen = {}

    def record(samples, **options):
        seen.update(options, samples=samples)
        raise MadeError

    monkeypatch.setattr(training, "training_batches", record)
    data = discs(train=24)
    settings = {**SETTINGS, "seed": 7, "batch_size": 6, "epochs": 9, "augment": augment}
    with pytest.raises(MadeError):
        training.train(settings, data, model_file=tmp_path / "m.keras", accumulation=3)
    assert seen.pop("samples") is data.patches("train")
    assert seen == {
        "batch_size": 6,
        "parts": 3,
        "seed": 7,
        "first_epoch": 0,
        "epochs": 9,
        "augment": augment,
        "rows": None,
    }


def test_the_first_step_is_counted_from_the_end_of_building(monkeypatch, tmp_path):
    ticks = iter(range(1000, 1100))
    monkeypatch.setattr(training, "time", SimpleNamespace(monotonic=lambda: next(ticks)))
    monkeypatch.setattr(callbacks, "time", SimpleNamespace(monotonic=lambda: 2000))
    trained = training.train({**SETTINGS, "epochs": 1}, discs(train=16), model_file=tmp_path / "m.keras")
    assert trained.startup == {"build": 1, "first_step": 999}
    assert trained.metrics["training_time_seconds"] == 0


@pytest.mark.parametrize("suffix", ["keras", "hdf5"])
def test_the_model_knows_the_intensity_of_its_images(tmp_path, suffix):
    from unet_models.data.packed import Intensity
    from unet_models.training.saving import ModelData, read_model_data

    arrays = discs(train=16)
    data = PackedData.of_arrays(
        arrays.images, arrays.masks, arrays.part, arrays.z, "discs", "contiguous",
        fingerprint="f", intensity=Intensity(low=-10.0, high=4095.0),
    )  # fmt: skip
    settings = {**SETTINGS, "epochs": 1, "batch_size": 8}
    file = tmp_path / f"m.{suffix}"
    training.train(settings, data, model_file=file)
    assert read_model_data(file) == ModelData(-10.0, 4095.0, 32, "f")
    assert keras.saving.load_model(file, compile=False).input_shape == (None, 32, 32, 1)
