"""Training one configuration, from arrays to a scored model. Read it from top to bottom.

The recipe is the guide's: Adam with ``clipnorm``, ReduceLROnPlateau and EarlyStopping on the validation
Jaccard index, binary focal cross-entropy. Every number comes from the point's settings, and before the
first step :func:`read_back` compares what was built with what was asked for.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from unet_models.data.dataset import PackedData
from unet_models.data.pipeline import ResidentPatches, evaluation_batches, training_batches
from unet_models.networks.networks import build_network, copy_weights
from unet_models.networks.parameters import parameter_count
from unet_models.pictures import choose_samples
from unet_models.training.fused_adam import FusedAdam
from unet_models.training.history import summarise
from unet_models.training.metrics import Jaccard

SHOWN_PATCHES = 4
# By how much the written model may differ from the trained one, in probability: they add in another order.
_SAME = {"float32": 0.01, "mixed_bfloat16": 0.1, "mixed_float16": 0.1}
# Keras accumulates gradients since 3.5.
ACCUMULATES = tuple(map(int, keras.__version__.split(".")[:2])) >= (3, 5)
_OPTIMIZERS = {
    "adam": FusedAdam,
    "adamw": keras.optimizers.AdamW,
    "sgd": keras.optimizers.SGD,
    "rmsprop": keras.optimizers.RMSprop,
}


class ReadBackError(Exception):
    """What was built is not what ``grid.yaml`` asks for; nothing was trained."""


@dataclass(frozen=True)
class TrainingState:
    """All that the rest of a training depends on, after a whole epoch.

    ``epoch`` counts epochs done; ``ended``: none follows. ``rows`` is the history. ``model`` holds every
    variable of the network in Keras' order (weights, running statistics, the states of dropout's generators),
    ``optimizer`` every variable of the optimizer (slots, step count, current learning rate, loss scale), and
    ``best`` is ``model`` as it was after ``best_epoch``. ``schedules`` are the counters of
    ReduceLROnPlateau and EarlyStopping, ``seconds`` the time spent until now. Shuffling and augmentation
    depend on seed and epoch only, so there is no state of theirs to keep.
    """

    epoch: int
    ended: bool
    rows: list[dict[str, Any]]
    model: list[np.ndarray]
    optimizer: list[np.ndarray]
    best: list[np.ndarray]
    best_epoch: int
    schedules: dict[str, dict[str, float | None]]
    seconds: float


class ResumeError(Exception):
    """A checkpoint that does not fit the network that was built; the training must begin anew."""


@dataclass(frozen=True)
class Trained:
    """What a training left: ``outcome`` is ``done`` or ``diverged``.

    ``history`` has one dictionary an epoch (:data:`unet_models.training.history.COLUMNS`), ``metrics`` the design's
    metrics, ``effective`` what was read back. ``shown`` are indices of validation patches and
    ``probabilities`` (n, P, P) what the best weights predict there. ``startup`` are the seconds before the
    first step: ``build`` (network and optimizer) and ``first_step`` (tracing, compiling, and the step itself).
    """

    outcome: str
    reason: str
    history: list[dict[str, Any]]
    metrics: dict[str, Any]
    effective: dict[str, Any]
    shown: np.ndarray
    probabilities: np.ndarray
    startup: dict[str, float]


class _Network(keras.Model):
    """A network whose steps may get rows of resident patches in the place of images."""

    patches: ResidentPatches | None = None

    def train_step(self, data: Any) -> Any:
        return super().train_step(self._fetched(data))

    def test_step(self, data: Any) -> Any:
        return super().test_step(self._fetched(data))

    def _fetched(self, data: Any) -> Any:
        return data if self.patches is None else self.patches.fetch(*data)


def prepare_process(settings: Mapping[str, Any], *, threads: int | None = None) -> None:
    """Set what TensorFlow fixes at its first operation: threads, memory growth, seeds, precision, TF32.

    ``threads`` limits the cores this process uses (``None``: all). Call once, before building anything.
    """
    if keras.backend.backend() != "tensorflow" or int(keras.__version__.split(".")[0]) < 3:
        raise RuntimeError(
            f"Keras {keras.__version__} on {keras.backend.backend()}: expected Keras 3 on TensorFlow; "
            "unset KERAS_BACKEND and install keras>=3"
        )
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


def build_optimizer(settings: Mapping[str, Any], accumulation: int = 1) -> keras.optimizers.Optimizer:
    """The optimizer that ``settings`` name, with its learning rate and clipping.

    ``accumulation`` batches are gathered for one step, which is clipped as a whole; ``RuntimeError`` on a
    Keras older than 3.5, which clips each part.
    """
    if accumulation > 1 and not ACCUMULATES:
        raise RuntimeError(
            f"on_oom: accumulate needs Keras 3.5 or newer, found {keras.__version__}; "
            "bash jobs/make_environment.sh, or on_oom: skip"
        )
    return _OPTIMIZERS[settings["optimizer"]](
        learning_rate=settings["learning_rate"],
        clipnorm=settings["clipnorm"],
        global_clipnorm=settings["global_clipnorm"],
        **({"gradient_accumulation_steps": accumulation} if accumulation > 1 else {}),
    )


def build_loss(settings: Mapping[str, Any]) -> keras.losses.Loss:
    """The loss that ``settings`` name."""
    if settings["loss"] == "binary_focal_crossentropy":
        return keras.losses.BinaryFocalCrossentropy(gamma=settings["focal_gamma"])
    return keras.losses.BinaryCrossentropy()


def compiles(settings: Mapping[str, Any]) -> tuple[bool, str]:
    """Whether XLA compiles the steps of a point, and why.

    ``auto`` compiles on a GPU whose XLA works (TensorFlow from pip often lacks a CUDA library that XLA needs) and not
    on a CPU, where convolutions by oneDNN are quicker; nor where ``deterministic`` results are asked for,
    which XLA does not promise.
    """
    if settings["jit_compile"] != "auto":
        return settings["jit_compile"] == "on", f"jit_compile: {settings['jit_compile']}"
    if not tf.config.list_logical_devices("GPU"):
        return False, "jit_compile: auto, no GPU"
    if settings["deterministic"]:
        return False, "jit_compile: auto, deterministic"
    try:
        image = tf.ones((1, 8, 8, 2))
        tf.function(
            lambda x: tf.nn.relu(tf.nn.conv2d(x, tf.ones((3, 3, 2, 2)), 1, "SAME")), jit_compile=True
        )(image)
    except (tf.errors.OpError, RuntimeError, ValueError) as error:
        return False, f"jit_compile: auto, XLA does not work here: {str(error).splitlines()[0][:200]}"
    return True, "jit_compile: auto, XLA works on this GPU"


def _network(settings: Mapping[str, Any], patch_size: int, **form: Any) -> keras.Model:
    return build_network(
        settings["architecture"],
        patch_size=patch_size,
        base_filters=settings["base_filters"],
        levels=settings["levels"],
        dropout=settings["dropout"],
        batch_norm_momentum=settings["batch_norm_momentum"],
        **form,
    )


def build_model(
    settings: Mapping[str, Any],
    patch_size: int,
    accumulation: int = 1,
    patches: ResidentPatches | None = None,
    compile_steps: bool | None = None,
) -> tuple[keras.Model, Jaccard]:
    """The compiled network in its quick form, and its metric.

    With ``patches`` its steps take rows of them. ``compile_steps``: by XLA (default: as :func:`compiles` says).
    """
    model = _network(settings, patch_size, quick=True, kind=_Network)
    model.patches = patches
    metric = Jaccard()
    model.compile(
        optimizer=build_optimizer(settings, accumulation),
        loss=build_loss(settings),
        metrics=[metric],
        jit_compile=compiles(settings)[0] if compile_steps is None else compile_steps,
    )
    # Keras builds losses and metrics by a trial run of the whole network, unless they have seen data.
    blank = keras.ops.zeros((1, patch_size, patch_size, 1))
    model.compute_loss(y=blank, y_pred=blank)
    model.compute_metrics(None, blank, blank)
    model.reset_metrics()
    return model, metric


def _learning_rate(optimizer: keras.optimizers.Optimizer) -> float:
    """The rate in force, as the shortest decimal number that is its float32: 0.001, not 0.0010000000475."""
    return float(str(np.float32(keras.ops.convert_to_numpy(optimizer.learning_rate))))


def _optimizer_name(optimizer: keras.optimizers.Optimizer) -> str:
    names = {kind: name for name, kind in _OPTIMIZERS.items()}
    return names.get(type(optimizer), type(optimizer).__name__.lower())


def read_back(
    settings: Mapping[str, Any],
    model: keras.Model,
    batches: tf.data.Dataset,
    patch_size: int,
    accumulation: int = 1,
) -> dict[str, Any]:
    """What really was built, read from the objects themselves.

    Raises :class:`ReadBackError` listing every difference from ``settings``: learning rate, clipping,
    optimizer, batch shape (times ``accumulation`` parts), architecture, parameter count, precision. (In the predecessor
    ``Adam(lr=...)`` was ignored and all 108 of its runs trained at 0.001.)
    """
    optimizer = model.optimizer
    # Mixed float16 wraps the optimizer in one that scales the loss.
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    patches = model.patches
    image, mask = (batches if patches is None else batches.map(patches.fetch)).element_spec
    shape = (settings["batch_size"] // accumulation, patch_size, patch_size, 1)
    effective = {
        "architecture": model.name,
        "parameters": model.count_params(),
        "optimizer": _optimizer_name(inner),
        "learning_rate": _learning_rate(inner),
        "clipnorm": inner.clipnorm,
        "global_clipnorm": inner.global_clipnorm,
        "gradient_accumulation_steps": getattr(inner, "gradient_accumulation_steps", None) or 1,
        "batch_shape": list(image.shape),
        "precision": keras.mixed_precision.global_policy().name,
        "tensor_float_32": tf.config.experimental.tensor_float_32_execution_enabled(),
    }
    expected = {
        "architecture": settings["architecture"],
        "parameters": parameter_count(
            settings["architecture"], base_filters=settings["base_filters"], levels=settings["levels"]
        ),
        "optimizer": settings["optimizer"],
        "learning_rate": float(str(np.float32(settings["learning_rate"]))),
        "clipnorm": settings["clipnorm"],
        "global_clipnorm": settings["global_clipnorm"],
        "gradient_accumulation_steps": accumulation,
        "batch_shape": list(shape),
        "precision": settings["precision"],
        "tensor_float_32": settings["tensor_float_32"],
    }
    wrong = [
        f"{key}: received {effective[key]!r}, expected {expected[key]!r}"
        for key in expected
        if effective[key] != expected[key]
    ]
    if tuple(mask.shape) != shape:
        wrong.append(f"mask batch: received {tuple(mask.shape)}, expected {shape}")
    if wrong:
        raise ReadBackError(
            "the network that was built is not the one grid.yaml asks for: " + "; ".join(wrong)
        )
    return effective


def _variables(model: keras.Model) -> list[Any]:
    """Every variable of the network, dropout's generators too, without those of its metrics."""
    metrics = {id(variable) for variable in model.metrics_variables}
    return [variable for variable in model.variables if id(variable) not in metrics]


