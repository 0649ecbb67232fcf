"""A process of its own for each attempt at a point, and a parent that survives whatever happens to it.

The parent imports no TensorFlow and does not compute: it can always answer a signal, class a child that the kernel
killed, and start a new process after one that ran out of memory.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jobs.common.errors import UserError
from jobs.common.signals import ENDING, answered_by, signal_of_parents_death
from jobs.common.states import STATES
from jobs.point.accumulation import may_accumulate
from jobs.point.attempt import run_point
from jobs.point.claim import BusyError
from jobs.point.deadline import deadline
from jobs.point.endings import Ending, record_death
from jobs.point.memory import oom_kills
from jobs.point.status import read_status
from jobs.run.index import Entry, Run, read_run

# PBS allows ten seconds between SIGTERM and SIGKILL; the parent needs the rest of them to record the end.
STOP_SECONDS = 6.0


def die_with_parent(parent: int | None) -> None:
    """Let the kernel send this process SIGTERM when its parent dies, since nobody would wait for it any more.

    ``parent`` is the expected parent, which may have died already; ``None`` where it is not known.
    """
    signal_of_parents_death(signal.SIGTERM)()
    if parent is not None and os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGTERM)


def work(root: str, index: int, parent: int | None, options: dict[str, Any]) -> None:
    """The whole life of a point's process, which exits with the exit code of the point's class.

    ``options`` go to :func:`jobs.point.attempt.run_point`.
    """
    for number in ENDING:
        if signal.getsignal(number) != signal.SIG_IGN:
            # A fork inherits its parent's handlers, which would pass signals on to nobody.
            signal.signal(number, signal.SIG_DFL)
    die_with_parent(parent)
    code = 1
    try:
        run = read_run(Path(root))
        code = STATES[run_point(run, run.entry(index), **options)].exit_code
    except BusyError as busy:
        print(f"run_point: {busy}", file=sys.stderr)
        code = STATES["running"].exit_code
    except UserError as error:
        print(f"run_point: {error}", file=sys.stderr)
        code = error.exit_code
    finally:
        # TensorFlow's threads may hang in a normal exit, and everything is on disk.
        sys.stdout.flush()
        sys.stderr.flush()
        if sys.exc_info()[0] is None:
            os._exit(code)


class _Signals:
    """Passes the first SIGTERM, SIGINT or SIGHUP on to the child, and remembers when it arrived."""

    def __init__(self) -> None:
        self.child: int | None = None
        self.since: float | None = None

    def pass_on(self, _number: int, _frame: object) -> None:
        if self.since is None:
            self.since = time.monotonic()
        if self.child is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.child, signal.SIGTERM)

    @property
    def overdue(self) -> bool:
        """Whether the child has had :data:`STOP_SECONDS` to end since the signal."""
        return self.since is not None and time.monotonic() - self.since > STOP_SECONDS


def train_in_process(
    run: Run,
    entry: Entry,
    *,
    tell: Callable[[str], None] = print,
    target: Callable[..., None] = work,
    method: str | None = None,
    **options: Any,
) -> int:
    """Train ``entry`` in a process of its own; returns the exit code of the class that the point ended in.

    A child that ends without a record is classed here. With ``on_oom: accumulate``, one that ran out of memory is
    followed by another that needs less. After a signal the child has :data:`STOP_SECONDS` to end in order; then it is
    killed and its class recorded, and its last checkpoint stays valid.

    ``target`` is the body of the child. ``method`` is the start method of multiprocessing: by default a fork, which is
    cheap here because nothing heavy is imported and no thread runs, or a new interpreter where TensorFlow is loaded,
    whose threads would make a fork hang.
    """
    context: Any = multiprocessing.get_context(method or ("spawn" if "tensorflow" in sys.modules else "fork"))
    while True:
        kills = oom_kills()
        signals = _Signals()
        ended = None
        with answered_by(signals.pass_on):
            arguments = (str(run.paths.root), entry.index, os.getpid(), options)
            process = context.Process(target=target, args=arguments)
            process.start()
            signals.child = process.pid
            if signals.since is not None:
                process.terminate()  # the signal arrived between the two lines above
            while process.is_alive():
                process.join(0.5)
                if signals.overdue:
                    process.kill()
                    process.join()
            signals.child = None
            code: int = process.exitcode
            if signals.since is not None and (code < 0 or code == 1):
                ended = _stopped(run)
            # The peak over all children of this process, which are only attempts at this point.
            peak = round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024, 1)
            record_death(run, entry, process.pid, code, kills_before=kills, ended=ended, peak_mb=peak)
        status = read_status(run, entry)
        if signals.since is None and may_accumulate(run, entry, status):
            tell(
                f"{entry.name}: not enough memory; trying again in a new process, with smaller parts of each batch"
            )
            continue
        if ended is not None:
            return STATES[ended.state].exit_code
        if code >= 0:
            return code
        return STATES[status.state].exit_code or STATES["error"].exit_code


def _stopped(run: Run) -> Ending:
    """How a point ended whose process did not answer a signal."""
    if deadline(run.site).reached():
        return Ending("timeout", "stopped by PBS at the walltime, in the middle of a step")
    return Ending("cancelled", "stopped by a signal, in the middle of a step")
