"""What the process of every point needs, imported once by the fork server of :mod:`jobs.local`.

The garbage collector is told to ignore these half a million objects from then on: no fork scans them again, and
their memory stays shared. It also scans less often what a point adds: building and tracing a network makes a
million objects that stay.
"""

# ruff: noqa: F401

import gc

from jobs.common.errors import COLLECTOR
from jobs.common.startup import usual_warnings

usual_warnings()  # a sitecustomize has set them in this process, too

import jobs.point.attempt  # noqa: E402 - after what a warning could end
import unet_models.pictures  # noqa: E402
import unet_models.training.training  # noqa: E402

gc.collect()
gc.freeze()
gc.set_threshold(*COLLECTOR)