def _values(variables: list[Any]) -> list[np.ndarray]:
    return [np.array(keras.ops.convert_to_numpy(variable)) for variable in variables]


def _assign(variables: list[Any], values: list[np.ndarray], what: str) -> None:
    wanted = [(tuple(variable.shape), str(variable.dtype)) for variable in variables]
    given = [(value.shape, str(value.dtype)) for value in values]
    if wanted != given:
        raise ResumeError(
            f"the checkpoint holds {len(given)} arrays of the {what}, expected {len(wanted)} of the same shapes and types"
        )
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


class _Epochs(keras.callbacks.Callback):
    """Keeps the history and the best weights, and stops at once when the loss is not finite."""

    def __init__(
        self, metric: Jaccard, on_epoch: Callable[[dict[str, Any]], None], on_batch: Callable[[], None]
    ) -> None:
        super().__init__()
        self.metric = metric
        self.on_epoch = on_epoch
        self.on_batch = on_batch
        self.rows: list[dict[str, Any]] = []
        self.best = -math.inf
        self.best_epoch = 0
        self.best_values: list[np.ndarray] | None = None
        self.diverged = ""
        self.first_step: float | None = None  # when it had ended

    def on_epoch_begin(self, epoch, logs=None) -> None:
        self._started = time.monotonic()
        self._rate = _learning_rate(self.model.optimizer)

    def on_train_batch_end(self, batch, logs=None) -> None:
        loss = float((logs or {}).get("loss", 0.0))
        self.first_step = self.first_step or time.monotonic()
        if not math.isfinite(loss):
            self.diverged = (
                f"the training loss became {loss} in batch {batch + 1} of epoch {len(self.rows) + 1}"
            )
            self.model.stop_training = True
        self.on_batch()

    def on_epoch_end(self, epoch, logs=None) -> None:
        positives = self.metric.counts() if "val_loss" in logs else (0, 0, 0)
        row = {
            "epoch": epoch + 1,
            **{key: float(logs.get(key, math.nan)) for key in ("loss", "jaccard", "val_loss", "val_jaccard")},
            "learning_rate": self._rate,
            "val_true_positives": positives[0],
            "val_false_positives": positives[1],
            "val_false_negatives": positives[2],
            "seconds": time.monotonic() - self._started,
        }
        self.rows.append(row)
        if not self.diverged and not math.isfinite(row["val_loss"]):
            self.diverged = f"the validation loss became {row['val_loss']} in epoch {row['epoch']}"
        if self.diverged:
            self.model.stop_training = True
        elif row["val_jaccard"] > self.best:
            self.best, self.best_epoch = row["val_jaccard"], row["epoch"]
            self.best_values = _values(_variables(self.model))
        self.on_epoch(row)


