"""What became of a point, from its files alone: result first, then status record, then claims.

No reader ever crashes for what a file holds, and none sees half a result: a damaged file is moved into the
point's ``state/quarantine``, said in the reason, and the point counts as unfinished.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from jobs.common.records import DamagedRecord, quarantine, read_record
from jobs.common.states import STATES
from jobs.point.claim import (
    DEAD_AFTER,
    INTERVAL,
    holder_of,
    is_alive,
    newest_number,
    read_holder,
    sign_of_life,
    silent_seconds,
)
from jobs.run.index import Entry, Run
from jobs.run.paths import PointPaths

# Far beyond what the clocks of two nodes differ by.
SILENT_SECONDS = 900.0
# What a look at a run shows of a result. Ten thousand whole ones are 100 MB, which take longer to get than to fill.
LOOK = ("status", "key", "started", "ended", "metrics")


@dataclass(frozen=True)
class PointStatus:
    """What is known of a point from its files; see :func:`read_status`.

    ``record`` is the status record (or what the claim tells, where there is no record yet), ``result`` the
    published result.
    """

    state: str
    reason: str = ""
    attempts: int = 0
    record: dict[str, Any] | None = None
    result: dict[str, Any] | None = field(default=None, repr=False)


def read_result(run: Run, entry: Entry, *, verify: bool = True) -> dict[str, Any] | None:
    """The published result of ``entry``, or ``None``. A result for another key is a damaged one.

    Raises :class:`jobs.common.records.DamagedRecord`.
    """
    return _read_result(run.point_paths(entry).results, entry, verify)


def _read_result(path: Path, entry: Entry, verify: bool) -> dict[str, Any] | None:
    try:
        # The history is most of a result, times ten thousand.
        result = read_record(path, verify=verify, without=None if verify else "history")
    except FileNotFoundError:
        return None
    if result.get("key") != entry.key:
        raise DamagedRecord(
            f"{path} belongs to the key {str(result.get('key'))[:40]!r}, expected {entry.key}"
        )
    status = result.get("status")
    if not isinstance(status, str) or status not in STATES or not STATES[status].ended:
        raise DamagedRecord(f"{path} has the status {str(status)[:40]!r}, expected done or diverged")
    return result


def _set_aside(paths: PointPaths, path: Path, error: DamagedRecord) -> str:
    """Quarantine ``path``; what to tell of it."""
    if not error.content:
        return str(error)
    kept = quarantine(path, paths.quarantine)
    return f"{error}; kept as {kept}" if kept is not None else str(error)


def _quarantined(paths: PointPaths) -> str:
    try:
        kept = sorted(paths.quarantine.iterdir())
    except OSError:
        return ""
    return f"damaged files of it were set aside: {kept[-1]}" if kept else ""


def read_status(run: Run, entry: Entry, *, verify: bool = True, before: int | None = None) -> PointStatus:
    """The state of a point, from its result first, then from its status record and its claims.

    ``verify=False`` believes a whole result without its checksum and keeps only :data:`LOOK` of it: for a look at
    thousands, not for a summary. ``before`` leaves claims of this number and higher out: what a new holder
    finds. A damaged file is set aside and named in ``reason``, and the point counts
    as ``lost``; this never raises for it.
    """
    paths = run.point_paths(entry)
    damaged = ""
    result = None
    try:
        result = _read_result(paths.results, entry, verify)
    except DamagedRecord as error:
        damaged = _set_aside(paths, paths.results, error)
    if result is not None and not verify:
        shown = {key: result[key] for key in LOOK if key in result}
        return PointStatus(
            result["status"], _text(result.get("reason")), _count(result.get("attempts")) or 1, None, shown
        )
    record = None
    try:
        record = read_record(paths.status)
    except FileNotFoundError:
        pass
    except DamagedRecord as error:
        damaged = damaged or _set_aside(paths, paths.status, error)
    attempts = _count(record.get("attempts")) if record else 0
    if result is not None:
        attempts = attempts or _count(result.get("attempts")) or 1
        return PointStatus(result["status"], _text(result.get("reason")), attempts, record, result)
    claim = newest_number(paths) if before is None else min(newest_number(paths), before - 1)
    if claim > attempts:
        # Claimed, and killed or not yet so far as to say more.
        record = {"state": "running", **_from_claim(paths, claim)}
        attempts = claim
    if damaged:
        return PointStatus("lost", damaged, attempts, record)
    if record is None:
        aside = _quarantined(paths)
        return PointStatus("lost" if aside else "waiting", aside)
    state, reason = record.get("state"), _text(record.get("reason"))
    if state == "running":
        dead = _death(run, paths, record, attempts, claim)
        return PointStatus("lost" if dead else "running", dead or reason, attempts, record)
    if not isinstance(state, str) or state not in STATES or STATES[state].ended:
        told = f"{paths.status} tells of {str(state)[:40]!r} but there is no result"
        aside = _quarantined(paths)
        return PointStatus("lost", f"{told}; {aside}" if aside else told, attempts, record)
    return PointStatus(state, reason, attempts, record)


def _from_claim(paths: PointPaths, number: int) -> dict[str, Any]:
    holder = read_holder(paths, number)
    return {
        "host": holder.host,
        "boot": holder.boot,
        "pid": holder.pid,
        "ticks": holder.ticks,
        "job_id": holder.job_id,
        "started": holder.started,
        "attempts": number,
    }


def _death(run: Run, paths: PointPaths, record: dict[str, Any], attempts: int, claim: int) -> str:
    """Why a point that is on record as running is not; empty where it is, or nobody here can tell."""
    holder = holder_of(record, attempts)
    alive = is_alive(holder)
    if alive:
        return ""
    if alive is False:
        return f"process {holder.pid} on {holder.host} ended without a word"
    silent = silent_seconds(paths, claim) if claim == attempts and claim else None
    interval = run.site.get("heartbeat_seconds", INTERVAL)
    if silent is not None and silent > max(SILENT_SECONDS, 20 * interval):
        return (
            f"process {holder.pid} on {holder.host} has given no sign of life for {silent / 60:.0f} minutes"
        )
    return ""


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _count(value: Any) -> int:
    """A count of attempts from a file that somebody may have edited; 0 for anything else."""
    return value if type(value) is int and 0 <= value < 10**6 else 0


def watch_silent(run: Run, say: Callable[[str], None] = print) -> dict[int, PointStatus]:
    """Which of the points that are on record as running on another host are dead: their statuses as ``lost``.

    Watches their signs of life, all at once, for as long as a dead holder is given (a minute by default), and
    not at all where every point has ended. For a job that runs after an array has ended.
    """
    interval = float(run.site.get("heartbeat_seconds", INTERVAL))
    unsure: dict[int, tuple[PointPaths, int, int | None]] = {}
    for entry in run.entries:
        status = read_status(run, entry, verify=False)
        if status.state == "running" and is_alive(holder_of(status.record or {}, status.attempts)) is None:
            paths = run.point_paths(entry)
            number = newest_number(paths)
            unsure[entry.index] = paths, number, sign_of_life(paths.claim(number))
    if not unsure:
        return {}
    say(f"{len(unsure)} points are said to be running elsewhere; watching for {DEAD_AFTER * interval:g} s")
    deadline = time.monotonic() + DEAD_AFTER * interval
    while unsure and time.monotonic() < deadline:
        time.sleep(min(1.0, interval / 4))
        for index, (paths, number, before) in list(unsure.items()):
            if newest_number(paths) > number or sign_of_life(paths.claim(number)) != before:
                del unsure[index]
    found = {}
    for index in unsure:
        status = read_status(run, run.entry(index))
        if status.state == "running":  # and has not ended meanwhile
            record = status.record or {}
            reason = f"process {record.get('pid')} on {record.get('host')} gives no sign of life"
            found[index] = replace(status, state="lost", reason=reason)
    return found
