"""What a run was submitted as, and the exact ``qsub`` lines that do it."""

from __future__ import annotations

import getpass
import shlex
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from jobs.common.errors import UserError
from jobs.common.records import DamagedRecord, read_record, write_record
from jobs.grid.sites import collect_resources, gpu_resources, seconds, size_mb
from jobs.pbs.arrays import arrays, groups, shares
from jobs.pbs.index_ranges import expression, indices_of
from jobs.pbs.scheduler import Scheduler, job_number
from jobs.run.index import Run
from jobs.run.provenance import REPOSITORY, now
from jobs.run.site_file import write_site

TRAIN_SCRIPT = Path("jobs") / "train_array.pbs"
COLLECT_SCRIPT = Path("jobs") / "collect.pbs"
PROBE_SCRIPT = Path("jobs") / "probe.pbs"


@dataclass(frozen=True)
class Plan:
    """One ``qsub`` for points: the indices it runs, its arguments, and the resources that these ask for."""

    indices: tuple[int, ...]
    arguments: tuple[str, ...]
    asked: Mapping[str, Any] = field(default_factory=dict)


def shell_line(command: str, arguments: Sequence[str]) -> str:
    """The command as a user can paste it into a shell."""
    return shlex.join([command, *arguments])


def _variables(values: Mapping[str, str]) -> str:
    """The argument of ``-v``: a comma parts variables unless the value stands in single quotes."""
    parts = []
    for name, value in values.items():
        if any(character in value for character in "'\"\\\n"):
            raise UserError(
                f"the path {value!r} holds a quote, a backslash or a line break, which qsub -v cannot carry; "
                "expected a plainer path: move the run or the repository"
            )
        parts.append(f"{name}='{value}'" if "," in value else f"{name}={value}")
    return ",".join(parts)


def _common(site: Mapping[str, Any], *, queue: str | None) -> list[str]:
    arguments = []
    if queue is not None:
        arguments += ["-q", queue]
    if site["project"] is not None:
        arguments += ["-P", site["project"]]
    return arguments + shlex.split(site["extra_options"] or "") + shlex.split(site["log_options"])


def plan(
    run: Run,
    indices: Iterable[int],
    *,
    submission: int,
    limit: int | None = None,
    max_running: int | None = None,
    again: bool = False,
    durations: Mapping[int, float] | None = None,
    proposed: Mapping[int, tuple[str, str | None]] | None = None,
) -> list[Plan]:
    """The ``qsub`` calls that run exactly ``indices``, as few as possible, with the resources of ``run.site``.

    ``limit`` is the largest array the site takes; ``max_running`` sub-jobs of all arrays run at a time.
    ``again`` trains points anew that have a result. With ``durations`` (predicted seconds by index) points of clearly
    different duration are arrays of their own, the longest first. ``proposed`` holds walltime and mem by index
    (``None``: the site block's mem); an array asks for the largest of its points'.
    """
    site = run.site
    if site["job_arrays"]:
        parts = arrays(
            indices,
            limit=limit,
            max_running=max_running,
            durations=durations,
            apart=proposed is not None,
        )
    else:
        parts = [[index] for group in groups(durations or {}, indices) for index in group]
    plans = []
    for part, share in zip(parts, shares(parts, durations or {}, max_running), strict=True):
        asked = _resources(site, part, proposed)
        variables = {
            "RUN_DIR": str(run.paths.root.resolve()),
            "REPOSITORY": str(REPOSITORY),
            "WALLTIME_SECONDS": str(seconds(asked["walltime"])),
        }
        if again:
            variables["TRAIN_AGAIN"] = "yes"
        arguments = ["-N", "unet_grid", "-r", "y"]
        if site["job_arrays"]:
            bound = f"%{share}" if share is not None else ""
            arguments += ["-J", expression(part) + bound]
            log = run.paths.captured(submission, "^array_index^")
        else:
            # -C '' makes qsub pass over the script's own -J.
            arguments += ["-C", ""]
            variables["POINT_INDEX"] = str(part[0])
            log = run.paths.captured(submission, str(part[0]))
        arguments += ["-l", gpu_resources({**site, **asked}), "-l", f"walltime={asked['walltime']}"]
        arguments += _common(site, queue=site["queue"])
        arguments += ["-o", str(log.resolve()), "-v", _variables(variables), str(REPOSITORY / TRAIN_SCRIPT)]
        plans.append(Plan(tuple(part), tuple(arguments), asked))
    return plans


