"""A process of its own for each attempt at a point, and a parent that outlives whatever happens to it.

The parent imports no TensorFlow and never computes: it can always answer a signal, class a child that the
kernel killed, and begin a fresh process where memory did not suffice.
"""

from __future__ import annotations

import ctypes
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
from jobs.common.signals import ENDING, answered_by
from jobs.common.states import STATES
from jobs.point.attempt import may_accumulate, run_point
from jobs.point.claim import Busy
from jobs.point.deadline import deadline
from jobs.point.endings import oom_kills, record_death
from jobs.point.status import read_status
from jobs.run.index import Entry, Run, read_run

# PBS leaves ten seconds between SIGTERM and SIGKILL; what is left then is for the parent to write it down.
STOP_SECONDS = 6.0
_PR_SET_PDEATHSIG = 1


def die_with_parent(parent: int | None) -> None:
    """Have the kernel send this process SIGTERM when its parent dies: nobody would wait for it any more.

    ``parent`` tells whether it has died already; ``None`` where it is not known.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if parent is not None and os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGTERM)


def work(root: str, index: int, parent: int | None, options: dict[str, Any]) -> None:
    """The whole life of a point's process: ends it with the exit code of the point's class.

    ``options`` go to :func:`jobs.point.attempt.run_point`.
    """
    for number in ENDING:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(
                number, signal.SIG_DFL
            )  # a fork has its parent's handlers, which pass on to nobody here
    die_with_parent(parent)
    code = 1
    try:
        run = read_run(Path(root))
        code = STATES[run_point(run, run.entry(index), **options)].exit_code
    except Busy as busy:
        print(f"run_point: {busy}", file=sys.stderr)
        code = STATES["running"].exit_code
    except UserError as error:
        print(f"run_point: {error}", file=sys.stderr)
        code = error.exit_code
    finally:
        # TensorFlow's threads may hang in a regular exit, and everything is on disk.
        sys.stdout.flush()
        sys.stderr.flush()
        if sys.exc_info()[0] is None:
            os._exit(code)


class _Signals:
    """Passes the first SIGTERM, SIGINT or SIGHUP on to the child, and remembers when it came."""

    def __init__(self) -> None:
        self.child: int | None = None
        self.since: float | None = None

    def pass_on(self, number: int, frame: object) -> None:
        if self.since is None:
            self.since = time.monotonic()
        if self.child is not None:
            try:
                os.kill(self.child, signal.SIGTERM)
            except ProcessLookupError:
                return


def train_in_process(
    run: Run,
    entry: Entry,
    *,
    tell: Callable[[str], None] = print,
    target: Callable = work,
    method: str | None = None,
    **options: Any,
) -> int:
    """Train ``entry`` in a process of its own; the exit code of the class that the point ended in.

    A child that ends without a word is classed here. With ``on_oom: accumulate``, one whose memory did not
    suffice is followed by another that needs less. After a signal the child has :data:`STOP_SECONDS` to end in
    order; then it is ended, its class written, and its last checkpoint stands.

    ``target`` is the child's body and ``method`` how multiprocessing begins it: by default a fork, which costs nothing
    here, where nothing heavy is imported and no thread runs; a new interpreter where TensorFlow's threads would make a
    fork hang.
    """
    context = multiprocessing.get_context(method or ("spawn" if "tensorflow" in sys.modules else "fork"))
    while True:
        kills = oom_kills()
        signals = _Signals()
        with answered_by(signals.pass_on):
            process = context.Process(
                target=target, args=(str(run.paths.root), entry.index, os.getpid(), options)
            )
            process.start()
            signals.child = process.pid
            if signals.since is not None:
                process.terminate()  # it came between the two lines above
            while process.is_alive():
                process.join(0.5)
                if signals.since is not None and time.monotonic() - signals.since > STOP_SECONDS:
                    process.kill()
                    process.join()
            signals.child = None
            code = process.exitcode
            ended = None
            if signals.since is not None and (code < 0 or code == 1):
                reached = deadline(run.site).reached()
                ended = (
                    ("timeout", "stopped by PBS at the walltime, in the middle of a step")
                    if reached
                    else ("cancelled", "stopped by a signal, in the middle of a step")
                )
            # The most that a child of this process has used: it has no others but earlier attempts at this point.
            peak = round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024, 1)
            record_death(run, entry, process.pid, code, kills_before=kills, ended=ended, peak_mb=peak)
        status = read_status(run, entry)
        if signals.since is None and may_accumulate(run, entry, status):
            tell(
                f"{entry.name}: memory did not suffice; again, in a fresh process, with smaller parts of each batch"
            )
            continue
        if ended is not None:
            return STATES[ended[0]].exit_code
        if code >= 0:
            return code
        return STATES[status.state].exit_code or STATES["error"].exit_code
