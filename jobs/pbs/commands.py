"""The PBS commands: the only module that calls ``qsub``, ``qstat``, ``qselect``, ``qalter``, ``qdel`` and ``pbsnodes``.

Written against OpenPBS 23.06; other versions may print other texts, so their output is parsed with care.
"""

from __future__ import annotations

import itertools
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Container, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from jobs.common.errors import SCHEDULER, UserError, one_line
from jobs.common.hints import hint
from jobs.common.signals import signal_of_parents_death
from jobs.pbs.job_ids import job_number
from jobs.pbs.qstat_output import Answer, Details, parse_qstat

TIMEOUT_SECONDS = 60.0
PAUSES = (1.0, 3.0, 9.0)  # seconds between attempts where the server could not be reached

# Printed before the server has accepted anything, so that a second attempt cannot submit a job twice.
_TRANSIENT = re.compile(
    r"cannot connect to server|connection refused|server (?:is )?busy|unable to authenticate|temporarily unavailable",
    re.IGNORECASE,
)
# What to do about refusals that a setting of the site block avoids; by a part of PBS's words.
_ADVICE = {
    "array job exceeds": "; write the limit of the queue as max_array_size in the site block (qstat -Qf shows it)",
    "would exceed": "; jobs.supervise with --max-queued (or max_queued in the site block) submits no more than the limit",
    "violates queue": "; qstat -Qf shows what the queue allows: change walltime, mem, ncpus or queue in the site block",
    "unknown queue": "; qstat -Q lists the queues: correct queue in the site block",
    "queue is not enabled": "; qstat -Q lists the queues: wait, or choose another queue in the site block",
}
_QUERIES = ("qstat", "qselect", "pbsnodes")
_GONE = re.compile(r"has finished|Unknown Job Id|Job already in exit|state is not correct", re.IGNORECASE)
_NO_HISTORY = re.compile(r"not configured to maintain job history", re.IGNORECASE)


def _words(answer: subprocess.CompletedProcess[str]) -> str:
    """What the command printed, as one line of at most 500 characters."""
    text = " ".join((answer.stderr.strip() or answer.stdout.strip()).split())
    return text[:500] or f"exit code {answer.returncode}, and no message"


def _new_ids(answer: subprocess.CompletedProcess[str], known: Container[int]) -> list[str]:
    """The ids of jobs that ``qselect`` printed, without those whose number is ``known``."""
    return [
        word
        for word in answer.stdout.split()
        if (number := job_number(word)) is not None and number not in known
    ]


class UnsureError(UserError):
    """It is not known whether PBS has accepted the job."""


