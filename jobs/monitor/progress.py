"""The progress of a run: counts, estimated time left, running and failed points, the best so far."""

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
from jobs.common.hints import hint
from jobs.common.schema import PointRecord
from jobs.common.states import FAILED, STATES
from jobs.common.units import clock
from jobs.grid.sites import seconds
from jobs.monitor.scheduler_view import QUEUED, Picture, View, Waiting
from jobs.monitor.usage import span
from jobs.pbs.submissions import jobs_of
from jobs.point.log import last_lines
from jobs.run.index import Entry, Run, indices_text


@dataclass(frozen=True)
class Running:
    """A point in training.

    ``seconds_left`` is the time that its remaining epochs take at most, ``silent_seconds`` the time since its last
    record. ``note`` is ``starting`` before the first epoch.
    """

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
    """A point that has ended without a result, with the end of its log."""

    index: int
    name: str
    state: str
    reason: str
    attempts: int
    log: str
    last_lines: tuple[str, ...]


@dataclass(frozen=True)
class State:
    """The state of one point. ``scheduler`` and ``job_id`` are those of :class:`jobs.monitor.scheduler_view.View`."""

    index: int
    name: str
    state: str
    reason: str
    scheduler: str
    job_id: str


@dataclass(frozen=True)
class Best:
    """The score of a finished point."""

    index: int
    name: str
    best_val_jaccard: float
    best_epoch: int | None


@dataclass(frozen=True)
class Progress:
    """The whole summary; ``seconds_left`` is ``None`` where nothing has been measured yet.

    ``resubmit``: by class, the command that submits exactly the points of that class again. ``waiting`` and ``history``
    are what the scheduler said: which jobs wait and why, and whether it keeps jobs that have ended. ``unreadable``: what
    of the run cannot be read and what to do about it; empty if nothing.
    """

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
    waiting: tuple[Waiting, ...] = ()
    history: bool = True
    points: tuple[State, ...] = ()
    unreadable: str = ""

    @property
    def to_come(self) -> int:
        """The number of points that have not started."""
        return sum(self.counts.get(state, 0) for state in ("waiting", QUEUED))

    @property
    def finished(self) -> bool:
        """Whether every point has ended, with a result or without."""
        return not self.running and not self.to_come


def _running(view: View, now: datetime) -> Running:
    # The record of an earlier attempt says nothing about one that is starting.
    record = (None if view.starting else view.status.record) or PointRecord()
    epochs = int(view.entry.point.settings["epochs"])
    age = span(record.updated, now.isoformat())
    left = None
    if record.epoch_seconds is not None and record.epoch:
        left = record.epoch_seconds * (epochs - record.epoch) - min(age or 0.0, record.epoch_seconds)
    return Running(
        index=view.entry.index,
        name=view.entry.name,
        epoch=record.epoch,
        epochs=epochs,
        val_jaccard=record.val_jaccard,
        best_val_jaccard=record.best_val_jaccard,
        best_epoch=record.best_epoch,
        seconds_left=None if left is None else max(0.0, left),
        silent_seconds=age,
        host=one_line(record.host or "", 80),
        job_id=one_line(record.job_id or "", 80),
        note="" if record.epoch else "starting",
    )


def _failed(run: Run, view: View, captured: Mapping[int, Path], *, with_log: bool) -> Failed:
    log = run.point_paths(view.entry).log
    reason = one_line(view.reason)
    lines: tuple[str, ...] = ()
    if with_log:
        lines = last_lines(log)
        if not lines and view.entry.index in captured:
            # It ended before the program began: what the job script said is in the file that PBS captured.
            log = captured[view.entry.index]
            lines = last_lines(log)
            reason = f"{reason}: {one_line(lines[-1], 300)}" if lines else reason
    return Failed(
        view.entry.index, view.entry.name, view.state, reason, view.status.attempts, str(log), lines
    )


def _measured(view: View) -> float | None:
    """Seconds for a whole point like this one, from its result or from its last epoch."""
    result, record = view.status.result, view.status.record
    if result is not None:
        # From start to end, with start-up, evaluation and pictures: for this time its place is taken.
        return span(result.started, result.ended)
    if record is None or record.epoch_seconds is None:
        return None
    return record.epoch_seconds * int(view.entry.point.settings["epochs"])


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

    A simulation: each point to come takes the median time of similar ones and starts, in order, where a place becomes
    free first. Early stopping makes it shorter. ``None`` if nothing has been measured, or nothing runs.
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


def _resubmit(run: Run, views: Sequence[View], state: str) -> str:
    """The command that submits these points again, and no others: their class may have changed when it is pasted."""
    options = ["--all-failed", "--indices", indices_text(view.entry.index for view in views)]
    if state == "timeout":
        # Twice the walltime is a first guess at what is enough.
        options += ["--walltime", clock(2 * seconds(run.site["walltime"]))]
    return hint("jobs.resubmit", run.paths.root, *options)


def summarise(
    picture: Picture, *, best: int = 5, with_logs: int = 10, now: datetime | None = None
) -> Progress:
    """The progress of a run; ``with_logs`` failed points get the end of their log read."""
    run, views = picture.run, picture.views
    now = now or datetime.now(timezone.utc)
    running = tuple(_running(view, now) for view in views if view.state == "running")
    failed_views = [view for view in views if view.state in FAILED]
    captured = run.paths.newest_captured() if failed_views else {}
    failed = tuple(
        _failed(run, view, captured, with_log=place < with_logs) for place, view in enumerate(failed_views)
    )
    present = sorted({view.state for view in failed_views}, key=FAILED.index)
    resubmit = {
        state: _resubmit(run, [view for view in failed_views if view.state == state], state)
        for state in present
    }
    scores = []
    chance = None
    for view in views:
        if view.status.result is None:
            continue
        metrics = view.status.result.metrics
        chance = metrics.chance_jaccard if chance is None else chance
        if view.state == "done" and metrics.best_val_jaccard is not None:
            scores.append(
                Best(view.entry.index, view.entry.name, metrics.best_val_jaccard, metrics.best_epoch)
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
        unreadable=picture.unreadable,
        waiting=picture.waiting(),
        history=picture.answer.history if picture.answer is not None else True,
        points=tuple(
            State(
                view.entry.index,
                view.entry.name,
                view.state,
                one_line(view.reason),
                view.scheduler,
                view.job_id,
            )
            for view in views
        ),
    )
