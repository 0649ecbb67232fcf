"""``hyperparameter_summary.csv``: one row for every index of a run, whatever happened to the point."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from jobs.common.errors import UnreadableError, one_line
from jobs.common.files import write_text_atomically
from jobs.common.schema import Metrics, Result
from jobs.common.states import STATES, UNREADABLE
from jobs.common.units import plural
from jobs.grid.settings import POINT
from jobs.monitor.usage import Usage, usage
from jobs.pbs.job_ids import job_number
from jobs.point.gpu_check import CPU, gpus_by_job
from jobs.point.status import PointStatus, read_status, unreadable_points, watch_silent
from jobs.run.index import Entry, Run

# The predecessor's columns come first, in its order; scripts written for it still work.
LEADING = (
    "architecture",
    "learning_rate",
    "batch_size",
    "epochs_requested",
    "epochs_completed",
    "training_time_seconds",
    "training_successful",
    "best_val_jaccard",
    "best_epoch",
    "final_val_loss",
    "final_train_loss",
    "val_loss_stability",
    "overfitting_gap",
)
METRICS = (
    "epochs_to_best",
    "epochs_to_best_censored",
    "overfitting_gap_at_best",
    "jaccard_gap",
    "test_jaccard",
    "chance_jaccard",
)
TRAILING = (
    "status",
    "reason",
    "attempts",
    "parameters",
    "peak_memory_mb",
    "host",
    "device",
    "key",
    "data_source",
    "split",
    *Usage._fields,
    "gradient_accumulation_steps",
)
_MEASURED = tuple(name for name in (*LEADING, *METRICS) if name in Metrics.__struct_fields__)


@dataclass(frozen=True)
class Missing:
    """A point without a result."""

    index: int
    name: str
    state: str
    reason: str


@dataclass(frozen=True)
class Collected:
    """How many points are in which state, and which have no result.

    ``devices``: how many results were computed on which device. ``without_gpu``: how many of them on the CPU, in jobs
    that asked for a GPU.
    """

    counts: Counter[str]
    missing: list[Missing]
    devices: Counter[str] = field(default_factory=Counter)
    without_gpu: int = 0

    @property
    def total(self) -> int:
        """The number of points."""
        return sum(self.counts.values())

    @property
    def with_result(self) -> int:
        """The number of points with a result, diverged ones included."""
        return sum(count for state, count in self.counts.items() if STATES[state].ended)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    # `grep False` in this file must find failed points and nothing else.
    text = one_line(value).replace("False", "false")
    # A spreadsheet would execute it; an apostrophe makes it a text there.
    executed = isinstance(value, str) and text.startswith(("=", "+", "@", "-"))
    return f"'{text}" if executed else text


def columns(run: Run) -> list[str]:
    """The header of the summary of ``run``."""
    extra = [axis for axis in run.axes if axis not in (*LEADING, "seed")]
    return [*LEADING, *METRICS, "index", "name", "seed", *extra, *TRAILING]


def _row(run: Run, entry: Entry, status: PointStatus) -> dict[str, str]:
    result = status.whole_result or Result(key=entry.key, status=status.state)
    source = status.whole_result or status.record
    measured = {name: getattr(result.metrics, name) for name in _MEASURED}
    row = {
        **measured,
        **{axis: entry.point.text(axis) for axis in run.axes},
        "epochs_requested": POINT["epochs"].to_text(entry.point.settings["epochs"]),
        "index": entry.index,
        "name": entry.name,
        "status": status.state,
        "reason": status.reason,
        "attempts": status.attempts,
        "parameters": result.effective.parameters,
        "peak_memory_mb": source.peak_memory_mb if source is not None else None,
        "host": source.host if source is not None else None,
        "device": result.device,
        "key": entry.key,
        "data_source": run.source,
        "split": run.split,
        **usage(run, entry, status)._asdict(),
        "gradient_accumulation_steps": result.effective.gradient_accumulation_steps,
    }
    cells = {column: _cell(value) for column, value in row.items()}
    return {**cells, "training_successful": "True" if STATES[status.state].successful else "False"}


def collect(run: Run, *, settle: bool = False, say: Callable[[str], None] = print) -> Collected:
    """Write the summary of ``run`` atomically; returns what it contains. Works on a run that is under way.

    ``settle``: first watch the points that are recorded as running on other hosts, so that dead ones are ``lost``
    (:func:`jobs.point.status.watch_silent`).

    Raises :class:`UnreadableError` where a point cannot be read, which may have a result: a summary without it would
    replace a better one.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, columns(run), lineterminator="\n")
    writer.writeheader()
    counts: Counter[str] = Counter()
    missing, unreadable = [], []
    devices: Counter[str] = Counter()
    on_cpu: list[str] = []
    watched = watch_silent(run, say) if settle else {}
    for entry in run.entries:
        status = watched.get(entry.index) or read_status(run, entry, aside=True)
        if status.state == UNREADABLE:
            unreadable.append((entry, status.reason))
            continue
        counts[status.state] += 1
        if not STATES[status.state].ended:
            missing.append(Missing(entry.index, entry.name, status.state, one_line(status.reason)))
        writer.writerow(_row(run, entry, status))
        if status.whole_result is not None and status.whole_result.device:
            devices[one_line(status.whole_result.device, 60)] += 1
            if status.whole_result.device == CPU and status.whole_result.job_id:
                on_cpu.append(status.whole_result.job_id)
    if unreadable:
        raise UnreadableError(f"{unreadable_points(run, unreadable)}. The summary was not written")
    write_text_atomically(run.paths.summary, text.getvalue())
    asked = gpus_by_job(run) if on_cpu else {}
    without = sum(asked.get(job_number(one) or 0, run.site["ngpus"]) > 0 for one in on_cpu)
    return Collected(counts, missing, devices, without)


def device_notes(collected: Collected) -> list[str]:
    """What to know about the devices of the points before their times are compared; empty if there is nothing."""
    notes = []
    if collected.without_gpu:
        notes.append(
            f"{plural(collected.without_gpu, 'point')} trained on the CPU, although their jobs asked for a GPU "
            "(allow_cpu in the site block)"
        )
    if len(collected.devices) > 1:
        shown = ", ".join(f"{count} on {device}" for device, count in collected.devices.most_common(6))
        notes.append(
            f"the points were trained on different devices ({shown}): their scores are comparable, their times are not"
        )
    return notes


def describe(counts: Counter[str], order: Sequence[str] = tuple(STATES)) -> str:
    """``34 done, 1 diverged, 1 oom``."""
    return ", ".join(f"{counts[state]} {state}" for state in order if counts[state])
