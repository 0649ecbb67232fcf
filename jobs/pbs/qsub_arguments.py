"""The arguments of ``qsub``: for the jobs that train points, the one that collects, and the probe.

Nothing is submitted here: :mod:`jobs.pbs.submitter` does that, by :mod:`jobs.pbs.commands`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.common.hints import REPOSITORY
from jobs.common.schema import Requested
from jobs.grid.qsub_options import check_options, option_words
from jobs.grid.sites import collect_resources, gpu_resources, seconds, size_mb
from jobs.pbs.arrays import arrays, groups, shares
from jobs.pbs.index_ranges import expression
from jobs.pbs.job_paths import as_variable, check_paths, log_argument, qsub_line
from jobs.run.index import Run
from jobs.run.sharing import umask_of
from jobs.run.site_file import site_names, site_variables

TRAIN_NAME = "unet_grid"  # also in the #PBS lines of the script, for those who submit it by hand
COLLECT_NAME = "unet_collect"
PROBE_NAME = "unet_probe"
TOKEN = "SUBMISSION_TOKEN"  # noqa: S105 - the name of a variable, by which a job is found that is on no record
TRAIN_SCRIPT = Path("jobs") / "train_array.pbs"
COLLECT_SCRIPT = Path("jobs") / "collect.pbs"
PROBE_SCRIPT = Path("jobs") / "probe.pbs"
VERIFY_SCRIPT = Path("jobs") / "verify_setup.sh"
VERIFY_WALLTIME = "00:10:00"
# Who submits was asked by the command (jobs.run.trust); a job, whose home directory may be another one, is not asked again.
_TRUSTED = {"TRUST": "yes"}


@dataclass(frozen=True)
class PlannedJob:
    """One ``qsub`` for points: the indices it runs, its arguments, and what each sub-job requests."""

    indices: tuple[int, ...]
    arguments: tuple[str, ...]
    requested: Requested


def _variables(run: Run, values: Mapping[str, str]) -> str:
    """The argument of ``-v``: ``values``, and the names of variables whose values ``qsub`` takes from the environment."""
    return ",".join([*(f"{name}={value}" for name, value in values.items()), *site_names(run)])


def _name(run: Run, name: str) -> list[str]:
    """The job's name, and its umask: PBS runs jobs, and writes their output, with 077."""
    return ["-N", name, "-W", f"umask={umask_of(run):04o}"]


def _common(run: Run, *, queue: str | None, more: str | None) -> list[str]:
    site = run.site
    check_options(site, run.paths.grid)
    arguments = []
    if queue is not None:
        arguments += ["-q", queue]
    if site["project"] is not None:
        arguments += ["-P", site["project"]]
    options = (site["extra_options"], more, site["log_options"])
    return arguments + [word for words in options for word in option_words(words or "")]


