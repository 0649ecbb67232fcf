"""``python -m jobs.probe RUN``: measures what a step of each kind of point takes, and writes RUN/probe.json.

One short training for each combination of settings that change the cost (architecture, batch size, and others where
they are axes), each in a process of its own, on the run's data and through the code that trains a point. What is
left is a record only: no point is touched. Submit it as a job with: python -m jobs.submit --probe RUN

Exit codes: 0 every combination was measured or has run out of memory (which is an answer), 3 some were not measured,
2 bad arguments or no usable run, 6 another probe of this run is at work, 130 interrupted (what was measured is kept).
"""

from __future__ import annotations

import argparse
import contextlib
import math
import multiprocessing
import os
import shutil
import signal
import statistics
import sys
import textwrap
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from jobs.common.errors import ACTIVE, OK, PARTIAL, UserError, run_command
from jobs.common.records import write_record
from jobs.cost.measurements import COST, STATUSES, WARM_STEPS, cost_settings, kinds, read_content, read_probe
from jobs.point.claim import host_name
from jobs.point.deadline import deadline
from jobs.point.endings import class_of_exit, is_out_of_memory, oom_kills, peak_memory_mb
from jobs.point.gpus import ask_driver, claimed_gpu, named_gpus
from jobs.point.log import captured
from jobs.point.preparation import prepare
from jobs.point.worker import die_with_parent
from jobs.run.index import Entry, Run, read_run
from jobs.run.paths import PointPaths
from jobs.run.provenance import now, package_versions

if TYPE_CHECKING:
    from unet_models.data.dataset import PackedData

STEPS = 20  # measured steps; their median moves by a few per cent between two probes
LIMIT_SECONDS = 900.0  # for one combination, with everything: imports, compiling, measuring
EPOCHS = (2, 20)  # at least two, since the first compiles its validation; at most
VALIDATION_BATCHES = 4
LEARNING_RATE = 1e-4  # the rate changes no step's cost, and a probe must not diverge


