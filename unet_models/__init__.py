"""Learning: data, the three architectures, metrics and the training of one configuration.

This package knows nothing of PBS or of the run's other points. Importing the package itself does not
import TensorFlow; the modules ``networks``, ``metrics``, ``pipeline`` and ``training`` do.
"""