# What Keras' two schedules count; both forget it in on_train_begin.
_COUNTERS = {
    "ReduceLROnPlateau": ("best", "wait", "cooldown_counter"),
    "EarlyStopping": ("best", "wait", "best_epoch", "stopped_epoch"),
}


class _State(keras.callbacks.Callback):
    """Stands last: puts a checkpoint in place when all others have begun, and makes one when all have ended an epoch."""

    def __init__(
        self,
        settings: Mapping[str, Any],
        epochs: _Epochs,
        schedules: list[keras.callbacks.Callback],
        resume: TrainingState | None,
        on_state: Callable[[TrainingState], None],
    ) -> None:
        super().__init__()
        self.settings = settings
        self.epochs = epochs
        self.schedules = {type(schedule).__name__: schedule for schedule in schedules}
        self.resume = resume
        self.on_state = on_state
        self._started = time.monotonic()

    def on_train_begin(self, logs=None) -> None:
        for name, counters in (self.resume.schedules if self.resume else {}).items():
            # Keras 3.0 finds the direction at the end of the first epoch, and forgets the best value then.
            if getattr(self.schedules[name], "monitor_op", True) is None:
                self.schedules[name]._set_monitor_op()
            for key, value in counters.items():
                setattr(self.schedules[name], key, value)

    def on_epoch_end(self, epoch, logs=None) -> None:
        if self.epochs.diverged:
            return
        current = _values(_variables(self.model))
        newest_is_best = self.epochs.best_epoch == epoch + 1
        self.on_state(
            TrainingState(
                epoch=epoch + 1,
                ended=bool(self.model.stop_training) or epoch + 1 == self.settings["epochs"],
                rows=self.epochs.rows,
                model=current,
                optimizer=_values(self.model.optimizer.variables),
                best=current if newest_is_best else self.epochs.best_values,
                best_epoch=self.epochs.best_epoch,
                schedules={
                    name: {key: _counter(getattr(schedule, key)) for key in _COUNTERS[name]}
                    for name, schedule in self.schedules.items()
                },
                seconds=self.seconds(),
            )
        )

    def seconds(self) -> float:
        """Time spent on this training, in attempts before, too."""
        return (self.resume.seconds if self.resume else 0.0) + time.monotonic() - self._started


