"""What the process of every point needs, imported once by the fork server of :mod:`jobs.local`.

The garbage collector is told to ignore these half a million objects from then on: no fork scans them again, and
their memory stays shared. It also scans less often what a point adds: building and tracing a network makes a
million objects that stay.
"""

# ruff: noqa: F401

import gc

import jobs.point.attempt
import unet_models.pictures
import unet_models.training.training
from jobs.common.errors import COLLECTOR

gc.collect()
gc.freeze()
gc.set_threshold(*COLLECTOR)
