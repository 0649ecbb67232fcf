"""Data, the three networks, and the training of one configuration.

This package does not depend on PBS or on other points of a run: it imports neither ``jobs`` nor ``analysis``.
Importing the package itself does not import TensorFlow.
"""

import os

# TensorFlow reads this variable when it is imported. If it is not set, TensorFlow uses oneDNN for convolutions only on
# processors with AVX-512; on those with AVX2 a step then takes 1.7 times as long. A value set by the user is kept.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
