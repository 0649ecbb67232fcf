"""Data, the three networks, and the training of one configuration.

This package does not depend on PBS or on other points of a run: it imports neither ``jobs`` nor ``analysis``.
Importing the package itself does not import TensorFlow.
"""

import os

# TensorFlow reads this variable when it is imported. If it is not set, TensorFlow uses oneDNN for convolutions only on
# processors with AVX-512; on those with AVX2 a step then takes 1.7 times as long. A value set by the user is kept.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

# What else would change the numbers of a user without a word. Keras reads these when it is imported.
os.environ["KERAS_BACKEND"] = "tensorflow"
# A keras.json may set the order of axes, the type and epsilon. There is none in a folder that cannot exist.
os.environ["KERAS_HOME"] = f"{os.devnull}/keras"
for _name in (
    "KERAS_MAX_EPOCHS",  # ends every training early, since Keras 3.12
    "KERAS_MAX_STEPS_PER_EPOCH",
    "KERAS_NNX_ENABLED",
    "TF_USE_LEGACY_KERAS",
    "TF_XLA_FLAGS",  # XLA compiles where `jit_compile` says so
    "NVIDIA_TF32_OVERRIDE",  # `tensor_float_32` decides
    "TF_ENABLE_AUTO_MIXED_PRECISION",  # `precision` decides
    "TF_DETERMINISTIC_OPS",  # `deterministic` decides
):
    os.environ.pop(_name, None)
# These could change the numbers, too (fast mathematics), and XLA ends the process at one that it does not know. Where the
# libraries of CUDA are must be kept.
_flags = [
    one for one in os.environ.pop("XLA_FLAGS", "").split() if one.startswith("--xla_gpu_cuda_data_dir=")
]
if _flags:
    os.environ["XLA_FLAGS"] = " ".join(_flags)

# Keras imports Matplotlib, whose import ends at a backend that it does not know and at a matplotlibrc that is not UTF-8.
os.environ["MPLBACKEND"] = "Agg"
os.environ["MATPLOTLIBRC"] = os.devnull
# No variable keeps it from reading the one in the working directory.
if os.path.lexists("matplotlibrc"):
    import unet_models.plotting  # noqa: F401