def _counter(value: Any) -> float | None:
    if value is None:
        return None
    return value if isinstance(value, int) else float(value)


def _restore(model: keras.Model, epochs: _Epochs, state: TrainingState, schedules: list) -> None:
    """Put ``state`` into a network that was just built; :class:`ResumeError` where it does not fit."""
    known = {type(schedule).__name__: set(_COUNTERS[type(schedule).__name__]) for schedule in schedules}
    if {name: set(counters) for name, counters in state.schedules.items()} != known:
        raise ResumeError(f"the checkpoint counts for {sorted(state.schedules)}, expected {sorted(known)}")
    _assign(_variables(model), state.best, "best network")
    _assign(_variables(model), state.model, "network")
    _assign(model.optimizer.variables, state.optimizer, "optimizer")
    epochs.rows = [dict(row) for row in state.rows]
    epochs.best_epoch, epochs.best_values = state.best_epoch, state.best
    epochs.best = state.rows[state.best_epoch - 1]["val_jaccard"]


def _schedule(settings: Mapping[str, Any]) -> list[keras.callbacks.Callback]:
    callbacks: list[keras.callbacks.Callback] = []
    if settings["reduce_lr_patience"] is not None:
        callbacks.append(
            keras.callbacks.ReduceLROnPlateau(
                monitor="val_jaccard",
                mode="max",
                patience=settings["reduce_lr_patience"],
                factor=settings["reduce_lr_factor"],
                min_lr=settings["reduce_lr_min_lr"],
                min_delta=settings["reduce_lr_min_delta"],
            )
        )
    if settings["early_stopping_patience"] is not None:
        # The best weights are kept by _Epochs, at the exact maximum: min_delta must not move it.
        callbacks.append(
            keras.callbacks.EarlyStopping(
                monitor="val_jaccard",
                mode="max",
                patience=settings["early_stopping_patience"],
                min_delta=settings["early_stopping_min_delta"],
                restore_best_weights=False,
            )
        )
    return callbacks


