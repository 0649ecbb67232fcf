"""The network as it is trained: optimizer, loss, metric, and whether XLA compiles its steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from unet_models.data.pipeline import ResidentPatches
from unet_models.networks.networks import build_network
from unet_models.training.fused_adam import FusedAdam
from unet_models.training.metrics import Jaccard
from unet_models.wording import MAKE_ENVIRONMENT

_KERAS = tuple(map(int, keras.__version__.split(".")[:2]))
# Keras accumulates gradients since version 3.5.
ACCUMULATES = _KERAS >= (3, 5)
# The number of samples goes with each loss since version 3.3 at the latest.
_GIVES_SAMPLES = _KERAS >= (3, 3)
OPTIMIZERS = {
    "adam": FusedAdam,
    "adamw": keras.optimizers.AdamW,
    "sgd": keras.optimizers.SGD,
    "rmsprop": keras.optimizers.RMSprop,
}


class _MeanOverSamples(keras.metrics.Mean):
    """The mean of the losses of batches, each with the weight of its samples.

    Newer Keras gives the number of samples with each loss. Keras 3.0 does not: the smaller last batch of an evaluation
    would count as much as the others, and the loss would depend on the batch size.
    """

    samples: Any = None

    def update_state(self, values: Any, sample_weight: Any = None) -> None:
        """Add the loss of a batch; ``sample_weight`` is its number of samples, where Keras gives it."""
        super().update_state(values, self.samples if sample_weight is None else sample_weight)


class PatchNetwork(keras.Model):
    """A network whose steps take row numbers of resident patches if ``patches`` is set, else images."""

    patches: ResidentPatches | None = None

    def compile(self, **options: Any) -> None:
        """As Keras does; the loss of an epoch is that of all samples."""
        super().compile(**options)
        if not _GIVES_SAMPLES:
            self._loss_tracker = _MeanOverSamples(name="loss")

    def train_step(self, data: Any) -> Any:
        """One step of the optimizer; Keras traces it once."""
        return super().train_step(self._counted(self._fetched(data)))

    def test_step(self, data: Any) -> Any:
        """One batch of an evaluation; Keras traces it once."""
        return super().test_step(self._counted(self._fetched(data)))

    def _fetched(self, data: Any) -> Any:
        return data if self.patches is None else self.patches.fetch(*data)

    def _counted(self, data: Any) -> Any:
        """``data``, whose number of samples is the weight of its loss."""
        if isinstance(self._loss_tracker, _MeanOverSamples):
            self._loss_tracker.samples = tf.shape(data[0])[0]
        return data


def build_optimizer(settings: Mapping[str, Any], accumulation: int = 1) -> keras.optimizers.Optimizer:
    """The optimizer that ``settings`` name, with its learning rate and clipping.

    Args:
        settings: of the point; ``optimizer``, ``learning_rate``, ``clipnorm`` and ``global_clipnorm`` are used.
        accumulation: number of batches whose gradients make one step; their sum is clipped as a whole.

    Raises:
        RuntimeError: ``accumulation`` is above 1 and Keras is older than 3.5, which clips each batch by itself.
    """
    if accumulation > 1 and not ACCUMULATES:
        raise RuntimeError(
            f"on_oom: accumulate needs Keras 3.5 or newer, found {keras.__version__}; "
            f"run {MAKE_ENVIRONMENT}, or set on_oom: skip"
        )
    return OPTIMIZERS[settings["optimizer"]](
        learning_rate=settings["learning_rate"],
        clipnorm=settings["clipnorm"],
        global_clipnorm=settings["global_clipnorm"],
        **({"gradient_accumulation_steps": accumulation} if accumulation > 1 else {}),
    )


def build_loss(settings: Mapping[str, Any]) -> keras.losses.Loss:
    """The loss that ``settings`` name: binary cross-entropy, or its focal form.

    Focal loss: Lin et al., ICCV 2017, arXiv:1708.02002.
    """
    if settings["loss"] == "binary_focal_crossentropy":
        return keras.losses.BinaryFocalCrossentropy(gamma=settings["focal_gamma"])
    return keras.losses.BinaryCrossentropy()


def compiles(settings: Mapping[str, Any]) -> tuple[bool, str]:
    """Whether XLA compiles the steps of a point, and the reason.

    ``jit_compile: auto`` compiles on a GPU where XLA works (TensorFlow from pip often lacks a CUDA library that
    XLA needs). It does not compile on a CPU, where oneDNN's convolutions are faster, or with
    ``deterministic: true``, which XLA does not guarantee.
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


def network(settings: Mapping[str, Any], patch_size: int, **options: Any) -> keras.Model:
    """The network that ``settings`` describe, not compiled.

    ``options`` are further arguments of :func:`unet_models.networks.networks.build_network`.
    """
    return build_network(
        settings["architecture"],
        patch_size=patch_size,
        base_filters=settings["base_filters"],
        levels=settings["levels"],
        dropout=settings["dropout"],
        batch_norm_momentum=settings["batch_norm_momentum"],
        **options,
    )


def build_model(
    settings: Mapping[str, Any],
    patch_size: int,
    accumulation: int = 1,
    patches: ResidentPatches | None = None,
    *,
    compile_steps: bool | None = None,
) -> tuple[keras.Model, Jaccard]:
    """The compiled network in its fast form, and its metric.

    Args:
        settings: of the point.
        patch_size: P, in pixels; inputs are (B, P, P, 1).
        accumulation: as for :func:`build_optimizer`.
        patches: if given, the network's steps take row numbers of these patches instead of images.
        compile_steps: whether XLA compiles the steps; ``None`` to decide by :func:`compiles`.
    """
    model = network(settings, patch_size, quick=True, kind=PatchNetwork)
    model.patches = patches
    metric = Jaccard()
    model.compile(
        optimizer=build_optimizer(settings, accumulation),
        loss=build_loss(settings),
        metrics=[metric],
        jit_compile=compiles(settings)[0] if compile_steps is None else compile_steps,
    )
    # Keras builds losses and metrics in a trial run of the whole network unless they have already seen data.
    blank = keras.ops.zeros((1, patch_size, patch_size, 1))
    model.compute_loss(y=blank, y_pred=blank)
    model.compute_metrics(None, blank, blank)
    model.reset_metrics()
    return model, metric
