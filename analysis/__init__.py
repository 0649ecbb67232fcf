"""Statistics, figures and reports from the summary and the files of a run. Never imports TensorFlow."""

import os

# Set before NumPy is imported. The matrices here are small, so several threads gain little. With one thread, the
# statistics of 10,000 points take a second longer on an idle machine, but a quarter of the time on a busy one, where
# busy-waiting threads wait for a thread that has no core. Login nodes are busy. A value that is already set is kept.
for _library in ("OPENBLAS", "MKL"):
    os.environ.setdefault(f"{_library}_NUM_THREADS", "1")
