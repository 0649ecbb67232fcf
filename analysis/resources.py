"""What the points requested of the cluster, what they used, and what to request next time.

The requests are those in the record of each job's submission, not those of the current site block. A value that is not
known is ``None``, and a note gives the reason: a local run has no walltime, and a job that was submitted by hand has no
record.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Hashable, Mapping
from pathlib import Path

import pandas as pd

from analysis.schema import ResourceRow, Resources
from jobs.common.errors import shown
from jobs.common.hints import hint
from jobs.common.records import DamagedRecord, read
from jobs.common.schema import Requested, Submissions, SubmittedJob
from jobs.common.units import plural
from jobs.cost.requests import MARGINS, mem_for, walltime_for
from jobs.grid.sites import seconds, size_mb
from jobs.pbs.index_ranges import indices_of
from jobs.pbs.job_ids import job_number
from jobs.run.paths import RunPaths

_LARGEST = {"wall_seconds": 1e8, "earlier_seconds": 1e8, "peak_host_memory_mb": 1e8, "peak_memory_mb": 1e8}
_LARGEST |= {"gpu_utilisation_percent": 100.0}
_WALLTIME = re.compile(r"\d{1,4}:[0-5]\d:[0-5]\d")
_MEM = re.compile(r"[1-9]\d{0,9}(kb|mb|gb|tb)", re.IGNORECASE)
_MOST_GPUS = 1000  # per point: more is a mistake in the file

# Maps the number of each job to the indices that it runs and the request for each of them.
Jobs = Mapping[int, list[tuple[range, Requested]]]


def requested(job: SubmittedJob) -> Requested:
    """Walltime, memory and GPUs that ``job`` requested; from its ``qsub`` command if an older version wrote the record."""
    line = " ".join(job.command)

    def text(value: str | None, key: str, pattern: re.Pattern[str]) -> str | None:
        if value is not None and pattern.fullmatch(value):
            return value
        match = re.search(rf"\b{key}=({pattern.pattern})", line, re.IGNORECASE)
        return match[1] if match else None

    gpus = job.asked.ngpus
    return Requested(
        walltime=text(job.asked.walltime, "walltime", _WALLTIME),
        mem=text(job.asked.mem, "mem", _MEM),
        ngpus=gpus if gpus is not None and 0 <= gpus <= _MOST_GPUS else None,
    )


def submitted(root: Path | None) -> tuple[Jobs, str]:
    """The submitted jobs of the run in ``root``, and the reason if they are not known."""
    if root is None:
        return {}, "the summary is not in a run directory, so the requested resources are not known"
    try:
        record = read(RunPaths(root).submissions, Submissions)
    except FileNotFoundError:
        return {}, ""
    except DamagedRecord as error:
        return {}, f"the requested resources are not known: {error}"
    found: dict[int, list[tuple[range, Requested]]] = defaultdict(list)
    for submission in record.submissions:
        for job in submission.jobs:
            number = job_number(job.id)
            try:
                indices = indices_of(job.indices)
            except ValueError:
                continue
            if number is not None:
                found[number].append((indices, requested(job)))
    return found, ""


def _numbers(frame: pd.DataFrame) -> pd.DataFrame:
    """The columns of resource use as numbers; NaN for impossible values and for a column that the summary lacks."""
    found = pd.DataFrame(index=frame.index)
    for column, largest in _LARGEST.items():
        given = frame[column] if column in frame else pd.Series([None] * len(frame), index=frame.index)
        values = pd.to_numeric(given, errors="coerce").astype(float)
        found[column] = values.where(values.between(0, largest))
    return found


def resources(frame: pd.DataFrame, root: Path | None) -> Resources:
    """Resources that the points of ``frame`` requested and used, by architecture and batch size.

    ``frame`` is that of :func:`analysis.summary.load_summary`, ``root`` its run directory (``None``: not in one).
    Times and memory in ``rows`` are those of the attempts that gave a result. ``hours_used`` is the time of all known
    attempts and ``hours_lost`` that of attempts without a result, both multiplied by the number of GPUs requested.
    Never raises for the contents of the files.
    """
    used = _numbers(frame)
    if used["wall_seconds"].isna().all():
        again = hint("collect.py", "RUN" if root is None else root, anywhere=True)
        reason = f"no point has a recorded time: the summary is empty or of an older version; write it again with: {again}"
        return Resources(computed=False, reason=reason)
    jobs, problem = submitted(root)
    job_ids = frame["job_id"] if "job_id" in frame else pd.Series([""] * len(frame), index=frame.index)
    asked: dict[Hashable, Requested] = {}
    local, unknown = [], []
    for place, job_id, index, known in zip(
        frame.index, job_ids, frame["index"], used["wall_seconds"].notna(), strict=True
    ):
        if not known:
            continue
        if not isinstance(job_id, str) or not job_id:
            local.append(place)
            continue
        number = job_number(job_id)
        matching = [
            what
            for indices, what in jobs.get(number or 0, ())
            if not pd.isna(index) and int(index) in indices
        ]
        if matching:
            asked[place] = matching[-1]
        else:
            unknown.append(place)
    rows = [
        _row(frame.loc[group.index], used.loc[group.index], asked)
        for _, group in frame.groupby(["architecture", "batch_size"], sort=False)
    ]
    factor = pd.Series(
        [max(1, asked[place].ngpus or 1) if place in asked else 1 for place in frame.index],
        index=frame.index,
        dtype=float,
    )
    with_result = frame["status"].isin(("done", "diverged"))
    earlier = used["earlier_seconds"].fillna(0.0)
    # The training that a resumed point took over from earlier attempts was not lost: the training time of the point
    # less the time of its last attempt.
    training = frame["training_time_seconds"].where(
        frame["training_time_seconds"] <= _LARGEST["wall_seconds"]
    )
    kept = (training - used["wall_seconds"]).clip(lower=0).fillna(0.0)
    lost = (earlier - kept).clip(lower=0).where(with_result, earlier + used["wall_seconds"].fillna(0.0))
    lost = lost.where(frame["status"] != "running", (earlier - kept).clip(lower=0))
    attempts = (
        pd.to_numeric(frame["attempts"], errors="coerce")
        if "attempts" in frame
        else used["wall_seconds"] * 0 + 1
    )
    silent = int(((attempts > 1) & used["earlier_seconds"].isna()).sum())
    devices = (
        sorted({str(d) for d in frame["device"] if isinstance(d, str) and d}) if "device" in frame else []
    )
    return Resources(
        computed=True,
        rows=tuple(row for row in rows if row is not None),
        gpu=any(device != "CPU" for device in devices),
        devices=tuple(devices),
        hours_used=float(((used["wall_seconds"].fillna(0.0) + earlier) * factor).sum() / 3600),
        hours_lost=float((lost * factor).sum() / 3600),
        notes=tuple(_notes(frame, problem, len(local), len(unknown), silent)),
    )


def _notes(frame: pd.DataFrame, problem: str, local: int, unknown: int, silent: int) -> list[str]:
    notes = [problem] if problem else []
    if local:
        notes.append(f"{plural(local, 'point')} from a local run, which requests no walltime and no memory")
    if unknown and not problem:
        notes.append(
            f"{plural(unknown, 'point')} from jobs without a record (submitted by hand), so the request is not known"
        )
    if silent:
        notes.append(
            f"{plural(silent, 'point')} had earlier attempts whose time was not recorded: more was used and lost than these "
            "hours show"
        )
    for status, words in (
        (
            "timeout",
            "stopped at the walltime without a result: request more time, or resubmit to continue",
        ),
        ("oom", "ran out of memory: the peak was higher than shown, and is not included"),
    ):
        count = int((frame["status"] == status).sum())
        if count:
            notes.append(f"{plural(count, 'point')} {words}")
    return notes


def _most(values: pd.Series) -> float | None:
    found = values.max()
    return None if pd.isna(found) else float(found)


def _row(frame: pd.DataFrame, used: pd.DataFrame, asked: Mapping[Hashable, Requested]) -> ResourceRow | None:
    good = used.loc[frame["status"].isin(("done", "diverged"))].dropna(subset=["wall_seconds"])
    if good.empty:
        return None
    batch = float(frame["batch_size"].iloc[0])
    wall = good["wall_seconds"]
    asked_here = [asked[place] for place in good.index if place in asked]
    walltimes = [one.walltime for one in asked_here if one.walltime]
    memory = [one.mem for one in asked_here if one.mem]
    rows = frame.loc[good.index]
    training = rows["training_time_seconds"].where(rows["training_time_seconds"] <= _LARGEST["wall_seconds"])
    share = (rows["epochs_requested"] / rows["epochs_completed"]).where(rows["epochs_completed"] > 0)
    # Early stopping may not shorten the next run, so the time is extended to all epochs. The training of a resumed
    # point is longer than its last attempt.
    whole = _most((wall.where(wall > training, training) + training * (share - 1).clip(0, 1e4)).fillna(wall))
    host = _most(good["peak_host_memory_mb"])
    devices = rows["device"] if "device" in rows else pd.Series("", index=rows.index)
    on_gpu = devices.map(lambda device: isinstance(device, str) and device not in ("", "CPU"))
    utilisation = good["gpu_utilisation_percent"].mean()
    return ResourceRow(
        architecture=str(frame["architecture"].iloc[0]),
        batch_size=int(batch) if batch < 1e9 else batch,
        points=len(good),
        walltime_asked=max(walltimes, key=seconds) if walltimes else None,
        seconds_median=float(wall.median()),
        seconds_longest=float(wall.max()),
        seconds_all_epochs=whole,
        mem_asked=max(memory, key=size_mb) if memory else None,
        host_memory_mb=host,
        gpu_memory_mb=_most(good["peak_memory_mb"].where(on_gpu)),
        gpu_utilisation_percent=None if pd.isna(utilisation) else float(utilisation),
        next_walltime=walltime_for(min(whole or 0.0, 1e7), MARGINS["points"]),
        next_mem=None if host is None else mem_for(host),
    )


def advice(found: Resources) -> str:
    """What to request next time, compared with what was requested, in one sentence; empty if there are no rows."""
    if not found.rows:
        return ""
    walltime = max((row.next_walltime for row in found.rows), key=seconds)
    memory = [row.next_mem for row in found.rows if row.next_mem]
    text = f'Next time, request for all epochs: walltime: "{walltime}"'
    if memory:
        text += f", mem: {max(memory, key=size_mb)}"
    asked = [row.walltime_asked for row in found.rows if row.walltime_asked]
    if asked:
        most = max(asked, key=seconds)
        longest = max(row.seconds_longest for row in found.rows)
        text += f" (requested: {shown(most)[1:-1]}, of which the longest point used {100 * longest / seconds(most):.0f} %)"
    return text + ". The option --proposed of jobs.submit requests these for each combination."