def plan_jobs(
    run: Run,
    indices: Iterable[int],
    *,
    submission: int,
    limit: int | None = None,
    max_running: int | None = None,
    again: bool = False,
    durations: Mapping[int, float] | None = None,
    proposed: Mapping[int, tuple[str, str | None]] | None = None,
) -> list[PlannedJob]:
    """The jobs that run exactly ``indices``, as few as possible, in the order in which they are to be submitted.

    ``submission``: its number, part of the names of the logs. ``limit``: the most sub-jobs of one array.
    ``max_running``: the most sub-jobs of all arrays at a time. ``again``: also train points that have a result.
    ``durations``: predicted seconds by index; points of clearly different duration become arrays of their own, the
    longest first. ``proposed``: walltime and mem by index (mem ``None``: the site block's); an array requests the
    largest of its points'. Everything else that a job requests is in ``run.site``.

    Raises :class:`UserError` where a path cannot be passed to a job, or an option in the site block is none that ``qsub`` is
    given: for every kind of job, so that nothing is submitted of a run whose later jobs are refused.
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
    planned = []
    for part, share in zip(parts, shares(parts, durations or {}, max_running), strict=True):
        requested = _requested(site, part, proposed or {})
        walltime = requested.walltime or site["walltime"]
        variables = {**_directories(run), **_TRUSTED, "WALLTIME_SECONDS": str(seconds(walltime))}
        if again:
            variables["TRAIN_AGAIN"] = "yes"
        arguments = [*_name(run, TRAIN_NAME), "-r", "y"]
        if site["job_arrays"]:
            at_a_time = f"%{share}" if share is not None else ""
            arguments += ["-J", expression(part) + at_a_time]
            log = run.paths.captured(submission, "^array_index^")
        else:
            # -C '' makes qsub ignore the script's own -J.
            arguments += ["-C", ""]
            variables["POINT_INDEX"] = str(part[0])
            log = run.paths.captured(submission, str(part[0]))
        resources = gpu_resources({**site, "mem": requested.mem or site["mem"]})
        arguments += ["-l", resources, "-l", f"walltime={walltime}"]
        arguments += _common(run, queue=site["queue"], more=site["array_options"])
        arguments += [
            "-o",
            log_argument(run, log),
            "-v",
            _variables(run, variables),
            str(REPOSITORY / TRAIN_SCRIPT),
        ]
        planned.append(PlannedJob(tuple(part), tuple(arguments), requested))
    return planned


def _directories(run: Run) -> dict[str, str]:
    check_paths(run.paths.root, run.site)
    return {
        "RUN_DIR": as_variable(run.paths.root.resolve()),
        "REPOSITORY": as_variable(REPOSITORY),
        **site_variables(run),
    }


def _requested(
    site: Mapping[str, Any], part: Sequence[int], proposed: Mapping[int, tuple[str, str | None]]
) -> Requested:
    """What a sub-job of an array with these indices requests: the largest proposal, if there is one for each index."""
    walltime, mem = site["walltime"], site["mem"]
    own = [proposed[index] for index in part if index in proposed]
    if own and len(own) == len(part):
        walltime = max((own_walltime for own_walltime, _ in own), key=seconds)
        memory = [own_mem for _, own_mem in own if own_mem is not None]
        if len(memory) == len(own):
            mem = max(memory, key=size_mb)
    return Requested(walltime=walltime, mem=mem, ncpus=site["ncpus"], ngpus=site["ngpus"])


def probe_arguments(run: Run, walltime: str) -> list[str]:
    """The arguments for the job that measures ``run``; except for ``walltime`` it requests what a sub-job does."""
    site = run.site
    variables = {**_directories(run), **_TRUSTED, "WALLTIME_SECONDS": str(seconds(walltime))}
    return [
        *_name(run, PROBE_NAME),
        *("-r", "y", "-l", gpu_resources(site), "-l", f"walltime={walltime}"),
        *_common(run, queue=site["queue"], more=None),
        *("-o", log_argument(run, run.paths.captured_probe), "-v", _variables(run, variables)),
        str(REPOSITORY / PROBE_SCRIPT),
    ]


def verify_arguments(run: Run) -> list[str]:
    """The arguments for the job that checks a node; it requests what a sub-job does, for a short time."""
    site = run.site
    return [
        *_name(run, "unet_verify"),
        *("-r", "n", "-l", gpu_resources(site), "-l", f"walltime={VERIFY_WALLTIME}"),
        *_common(run, queue=site["queue"], more=None),
        *("-o", log_argument(run, run.paths.captured_verify), "-v", _variables(run, _directories(run))),
        str(REPOSITORY / VERIFY_SCRIPT),
    ]


def collect_arguments(run: Run, ids: Sequence[str], *, submission: int) -> list[str]:
    """The arguments for the job that collects after all jobs in ``ids`` have ended, whether they failed or not.

    Without ``ids`` it collects at once.
    """
    site = run.site
    log = run.paths.captured(submission, "collect")
    return [
        *_name(run, COLLECT_NAME),
        *(("-W", f"depend={dependency(ids)}") if ids else ()),
        *("-l", collect_resources(site), "-l", f"walltime={site['collect_walltime']}"),
        *_common(run, queue=site["collect_queue"] or site["queue"], more=site["collect_options"]),
        *(
            "-o",
            log_argument(run, log),
            "-v",
            _variables(run, _directories(run)),
            str(REPOSITORY / COLLECT_SCRIPT),
        ),
    ]


def by_hand(run: Run, *, submission: int = 1, planned: Sequence[PlannedJob] | None = None) -> list[str]:
    """The exact ``qsub`` lines for ``planned`` (default: the whole run) and for the job that collects afterwards."""
    if planned is None:
        planned = plan_jobs(
            run,
            [entry.index for entry in run.entries],
            submission=submission,
            limit=run.site["max_array_size"],
            max_running=run.site["max_running"],
        )
    names = [f"job{number}" if len(planned) > 1 else "job" for number in range(1, len(planned) + 1)]
    lines = [f"{name}=$({qsub_line(run, job.arguments)})" for name, job in zip(names, planned, strict=True)]
    collect = qsub_line(run, collect_arguments(run, ["@"], submission=submission))
    # The shell inserts the ids; in double quotes it leaves the brackets of an array's id alone.
    return [
        *lines,
        collect.replace("afterany:@", 'afterany:"' + ":".join(f"${name}" for name in names) + '"'),
    ]


def dependency(ids: Sequence[str]) -> str:
    """``afterany:A[]:B[]``. PBS would accept an array's id without brackets, and then delete the job."""
    return "afterany:" + ":".join(ids)
