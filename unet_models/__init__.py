"""Learning: data, the three architectures, metrics and the training of one configuration.

This package knows nothing of PBS or of the run's other points. Importing the package itself does not
import TensorFlow; ``training`` and what only it needs (``networks``, ``fast_layers``, ``fused_adam``, ``metrics``,
``pipeline``) do.
"""

import os

# TensorFlow reads this when it is imported. Unset, it convolves by oneDNN only on processors with AVX-512 or newer
# instructions, and on those with AVX2 a step takes 1.7 times as long. Where the user has set it, it stays.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