def _resources(
    site: Mapping[str, Any], part: Sequence[int], proposed: Mapping[int, tuple[str, str | None]] | None
) -> dict[str, Any]:
    """What a sub-job of these points asks for; it is put on record, for the report."""
    asked = {key: site[key] for key in ("walltime", "mem", "ncpus", "ngpus")}
    own = [proposed[index] for index in part if index in proposed] if proposed else []
    if len(own) == len(part) and own:
        asked["walltime"] = max((walltime for walltime, _ in own), key=seconds)
        memory = [mem for _, mem in own]
        if None not in memory:
            asked["mem"] = max((mem for mem in memory if mem is not None), key=size_mb)
    return asked


def probe_arguments(run: Run, walltime: str) -> list[str]:
    """The arguments of the ``qsub`` that measures ``run``: one job with the resources of one sub-job."""
    site = run.site
    variables = {
        "RUN_DIR": str(run.paths.root.resolve()),
        "REPOSITORY": str(REPOSITORY),
        "WALLTIME_SECONDS": str(seconds(walltime)),
    }
    return [
        *("-N", "unet_probe", "-r", "y", "-l", gpu_resources(site), "-l", f"walltime={walltime}"),
        *_common(site, queue=site["queue"]),
        *("-o", str(run.paths.captured_probe.resolve()), "-v", _variables(variables)),
        str(REPOSITORY / PROBE_SCRIPT),
    ]


def collect_arguments(run: Run, ids: Sequence[str], *, submission: int) -> list[str]:
    """The arguments of the ``qsub`` that collects after all jobs in ``ids`` have ended, however they ended."""
    site = run.site
    log = run.paths.captured(submission, "collect")
    variables = {"RUN_DIR": str(run.paths.root.resolve()), "REPOSITORY": str(REPOSITORY)}
    return [
        *("-N", "unet_collect", "-W", f"depend={dependency(ids)}"),
        *("-l", collect_resources(site), "-l", f"walltime={site['collect_walltime']}"),
        *_common(site, queue=site["collect_queue"] or site["queue"]),
        *("-o", str(log.resolve()), "-v", _variables(variables), str(REPOSITORY / COLLECT_SCRIPT)),
    ]


def by_hand(run: Run, *, submission: int = 1, plans: Sequence[Plan] | None = None) -> list[str]:
    """The exact ``qsub`` lines for ``plans`` (default: the whole run) and the collect that follows."""
    if plans is None:
        plans = plan(
            run,
            [entry.index for entry in run.entries],
            submission=submission,
            limit=run.site["max_array_size"],
            max_running=run.site["max_running"],
        )
    names = [f"job{place}" if len(plans) > 1 else "job" for place in range(1, len(plans) + 1)]
    lines = [f"{name}=$({shell_line('qsub', one.arguments)})" for name, one in zip(names, plans, strict=True)]
    collect = shell_line("qsub", collect_arguments(run, ["@"], submission=submission))
    # The shell puts the ids in; the double quotes keep an array's brackets from it.
    return [
        *lines,
        collect.replace("afterany:@", 'afterany:"' + ":".join(f"${name}" for name in names) + '"'),
    ]


def dependency(ids: Sequence[str]) -> str:
    """``afterany:A[]:B[]``. An array's id without its brackets would be accepted and the job deleted."""
    return "afterany:" + ":".join(ids)


