"""The start of a training process: TensorFlow is imported and set up, and the run's data are read."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jobs.common.errors import UserError
from jobs.point.claim import process_age
from jobs.point.gpu_check import check_device
from jobs.run.index import Run
from jobs.run.sharing import check_data

if TYPE_CHECKING:
    from unet_models.data.packed import PackedData


@dataclass(frozen=True)
class Prepared:
    """The run's data, and the seconds of ``import`` (since the process started) and ``data`` so far.

    ``device``: what TensorFlow computes on. ``remark``: see :func:`jobs.point.gpu_check.check_device`.
    """

    data: PackedData
    startup: dict[str, float | None]
    device: str
    remark: str = ""


def prepare(run: Run, settings: Mapping[str, Any], *, threads: int | None = None) -> Prepared:
    """Prepare this process to train a point of ``run`` with ``settings``, on at most ``threads`` cores.

    Raises :class:`jobs.point.gpu_check.NoGpuError` in a job that asked for a GPU where TensorFlow sees none,
    :class:`UserError` where the packed data are not those from which the run was made, and what
    :func:`unet_models.data.packing.read_packed` raises where they cannot be read.
    """
    from unet_models.data.packing import read_packed
    from unet_models.training import training

    # Measured from the start of the process: a fork of a server that has imported TensorFlow imports nothing.
    startup = {"import": process_age()}
    since = time.monotonic()
    check_data(run)
    training.prepare_process(settings, threads=threads)
    device = training.device()
    remark = check_device(run, device, built_for_gpus=training.built_for_gpus())
    data = read_packed(run.paths.data)
    startup["data"] = time.monotonic() - since
    if data.fingerprint != run.fingerprint:
        raise UserError(
            f"{run.paths.data} contains the data {data.fingerprint}, expected {run.fingerprint}: "
            "it was replaced after the run was made; make a new run"
        )
    return Prepared(data, startup, device, remark)
