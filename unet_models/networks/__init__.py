"""The three networks, their layers, and their size counted without TensorFlow."""
