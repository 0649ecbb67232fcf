"""``python -m jobs.probe RUN``: measures what a step of each kind of point takes, and writes RUN/probe.json.

It trains each combination of settings that change the cost (architecture, batch size, and others where they are axes)
for a few steps, each in a process of its own, on the run's data and through the code that trains a point. It changes no
point: probe.json is all that it writes. Submit it as a job with: python -m jobs.submit --probe RUN

Exit codes: 0 every combination was measured or ran out of memory (which is an answer, too), 3 some were not measured,
or the job asked for a GPU and TensorFlow sees none, 2 bad arguments or no usable run, 6 another probe of this run is
active, 130 interrupted (what was measured is kept).
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

from filelock import Timeout

from jobs.common.errors import ACTIVE, OK, PARTIAL, UserError, run_command
from jobs.common.files import lock_file
from jobs.common.folders import make_folder
from jobs.common.hints import hint
from jobs.common.schema import Measurement
from jobs.common.units import gigabytes
from jobs.cost.measurements import COST, kinds, read_probe, write_probe
from jobs.cost.probe_process import LIMIT_SECONDS, STEPS, measure
from jobs.point.deadline import deadline
from jobs.point.gpus import claimed_gpu
from jobs.run.index import Run
from jobs.run.sharing import check_trainable, open_run
from jobs.run.trust import add_trust_argument

NOT_STARTED = "not started"
ANSWERS = ("measured", "oom")  # a kind with one of these needs no further probe
FIRST_SECONDS = 60.0  # assumed for a kind before the first one was measured
SLOWER = 1.2  # a kind may take this much longer than the longest so far


def described(measurement: Measurement, axes: Sequence[str]) -> str:
    """A kind in words: the settings that differ between kinds."""
    names = {"architecture": "", "batch_size": "batch "}
    return ", ".join(f"{names.get(key, key + ' ')}{getattr(measurement.settings, key)}" for key in axes)


def outcome(measurement: Measurement) -> str:
    """The result of a probe in words."""
    step, validation = measurement.step_seconds, measurement.validation_seconds
    if step is None or validation is None or measurement.status != "measured":
        return f"{measurement.status}: {measurement.reason}"
    gpu = (
        "" if measurement.peak_memory_mb is None else f", GPU memory {gigabytes(measurement.peak_memory_mb)}"
    )
    return (
        f"{1000 * step:.0f} ms per step, {1000 * validation:.0f} ms per validation batch, "
        f"host memory {gigabytes(measurement.peak_host_memory_mb)}{gpu} ({measurement.device})"
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
    """Measure every kind of ``run``, or those that are ``missing``; the status of each by the name of its first point.

    ``probe.json`` is replaced after each kind, so that an interruption loses at most one; the kinds measured before stay
    until they are measured again. Inside a PBS job no kind is started that may not fit into the walltime.
    Raises :class:`jobs.point.gpu_check.NoGpuError` in a job whose GPU TensorFlow does not see, and
    :class:`UserError` where another probe of this run is active, or ``probe.json`` is not of this run.
    """
    try:
        guard = lock_file(run.paths.probe_lock).acquire(timeout=0)
    except Timeout:
        raise UserError(
            f"{run.paths.root} is being probed by another process; expected one at a time: wait for it, or end it",
            exit_code=ACTIVE,
        ) from None
    with guard:
        make_folder(run.paths.logs)
        known = read_probe(run)
        wanted = kinds(run.entries)
        axes = [
            name
            for name in COST
            if name in ("architecture", "batch_size") or len({getattr(key, name) for key in wanted}) > 1
        ]
        ends = deadline(run.site).ends
        longest = FIRST_SECONDS
        statuses: dict[str, str] = {}
        for place, (key, entries) in enumerate(wanted.items(), start=1):
            entry = entries[0]
            if missing and key in known and known[key].status in ANSWERS:
                statuses[entry.name] = known[key].status
                continue
            if ends is not None and ends - time.time() < SLOWER * longest:
                say(f"[{place}/{len(wanted)}] {entry.name}: not started: it may not fit into the walltime")
                statuses[entry.name] = NOT_STARTED
                continue
            since = time.monotonic()
            found = measure(run, entry, steps=steps, threads=threads, limit=limit)
            longest = max(longest, time.monotonic() - since)
            known[key] = found
            write_probe(run, known.values())
            statuses[entry.name] = found.status
            say(f"[{place}/{len(wanted)}] {described(found, axes)}: {outcome(found)}")
        return statuses


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m jobs.probe", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", metavar="RUN", type=Path, help="the run directory that make_grid.py made")
    parser.add_argument("--missing", action="store_true", help="only what was not measured yet")
    parser.add_argument(
        "--steps", type=int, default=STEPS, help=f"measured steps of each combination ({STEPS})"
    )
    parser.add_argument("--threads", type=int, help="cores to use (default: all that the process may use)")
    parser.add_argument(
        "--limit", type=float, default=LIMIT_SECONDS, help=f"seconds for one combination ({LIMIT_SECONDS:g})"
    )
    add_trust_argument(parser)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    arguments = _parser().parse_args(argv)
    return run_command("jobs.probe", lambda: _command(arguments))


def _command(arguments: argparse.Namespace) -> int:
    for name, value, high in (
        ("--steps", arguments.steps, 10_000),
        ("--threads", arguments.threads, 4096),
        ("--limit", arguments.limit, 86_400),
    ):
        if value is not None and not 1 <= value <= high:
            raise UserError(f"{name}: received {value:g}, expected a number from 1 to {high}")
    run = open_run(arguments.run, trust=arguments.trust)
    check_trainable(run)
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        with claimed_gpu():
            statuses = probe(
                run,
                steps=arguments.steps,
                threads=arguments.threads,
                limit=arguments.limit,
                missing=arguments.missing,
                say=lambda text: print(text, flush=True),
            )
    finally:
        signal.signal(signal.SIGTERM, before)
    answered = sum(status in ANSWERS for status in statuses.values())
    print(f"{run.paths.probe}: {answered} of {len(statuses)} combinations measured")
    print(f"what the search will cost: {hint('jobs.submit', '--estimate', arguments.run)}")
    if answered < len(statuses):
        print(
            f"the log of those that failed: {run.paths.probe_log}; to measure them again: "
            f"{hint('jobs.probe', '--missing', arguments.run)}"
        )
    return OK if answered == len(statuses) else PARTIAL


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
