"""Understanding: a summary -> statistics, figures and reports. Reads the summary and the run's files; no TensorFlow."""

import os

# Before NumPy is loaded. The matrices here are small: one thread takes 10,000 points through the statistics a second
# slower on an idle machine, and four times as fast on a busy one, where threads that spin wait for one that is not
# on a core; a login node is always busy, and has a hundred cores to spin on. Whoever sets these is left alone.
for _library in ("OPENBLAS", "MKL"):
    os.environ.setdefault(f"{_library}_NUM_THREADS", "1")
