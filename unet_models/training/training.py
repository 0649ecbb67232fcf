"""Training one configuration, from arrays to a scored model. Read :func:`train` from top to bottom.

The recipe is the guide's: Adam with ``clipnorm``, ReduceLROnPlateau and EarlyStopping on the validation
Jaccard index, binary focal cross-entropy. Every number comes from the point's settings, and before the
first step :func:`unet_models.training.read_back.read_back` compares what was built with what was requested.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from unet_models.data.crops import DrawnCrops
from unet_models.data.npy_files import BackgroundCheck
from unet_models.data.packed import PARTS, PackedData, Patches
from unet_models.data.pipeline import ResidentPatches, evaluation_batches, training_batches
from unet_models.pictures import choose_samples
from unet_models.training.callbacks import EpochRecorder, StateRecorder, restore, schedules
from unet_models.training.history import summarise
from unet_models.training.metrics import jaccard_index
from unet_models.training.model import build_model, compiles
from unet_models.training.process import built_for_gpus, device, hardware, prepare_process
from unet_models.training.read_back import ReadBackError, read_back
from unet_models.training.saving import ModelData, write_model
from unet_models.training.state import ResumeError, Trained, TrainingState
from unet_models.training.variables import assign, network_variables

# What a caller needs in order to train, in one place.
__all__ = [
    "ReadBackError",
    "ResumeError",
    "Trained",
    "TrainingState",
    "built_for_gpus",
    "device",
    "hardware",
    "prepare_process",
    "train",
]

SHOWN_PATCHES = 4


def _ignore(*_arguments: Any) -> None:
    """The default of the callbacks of :func:`train`."""


def train(
    settings: Mapping[str, Any],
    data: PackedData,
    *,
    model_file: Path,
    accumulation: int = 1,
    resume: TrainingState | None = None,
    resident: bool | None = None,
    on_built: Callable[[], None] = _ignore,
    on_batch: Callable[[], None] = _ignore,
    on_epoch: Callable[[dict[str, Any]], None] = _ignore,
    on_state: Callable[[TrainingState], None] = _ignore,
    say: Callable[[str], None] = _ignore,
) -> Trained:
    """Train the configuration ``settings`` on ``data`` and write the best weights to ``model_file``.

    Call :func:`unet_models.training.process.prepare_process` first. An exception raised by a callback ends the
    training.

    Args:
        settings: every key of :data:`jobs.grid.settings.POINT`.
        data: the patches and their parts.
        model_file: ends in ``.hdf5`` or ``.keras``.
        accumulation: number of equal parts that each batch is divided into; their gradients are added up. This
            needs less memory and gives the same step, except that batch normalisation sees the smaller batches.
        resume: a state that ``on_state`` received earlier. The training continues after it and ends as if it had
            never been interrupted: with the same history except ``seconds``, and the same weights (to the bit with
            ``deterministic: true`` on a CPU).
        resident: whether to keep the patches on the device; the batches are the same to the bit. ``None``: on a GPU
            where they fit.
        on_built: called once, after the network was built and read back.
        on_batch: called after each batch.
        on_epoch: receives each row of the history.
        on_state: receives what a checkpoint must contain, after each epoch that did not diverge.
        say: receives lines of text for the log.

    Returns:
        The outcome. Its ``metrics`` are those of :func:`unet_models.training.history.summarise` and

        * ``training_time_seconds`` with earlier attempts, ``steps_per_epoch``;
        * ``chance_jaccard``: the foreground share of the validation part, 0 to 1;
        * unless it diverged, with the weights of the best epoch and in inference mode: ``val_loss_at_best``,
          ``train_loss_at_best``, ``train_jaccard_at_best``, ``overfitting_gap_at_best`` (validation minus training
          loss), ``jaccard_gap`` (training minus validation Jaccard index), and ``test_jaccard`` if there is
          a test part.

    Raises:
        ReadBackError: what was built is not what ``settings`` request; before the first step.
        ResumeError: ``resume`` belongs to another network.
        RuntimeError: the written model does not predict what the trained one does.
        DataError: a file of ``data`` is damaged. They are verified while the first epochs go on.
    """
    check = BackgroundCheck(data.files)

    def epoch_ended(row: dict[str, Any]) -> None:
        check.look()
        on_epoch(row)

    try:
        trained = _train(
            settings,
            data,
            model_file,
            accumulation,
            resume,
            resident,
            on_built,
            on_batch,
            epoch_ended,
            on_state,
            say,
        )
        check.finish(on_batch)
    except tf.errors.OpError:
        data.look()  # the reason, if it was a batch that could not be read: TensorFlow wraps the error of the read
        raise
    finally:
        check.stop()
    return trained


def _train(
    settings: Mapping[str, Any],
    data: PackedData,
    model_file: Path,
    accumulation: int,
    resume: TrainingState | None,
    resident: bool | None,  # noqa: FBT001 - passed on
    on_built: Callable[[], None],
    on_batch: Callable[[], None],
    on_epoch: Callable[[dict[str, Any]], None],
    on_state: Callable[[TrainingState], None],
    say: Callable[[str], None],
) -> Trained:
    """The body of :func:`train`."""
    started = time.monotonic()
    on_train = data.patches("train") if data.crops is None else DrawnCrops(data.crops, settings["seed"])
    on_validation, patch_size = data.patches("validation"), data.patch_size
    first_epoch = resume.epoch if resume else 0
    patches = _resident_patches(data, resident=resident)

    def rows(part: str) -> np.ndarray | None:
        if patches is None:
            return None
        first = sum(len(data.patches(before)) for before in PARTS[: PARTS.index(part)])
        return first + np.arange(len(data.patches(part)))

    batches = training_batches(
        on_train,
        batch_size=settings["batch_size"],
        parts=accumulation,
        seed=settings["seed"],
        first_epoch=first_epoch,
        epochs=settings["epochs"],
        augment=settings["augment"],
        rows=rows("train"),
    )
    size = settings["validation_batch_size"]
    validation = evaluation_batches(on_validation, batch_size=size, rows=rows("validation"))
    compile_steps, why = compiles(settings)
    model, metric = build_model(settings, patch_size, accumulation, patches, compile_steps=compile_steps)
    effective = read_back(settings, model, batches, patch_size, accumulation)
    effective |= {"jit_compile": compile_steps, "resident": patches is not None}
    model.optimizer.build(model.trainable_variables)
    built = time.monotonic()
    on_built()
    steps = len(on_train) // settings["batch_size"]
    in_parts = f" in {accumulation} parts" if accumulation > 1 else ""
    say(
        f"read back: {effective['architecture']}, {effective['parameters']:,} parameters, "
        f"{effective['optimizer']} at learning rate {effective['learning_rate']:g}, "
        f"clipnorm {effective['clipnorm']}, batches of {settings['batch_size']}{in_parts}, "
        f"{tuple(effective['batch_shape'])}, {steps} steps per epoch"
    )
    say(
        f"steps {'compiled by XLA' if compile_steps else 'not compiled by XLA'} ({why}); patches "
        + ("resident on the device" if patches else "streamed from the host")
    )
    epochs = EpochRecorder(metric, on_epoch, on_batch)
    scheduled = schedules(settings)
    state = StateRecorder(settings, epochs, scheduled, resume, on_state)
    if resume is not None:
        restore(model, epochs, resume, scheduled)
    if resume is None or not resume.ended:
        model.fit(
            batches,
            epochs=settings["epochs"],
            initial_epoch=first_epoch,
            steps_per_epoch=steps * accumulation,
            validation_data=validation,
            callbacks=[epochs, *scheduled, state],
            shuffle=False,  # the batches are shuffled already
            verbose=0,
        )
    startup = {"build": built - started}
    startup |= {} if epochs.first_step is None else {"first_step": epochs.first_step - built}
    metrics = {
        **summarise(epochs.rows, settings["epochs"]),
        "training_time_seconds": state.seconds(),
        "steps_per_epoch": steps,
        "chance_jaccard": data.foreground("validation"),
    }
    nothing = np.zeros(0, int), np.zeros((0, patch_size, patch_size))
    if epochs.diverged or epochs.best_values is None:
        reason = epochs.diverged or "no epoch was completed"
        return Trained("diverged", reason, epochs.rows, metrics, effective, *nothing, startup)

    on_batch()
    assign(network_variables(model), epochs.best_values, "best network")
    shown = choose_samples(on_validation.shares(), SHOWN_PATCHES)
    chosen = on_validation.images[shown].astype(np.float32)[..., None] / float(np.iinfo(data.dtype).max)
    known = data.intensity
    about = ModelData(
        known.low if known else None, known.high if known else None, patch_size, data.fingerprint
    )
    probabilities = write_model(model, settings, chosen, model_file, about)
    on_batch()
    train_scores = _evaluate(model, evaluation_batches(on_train, batch_size=size, rows=rows("train")))
    # The validation of the best epoch was made with these weights, in inference mode: it need not be repeated.
    at_best = epochs.rows[epochs.best_epoch - 1]
    metrics |= {
        "val_loss_at_best": at_best["val_loss"],
        "train_loss_at_best": train_scores["loss"],
        "train_jaccard_at_best": train_scores["jaccard"],
        "overfitting_gap_at_best": at_best["val_loss"] - train_scores["loss"],
        "jaccard_gap": train_scores["jaccard"] - at_best["val_jaccard"],
    }
    if data.count("test"):
        on_batch()
        # Scored once, with the weights that the validation part chose; never used to choose.
        metrics["test_jaccard"] = _test_jaccard(model, data, size, rows("test"), on_batch)
    return Trained("done", "", epochs.rows, metrics, effective, shown, probabilities, startup)


def _resident_patches(data: PackedData, *, resident: bool | None) -> ResidentPatches | None:
    """All patches in the memory of the device, or ``None`` if batches are to be streamed from the host."""
    gpus = tf.config.list_logical_devices("GPU")
    if resident is None:
        resident = bool(gpus) and ResidentPatches.fits(data)
    parts = [data.patches(part) for part in PARTS]
    return ResidentPatches(parts, gpus[0].name if gpus else "CPU:0") if resident else None


def _evaluate(model: keras.Model, batches: tf.data.Dataset) -> dict[str, float]:
    """Loss and Jaccard index in inference mode; Keras weights the smaller last batch by its size."""
    return {key: float(value) for key, value in model.evaluate(batches, verbose=0, return_dict=True).items()}


def _test_jaccard(
    model: keras.Model, data: PackedData, size: int, rows: np.ndarray | None, on_batch: Callable[[], None]
) -> float:
    """The Jaccard index of the test part, over its patches or over whole slices."""
    test = data.patches("test")
    if data.test_scoring == "slices":
        return slices_jaccard(model, test, size, on_batch)
    return _evaluate(model, evaluation_batches(test, batch_size=size, rows=rows))["jaccard"]


def slices_jaccard(
    model: keras.Model, patches: Patches, batch_size: int, on_batch: Callable[[], None] = _ignore
) -> float:
    """The Jaccard index over whole slices, each pixel counted once.

    Where patches overlap, a pixel belongs to the first patch that covers it.

    Args:
        model: the network, in its fast form.
        patches: of all slices; they cover every pixel.
        batch_size: samples at a time.
        on_batch: called before each batch.

    Returns:
        The pooled index, 0 to 1, at the threshold 0.5.
    """
    counts = np.zeros(3, np.int64)
    for start in range(0, len(patches), batch_size):
        on_batch()
        rows = np.arange(start, min(start + batch_size, len(patches)))
        images, masks = patches.read(rows)
        scaled = images[..., None] * np.float32(1 / np.iinfo(images.dtype).max)
        found = np.asarray(model.predict_on_batch(scaled))[..., 0] > 0.5
        for one, truth, (top, left) in zip(found, masks, patches.fresh[rows], strict=True):
            here, there = one[top:, left:], truth[top:, left:]
            counts += (here & there).sum(), (here & ~there).sum(), (~here & there).sum()
    return jaccard_index(*counts.tolist())
