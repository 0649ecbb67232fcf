"""Training a point that ran out of memory again, with each batch split into parts whose gradients are added up."""

from __future__ import annotations

from jobs.common.schema import PointRecord
from jobs.point.status import PointStatus
from jobs.run.index import Entry, Run


def next_accumulation(batch_size: int, parts: int) -> int | None:
    """The next larger number of equal parts of a batch; ``None`` where each part already has one sample.

    >>> next_accumulation(8, 1), next_accumulation(12, 2), next_accumulation(8, 8)
    (2, 3, None)
    """
    return next((count for count in range(parts + 1, batch_size + 1) if batch_size % count == 0), None)


def accumulates(run: Run) -> bool:
    """Whether a point that ran out of memory is repeated with smaller parts of its batches."""
    return bool(run.site.get("on_oom") == "accumulate")


def parts_for(run: Run, entry: Entry, record: PointRecord | None) -> int:
    """The number of parts per batch in the next attempt, given the ``record`` of the last one."""
    if not accumulates(run) or record is None:
        return 1
    batch_size: int = entry.point.settings["batch_size"]
    before = record.accumulation
    if before is None or batch_size % before:
        before = 1
    if record.state == "oom":
        return next_accumulation(batch_size, before) or before
    return before


def may_accumulate(run: Run, entry: Entry, status: PointStatus) -> bool:
    """Whether another attempt at this point would need less memory, and is allowed."""
    record = status.record
    published = status.result.attempts if status.result is not None else 0
    if record is None or record.state != "oom" or not accumulates(run) or record.attempts <= published:
        return False
    # A record without the number of parts could be repeated for ever.
    return record.accumulation is not None and parts_for(run, entry, record) != record.accumulation


def note(batch_size: int, parts: int) -> str:
    """What the result says about such a training, for people."""
    part = batch_size // parts
    return (
        f"gradients of batches of {batch_size} are accumulated over {parts} parts of {part}; batch normalisation sees "
        f"batches of {part}"
    )
