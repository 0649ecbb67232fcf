"""What ``qstat -f -F json`` printed, as jobs and their states.

PBS versions differ, so only what is needed is read: unknown and odd attributes are ignored.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jobs.pbs.job_ids import job_number, sub_job_index

_FINISHED = re.compile(r"(\d{1,18})\S* Job has finished")
_UNKNOWN = re.compile(r"Unknown Job Id (\d{1,18})")


@dataclass(frozen=True)
class Job:
    """One job or sub-job.

    ``state`` is PBS's letter (Q, H, W, R, E, B, X, F, ...). ``ran``: it was started at least once. ``exit_status``
    is ``None`` until the job has ended, and for a sub-job that never ran: PBS reports the array's own there.
    """

    state: str
    exit_status: int | None = None
    ran: bool = False

    @property
    def ended(self) -> bool:
        """Whether it is over: X is a sub-job of an array that still has others, F is anything else."""
        return self.state in ("X", "F")

    @property
    def waits(self) -> bool:
        """Whether it is queued, held, waiting, in transit, suspended or being moved."""
        return self.state in ("Q", "H", "W", "T", "S", "M")


@dataclass(frozen=True)
class Answer:
    """The answer to one ``qstat`` about many jobs.

    ``jobs``: by number and index; the index is ``None`` for arrays as a whole and for ordinary jobs. ``finished``:
    the numbers of jobs that PBS called finished without details. ``problem``: why there is no answer, empty if there
    is one. With a problem, the state of every job is unknown.
    """

    jobs: Mapping[tuple[int, int | None], Job]
    problem: str = ""
    finished: frozenset[int] = frozenset()


def parse_qstat(stdout: str, stderr: str, code: int) -> Answer:
    """The answer in what ``qstat -t -f -F json`` printed and its exit code.

    With the exit codes 35 (finished) and 153 (unknown) PBS prints valid JSON without the jobs that it named on
    stderr: that is an answer. Any other failure, and anything that is not JSON, is a problem.
    """
    finished = {int(number) for number in _FINISHED.findall(stderr)}
    said = " ".join(stderr.split())[:300]
    try:
        # A message of the day may come first. PBS does not escape control characters in the values of a job's environment.
        content = json.loads(
            stdout[max(0, stdout.find("{")) :], strict=False, object_pairs_hook=_without_doubles
        )
    except (ValueError, RecursionError) as error:
        return Answer(
            {}, f"the output of qstat (exit code {code}) is not JSON ({error}){': ' + said if said else ''}"
        )
    found = content.get("Jobs", {}) if isinstance(content, dict) else None
    if not isinstance(found, dict):
        return Answer({}, f"the JSON that qstat printed (exit code {code}) has no jobs in it")
    if code != 0 and not (found or finished or _UNKNOWN.search(stderr)):
        return Answer({}, f"qstat failed (exit code {code}): {said}")
    jobs = {}
    for job_id, attributes in found.items():
        number = job_number(job_id)
        if number is not None and isinstance(attributes, dict):
            jobs[number, sub_job_index(job_id)] = _job(attributes)
    return Answer(jobs, finished=frozenset(finished))


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of ``pairs``; ``ValueError`` where a job is in it twice, since one of the two states is wrong.

    Some versions of PBS print a block ``Jobs`` for each job; these are put together.
    """
    result: dict[str, Any] = {}
    for key, value in pairs:
        before = result.get(key)
        if isinstance(before, dict) and isinstance(value, dict):
            twice = [one for one in value if one in before] if key == "Jobs" else [key]
            if twice and job_number(twice[0]) is not None:
                raise ValueError(f"the job {twice[0]} is in it twice")
            result[key] = {**before, **value}
        else:
            result[key] = value
    return result


def _job(attributes: Mapping[str, Any]) -> Job:
    state = str(attributes.get("job_state", "?"))
    ran = "run_count" in attributes
    exit_status = attributes.get("Exit_status")
    if not (ran and state in ("X", "F")) or not isinstance(exit_status, int | str):
        return Job(state, ran=ran)
    try:
        return Job(state, int(exit_status), ran)
    except ValueError:
        return Job(state, ran=ran)