class Scheduler:
    """The PBS commands on PATH.

    Each call may take ``timeout`` seconds. A call that could not reach the server is repeated after each of
    ``pauses`` (seconds). ``queries`` counts the calls that ask: sites want few of them.
    """

    def __init__(self, *, timeout: float = TIMEOUT_SECONDS, pauses: Sequence[float] = PAUSES) -> None:
        self.timeout = timeout
        self.pauses = tuple(pauses)
        self.queries = 0
        self._over = Answer({})  # what PBS said about jobs that have ended: that does not change

    def _call(
        self, command: Sequence[str], folder: Path | None = None, *, again: bool = True
    ) -> subprocess.CompletedProcess[str]:
        if shutil.which(command[0]) is None:
            raise UserError(
                f"{command[0]} is not on PATH; expected the PBS commands: log in to the cluster's login node, or load "
                f"its PBS module. To train on this machine: {hint('jobs.local', 'RUN')}",
                exit_code=SCHEDULER,
            )
        killed_with_caller = signal_of_parents_death(signal.SIGKILL) if command[0] == "qsub" else None
        for attempt in itertools.count():
            self.queries += command[0] in _QUERIES
            try:
                answer = subprocess.run(
                    command,
                    # A qsub whose caller is killed must not submit a job later, when nobody expects it.
                    preexec_fn=killed_with_caller,
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
            repeat = answer.returncode != 0 and _TRANSIENT.search(answer.stderr) is not None
            if not (repeat and again) or attempt == len(self.pauses):
                break
            time.sleep(self.pauses[attempt])
        return answer

    def qsub(self, arguments: Sequence[str], folder: Path) -> str:
        """Submit a job from ``folder``, which becomes its ``PBS_O_WORKDIR``; returns the id of the job.

        Raises :class:`UserError` with exit code 5 where PBS refuses, and :class:`UnsureError` where it does not answer or
        prints no id.
        """
        try:
            answer = self._call(["qsub", *arguments], folder)
        except subprocess.TimeoutExpired:
            raise UnsureError(
                f"qsub did not answer within {self.timeout:g} s, and the job may or may not be in the queue; "
                "repeat the command when PBS answers: it looks for the job first",
                exit_code=SCHEDULER,
            ) from None
        if answer.returncode < 0:
            raise UnsureError(
                f"qsub was ended by signal {-answer.returncode}, and the job may or may not be in the queue; "
                "repeat the command: it looks for the job first",
                exit_code=SCHEDULER,
            )
        if answer.returncode != 0:
            said = _words(answer)
            advice = next((text for pattern, text in _ADVICE.items() if pattern in said.lower()), "")
            raise UserError(
                f"qsub refused the job (exit code {answer.returncode}): {said}{advice}", exit_code=SCHEDULER
            )
        words = answer.stdout.split()
        if not words or job_number(words[-1]) is None:
            raise UnsureError(
                f"qsub printed {answer.stdout.strip()[:500]!r}, expected the id of a job; repeat the command: it looks for the job first",
                exit_code=SCHEDULER,
            )
        return words[-1]

    def qalter(self, arguments: Sequence[str]) -> str:
        """Change a job; returns why that failed (the job may just have started), empty if it did not."""
        try:
            answer = self._call(["qalter", *arguments])
        except subprocess.TimeoutExpired:
            return f"qalter did not answer within {self.timeout:g} s"
        return "" if answer.returncode == 0 else _words(answer)

    def array_limit(self) -> int | None:
        """The server's ``max_array_size``, the most sub-jobs of one array; ``None`` if PBS does not report it."""
        if shutil.which("qstat") is None:
            return None
        try:
            answer = self._call(["qstat", "-Bf"])
        except (subprocess.TimeoutExpired, UserError):
            return None
        found = [int(number) for number in re.findall(r"max_array_size\s*=\s*(\d+)", answer.stdout)]
        return min(found, default=None)

    def printed(self, *command: str) -> str | None:
        """What a command that only asks prints (``qstat -Qf``, ``pbsnodes -av``).

        ``None`` where it is not there, failed, or did not answer.
        """
        try:
            answer = self._call(command)
        except (subprocess.TimeoutExpired, UserError):
            return None
        return answer.stdout if answer.returncode == 0 else None

    def walltime(self, job_id: str) -> int | None:
        """The walltime (seconds) that PBS now has on record for a job or sub-job; ``None`` if it does not report it."""
        found = re.search(
            r"^\s*Resource_List\.walltime = (\d+):(\d+):(\d+)\s*$",
            self.printed("qstat", "-f", job_id) or "",
            re.MULTILINE,
        )
        if found is None:
            return None
        hours, minutes, seconds = map(int, found.groups())
        return hours * 3600 + minutes * 60 + seconds

    def qstat(self, ids: Sequence[str]) -> Answer:
        """The states of ``ids`` and their sub-jobs, by one call for all of them; never raises.

        Some versions of PBS answer such a call for its first job only. A job without an answer is asked about again,
        alone; if there is still none, that is a problem, and the job's state is unknown. A server that keeps no history
        of finished jobs refuses ``-x``. A call without ``-x`` follows then. What has ended is asked about once: a run
        that goes on for weeks has many jobs.
        """
        numbers = {one: job_number(one) for one in ids}
        over = self._over.only({number for number in numbers.values() if number is not None})
        rest = [one for one, number in numbers.items() if number is None or not over.knows(number)]
        answer = self._states(rest, ["-x", "-t"])
        ended = {number for (number, index), job in answer.jobs.items() if index is None and job.ended}
        self._over = self._over.and_also(answer.only(ended))
        return answer.and_also(over)

    def jobs_in_the_queue(
        self, name: str, known: Container[int] = (), users: Sequence[str] = ()
    ) -> tuple[Mapping[str, Details], str]:
        """The jobs called ``name`` that have not ended, by id, without those whose number is ``known``; and a problem.

        ``users``: only theirs; empty for everybody's.
        Those that were submitted by hand are on no record. None where PBS has no ``qselect`` or refuses it. The problem
        says that the server could not be reached; it is empty otherwise.
        """
        if shutil.which("qselect") is None:
            return {}, ""
        try:
            of = ["-u", ",".join(users)] if users else []
            found = self._call(["qselect", "-N", name, *of], again=False)
        except subprocess.TimeoutExpired:
            return {}, f"qselect did not answer within {self.timeout:g} s"
        except UserError as error:
            return {}, str(error)
        if found.returncode != 0 and _TRANSIENT.search(found.stderr):
            return {}, f"qselect failed: {_words(found)}"
        ids = _new_ids(found, known)
        answer = self._states(ids, [])
        numbers = {number: one for one in ids if (number := job_number(one)) is not None}
        return {
            one: answer.details[number] for number, one in numbers.items() if number in answer.details
        }, answer.problem

    def jobs_by_token(
        self, names: Sequence[str], known: Container[int] = (), users: Sequence[str] = ()
    ) -> tuple[Mapping[str, Sequence[str]], str]:
        """The ids of jobs called one of ``names`` by the token that they were submitted with; and a problem.

        Those that have ended are among them, where the server keeps them; those whose number is ``known`` are not.
        ``users``: only theirs; empty for everybody's. The problem says why there may be more; it is empty otherwise.
        """
        if shutil.which("qselect") is None:
            return {}, "there is no qselect on PATH to look for it"
        ids: list[str] = []
        of = ["-u", ",".join(users)] if users else []
        for name in names:
            try:
                found = self._call(["qselect", "-x", "-N", name, *of])
                if found.returncode != 0 and not _TRANSIENT.search(found.stderr):
                    found = self._call(["qselect", "-N", name, *of])  # a server without history
            except subprocess.TimeoutExpired:
                return {}, f"qselect did not answer within {self.timeout:g} s"
            except UserError as error:
                return {}, str(error)
            if found.returncode != 0:
                return {}, f"qselect failed: {_words(found)}"
            ids += _new_ids(found, known)
        answer = self._states(ids, ["-x"])
        tokens: dict[str, list[str]] = {}
        for one in ids:
            details = answer.details.get(job_number(one) or 0)
            if details is not None and details.token:
                tokens.setdefault(details.token, []).append(one)
        return tokens, answer.problem

    def _states(self, ids: Sequence[str], options: Sequence[str]) -> Answer:
        """What PBS says about ``ids``; those that a call leaves out are asked about alone."""
        answer = self._one_call(ids, options)
        missing = [one for one in ids if (number := job_number(one)) is not None and not answer.knows(number)]
        if answer.problem or not missing:
            return answer
        options = [option for option in options if option != "-x" or answer.history]
        for one in missing:
            number = job_number(one)
            alone = self._one_call([one], options)
            answer = answer.and_also(alone)
            if number is not None and not answer.knows(number):
                return replace(
                    answer,
                    problem=alone.problem or f"qstat exited with 0, but did not show the job {one}",
                )
        return answer

    def _one_call(self, ids: Sequence[str], options: Sequence[str]) -> Answer:
        if not ids:
            return Answer({})
        history = True
        query = ["-f", "-F", "json", *ids]
        try:
            answer = self._call(["qstat", *options, *query])
            if "-x" in options and _NO_HISTORY.search(answer.stderr + answer.stdout):
                history = False
                options = [option for option in options if option != "-x"]
                answer = self._call(["qstat", *options, *query])
        except subprocess.TimeoutExpired:
            return Answer({}, f"qstat did not answer within {self.timeout:g} s")
        except UserError as error:
            return Answer({}, str(error))
        return replace(parse_qstat(answer.stdout, answer.stderr, answer.returncode), history=history)

    def qdel(self, ids: Sequence[str]) -> str:
        """Delete jobs or sub-jobs; returns why that failed, empty if it did not. One that has ended is no failure.

        Of several, PBS names each one that it refuses at the end of a line, and deletes the others.
        """
        try:
            answer = self._call(["qdel", *ids])
        except subprocess.TimeoutExpired:
            return f"qdel did not answer within {self.timeout:g} s"
        lines = [line for line in answer.stderr.splitlines() if line.strip() and not _GONE.search(line)]
        if answer.returncode == 0 or (not lines and answer.stderr.strip()):
            return ""
        return _words(answer) if not lines else one_line(" ".join(lines), 100 * len(lines) + 500)
