"""A job that asked for a GPU must not train on the CPU without a word: it would take days, or end at its walltime."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from jobs.common.errors import UserError
from jobs.common.hints import hint
from jobs.common.units import plural
from jobs.pbs.job_ids import job_number
from jobs.pbs.submissions import read_submissions, requested
from jobs.point.circuit_breaker import LOCAL_SESSION
from jobs.point.gpus import named_gpus
from jobs.run.index import Run

CPU = "CPU"
_CONTAINER = ("APPTAINER_CONTAINER", "SINGULARITY_CONTAINER", "APPTAINER_NAME", "SINGULARITY_NAME")


class NoGpuError(UserError):
    """The job asked for a GPU, and TensorFlow sees none; the message names the likely causes."""


def gpus_asked_for(run: Run) -> int:
    """The number of GPUs that the job of this process asked for; 0 outside a job, and in a local run.

    It is what the submission requested. For a job without a record, such as one that was submitted by hand, it is
    ``ngpus`` of the site block.
    """
    job = os.environ.get("PBS_JOBID")
    if job is None or LOCAL_SESSION in os.environ:
        return 0
    return gpus_by_job(run).get(job_number(job) or 0, int(run.site["ngpus"]))


def gpus_by_job(run: Run) -> dict[int, int]:
    """How many GPUs each job on record asked for, by the number of the job."""
    found = {}
    with contextlib.suppress(UserError):  # the commands that need a damaged record of submissions report it
        for submission in read_submissions(run):
            for one in submission.jobs:
                number, gpus = job_number(one.id), requested(one).ngpus
                if number is not None and gpus is not None:
                    found[number] = gpus
    return found


def no_gpu(asked: int, *, built_for_gpus: bool | None = None, run: Run | None = None) -> str:
    """The sentences for the user where a job asked for ``asked`` GPUs and TensorFlow sees none; arguments as below."""
    return (
        f"TensorFlow sees no GPU, although the job asked for {plural(asked, 'GPU')}. "
        f"{likely_causes(built_for_gpus=built_for_gpus, run=run)}. To train on the CPU all the same: allow_cpu: true in "
        "the site block"
    )


def likely_causes(*, built_for_gpus: bool | None = None, run: Run | None = None) -> str:
    """Why TensorFlow sees no GPU: first what is found to be wrong on this node, then what else it may be.

    ``built_for_gpus``: whether this TensorFlow can use GPUs at all; ``None`` where that is not known. ``run`` is named
    in a command.
    """
    named = named_gpus()
    contained = any(os.environ.get(name) for name in _CONTAINER)
    card = any(any(Path("/dev").glob(pattern)) for pattern in ("nvidia[0-9]*", "dxg", "kfd"))
    make = hint("jobs/make_environment.sh", *([] if run is None else [run.paths.root]), anywhere=True)
    # Whether each holds here: True, False, or None where that cannot be seen.
    causes = (
        (None if named else named is not None, "CUDA_VISIBLE_DEVICES is set and names no GPU"),
        (
            None if built_for_gpus is None else not built_for_gpus,
            f"this TensorFlow is a build for the CPU (tensorflow-cpu): make the environment again with {make}",
        ),
        (
            contained and not card,
            "the container sees no card: it was started without --nv, or the node has none",
        ),
        (None if contained else False, "the wrong container: without CUDA, or too new for the node's driver"),
        (
            not contained and not card,
            "this node shows no card: the job was sent to a node without one, or its driver is not loaded",
        ),
        (
            None if card else False,
            "CUDA's libraries are missing, or the driver is too old: see the lines in the log",
        ),
    )
    found = [cause for holds, cause in causes if holds]
    others = [cause for holds, cause in causes if holds is None]
    parts = [f"Found here: {'; '.join(found)}"] if found else []
    if others:
        parts.append(f"{'Other causes' if found else 'Likely causes'}: {'; '.join(others)}")
    return ". ".join(parts)


def check_device(run: Run, device: str, *, built_for_gpus: bool) -> str:
    """Refuse to compute on the CPU in a job that asked for a GPU; :class:`NoGpuError` with the likely causes.

    Returns:
        With ``allow_cpu`` in the site block, a remark for the result instead; empty where there is nothing to say.
    """
    if device != CPU:
        return ""
    asked = gpus_asked_for(run)
    if not asked:
        return ""
    if run.site.get("allow_cpu"):
        return f"trained on the CPU, although the job asked for {plural(asked, 'GPU')} (allow_cpu)"
    raise NoGpuError(no_gpu(asked, built_for_gpus=built_for_gpus, run=run))
