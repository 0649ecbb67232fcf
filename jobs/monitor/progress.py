"""How far a run is: counts, estimated time left, running and failed points, the best so far."""

from __future__ import annotations

import heapq
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from jobs.common.errors import one_line
from jobs.common.states import STATES
from jobs.grid.sites import seconds
from jobs.monitor.scheduler_view import QUEUED, Picture, View
from jobs.pbs.qsub_arguments import shell_line
from jobs.pbs.submissions import jobs_of
from jobs.point.log import last_lines
from jobs.run.index import Entry, Run

LARGEST = 1e15  # no epoch, score or second in a record is larger, and sums of such numbers stay finite
_FAILED = tuple(
    name for name, state in STATES.items() if not state.ended and name not in ("waiting", "running")
)


def _number(value: Any) -> float | None:
    """A number up to :data:`LARGEST` from a record that somebody may have edited; ``None`` for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) <= LARGEST else None


@dataclass(frozen=True)
class Running:
    """A point at work: epochs done and asked for, scores, and the seconds its remaining epochs take at most."""

    index: int
    name: str
    epoch: int
    epochs: int
    val_jaccard: float | None
    best_val_jaccard: float | None
    best_epoch: int | None
    seconds_left: float | None
    silent_seconds: float | None
    host: str
    job_id: str
    note: str


@dataclass(frozen=True)
class Failed:
    """A point without a result that has stopped, with the end of its log."""

    index: int
    name: str
    state: str
    reason: str
    attempts: int
    log: str
    last_lines: tuple[str, ...]


@dataclass(frozen=True)
class Best:
    """A finished point's score."""

    index: int
    name: str
    best_val_jaccard: float
    best_epoch: int | None


@dataclass(frozen=True)
class Progress:
    """The whole summary; ``seconds_left`` is ``None`` where nothing was measured yet."""

    root: Path
    total: int
    counts: Mapping[str, int]
    with_result: int
    at_once: int
    seconds_left: float | None
    running: tuple[Running, ...]
    failed: tuple[Failed, ...]
    resubmit: Mapping[str, str]
    best: tuple[Best, ...]
    chance_jaccard: float | None
    submitted: tuple[str, ...]
    asked_scheduler: bool
    scheduler_problem: str
    problem: str
    data_source: str


def _between(earlier: Any, later: Any) -> float | None:
    try:
        span = datetime.fromisoformat(str(later)) - datetime.fromisoformat(str(earlier))
    except (ValueError, TypeError):
        return None
    return max(0.0, span.total_seconds())


def _running(view: View, now: datetime) -> Running:
    record = view.status.record or {}
    epochs = int(view.entry.point.settings["epochs"])
    begins = view.reason == "begins"  # the record, if any, is of an attempt before
    epoch = 0 if begins else int(_number(record.get("epoch")) or 0)
    each = None if begins else _number(record.get("epoch_seconds"))
    age = None if begins else _between(record.get("updated"), now.isoformat())
    left = None
    if each is not None and epoch:
        left = max(0.0, each * (epochs - epoch) - min(age or 0.0, each))
    best_epoch = _number(record.get("best_epoch"))
    return Running(
        view.entry.index,
        view.entry.name,
        epoch,
        epochs,
        None if begins else _number(record.get("val_jaccard")),
        None if begins else _number(record.get("best_val_jaccard")),
        None if begins or best_epoch is None else int(best_epoch),
        left,
        age,
        one_line(record.get("host") or "", 80),
        one_line(record.get("job_id") or "", 80),
        "begins" if begins or not epoch else "",
    )


def _failed(run: Run, view: View, *, with_log: bool) -> Failed:
    log = run.point_paths(view.entry).log
    return Failed(
        view.entry.index,
        view.entry.name,
        view.state,
        one_line(view.reason),
        int(view.status.attempts),
        str(log),
        last_lines(log) if with_log else (),
    )


def _measured(view: View) -> float | None:
    """Seconds for a whole point like this one, from its result or from its last epoch."""
    result = view.status.result
    if result is not None:
        # With start-up, evaluation and pictures: what a place is taken for.
        return _between(result.get("started"), result.get("ended"))
    each = _number((view.status.record or {}).get("epoch_seconds"))
    return None if each is None else each * int(view.entry.point.settings["epochs"])


