"""The PBS commands: the only module that calls ``qsub``, ``qstat`` and ``qalter``.

Built on what a running OpenPBS 23.06 was seen to do; other PBS versions are met by parsing defensively.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.common.errors import SCHEDULER, UserError

TIMEOUT_SECONDS = 60.0
PAUSES = (1.0, 3.0, 9.0)  # seconds between tries at what may pass by itself

_JOB = re.compile(r"\s*([0-9]{1,18})(?:\[([0-9]{0,18})\])?(?:\.[\w.-]+)?\s*")
# Said before the server took anything in: to repeat cannot submit twice.
_TRANSIENT = re.compile(
    r"cannot connect to server|connection refused|server (?:is )?busy|unable to authenticate|temporarily unavailable",
    re.IGNORECASE,
)
_NO_HISTORY = re.compile(r"not configured to maintain job history", re.IGNORECASE)


def job_number(job_id: str) -> str | None:
    """The number of a job: ``"12"`` for ``12``, ``12[].server``, ``12[7].server``; ``None`` for anything else."""
    match = _JOB.fullmatch(job_id) if isinstance(job_id, str) else None
    return match[1] if match else None


def sub_job_index(job_id: str) -> int | None:
    """The array index in ``12[7].server``; ``None`` for a parent, an ordinary job or anything else."""
    match = _JOB.fullmatch(job_id) if isinstance(job_id, str) else None
    return int(match[2]) if match and match[2] else None


@dataclass(frozen=True)
class Job:
    """One job or sub-job as ``qstat`` tells of it.

    ``state`` is PBS's letter (Q, H, W, R, E, B, X, F, ...); ``exit_status`` is ``None`` where it cannot be
    believed: a sub-job that never ran carries a copy of the array's own.
    """

    state: str
    exit_status: int | None = None
    ran: bool = False

    @property
    def ended(self) -> bool:
        return self.state in ("X", "F")

    @property
    def waits(self) -> bool:
        return self.state in ("Q", "H", "W", "T", "S", "M")


@dataclass(frozen=True)
class Answer:
    """What one bulk ``qstat`` said.

    ``jobs`` is keyed by ``(number, index)``, the index ``None`` for parents and ordinary jobs. ``problem`` is
    empty if the scheduler answered; otherwise nothing is known, and it says why. ``finished`` and ``unknown``
    hold the numbers that it named so on stderr. ``history``: whether it keeps finished jobs.
    """

    jobs: Mapping[tuple[str, int | None], Job]
    problem: str = ""
    finished: frozenset[str] = frozenset()
    unknown: frozenset[str] = frozenset()
    history: bool = True


def _words(answer: subprocess.CompletedProcess[str]) -> str:
    text = " ".join((answer.stderr.strip() or answer.stdout.strip()).split())
    return text[:500] or f"exit code {answer.returncode} without a word"


class Scheduler:
    """Calls PBS's commands as found on PATH, each with a time limit."""

    def __init__(self, *, timeout: float = TIMEOUT_SECONDS, pauses: Sequence[float] = PAUSES) -> None:
        self.timeout = timeout
        self.pauses = tuple(pauses)

    def _call(self, command: Sequence[str], folder: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run ``command``, again after a pause where the server could not be reached."""
        if shutil.which(command[0]) is None:
            raise UserError(
                f"{command[0]} is not on PATH; expected PBS's commands: log in to the cluster's login node, or load "
                "its PBS module. To train on this machine: python -m jobs.local RUN",
                exit_code=SCHEDULER,
            )
        for pause in (*self.pauses, None):
            try:
                answer = subprocess.run(
                    command,
                    cwd=folder,
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    text=True,
                    errors="replace",
                    timeout=self.timeout,
                    check=False,
                )
            except OSError as error:
                raise UserError(f"{command[0]} cannot be run: {error}", exit_code=SCHEDULER) from error
            if answer.returncode == 0 or not _TRANSIENT.search(answer.stderr) or pause is None:
                return answer
            time.sleep(pause)
        raise AssertionError("unreachable")

    def qsub(self, arguments: Sequence[str], folder: Path) -> str:
        """Submit from ``folder`` (which becomes ``PBS_O_WORKDIR``); the id that the server gave."""
        try:
            answer = self._call(["qsub", *arguments], folder)
        except subprocess.TimeoutExpired:
            raise UserError(
                f"qsub did not answer within {self.timeout:g} s, and may or may not have submitted the job; "
                "look with: qstat -u $USER  before you repeat the command",
                exit_code=SCHEDULER,
            ) from None
        lines = answer.stdout.split()
        if answer.returncode != 0:
            raise UserError(
                f"qsub refused (exit code {answer.returncode}): {_words(answer)}", exit_code=SCHEDULER
            )
        if not lines or job_number(lines[-1]) is None:
            raise UserError(
                f"qsub printed {answer.stdout.strip()!r}, expected a job's id; look with: qstat -u $USER",
                exit_code=SCHEDULER,
            )
        return lines[-1]

    def qalter(self, arguments: Sequence[str]) -> str:
        """Change a job; empty if that was done, otherwise why not (the job may just have begun)."""
        try:
            answer = self._call(["qalter", *arguments])
        except subprocess.TimeoutExpired:
            return f"qalter did not answer within {self.timeout:g} s"
        return "" if answer.returncode == 0 else _words(answer)

    def array_limit(self) -> int | None:
        """The server's ``max_array_size``; ``None`` where it does not say."""
        if shutil.which("qstat") is None:
            return None
        try:
            answer = self._call(["qstat", "-Bf"])
        except (subprocess.TimeoutExpired, UserError):
            return None
        found = [int(number) for number in re.findall(r"max_array_size\s*=\s*(\d+)", answer.stdout)]
        return min(found, default=None)

    def qstat(self, ids: Sequence[str]) -> Answer:
        """Everything about ``ids`` and their sub-jobs in one call; never raises.

        A server that keeps no history refuses ``-x`` as a whole: only then a second call follows, without.
        """
        if not ids:
            return Answer({})
        try:
            answer = self._call(["qstat", "-x", "-t", "-f", "-F", "json", *ids])
            history = not _NO_HISTORY.search(answer.stderr + answer.stdout)
            if not history:
                answer = self._call(["qstat", "-t", "-f", "-F", "json", *ids])
        except subprocess.TimeoutExpired:
            return Answer({}, f"qstat did not answer within {self.timeout:g} s")
        except UserError as error:
            return Answer({}, str(error))
        return parse_qstat(answer.stdout, answer.stderr, answer.returncode, history=history)


def parse_qstat(stdout: str, stderr: str, code: int, *, history: bool = True) -> Answer:
    """What ``qstat -t -f -F json`` printed, as an :class:`Answer`.

    Exit codes 35 (finished) and 153 (unknown) come with valid JSON: some of the ids are not there, which is
    an answer. Any other failure, and anything that is no JSON, is none.
    """
    finished, unknown = set(), set()
    for line in stderr.splitlines():
        for pattern, numbers in (
            (r"(\d+)\S* Job has finished", finished),
            (r"Unknown Job Id (\d+)", unknown),
        ):
            match = re.search(pattern, line)
            if match:
                numbers.add(match[1])
    try:
        content = json.loads(stdout, strict=False)
    except ValueError as error:
        said = " ".join(stderr.split())[:300]
        return Answer(
            {}, f"qstat (exit code {code}) printed what is no JSON ({error}){': ' + said if said else ''}"
        )
    if not isinstance(content, dict) or not isinstance(content.get("Jobs", {}), dict):
        return Answer({}, f"qstat (exit code {code}) printed JSON without jobs in it")
    if code != 0 and not (content.get("Jobs") or finished or unknown):
        return Answer({}, f"qstat failed (exit code {code}): {' '.join(stderr.split())[:300]}")
    jobs = {}
    for name, attributes in content.get("Jobs", {}).items():
        number = job_number(name)
        if number is not None and isinstance(attributes, dict):
            jobs[number, sub_job_index(name)] = _job(attributes)
    return Answer(jobs, "", frozenset(finished), frozenset(unknown), history)


def _job(attributes: Mapping[str, Any]) -> Job:
    state = str(attributes.get("job_state", "?"))
    ran = "run_count" in attributes
    try:
        exit_status = int(attributes["Exit_status"])
    except (KeyError, TypeError, ValueError):
        exit_status = None
    if not (ran and state in ("X", "F")):
        exit_status = None
    return Job(state, exit_status, ran)