def read_submissions(run: Run) -> list[dict[str, Any]]:
    """The submissions on record, oldest first; :class:`UserError` where the record is damaged."""
    try:
        record = read_record(run.paths.submissions)
    except FileNotFoundError:
        return []
    except DamagedRecord as error:
        raise UserError(
            f"{error}; it tells which jobs belong to this run. See `qstat -u $USER`, then move the file away"
        ) from error
    found = record.get("submissions")
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def jobs_of(submissions: Iterable[Mapping[str, Any]]) -> list[tuple[str, tuple[int, ...]]]:
    """``(id, indices)`` of every job for points, oldest first; what cannot be understood is left out."""
    found = []
    for submission in submissions:
        jobs = submission.get("jobs")
        for job in jobs if isinstance(jobs, list) else []:
            try:
                if job_number(job["id"]) is not None:
                    found.append((job["id"], tuple(indices_of(job["indices"]))))
            except (KeyError, TypeError, ValueError):
                continue
    return found


def submit(
    run: Run,
    plans: Sequence[Plan],
    scheduler: Scheduler,
    *,
    kind: str,
    number: int,
    waiting_collect: tuple[str, Sequence[str]] | None = None,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Submit ``plans`` and the collect that follows them; every id is on record as soon as it is known.

    ``waiting_collect`` is a collect job that has not begun, with the ids it already waits for: it is
    extended by ``qalter``, and replaced by a new one where that fails. Returns the record. Raises
    :class:`UserError` where PBS refuses; what had been submitted until then is named and on record.
    """
    try:
        guard = FileLock(run.paths.root / ".submit.lock").acquire(timeout=30)
    except Timeout:
        raise UserError(
            f"{run.paths.root} is being submitted by another process; look, then repeat"
        ) from None
    with guard:
        # The log folder must exist, or PBS loses what it captures.
        run.paths.logs.mkdir(exist_ok=True)
        write_site(run)
        earlier = read_submissions(run)
        record: dict[str, Any] = {
            "number": number,
            "kind": kind,
            "made": now(),
            "host": socket.gethostname(),
            "user": getpass.getuser(),
            "jobs": [],
            "collect": None,
        }

        def save() -> None:
            write_record(run.paths.submissions, {"submissions": [*earlier, record]})

        save()  # a disk that is full must be known before jobs are in the queue
        try:
            for one in plans:
                say(shell_line("qsub", one.arguments))
                job = scheduler.qsub(one.arguments, REPOSITORY)
                record["jobs"].append(
                    {
                        "id": job,
                        "indices": expression(one.indices),
                        "asked": dict(one.asked),
                        "command": ["qsub", *one.arguments],
                    }
                )
                save()
                say(f"  {job}")
            _follow(run, record, scheduler, waiting_collect, say)
            save()
        except UserError as error:
            if not record["jobs"]:
                write_record(run.paths.submissions, {"submissions": earlier})
            _explain_half(run, record, error)
            raise
    return record


def _follow(
    run: Run,
    record: dict[str, Any],
    scheduler: Scheduler,
    waiting: tuple[str, Sequence[str]] | None,
    say: Callable[[str], None],
) -> None:
    ids = [job["id"] for job in record["jobs"]]
    if waiting is not None:
        collect, before = waiting
        arguments = ["-W", f"depend={dependency([*before, *ids])}", collect]
        say(shell_line("qalter", arguments))
        refused = scheduler.qalter(arguments)
        if not refused:
            record["collect"] = {
                "id": collect,
                "command": ["qalter", *arguments],
                "waits_for": [*before, *ids],
            }
            say(f"  {collect} waits for them, too")
            return
        say(f"  {refused}; a new collect job instead")
    arguments = collect_arguments(run, ids, submission=record["number"])
    say(shell_line("qsub", arguments))
    collect = scheduler.qsub(arguments, REPOSITORY)
    record["collect"] = {"id": collect, "command": ["qsub", *arguments], "waits_for": ids}
    say(f"  {collect}")


def _explain_half(run: Run, record: Mapping[str, Any], error: UserError) -> None:
    """Tell in the error what is in the queue already, and how to go on."""
    ids = [job["id"] for job in record["jobs"]]
    if not ids:
        return
    follow = shell_line("qsub", collect_arguments(run, ids, submission=record["number"]))
    error.args = (
        f"{error}\nalready submitted, and on record: {', '.join(ids)}. "
        f"Points that were not: python -m jobs.resubmit {run.paths.root}\n"
        f"to collect after those that were:\n  {follow}",
    )
