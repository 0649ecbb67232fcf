"""When PBS will end this sub-job, and whether another epoch fits before that.

PBS sends no warning before the walltime and sets no variable with it. The job script provides the time of its start
(``JOB_STARTED``, seconds since 1970) and how long it may run (``WALLTIME_SECONDS``: what PBS had on record then, or what
was requested). Without the latter, the walltime of the run's site block is used. Somebody may extend a job that is
running (``qalter``), so PBS is asked once more before a point stops early.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from jobs.grid.sites import seconds
from jobs.pbs.commands import Scheduler
from jobs.run.provenance import now

RESERVE = 0.02  # share of the walltime for starting Python and for an orderly end
RESERVE_SECONDS = (2.0, 60.0)  # at least, at most
SLOWER = 1.15  # an epoch may take this much longer than the longest so far
ASK_SECONDS = 10.0  # for qstat at most, of the time that is left
# PBS writes this to the standard error of the job before it sends SIGTERM.
KILLED = b"=>> PBS: job killed: walltime"


class OutOfTime(BaseException):
    """No further epoch fits before the walltime. Not an ``Exception``: no handler for errors may catch it."""


@dataclass
class Deadline:
    """``ends``: seconds since 1970, ``walltime``: seconds; both ``None`` where nothing limits the time.

    ``ask`` returns the walltime that PBS has on record now, or ``None`` where it does not say; its argument is how many
    seconds it may take.
    """

    ends: float | None = None
    walltime: float | None = None
    ask: Callable[[float], float | None] | None = field(default=None, compare=False)

    def reached(self) -> bool:
        """Whether the walltime is used up, so that a SIGTERM now comes from the scheduler.

        PBS never kills early, and after a change of the walltime its message says that it was used up.
        """
        return (self.ends is not None and time.time() >= self.ends - 1) or _killed_at_walltime()

    def check(self, longest_epoch: float, then: str) -> None:
        """Raise :class:`OutOfTime` unless another ``longest_epoch`` seconds fit.

        ``then`` starts the message: what has been done so far.
        """
        if self.ends is None or self.walltime is None:
            return
        if not self._fits(longest_epoch):
            self._look_again()
            if not self._fits(longest_epoch):
                raise OutOfTime(
                    f"{then}; {max(0.0, self.ends - time.time()):.0f} s of the walltime ({self.walltime:.0f} s) are left "
                    f"and an epoch takes {longest_epoch:.0f} s: stopped before the walltime, to be resumed"
                )

    def _fits(self, epoch: float) -> bool:
        if self.ends is None or self.walltime is None:
            return True
        low, high = RESERVE_SECONDS
        reserve = min(high, max(low, RESERVE * self.walltime))
        return self.ends - time.time() >= SLOWER * epoch + reserve

    def _look_again(self) -> None:
        """Ask PBS for the walltime, and move the end if it was changed."""
        if self.ask is None or self.ends is None or self.walltime is None:
            return
        changed = self.ask(min(ASK_SECONDS, max(1.0, (self.ends - time.time()) / 2)))
        if changed is not None and changed != self.walltime:
            print(
                f"{now()} the walltime was changed from {self.walltime:.0f} s to {changed:.0f} s", flush=True
            )
            self.ends += changed - self.walltime
            self.walltime = changed


def deadline(site: Mapping[str, Any]) -> Deadline:
    """The deadline of this process; none outside a PBS job.

    Values of the variables that are not numbers are ignored.
    """
    started = _positive(os.environ.get("JOB_STARTED"))
    if started is None:
        if "PBS_JOBID" not in os.environ:
            return Deadline()
        started = time.time()  # a job script that is not ours: it has just started
    limit = _positive(os.environ.get("WALLTIME_SECONDS"))
    if limit is None:
        if "walltime" not in site:
            return Deadline()
        limit = float(seconds(site["walltime"]))
    job = os.environ.get("PBS_JOBID")
    return Deadline(started + limit, limit, None if job is None else lambda most: _on_record(job, most))


def _on_record(job: str, most: float) -> float | None:
    return Scheduler(timeout=most, pauses=()).walltime(job)


def _killed_at_walltime() -> bool:
    """Whether PBS wrote so to the captured output of this job.

    It is the standard error of this process, or of its parent where this one writes to the log of a point.
    """
    if "PBS_JOBID" not in os.environ:
        return False
    for process in (os.getpid(), os.getppid()):
        for descriptor in (1, 2):
            try:
                with open(f"/proc/{process}/fd/{descriptor}", "rb", opener=_without_waiting) as output:
                    if stat.S_ISREG(os.fstat(output.fileno()).st_mode):  # not a terminal or a pipe
                        output.seek(max(0, output.seek(0, os.SEEK_END) - 4096))
                        if KILLED in output.read():
                            return True
            except OSError:
                continue
    return False


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # opening a pipe would wait for its other end


def _positive(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if 0 < value < 1e12 else None
