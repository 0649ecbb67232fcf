"""What every point's process needs, for the fork server of :mod:`jobs.local` to import once.

Python's collector is told to leave these half a million objects alone for ever: no fork looks through them again,
and their memory stays shared. What a point adds is looked through less often: building and tracing a network makes
a million objects that stay.
"""

# ruff: noqa: F401

import gc

import jobs.local  # multiprocessing runs its parent's main module in each fork
import unet_models.pictures
import unet_models.training.training
from jobs.common.errors import COLLECTOR

gc.collect()
gc.freeze()
gc.set_threshold(*COLLECTOR)