def short_training(data: PackedData, settings: dict[str, Any], steps: int) -> tuple[PackedData, int]:
    """The part of ``data`` that a probe trains on, and its number of epochs.

    Enough for ``steps`` steps after the first ones, in at least two epochs; full batches only; no test part.
    """
    import numpy as np

    batch = settings["batch_size"]
    train, validation = (np.flatnonzero(data.part == part) for part in (0, 1))
    wanted = 1 + WARM_STEPS + steps
    each = min(len(train) // batch, math.ceil(wanted / EPOCHS[0]))
    epochs = min(EPOCHS[1], max(EPOCHS[0], math.ceil(wanted / max(1, each))))
    kept = np.concatenate(
        [train[: each * batch], validation[: VALIDATION_BATCHES * settings["validation_batch_size"]]]
    )
    return replace(
        data, images=data.images[kept], masks=data.masks[kept], part=data.part[kept], z=data.z[kept]
    ), epochs


class _Clock:
    """Takes the times between the calls that :func:`unet_models.training.training.train` makes."""

    def __init__(self, checkpoint: Callable[[Any], None]) -> None:
        self._checkpoint = checkpoint
        self.build: float | None = None
        self.first_step: float | None = None
        self.steps: list[float] = []
        self.validations: list[float] = []
        self.epoch_ends: list[float] = []
        self.ended = False
        self._last = time.monotonic()
        self._fresh = True  # the next batch is the first of an epoch: what is before it is no step

    def _lap(self) -> float:
        before, self._last = self._last, time.monotonic()
        return self._last - before

    def built(self) -> None:
        self.build = self._lap()

    def batch(self) -> None:
        if self.ended:
            return
        seconds = self._lap()
        if self.first_step is None:
            self.first_step = seconds
        elif not self._fresh:
            self.steps.append(seconds)
        self._fresh = False

    def epoch(self, row: dict[str, Any]) -> None:
        self.validations.append(self._lap())

    def state(self, state: Any) -> None:
        self._checkpoint(state)
        self.epoch_ends.append(self._lap())
        self._fresh, self.ended = True, state.ended

    def finished(self) -> float:
        return self._lap()


def _measure(run: Run, entry: Entry, options: dict[str, Any], tell: Callable[..., None]) -> None:
    """Train shortly and ``tell`` each number as soon as it is known: what follows may need too much memory."""
    from unet_models.training import training

    settings = {
        **entry.point.settings,
        "learning_rate": LEARNING_RATE,
        "early_stopping_patience": None,
    }
    prepared = prepare(run, settings, threads=options["threads"])
    data, startup = prepared.data, prepared.startup
    tell(startup=dict(startup), device=training.hardware()["device"])
    part, settings["epochs"] = short_training(data, settings, options["steps"])
    held = _held_back(data, part)  # kept until the end

    from jobs.point.checkpoints import Checkpoint, Checkpoints

    scratch = PointPaths(run.paths.probe_scratch, "probe", settings["model_format"])
    checkpoints = Checkpoints(scratch, "probe")
    clock = _Clock(lambda state: checkpoints.save(Checkpoint("probe", 1, [], state), check=lambda: None))
    batches = math.ceil(part.count("validation") / settings["validation_batch_size"])

    def report() -> None:
        steady = clock.steps[WARM_STEPS:] or clock.steps
        startup.update(
            {
                name: value
                for name, value in (("build", clock.build), ("first_step", clock.first_step))
                if value is not None
            }
        )
        tell(
            startup=dict(startup),
            steps=len(steady),
            step_seconds=statistics.median(steady) if steady else None,
            step_seconds_range=[min(steady), max(steady)] if steady else None,
            validation_seconds=(
                statistics.median(clock.validations[1:]) / batches if clock.validations[1:] else None
            ),
            epoch_end_seconds=statistics.median(clock.epoch_ends[1:] or clock.epoch_ends)
            if clock.epoch_ends
            else None,
        )

    try:
        training.train(
            settings,
            part,
            model_file=scratch.model,
            on_built=clock.built,
            on_batch=clock.batch,
            on_epoch=clock.epoch,
            on_state=clock.state,
            say=lambda text: print(text, flush=True),
        )
        report()
        scored = math.ceil(part.count("train") / settings["validation_batch_size"]) + batches
        tell(finish_seconds=clock.finished(), finish_batches=scored)
    except Exception as error:
        report()
        if not clock.ended or is_out_of_memory(error, run.paths.probe_log):
            raise
        # The steps are measured. That a model of so few steps is not read back as it was written is no fault of theirs.
        traceback.print_exc()
        tell(reason=textwrap.shorten(f"its end was not measured ({type(error).__name__}: {error})", 300))
    finally:
        del held


def _held_back(data: PackedData, part: PackedData) -> list[Any]:
    """The memory that the patches which a probe leaves out take in a real training: the copies of
    :meth:`PackedData.select` on the host, and TensorFlow's where it keeps constants."""
    import tensorflow as tf

    held: list[Any] = []
    for name in ("train", "validation"):
        images, masks = data.select(name)
        left = slice(part.count(name), None)
        held += [images[left].copy(), masks[left].copy()]
        held += [tf.constant(images[left]), tf.constant(masks[left])]
    return held


def _child(root: str, index: int, parent: int, connection: Any, options: dict[str, Any]) -> None:
    """The whole life of a combination's process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which ends its child
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    die_with_parent(parent)
    try:
        run = read_run(Path(root))
        entry = run.entry(index)
        with captured(run.paths.probe_log, echo=False):
            print(f"{now()} {entry.name}: probe, process {os.getpid()} on {host_name()}", flush=True)
            _answer(run, entry, options, connection)
    finally:
        # TensorFlow's threads may hang in a regular exit.
        os._exit(0 if sys.exc_info()[0] is None else 1)


def _answer(run: Run, entry: Entry, options: dict[str, Any], connection: Any) -> None:
    def tell(**values: Any) -> None:
        connection.send(values)

    status = {"status": "measured"}
    try:
        _measure(run, entry, options, tell)
    except Exception as error:  # noqa: BLE001 - the one place where a combination's fault becomes its class
        traceback.print_exc()
        sys.stderr.flush()
        status["status"] = "oom" if is_out_of_memory(error, run.paths.probe_log) else "error"
        status["reason"] = textwrap.shorten(f"{type(error).__name__}: {error}", 400)
    tell(peak_host_memory_mb=peak_memory_mb())
    if "unet_models.training.training" in sys.modules:
        with contextlib.suppress(Exception):  # after a fault the driver may answer with any
            tell(peak_memory_mb=sys.modules["unet_models.training.training"].hardware()["gpu_peak_memory_mb"])
    tell(**status)


def measure(
    run: Run,
    entry: Entry,
    *,
    steps: int = STEPS,
    threads: int | None = None,
    limit: float = LIMIT_SECONDS,
    target: Callable[..., None] = _child,
) -> dict[str, Any]:
    """One combination, in a process of its own; an entry of ``probe.json`` whatever becomes of the process.

    ``target`` is the process's body.
    """
    # A fork costs nothing while nothing heavy is imported here; TensorFlow's threads would make it hang.
    context = multiprocessing.get_context("spawn" if "tensorflow" in sys.modules else "fork")
    receiving, sending = context.Pipe(duplex=False)
    found: dict[str, Any] = {}
    kills = oom_kills()
    shutil.rmtree(run.paths.probe_scratch, ignore_errors=True)
    (run.paths.probe_scratch / "state").mkdir(parents=True)
    begun = time.monotonic()
    options = {"steps": steps, "threads": threads}
    process = context.Process(
        target=target, args=(str(run.paths.root), entry.index, os.getpid(), sending, options)
    )
    try:
        process.start()
        sending.close()
        while True:
            left = begun + limit - time.monotonic()
            if left <= 0 or not receiving.poll(left):
                process.kill()
                found |= {"status": "timeout", "reason": f"took more than {limit:.0f} s; see --limit"}
                break
            try:
                found |= receiving.recv()
            except (EOFError, OSError):
                break
        process.join()
    finally:
        if process.is_alive():
            process.kill()
            process.join()
        receiving.close()
        shutil.rmtree(run.paths.probe_scratch, ignore_errors=True)
    if found.get("status") not in STATUSES:
        state, reason = class_of_exit(process.exitcode, kills)
        found |= {"status": state if state in STATUSES else "error", "reason": reason}
    return {
        "settings": cost_settings(entry.point.settings),
        "point": entry.name,
        "reason": "",
        "gpu_memory_mb": gpu_memory_mb(str(found.get("device", "CPU"))),
        **found,
        "threads": threads,
        "host": host_name(),
        "job_id": os.environ.get("PBS_JOBID"),
        "made": now(),
        "packages": package_versions(),
    }


def gpu_memory_mb(device: str) -> float | None:
    """What the GPU that this process uses has; ``None`` on a CPU, or where the driver does not say."""
    if device == "CPU":
        return None
    named = named_gpus()
    which = ["-i", named[0]] if named else []
    lines = ask_driver(*which, "--query-gpu=memory.total", "--format=csv,noheader,nounits")
    try:
        return float(lines[0])
    except (IndexError, ValueError):
        return None


def described(content: dict[str, Any], axes: Sequence[str]) -> str:
    """A combination in words, for its line: the settings that vary."""
    names = {"architecture": "", "batch_size": "batch "}
    return ", ".join(f"{names.get(key, key + ' ')}{content['settings'][key]}" for key in axes)


def _outcome(content: dict[str, Any]) -> str:
    if content["status"] != "measured":
        return f"{content['status']}: {content['reason']}"
    memory = content.get("peak_memory_mb")
    gpu = f", GPU memory {memory / 1024:.1f} GB" if memory is not None else ""
    return (
        f"{1000 * content['step_seconds']:.0f} ms a step, {1000 * content['validation_seconds']:.0f} ms a "
        f"validation batch, host memory {content['peak_host_memory_mb'] / 1024:.1f} GB{gpu} ({content['device']})"
    )


def probe(
    run: Run,
    *,
    steps: int = STEPS,
    threads: int | None = None,
    limit: float = LIMIT_SECONDS,
    missing: bool = False,
    say: Callable[[str], None] = print,
) -> dict[str, str]:
    """Measure every combination of ``run``, or those that are ``missing``; the status of each point's kind, by name.

    ``probe.json`` is replaced whole after each combination, and those measured before stay until they are measured
    again: what ends a probe loses at most one. Inside a PBS job none is begun that its walltime may not hold.
    Raises :class:`UserError` where another probe of this run is at work, or ``probe.json`` is not of this run.
    """
    try:
        guard = FileLock(run.paths.probe_lock).acquire(timeout=0)
    except Timeout:
        raise UserError(
            f"{run.paths.root} is being probed by another process; expected one at a time: wait for it, or end it",
            exit_code=ACTIVE,
        ) from None
    with guard:
        run.paths.logs.mkdir(exist_ok=True)
        known = {} if read_content(run) is None else _known(run)
        wanted = kinds(run.entries)
        axes = [key for place, key in enumerate(COST) if len({one[place] for one in wanted}) > 1]
        axes = [key for key in COST if key in ("architecture", "batch_size", *axes)]
        measured = read_probe(run) if known else {}
        ends = deadline(run.site)
        longest = 60.0
        outcome = {}
        for place, (key, entries) in enumerate(wanted.items(), start=1):
            entry = entries[0]
            if missing and key in measured and measured[key].status in ("measured", "oom"):
                outcome[entry.name] = measured[key].status
                continue
            if ends.ends is not None and ends.ends - time.time() < 1.2 * longest:
                say(f"[{place}/{len(wanted)}] {entry.name}: not begun: the walltime may not hold it")
                outcome[entry.name] = "not begun"
                continue
            since = time.monotonic()
            content = measure(run, entry, steps=steps, threads=threads, limit=limit)
            longest = max(longest, time.monotonic() - since)
            known[key] = content
            write_record(
                run.paths.probe,
                {
                    "fingerprint": run.fingerprint,
                    "source": run.source,
                    "updated": now(),
                    "combinations": list(known.values()),
                },
            )
            outcome[entry.name] = content["status"]
            say(f"[{place}/{len(wanted)}] {described(content, axes)}: {_outcome(content)}")
        return outcome


def _known(run: Run) -> dict[Any, dict[str, Any]]:
    """The combinations on record, as they stand, for those that are not measured anew."""
    valid = read_probe(run)
    content = read_content(run) or {}
    found = {}
    for one in content.get("combinations", []):
        key = tuple(one["settings"][name] for name in COST)
        if key in valid:
            found[key] = one
    return found


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m jobs.probe", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", metavar="RUN", type=Path, help="the run directory that make_grid.py made")
    parser.add_argument("--missing", action="store_true", help="only what was not measured yet")
    parser.add_argument("--steps", type=int, default=STEPS, help=f"measured steps of each ({STEPS})")
    parser.add_argument("--threads", type=int, help="cores to use (default: all that the process may use)")
    parser.add_argument(
        "--limit", type=float, default=LIMIT_SECONDS, help=f"seconds for one combination ({LIMIT_SECONDS:g})"
    )
    arguments = parser.parse_args(argv)

    def command() -> int:
        for name, value, high in (
            ("--steps", arguments.steps, 10_000),
            ("--threads", arguments.threads, 4096),
            ("--limit", arguments.limit, 86_400),
        ):
            if value is not None and not 1 <= value <= high:
                raise UserError(f"{name}: received {value:g}, expected a number from 1 to {high}")
        run = read_run(arguments.run)
        before = signal.signal(signal.SIGTERM, _interrupt)
        try:
            with claimed_gpu():
                outcome = probe(
                    run,
                    steps=arguments.steps,
                    threads=arguments.threads,
                    limit=arguments.limit,
                    missing=arguments.missing,
                    say=lambda text: print(text, flush=True),
                )
        finally:
            signal.signal(signal.SIGTERM, before)
        answered = sum(status in ("measured", "oom") for status in outcome.values())
        print(f"{run.paths.probe}: {answered} of {len(outcome)} combinations measured")
        print(f"what the search will cost: python -m jobs.submit --estimate {arguments.run}")
        if answered < len(outcome):
            print(
                f"why some were not: {run.paths.probe_log}; again: python -m jobs.probe --missing {arguments.run}"
            )
        return OK if answered == len(outcome) else PARTIAL

    return run_command("jobs.probe", command)


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