def _durations(views: Sequence[View]) -> dict[tuple[Any, ...], float]:
    """Median seconds of a point by (architecture, batch size), by (architecture,), and of all by ()."""
    measured: dict[tuple[Any, ...], list[float]] = {}
    for view in views:
        value = _measured(view)
        if value is not None:
            for group in _groups(view.entry):
                measured.setdefault(group, []).append(value)
    return {group: statistics.median(values) for group, values in measured.items()}


def _groups(entry: Entry) -> tuple[tuple[Any, ...], ...]:
    settings = entry.point.settings
    return (settings["architecture"], settings["batch_size"]), (settings["architecture"],), ()


def time_left(views: Sequence[View], running: Sequence[Running], at_once: int) -> float | None:
    """Seconds until every point that runs, waits or is queued has ended, ``at_once`` at a time.

    A simulation: the points to come, in order, each as long as the median of its like, go to whichever place
    is free first. Early stopping makes it shorter. ``None`` if nothing has been measured, or nothing runs.
    """
    durations = _durations(views)
    if () not in durations or at_once < 1:
        return None
    by_index = {view.entry.index: view for view in views}

    def expected(view: View) -> float:
        return next(durations[group] for group in _groups(view.entry) if group in durations)

    places = [
        point.seconds_left if point.seconds_left is not None else expected(by_index[point.index])
        for point in running
    ]
    places += [0.0] * (at_once - len(places))
    heapq.heapify(places)
    for view in views:
        if view.state in ("waiting", QUEUED):
            heapq.heappush(places, heapq.heappop(places) + expected(view))
    return max(places)


def _doubled(site: Mapping[str, Any], state: str) -> str:
    """A first guess at what lets a point of this class succeed."""
    if state == "timeout":
        double = 2 * seconds(site["walltime"])
        return f" --walltime {double // 3600:02d}:{double // 60 % 60:02d}:{double % 60:02d}"
    return ""


def summarise(
    picture: Picture, *, best: int = 5, with_logs: int = 10, now: datetime | None = None
) -> Progress:
    """The progress of a run; ``with_logs`` failed points get the end of their log read."""
    run, views = picture.run, picture.views
    now = now or datetime.now(timezone.utc)
    running = tuple(_running(view, now) for view in views if view.state == "running")
    failed_views = [view for view in views if view.state in _FAILED]
    failed = tuple(_failed(run, view, with_log=place < with_logs) for place, view in enumerate(failed_views))
    present = sorted({view.state for view in failed_views}, key=_FAILED.index)
    resubmit = {
        state: shell_line("python", ["-m", "jobs.resubmit", str(run.paths.root), "--class", state])
        + _doubled(run.site, state)
        for state in present
    }
    scores = []
    chance = None
    for view in views:
        metrics = (view.status.result or {}).get("metrics")
        if not isinstance(metrics, dict):
            continue
        chance = _number(metrics.get("chance_jaccard")) if chance is None else chance
        score, epoch = _number(metrics.get("best_val_jaccard")), _number(metrics.get("best_epoch"))
        if view.state == "done" and score is not None:
            scores.append(
                Best(view.entry.index, view.entry.name, score, None if epoch is None else int(epoch))
            )
    counts = Counter(view.state for view in views)
    left = time_left(views, running, len(running)) if running else None
    return Progress(
        root=run.paths.root,
        total=len(views),
        counts={state: counts[state] for state in (*STATES, QUEUED) if counts[state]},
        with_result=sum(view.ended for view in views),
        at_once=len(running),
        seconds_left=left,
        running=running,
        failed=failed,
        resubmit=resubmit,
        best=tuple(heapq.nlargest(best, scores, key=lambda item: item.best_val_jaccard)),
        chance_jaccard=chance,
        submitted=tuple(job for job, _ in jobs_of(picture.submissions)),
        asked_scheduler=picture.answer is not None,
        scheduler_problem=picture.answer.problem if picture.answer is not None else "",
        problem=one_line(picture.problem),
        data_source=run.source,
    )
