"""The process that probes one kind of point: a short training through the code that trains a point.

This is the only module of the room that imports TensorFlow, inside its functions and in a process of its own
(:mod:`jobs.cost.probe_process`).
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import statistics
import sys
import textwrap
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from jobs.common.schema import Measurement
from jobs.cost.measurements import WARM_STEPS, kind
from jobs.point.claim import host_name
from jobs.point.gpu_check import NoGpuError
from jobs.point.log import captured
from jobs.point.memory import is_out_of_memory, peak_memory_mb
from jobs.point.preparation import prepare
from jobs.point.worker import die_with_parent
from jobs.run.index import Entry, Run, read_run
from jobs.run.paths import PointPaths
from jobs.run.provenance import now

if TYPE_CHECKING:
    from unet_models.data.packed import PackedData
    from unet_models.training.state import TrainingState

LEAST_EPOCHS = 2  # the first epoch compiles its validation and is not measured
MOST_EPOCHS = 20
VALIDATION_BATCHES = 4
LEARNING_RATE = 1e-4  # the rate does not change what a step costs, and a probe must not diverge


@dataclass(frozen=True)
class Order:
    """What to probe: the point ``index`` of the run at ``root``, on ``steps`` steps and at most ``threads`` cores.

    ``parent`` is the process that waits for the answer.
    """

    root: Path
    index: int
    parent: int
    steps: int
    threads: int | None


@dataclass(frozen=True)
class Progress:
    """What was measured so far. ``ended``: this is all, and its ``status`` is final.

    ``no_gpu``: the sentence for the user where nothing may be measured, because the job's GPU is missing.
    """

    measurement: Measurement
    ended: bool = False
    no_gpu: str = ""


class Reporter:
    """Sends each number to the parent as soon as it is measured: what follows may run out of memory."""

    def __init__(self, entry: Entry, connection: Connection) -> None:
        self._connection = connection
        settings = kind(entry.point.settings)
        self._measurement = Measurement(settings=settings, status="error", point=entry.name)

    def update(self, **values: Any) -> None:
        """Set fields of the measurement and send it."""
        self._measurement = msgspec.structs.replace(self._measurement, **values)
        self._connection.send(Progress(self._measurement))

    def refuse(self, no_gpu: str) -> None:
        """Nothing may be measured on this node."""
        self._connection.send(Progress(self._measurement, ended=True, no_gpu=no_gpu))

    def end(self, **values: Any) -> None:
        """Set the last fields, the ``status`` among them, and send the measurement for the last time."""
        self._connection.send(Progress(msgspec.structs.replace(self._measurement, **values), ended=True))


def short_training(data: PackedData, settings: dict[str, Any], steps: int) -> tuple[PackedData, int]:
    """The part of ``data`` that a probe trains on, and its number of epochs.

    Enough for ``steps`` steps after the first ones, in at least :data:`LEAST_EPOCHS` epochs; full batches only; no test
    part.
    """
    batch = settings["batch_size"]
    wanted = 1 + WARM_STEPS + steps
    each = min(data.count("train") // batch, math.ceil(wanted / LEAST_EPOCHS))
    epochs = min(MOST_EPOCHS, max(LEAST_EPOCHS, math.ceil(wanted / max(1, each))))
    validation = VALIDATION_BATCHES * settings["validation_batch_size"]
    return data.shortened({"train": each * batch, "validation": validation, "test": 0}), epochs


def occupied_memory(data: PackedData, part: PackedData) -> list[Any]:
    """What the patches outside ``part`` occupy on the device in a real training, where patches are resident.

    Elsewhere patches are read when they are needed: the batches are all the memory that they take.
    """
    import tensorflow as tf

    from unet_models.data.pipeline import ResidentPatches

    if not tf.config.list_logical_devices("GPU") or not ResidentPatches.fits(data):
        return []
    return [tf.zeros((ResidentPatches.bytes(data) - ResidentPatches.bytes(part),), tf.uint8)]


class Stopwatch:
    """Measures the seconds between the callbacks of :func:`unet_models.training.training.train`.

    ``save`` writes a checkpoint. All times are in seconds; ``None`` or an empty list where a phase was not reached.
    """

    def __init__(self, save: Callable[[TrainingState], None]) -> None:
        self._save = save
        self.build: float | None = None
        self.first_step: float | None = None
        self.steps: list[float] = []
        self.validations: list[float] = []
        self.epoch_ends: list[float] = []
        self.ended = False
        self._last = time.monotonic()
        self._first_of_epoch = True  # what is before the first batch of an epoch is not part of a step

    def lap(self) -> float:
        """Seconds since the last callback."""
        before, self._last = self._last, time.monotonic()
        return self._last - before

    def on_built(self) -> None:
        """The network and the optimizer are built."""
        self.build = self.lap()

    def on_batch(self) -> None:
        """A training step has ended, or, after the last epoch, a part of the end."""
        if self.ended:
            return
        seconds = self.lap()
        if self.first_step is None:
            self.first_step = seconds
        elif not self._first_of_epoch:
            self.steps.append(seconds)
        self._first_of_epoch = False

    def on_epoch(self, _row: dict[str, Any]) -> None:
        """An epoch with its validation has ended."""
        self.validations.append(self.lap())

    def on_state(self, state: TrainingState) -> None:
        """The state after an epoch is there: it is saved as a point saves it."""
        self._save(state)
        self.epoch_ends.append(self.lap())
        self._first_of_epoch, self.ended = True, state.ended

    def measured(self, validation_batches: int) -> dict[str, Any]:
        """The fields of a :class:`Measurement` so far, except ``startup``."""
        steady = self.steps[WARM_STEPS:] or self.steps
        validations, ends = self.validations[1:], self.epoch_ends[1:] or self.epoch_ends
        return {
            "steps": len(steady),
            "step_seconds": _median(steady),
            "step_seconds_range": (min(steady), max(steady)) if steady else None,
            "validation_seconds": statistics.median(validations) / validation_batches
            if validations
            else None,
            "epoch_end_seconds": _median(ends),
        }

    def check(self) -> None:
        """Raise ``RuntimeError`` where the training ended before a step and a validation were measured."""
        if not self.steps or not self.validations[1:]:
            raise RuntimeError("the training ended before a step and a validation were measured")

    def startup(self) -> dict[str, float | None]:
        """The seconds of the phases before the second step that were reached."""
        phases = {"build": self.build, "first_step": self.first_step}
        return {name: seconds for name, seconds in phases.items() if seconds is not None}


def _median(values: Sequence[float]) -> float | None:
    return statistics.median(values) if values else None


def train_shortly(run: Run, entry: Entry, order: Order, reporter: Reporter) -> None:
    """Train ``entry`` for a few steps and report the times of each phase."""
    from unet_models.data.pipeline import ResidentPatches
    from unet_models.training import training

    settings = {**entry.point.settings, "learning_rate": LEARNING_RATE, "early_stopping_patience": None}
    prepared = prepare(run, settings, threads=order.threads)
    data, startup = prepared.data, prepared.startup
    reporter.update(startup=startup, device=prepared.device)
    part, settings["epochs"] = short_training(data, settings, order.steps)
    occupied = occupied_memory(data, part)  # until the end

    from jobs.point.checkpoints import Checkpoint, Checkpoints

    scratch = PointPaths(run.paths.probe_scratch, "probe", settings["model_format"])
    checkpoints = Checkpoints(scratch, "probe")

    def save(state: TrainingState) -> None:
        checkpoints.save(Checkpoint("probe", 1, [], state), check=lambda: None)

    watch = Stopwatch(save)
    batches = math.ceil(part.count("validation") / settings["validation_batch_size"])

    def report() -> None:
        reporter.update(startup={**startup, **watch.startup()}, **watch.measured(batches))

    try:
        training.train(
            settings,
            part,
            model_file=scratch.model,
            resident=None if ResidentPatches.fits(data) else False,
            on_built=watch.on_built,
            on_batch=watch.on_batch,
            on_epoch=watch.on_epoch,
            on_state=watch.on_state,
            say=lambda text: print(text, flush=True),
        )
        report()
        watch.check()
        scored = math.ceil(part.count("train") / settings["validation_batch_size"]) + batches
        reporter.update(finish_seconds=watch.lap(), finish_batches=scored)
    except Exception as error:
        report()
        if not watch.ended or is_out_of_memory(error, run.paths.probe_log):
            raise
        # A model of so few steps may fail the comparison with its file; the times of its steps are valid all the same.
        traceback.print_exc()
        reporter.update(
            reason=textwrap.shorten(f"its end was not measured ({type(error).__name__}: {error})", 300)
        )
    finally:
        del occupied


def answer(run: Run, entry: Entry, order: Order, reporter: Reporter) -> None:
    """Train shortly and report how it ended, whatever happens."""
    outcome = {"status": "measured"}
    try:
        train_shortly(run, entry, order, reporter)
    except NoGpuError as error:
        print(error, flush=True)
        reporter.refuse(str(error))
        return
    except Exception as error:  # noqa: BLE001 - any error becomes the status of this kind
        traceback.print_exc()
        sys.stderr.flush()
        outcome = {
            "status": "oom" if is_out_of_memory(error, run.paths.probe_log) else "error",
            "reason": textwrap.shorten(f"{type(error).__name__}: {error}", 400),
        }
    reporter.update(peak_host_memory_mb=peak_memory_mb())
    if "unet_models.training.training" in sys.modules:
        from unet_models.training import training

        with contextlib.suppress(Exception):  # after a failure the driver may raise anything
            reporter.update(peak_memory_mb=training.hardware()["gpu_peak_memory_mb"])
    reporter.end(**outcome)


def work(order: Order, connection: Connection) -> None:
    """The body of the process: it sends :class:`Progress` through ``connection`` and exits."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which ends its child
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    die_with_parent(order.parent)
    try:
        run = read_run(order.root)
        entry = run.entry(order.index)
        with captured(run.paths.probe_log, echo=False):
            print(f"{now()} {entry.name}: probe, process {os.getpid()} on {host_name()}", flush=True)
            answer(run, entry, order, Reporter(entry, connection))
    finally:
        # A regular exit may hang in TensorFlow's threads.
        os._exit(0 if sys.exc_info()[0] is None else 1)