def _evaluate(model: keras.Model, batches: tf.data.Dataset) -> dict[str, float]:
    # Keras measures in inference mode, weighting the smaller last batch by its size.
    return {key: float(value) for key, value in model.evaluate(batches, verbose=0, return_dict=True).items()}


def train(
    settings: Mapping[str, Any],
    data: PackedData,
    *,
    model_file: Path,
    accumulation: int = 1,
    resume: TrainingState | None = None,
    resident: bool | None = None,
    on_built: Callable[[], None] = lambda: None,
    on_batch: Callable[[], None] = lambda: None,
    on_epoch: Callable[[dict[str, Any]], None] = lambda row: None,
    on_state: Callable[[TrainingState], None] = lambda state: None,
    say: Callable[[str], None] = lambda text: None,
) -> Trained:
    """Train the configuration ``settings`` on ``data`` and leave the best weights in ``model_file``.

    ``settings`` holds every key of :data:`jobs.grid.settings.POINT`; ``model_file`` ends in ``.hdf5`` or
    ``.keras``. ``on_built`` is called once, before the first step, ``on_batch`` after each batch, ``on_epoch`` gets each history row as it is made,
    ``on_state`` what a checkpoint must hold, after each epoch that did not diverge, ``say`` one plain line
    of text; an exception of theirs ends the training. With ``resume`` the training goes on after that state
    and ends as if it had never been interrupted: the same history but for ``seconds``, the same weights (to
    the bit with ``deterministic`` on a CPU). ``accumulation`` parts each batch into so many and adds up
    their gradients: less memory and the same step, except that batch normalisation sees the smaller
    batches. ``resident`` keeps the patches on the device (default: on a GPU where they fit); the batches are the same
    to the bit. Call :func:`prepare_process` first.

    Raises :class:`ReadBackError` before the first step, :class:`ResumeError` if ``resume`` is not of this
    network, and ``RuntimeError`` if the model that was written does not predict what the trained one does.
    """
    started = time.monotonic()
    images, masks = data.select("train")
    val_images, val_masks = data.select("validation")
    patch_size = images.shape[1]
    first_epoch = resume.epoch if resume else 0
    patches = None
    gpus = tf.config.list_logical_devices("GPU")
    if resident if resident is not None else bool(gpus) and ResidentPatches.fits(data.images):
        patches = ResidentPatches(data.images, data.masks, gpus[0].name if gpus else "CPU:0")

    def rows(part: str) -> np.ndarray | None:
        return None if patches is None else data.rows(part)

    batches = training_batches(
        images,
        masks,
        batch_size=settings["batch_size"],
        parts=accumulation,
        seed=settings["seed"],
        first_epoch=first_epoch,
        epochs=settings["epochs"],
        augment=settings["augment"],
        rows=rows("train"),
    )
    size = settings["validation_batch_size"]
    validation = evaluation_batches(val_images, val_masks, batch_size=size, rows=rows("validation"))
    compile_steps, why = compiles(settings)
    model, metric = build_model(settings, patch_size, accumulation, patches, compile_steps)
    effective = read_back(settings, model, batches, patch_size, accumulation)
    effective |= {"jit_compile": compile_steps, "resident": patches is not None}
    model.optimizer.build(model.trainable_variables)
    built = time.monotonic()
    on_built()
    steps = len(images) // settings["batch_size"]
    parted = f" in {accumulation} parts" if accumulation > 1 else ""
    say(
        f"read back: {effective['architecture']}, {effective['parameters']:,} parameters, "
        f"{effective['optimizer']} at learning rate {effective['learning_rate']:g}, "
        f"clipnorm {effective['clipnorm']}, batches of {settings['batch_size']}{parted}, "
        f"{tuple(effective['batch_shape'])}, {steps} steps an epoch"
    )
    say(
        f"steps {'compiled by XLA' if compile_steps else 'not compiled by XLA'} ({why}); patches "
        + ("resident on the device" if patches else "streamed from the host")
    )
    epochs = _Epochs(metric, on_epoch, on_batch)
    schedules = _schedule(settings)
    state = _State(settings, epochs, schedules, resume, on_state)
    if resume is not None:
        _restore(model, epochs, resume, schedules)
    if resume is None or not resume.ended:
        model.fit(
            batches,
            epochs=settings["epochs"],
            initial_epoch=first_epoch,
            steps_per_epoch=steps * accumulation,
            validation_data=validation,
            # _Epochs stands first: it must see the counts of the validation before anything else runs.
            callbacks=[epochs, *schedules, state],
            shuffle=False,  # the batches are shuffled already
            verbose=0,
        )
    startup = {"build": built - started}
    if epochs.first_step is not None:
        startup["first_step"] = epochs.first_step - built
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
    _assign(_variables(model), epochs.best_values, "best network")
    shown = choose_samples(val_masks, SHOWN_PATCHES)
    chosen = val_images[shown].astype(np.float32)[..., None] / 255.0
    probabilities = _write(model, settings, chosen, model_file)
    on_batch()
    on_train = _evaluate(model, evaluation_batches(images, masks, batch_size=size, rows=rows("train")))
    # Measured by the training, with these weights, in inference mode.
    at_best = epochs.rows[epochs.best_epoch - 1]
    metrics |= {
        "val_loss_at_best": at_best["val_loss"],
        "train_loss_at_best": on_train["loss"],
        "train_jaccard_at_best": on_train["jaccard"],
        "overfitting_gap_at_best": at_best["val_loss"] - on_train["loss"],
        "jaccard_gap": on_train["jaccard"] - at_best["val_jaccard"],
    }
    if data.count("test"):
        on_batch()
        # Scored once, with the weights that the validation part chose; never used to choose.
        metrics["test_jaccard"] = _evaluate(
            model, evaluation_batches(*data.select("test"), batch_size=size, rows=rows("test"))
        )["jaccard"]
    return Trained("done", "", epochs.rows, metrics, effective, shown, probabilities, startup)


