"""Trials of a submission that is killed, or meets a full disk, at a random moment: no job that PBS accepted may be lost.

Each trial has a run of two points and a PBS of its own (:mod:`tests.standin_pbs`). It submits two jobs and a collect
job, or submits failed points again, in a process that is forked from this one, so that a trial takes half a second.
"""

from __future__ import annotations

import contextlib
import io
import os
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from jobs import resubmit, submit
from jobs.common.errors import ACTIVE, OK
from jobs.monitor.scheduler_view import look
from jobs.pbs import intents, submissions
from jobs.pbs.commands import Scheduler
from jobs.run.index import read_run
from tests.standin_pbs import StandIn

SETTLE_SECONDS = 1.0  # of the product: 20; the stand-in answers at once
LONGEST = 0.35  # seconds; an undisturbed submission takes about 0.25

Trouble = Callable[[int, random.Random], int]


def killed(child: int, chance: random.Random) -> int:
    """Kill ``child`` at a random moment; returns its wait status."""
    time.sleep(chance.uniform(0.0, LONGEST))
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1]


def disk_filler(disk: Path) -> Trouble:
    """A trouble that leaves up to three blocks of ``disk`` free at a random moment."""

    def filled(child: int, chance: random.Random) -> int:
        time.sleep(chance.uniform(0.0, LONGEST))
        with (disk / "filler").open("wb", buffering=0) as filler:
            with contextlib.suppress(OSError):
                while True:
                    filler.write(b"x" * 4096)
            filler.truncate(max(0, filler.tell() - 4096 * chance.randrange(4)))
            return os.waitpid(child, 0)[1]

    return filled


@contextlib.contextmanager
def short_settling() -> Iterator[None]:
    """Do not wait for as long as a real PBS may need."""
    before = intents.SETTLE_SECONDS
    intents.SETTLE_SECONDS = submissions.SETTLE_SECONDS = SETTLE_SECONDS
    try:
        yield
    finally:
        intents.SETTLE_SECONDS = submissions.SETTLE_SECONDS = before


def trial(template: Path, place: Path, *, number: int, again: bool, trouble: Trouble) -> str:
    """One trial in the folder ``place``, repeatable by its ``number``; returns what is wrong, empty if nothing is.

    ``again``: the first submission has ended without a result, and its points are submitted again.
    """
    chance = random.Random(number)
    root = place / "run"
    shutil.copytree(template, root)
    pbs = StandIn(place.parent / f"pbs_{place.name}")
    path = os.environ["PATH"]
    os.environ["PATH"] = f"{pbs.bin}{os.pathsep}{path}"
    try:
        with short_settling():
            return _trial(root, pbs, chance, again=again, trouble=trouble)
    finally:
        os.environ["PATH"] = path
        for used in (root, pbs.home):
            shutil.rmtree(used)
        (place / "filler").unlink(missing_ok=True)


def _trial(root: Path, pbs: StandIn, chance: random.Random, *, again: bool, trouble: Trouble) -> str:
    command = submit
    if again:
        _quietly(submit, root)
        for number in (1, 2):
            pbs.job(number, job_state="F", run_count=1)
        command = resubmit
    before = set(pbs.load()["jobs"])
    child = os.fork()
    if child == 0:
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 1)
        os.dup2(null, 2)
        code = 70
        try:
            code = command.main([str(root), *(["--all-failed"] if again else [])])
        finally:
            os._exit(code)
    trouble(child, chance)
    (root.parent / "filler").unlink(missing_ok=True)
    accepted = {
        job["id"] for number, job in pbs.load()["jobs"].items() if number not in before and not job["deleted"]
    }
    picture = look(read_run(root), Scheduler(pauses=()))
    shown = {job.id for one in picture.submissions for job in one.jobs}
    shown |= {one.collect.id for one in picture.submissions if one.collect is not None}
    lost = accepted - shown
    if lost:
        return f"PBS accepted {sorted(lost)}, which status does not show"
    # Whatever is done next, no point is in the queue twice.
    code, said = _quietly(command, root, *(["--all-failed"] if again else []))
    if code not in (OK, ACTIVE):
        return f"the next command ended with {code}: {said}"
    code, said = _quietly(resubmit, root)
    if code != OK:
        return f"jobs.resubmit ended with {code}: {said}"
    counts = Counter(
        job["attributes"]["Variable_List"].get("POINT_INDEX")
        for number, job in pbs.load()["jobs"].items()
        if number not in before and job["job_state"] != "F" and job["name"] == "unet_grid"
    )
    if counts != {"1": 1, "2": 1}:
        return f"the points are in the queue {dict(counts)} times"
    return ""


def _quietly(command: object, root: Path, *options: str) -> tuple[int, str]:
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = command.main([str(root), *options])  # type: ignore[attr-defined]
    return code, said.getvalue()
