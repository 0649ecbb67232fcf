"""The state of a point, from its files alone: first the result, then the status record, then the claims.

No reader fails because of what a file contains, and none sees half a result. A damaged file is named in the reason, and
the point counts as unfinished. Only who holds the claim of the point, and ``collect.py``, move it into the point's
``state/quarantine``; a look at a run writes nothing.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from jobs.common.files import quarantine
from jobs.common.permissions import denied_part, how_to_allow
from jobs.common.records import DamagedRecord, read
from jobs.common.schema import ClaimRecord, PointRecord, Result, ResultHead
from jobs.common.states import STATES, UNREADABLE
from jobs.common.units import plural
from jobs.point.claim import (
    DEAD_AFTER,
    INTERVAL,
    heartbeat,
    is_alive,
    newest_number,
    silent_seconds,
)
from jobs.run.index import Entry, Run
from jobs.run.paths import PointPaths

SILENT_SECONDS = 900.0  # far more than the clocks of two nodes differ by


class PointStatus(msgspec.Struct, frozen=True):
    """What the files of a point contain; see :func:`read_status`. A struct, for a look makes ten thousand of them.

    ``state`` is a name in :data:`jobs.common.states.STATES`. ``record`` is the status record, or what the claim
    contains where there is no record yet. ``result`` is the published result: a whole :class:`Result`, or only its
    head where a whole one was not requested.
    """

    state: str
    reason: str = ""
    attempts: int = 0
    record: PointRecord | None = None
    result: ResultHead | None = None

    @property
    def whole_result(self) -> Result | None:
        """The result with all its fields, where it was read as a whole."""
        return self.result if isinstance(self.result, Result) else None


def read_result(run: Run, entry: Entry) -> Result | None:
    """The published result of ``entry``, verified, or ``None``.

    Raises :class:`jobs.common.records.DamagedRecord`, also where the result belongs to another key.
    """
    path = run.results_text(entry)
    try:
        return _checked(read(path, Result), path, entry)
    except FileNotFoundError:
        return None


def look_at_result(run: Run, entry: Entry) -> ResultHead | None:
    """The head of the published result, without comparing the checksum; for a look at thousands of points.

    Raises :class:`jobs.common.records.DamagedRecord`, also where the result belongs to another key.
    """
    path = run.results_text(entry)
    try:
        return _checked(read(path, ResultHead, verify=False), path, entry)
    except FileNotFoundError:
        return None


H = TypeVar("H", bound=ResultHead)


def _checked(result: H, path: str, entry: Entry) -> H:
    if result.key != entry.key:
        raise DamagedRecord(f"{path} belongs to the key {result.key[:40]!r}, expected {entry.key}")
    if result.status not in STATES or not STATES[result.status].ended:
        raise DamagedRecord(f"{path} has the status {result.status[:40]!r}, expected done or diverged")
    return result


def _set_aside(paths: PointPaths, path: Path, error: DamagedRecord, *, aside: bool) -> str:
    """Quarantine ``path`` if ``aside``; returns the reason to show."""
    kept = quarantine(path, paths.quarantine) if aside else None
    return f"{error}; kept as {kept}" if kept is not None else str(error)


def _quarantined(paths: PointPaths) -> str:
    try:
        kept = sorted(paths.quarantine.iterdir())
    except PermissionError:
        raise
    except OSError:
        return ""
    return f"damaged files of this point were moved to {kept[-1]}" if kept else ""


def read_status(
    run: Run, entry: Entry, *, verify: bool = True, before: int | None = None, aside: bool = False
) -> PointStatus:
    """The state of a point, from its result first, then from its status record and its claims.

    ``verify=False`` accepts a result without comparing its checksum and reads only its head: for a look at
    thousands of points, not for a summary. ``before`` ignores claims with this number or a higher one, which gives
    the state that a new holder found. A damaged file is named in ``reason``, and the point counts as ``lost``; with
    ``aside``, for the holder of the claim and for ``collect.py``, it is moved into the quarantine. A file that cannot be
    read may be good: the point is ``unreadable``. This function raises for neither.
    """
    try:
        return _read_status(run, entry, verify=verify, before=before, aside=aside)
    except DamagedRecord as error:
        folder = run.point_paths(entry).folder
        if folder.is_file():  # nothing of the point exists
            return PointStatus(
                "waiting", f"{folder} is a file, where the folder of the point belongs: move it away"
            )
        return PointStatus(UNREADABLE, str(error))
    except PermissionError as error:
        return PointStatus(UNREADABLE, f"{error.filename} cannot be read ({error.strerror})")


def _read_status(run: Run, entry: Entry, *, verify: bool, before: int | None, aside: bool) -> PointStatus:
    """:func:`read_status`; raises :class:`DamagedRecord` or ``PermissionError`` for what cannot be read."""
    _refuse_links(run, entry)
    damage = None
    result: ResultHead | None = None
    try:
        result = read_result(run, entry) if verify else look_at_result(run, entry)
    except DamagedRecord as error:
        if not error.content:
            raise
        damage = error
    if result is not None and not verify:
        return PointStatus(result.status, result.reason, result.attempts or 1, None, result)
    paths = run.point_paths(entry)
    damaged = _set_aside(paths, paths.results, damage, aside=aside) if damage is not None else ""
    record = None
    try:
        record = read(paths.status, PointRecord)
    except FileNotFoundError:
        pass
    except DamagedRecord as error:
        if error.content:
            damaged = damaged or _set_aside(paths, paths.status, error, aside=aside)
        elif result is None:  # a result says all that is needed
            raise
    attempts = record.attempts if record is not None else 0
    if result is not None:
        attempts = attempts or result.attempts or 1
        return PointStatus(result.status, result.reason, attempts, record, result)
    return _unfinished(run, paths, record, damaged, before)


def _refuse_links(run: Run, entry: Entry) -> None:
    """:class:`DamagedRecord` where the folder of a point, or its state, is a link: nothing is read or written there."""
    folder = os.path.dirname(run.results_text(entry))  # noqa: PTH120 - a tenth of the time of a Path, times 10,000
    for place in (folder, f"{folder}/state"):
        if os.path.islink(place):  # noqa: PTH114 - as above
            raise DamagedRecord(
                f"{place} is a link, where a folder of the run belongs; move it away", content=False
            )


def _unfinished(
    run: Run, paths: PointPaths, record: PointRecord | None, damaged: str, before: int | None
) -> PointStatus:
    """The state of a point without a result; raises as :func:`_read_status` does."""
    attempts = record.attempts if record is not None else 0
    claim = newest_number(paths) if before is None else min(newest_number(paths), before - 1)
    if claim > attempts:
        # Claimed, and killed since, or too new to have written its record.
        record = _from_claim(paths, claim)
        attempts = claim
    if damaged:
        return PointStatus("lost", damaged, attempts, record)
    if record is None:
        aside = _quarantined(paths)
        return PointStatus("lost" if aside else "waiting", aside)
    if record.state == "running":
        dead = _death(run, paths, record, claim)
        return PointStatus("lost" if dead else "running", dead or record.reason, attempts, record)
    # No process records that it cannot be read.
    if record.state not in STATES or STATES[record.state].ended or record.state == UNREADABLE:
        reason = f"{paths.status} has the state {record.state[:40]!r} but there is no result"
        aside = _quarantined(paths)
        return PointStatus("lost", f"{reason}; {aside}" if aside else reason, attempts, record)
    return PointStatus(record.state, record.reason, attempts, record)


def _from_claim(paths: PointPaths, number: int) -> PointRecord:
    try:
        claim = read(paths.claim(number), ClaimRecord)
    except FileNotFoundError:
        claim = ClaimRecord()
    except DamagedRecord as error:
        if not error.content:
            raise
        claim = ClaimRecord()
    process = {name: getattr(claim, name) for name in ("host", "boot", "pid", "ticks", "job_id")}
    return PointRecord(**process, started=claim.started, attempts=number, state="running")


def unreadable_points(run: Run, points: Sequence[tuple[Entry, str]]) -> str:
    """One sentence on points that are ``unreadable``, given with the reason of each, and what to do about it.

    Empty where there is none.
    """
    if not points:
        return ""
    (entry, reason), paths, root = points[0], run.point_paths(points[0][0]), run.paths.root
    name = entry.name if len(points) == 1 else f"{len(points)} points cannot be read, the first {entry.name}"
    sentence = f"{root}: {name}: {reason}"
    try:
        claim = paths.claim(newest_number(paths))
    except PermissionError:
        claim = paths.claims
    for path in (paths.results, paths.status, claim, paths.quarantine):
        if denied_part(path) is not None:
            return f"{sentence}; {how_to_allow(path, whole=root)}"
    return sentence


def _death(run: Run, paths: PointPaths, record: PointRecord, claim: int) -> str:
    """Why a point whose record says ``running`` is not; empty where it is, or where this host cannot know."""
    alive = is_alive(record)
    if alive:
        return ""
    if alive is False:
        return f"process {record.pid} on {record.host} ended without recording why"
    silent = silent_seconds(paths, claim) if claim == record.attempts and claim else None
    interval = run.site.get("heartbeat_seconds", INTERVAL)
    if silent is not None and silent > max(SILENT_SECONDS, 20 * interval):
        return (
            f"process {record.pid} on {record.host} has not updated its claim for {silent / 60:.0f} minutes"
        )
    return ""


def watch_silent(run: Run, say: Callable[[str], None] = print) -> dict[int, PointStatus]:
    """Which of the points recorded as running on another host are dead: their statuses, as ``lost``, by index.

    Watches their heartbeats, all at once, until a dead holder would be certain (a minute by default); returns at
    once where no such point exists. For a job that runs after an array has ended.
    """
    interval = float(run.site.get("heartbeat_seconds", INTERVAL))
    unsure: dict[int, tuple[PointPaths, int, int | None]] = {}
    for entry in run.entries:
        status = read_status(run, entry, verify=False)
        if status.state == "running" and status.record is not None and is_alive(status.record) is None:
            paths = run.point_paths(entry)
            number = newest_number(paths)
            unsure[entry.index] = paths, number, heartbeat(paths.claim(number))
    if not unsure:
        return {}
    say(
        f"{plural(len(unsure), 'point')} recorded as running on other hosts; watching for {DEAD_AFTER * interval:g} s"
    )
    deadline = time.monotonic() + DEAD_AFTER * interval
    while unsure and time.monotonic() < deadline:
        time.sleep(min(1.0, interval / 4))
        for index, (paths, number, before) in list(unsure.items()):
            if newest_number(paths) > number or heartbeat(paths.claim(number)) != before:
                del unsure[index]
    found = {}
    for index in unsure:
        status = read_status(run, run.entry(index))
        if status.state == "running" and status.record is not None:  # it may have ended in the meantime
            reason = f"process {status.record.pid} on {status.record.host} has no heartbeat"
            found[index] = msgspec.structs.replace(status, state="lost", reason=reason)
    return found