def _write(model: keras.Model, settings: Mapping[str, Any], images: np.ndarray, path: Path) -> np.ndarray:
    """Write ``model`` in its plain form to ``path``; what the file's network predicts for ``images``.

    (B, P, P, 1) to (B, P, P). ``RuntimeError`` unless the file loads by itself, holds the weights to the bit, and
    predicts what ``model`` does.
    """
    plain = _network(settings, images.shape[1])
    copy_weights(model, plain)
    _save(plain, path)
    loaded = keras.saving.load_model(path, compile=False)
    for written, wanted in zip(loaded.get_weights(), plain.get_weights(), strict=True):
        if not np.array_equal(written, wanted):
            raise RuntimeError(
                f"{path} holds other weights than those that were trained; expected the same: it was not written whole"
            )
    found = keras.ops.convert_to_numpy(loaded(images, training=False))[..., 0]
    expected = keras.ops.convert_to_numpy(model(images, training=False))[..., 0]
    difference = float(np.abs(found - expected).max())
    if not difference <= _SAME[settings["precision"]]:
        raise RuntimeError(
            f"{path} predicts probabilities that differ by {difference:.3g} from those of the network that was trained; "
            f"expected at most {_SAME[settings['precision']]:g}: the model was not written as it was trained"
        )
    return found


def _save(model: keras.Model, path: Path) -> None:
    """Write the network and its weights, without the optimizer, to ``path``."""
    with contextlib.ExitStack() as stack:
        if path.suffix == ".hdf5":
            # The guide promises .hdf5; Keras calls it legacy each time, on a logger of its own.
            from absl import logging

            level = logging.get_verbosity()
            stack.callback(logging.set_verbosity, level)
            logging.set_verbosity(logging.ERROR)
        model.save(path, include_optimizer=False) if path.suffix == ".hdf5" else model.save(path)


def hardware() -> dict[str, Any]:
    """The device that TensorFlow computes on and its peak memory in MB (GPU only; else ``None``).

    Also after an exception: what was used when memory did not suffice.
    """
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        return {"device": "CPU", "gpu_peak_memory_mb": None}
    details = tf.config.experimental.get_device_details(gpus[0])
    peak = tf.config.experimental.get_memory_info("GPU:0")["peak"] / 2**20
    return {"device": details.get("device_name", "GPU"), "gpu_peak_memory_mb": round(peak, 1)}
