"""Understanding: a summary -> statistics, figures and reports. Reads the summary and the run's files; no TensorFlow."""
