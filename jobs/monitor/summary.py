"""A run's files -> ``hyperparameter_summary.csv``: one row for every index, whatever became of it."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from jobs.common.errors import one_line
from jobs.common.records import write_text_atomically
from jobs.common.states import STATES
from jobs.grid.settings import POINT
from jobs.monitor.usage import COLUMNS as USAGE
from jobs.monitor.usage import usage
from jobs.point.status import PointStatus, read_status, watch_silent
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
    *USAGE,
)


@dataclass(frozen=True)
class Collected:
    """How many points are in which state, and which have no result (index, name, state, reason)."""

    counts: Counter[str]
    missing: list[tuple[int, str, str, str]]

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    @property
    def with_result(self) -> int:
        return sum(count for state, count in self.counts.items() if STATES[state].ended)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    # `grep False` over this file must find failed points and nothing else.
    return one_line(value).replace("False", "false")


def columns(run: Run) -> list[str]:
    """The summary's header for ``run``."""
    extra = [axis for axis in run.axes if axis not in (*LEADING, "seed")]
    return [*LEADING, *METRICS, "index", "name", "seed", *extra, *TRAILING]


def _row(run: Run, entry: Entry, status: PointStatus) -> dict[str, str]:
    result = status.result or {}
    metrics = result.get("metrics")
    metrics = metrics if isinstance(metrics, dict) else {}
    effective = result.get("effective")
    effective = effective if isinstance(effective, dict) else {}
    source = result or status.record or {}
    row = {key: _cell(metrics.get(key)) for key in (*LEADING, *METRICS)}
    row |= {axis: entry.point.text(axis) for axis in run.axes}
    row |= {
        "epochs_requested": POINT["epochs"].to_text(entry.point.settings["epochs"]),
        "training_successful": "True" if STATES[status.state].successful else "False",
        "index": str(entry.index),
        "name": entry.name,
        "status": status.state,
        "reason": _cell(status.reason),
        "attempts": str(int(status.attempts)),
        "parameters": _cell(effective.get("parameters")),
        "peak_memory_mb": _cell(source.get("peak_memory_mb")),
        "host": _cell(source.get("host")),
        "device": _cell(result.get("device")),
        "key": entry.key,
        "data_source": _cell(run.source),
        "split": _cell(run.split),
    }
    row |= {column: _cell(value) for column, value in usage(run, entry, status).items()}
    return row


def collect(run: Run, *, settle: bool = False, say: Callable[[str], None] = print) -> Collected:
    """Write the summary of ``run`` atomically and say what is in it. Works on a run that is under way.

    ``settle``: first watch the points that are said to be running on other nodes, so that dead ones are called
    lost (:func:`jobs.point.status.watch_silent`).
    """
    header = columns(run)
    text = io.StringIO()
    writer = csv.DictWriter(text, header, lineterminator="\n")
    writer.writeheader()
    counts: Counter[str] = Counter()
    missing = []
    watched = watch_silent(run, say) if settle else {}
    for entry in run.entries:
        status = watched.get(entry.index) or read_status(run, entry)
        counts[status.state] += 1
        if not STATES[status.state].ended:
            missing.append((entry.index, entry.name, status.state, one_line(status.reason)))
        writer.writerow(_row(run, entry, status))
    write_text_atomically(run.paths.summary, text.getvalue())
    return Collected(counts, missing)


def describe(counts: Counter[str], order: Sequence[str] = tuple(STATES)) -> str:
    """``34 done, 1 diverged, 1 oom``."""
    return ", ".join(f"{counts[state]} {state}" for state in order if counts[state])
