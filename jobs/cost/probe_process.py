"""Probes one kind of point in a process of its own, so that no failure spreads to the others."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import get_args

import msgspec

from jobs.common.errors import PARTIAL
from jobs.common.folders import make_folder
from jobs.common.schema import Measurement, MeasurementStatus
from jobs.cost.measurements import kind
from jobs.cost.probe_training import Order, Progress, work
from jobs.point.claim import host_name
from jobs.point.endings import class_of_exit
from jobs.point.gpu_check import NoGpuError
from jobs.point.gpus import ask_driver, named_gpus
from jobs.point.memory import oom_kills
from jobs.run.index import Entry, Run
from jobs.run.provenance import now, package_versions

STEPS = 20  # measured steps; their median differs by a few per cent between two probes
LIMIT_SECONDS = 900.0  # for one kind, including imports and compiling
STATUSES: tuple[MeasurementStatus, ...] = get_args(MeasurementStatus)


def measure(
    run: Run,
    entry: Entry,
    *,
    steps: int = STEPS,
    threads: int | None = None,
    limit: float = LIMIT_SECONDS,
    target: Callable[[Order, Connection], None] = work,
) -> Measurement:
    """Probe the kind of ``entry``; its ``status`` is how the process ended. ``limit`` is in seconds.

    ``target`` is the body of the process. Raises :class:`jobs.point.gpu_check.NoGpuError` in a job that asked for a GPU
    where TensorFlow sees none: the times of a CPU would be of no use.
    """
    # A fork costs nothing while nothing heavy is imported here; with TensorFlow's threads it would hang.
    tensorflow = "tensorflow" in sys.modules
    context = multiprocessing.get_context("spawn") if tensorflow else multiprocessing.get_context("fork")
    receiving, sending = context.Pipe(duplex=False)
    kills = oom_kills()
    shutil.rmtree(run.paths.probe_scratch, ignore_errors=True)
    make_folder(run.paths.probe_scratch / "state")
    order = Order(run.paths.root, entry.index, os.getpid(), steps, threads)
    process = context.Process(target=target, args=(order, sending))
    found = Progress(Measurement(settings=kind(entry.point.settings), status="error", point=entry.name))
    late = False
    ends = time.monotonic() + limit
    try:
        process.start()
        sending.close()
        while not late:
            left = ends - time.monotonic()
            late = left <= 0 or not receiving.poll(left)
            if not late:
                try:
                    found = receiving.recv()
                except (EOFError, OSError):
                    break
        if late:
            process.kill()
        process.join()
    finally:
        if process.is_alive():
            process.kill()
            process.join()
        receiving.close()
        shutil.rmtree(run.paths.probe_scratch, ignore_errors=True)
    if found.no_gpu:
        raise NoGpuError(found.no_gpu, exit_code=PARTIAL)
    status, reason = found.measurement.status, found.measurement.reason
    if late:
        status, reason = "timeout", f"took more than {limit:.0f} s; see --limit"
    elif not found.ended:
        state, reason = class_of_exit(process.exitcode or 0, kills)
        status = next((one for one in STATUSES if one == state), "error")
        if status == "error":
            reason = f"{reason}; see {run.paths.probe_log}"
    return msgspec.structs.replace(
        found.measurement,
        status=status,
        reason=reason,
        gpu_memory_mb=gpu_memory_mb(found.measurement.device),
        threads=threads,
        host=host_name(),
        job_id=os.environ.get("PBS_JOBID"),
        made=now(),
        packages=package_versions(),
    )


def gpu_memory_mb(device: str) -> float | None:
    """The memory in MB of the GPU that this process uses.

    ``None`` on a CPU, where ``device`` is not known, or where the driver does not report it.
    """
    if device in ("", "CPU"):
        return None
    named = named_gpus()
    which = ["-i", named[0]] if named else []
    lines = ask_driver(*which, "--query-gpu=memory.total", "--format=csv,noheader,nounits")
    try:
        return float(lines[0])
    except (IndexError, ValueError):
        return None
