"""What ``qstat -f -F json`` printed, as jobs and their states.

PBS versions differ, so only what is needed is read: unknown and odd attributes are ignored.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from jobs.common.errors import one_line
from jobs.pbs.job_ids import job_number, sub_job_index
from jobs.pbs.job_paths import from_variable

_FINISHED = re.compile(r"(\d{1,18})\S* Job has finished")
_UNKNOWN = re.compile(r"Unknown Job Id (\d{1,18})")
_UNITS = {"b": 2.0**-20, "kb": 2.0**-10, "mb": 1.0, "gb": 2.0**10, "tb": 2.0**20}


@dataclass(frozen=True)
class Job:
    """One job or sub-job.

    ``state`` is PBS's letter (Q, H, W, R, E, B, X, F, ...). ``ran``: it was started at least once. ``exit_status``
    is ``None`` until the job has ended, and for a sub-job that never ran: PBS reports the array's own there.
    ``memory_share`` is the memory that a job that ended had used, as a share of what it requested (0 to about 1).
    """

    state: str
    exit_status: int | None = None
    ran: bool = False
    memory_share: float | None = field(default=None, compare=False)

    @property
    def ended(self) -> bool:
        """Whether it is over: X is a sub-job of an array that still has others, F is anything else."""
        return self.state in ("X", "F")

    @property
    def waits(self) -> bool:
        """Whether it is queued, held, waiting, in transit, suspended or being moved."""
        return self.state in ("Q", "H", "W", "T", "S", "M")


@dataclass(frozen=True)
class Details:
    """What PBS says about an array as a whole or an ordinary job.

    ``comment``: why it waits, in PBS's own words (``Can Never Run: ...``). ``since``: when it was queued, ``start``:
    when the scheduler expects it to start; both as PBS printed them, in the local time of this machine. ``hold``:
    PBS's letters for who holds it (u user, o operator, s system, which includes a dependency), empty where nobody does.
    ``depend`` is its dependency, ``walltime`` what it may run. ``run_directory`` is the RUN_DIR that it was submitted
    with, ``folder`` the working directory of its ``qsub``; empty where there is none. ``point_index`` is the index that a
    job which is no array got. ``token`` is the SUBMISSION_TOKEN that it was submitted with, ``name`` its name.
    """

    comment: str = ""
    since: datetime | None = None
    start: datetime | None = None
    hold: str = ""
    depend: str = ""
    walltime: str = ""
    run_directory: str = ""
    folder: str = ""
    point_index: int | None = None
    token: str = ""
    name: str = ""

    @property
    def can_never_run(self) -> bool:
        """Whether the scheduler has said that no node, or no limit, will ever let it start."""
        return "never run" in self.comment.lower()


@dataclass(frozen=True)
class Answer:
    """The answer to a ``qstat`` about many jobs.

    ``jobs``: by number and index; the index is ``None`` for arrays as a whole and for ordinary jobs. ``finished``:
    the numbers of jobs that PBS called finished without details. ``problem``: why the answer is not complete, empty
    if it is: the state of every job that :meth:`knows` does not know is unknown. ``unknown``: the numbers that PBS does
    not know, which may have ended long ago. ``details``: by the number of the job. ``history``: whether the server
    keeps jobs that have ended.
    """

    jobs: Mapping[tuple[int, int | None], Job]
    problem: str = ""
    finished: frozenset[int] = frozenset()
    unknown: frozenset[int] = field(default=frozenset(), compare=False)
    details: Mapping[int, Details] = field(default_factory=dict, compare=False)
    history: bool = field(default=True, compare=False)

    def knows(self, number: int) -> bool:
        """Whether PBS has answered for the job with this number, if only that it does not know it."""
        return (
            number in self.details
            or number in self.finished
            or number in self.unknown
            or any(known == number for known, _ in self.jobs)
        )

    def only(self, numbers: Collection[int]) -> Answer:
        """What this answer says about the jobs with these numbers and their sub-jobs."""
        return Answer(
            {key: job for key, job in self.jobs.items() if key[0] in numbers},
            finished=self.finished & frozenset(numbers),
            unknown=self.unknown & frozenset(numbers),
            details={number: one for number, one in self.details.items() if number in numbers},
        )

    def not_ended(self, ids: Iterable[str]) -> tuple[str, ...]:
        """Those of ``ids``, of whole arrays and ordinary jobs, that are in the queue or run; each once."""
        jobs = {one: self.jobs.get((number, None)) for one in ids if (number := job_number(one)) is not None}
        return tuple(one for one, job in jobs.items() if job is not None and not job.ended)

    def and_also(self, other: Answer) -> Answer:
        """What this answer and ``other`` say together."""
        return replace(
            self,
            jobs={**self.jobs, **other.jobs},
            finished=self.finished | other.finished,
            unknown=self.unknown | other.unknown,
            details={**self.details, **other.details},
        )


def parse_qstat(stdout: str, stderr: str, code: int) -> Answer:
    """The answer in what ``qstat -t -f -F json`` printed and its exit code.

    With the exit codes 35 (finished) and 153 (unknown) PBS prints valid JSON without the jobs that it named on
    stderr: that is an answer. Any other failure, and anything that is not JSON, is a problem.
    """
    finished = {int(number) for number in _FINISHED.findall(stderr)}
    # A qstat that cannot reach the server says so once for each job.
    said = " ".join(" ".join(dict.fromkeys(stderr.splitlines())).split())[:300]
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
    jobs, details = {}, {}
    for job_id, attributes in found.items():
        number, index = job_number(job_id), sub_job_index(job_id)
        if number is not None and isinstance(attributes, dict):
            jobs[number, index] = _job(attributes)
            if index is None:
                details[number] = _details(attributes)
    unknown = frozenset(int(number) for number in _UNKNOWN.findall(stderr))
    return Answer(jobs, finished=frozenset(finished), unknown=unknown, details=details)


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
        return Job(state, int(exit_status), ran, _memory_share(attributes))
    except ValueError:
        return Job(state, ran=ran)


def _part(attributes: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = attributes.get(key)
    return found if isinstance(found, dict) else {}


def _memory_share(attributes: Mapping[str, Any]) -> float | None:
    used = _megabytes(_part(attributes, "resources_used").get("mem"))
    requested = _megabytes(_part(attributes, "Resource_List").get("mem"))
    return used / requested if used is not None and requested else None


def _megabytes(text: object) -> float | None:
    match = (
        re.fullmatch(r"(\d{1,15})(b|kb|mb|gb|tb)", text.strip().lower()) if isinstance(text, str) else None
    )
    return None if match is None else int(match[1]) * _UNITS[match[2]]


def _details(attributes: Mapping[str, Any]) -> Details:
    variables = _part(attributes, "Variable_List")
    given = variables.get("RUN_DIR")
    hold = _text(attributes, "Hold_Types", 20)
    return Details(
        comment=_text(attributes, "comment"),
        since=_moment(attributes.get("qtime")) or _moment(attributes.get("ctime")),
        start=_moment(_part(attributes, "estimated").get("start_time")),
        hold="" if hold == "n" else hold,
        depend=_text(attributes, "depend", 10_000),
        walltime=_text(_part(attributes, "Resource_List"), "walltime", 20),
        run_directory=str(from_variable(str(given))) if given else "",
        folder=str(variables.get("PBS_O_WORKDIR", "")),
        point_index=_whole(variables.get("POINT_INDEX")),
        token=one_line(variables.get("SUBMISSION_TOKEN", ""), 40),
        name=_text(attributes, "Job_Name", 80),
    )


def _whole(value: object) -> int | None:
    """A whole number; PBS prints the value of a variable as a number or as text."""
    text = str(value) if isinstance(value, str | int) else ""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


def _text(attributes: Mapping[str, Any], key: str, limit: int = 300) -> str:
    return one_line(attributes.get(key) or "", limit)


def _moment(text: object) -> datetime | None:
    """A time as PBS prints it, ``Fri Nov 27 11:05:16 2026``, or as seconds since 1970; ``None`` for anything else."""
    try:
        if isinstance(text, int) and not isinstance(text, bool):
            return datetime.fromtimestamp(text).astimezone()
        return datetime.strptime(str(text), "%a %b %d %H:%M:%S %Y").astimezone()
    except (ValueError, OverflowError, OSError):
        return None
