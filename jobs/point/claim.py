"""Who trains a point: one holder at a time, on one host or many, and what becomes of a dead one's claim.

A claim is a numbered file in the point's ``state/claims``, ``0001.json`` and so on, one for each attempt, made
so that of several processes exactly one succeeds. The highest number holds the point; taking over means to
make the next one. While it works, a holder touches its claim every few seconds. Whether a holder is still
there is decided by the first of these that tells:

* the lock file (``flock``), which the kernel frees when its holder dies, where the file system shares locks;
* on the same host: whether the process is there, with its start time, and whether the node was rebooted;
* the same PBS job id: PBS has run the sub-job again, so the process before is gone or about to be;
* the sign of life: unchanged for :data:`DEAD_AFTER` intervals on the observer's own clock means dead.

No decision rests on the lock alone (between NFS clients it may not exclude), and none on comparing the clocks
of two hosts. A holder that was only paused finds, before it writes anything, that a higher number exists.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from jobs.common.records import DamagedRecord, is_abandoned, read_record, write_record_once
from jobs.run.paths import PointPaths
from jobs.run.provenance import now

INTERVAL = 10.0  # seconds between two signs of life, unless the site block says otherwise
DEAD_AFTER = 6  # intervals without one
KEPT = 5  # claims of past attempts that are kept to be read by people
_CLAIM = re.compile(r"(\d{4,9})\.json")


class Busy(Exception):
    """The point is being trained by another process, which the message names."""


class TakenOver(BaseException):
    """Another process has taken this point over. Not an ``Exception``: no handler for errors may swallow it."""


@dataclass(frozen=True)
class Holder:
    """What a claim says of its process; ``boot`` is the node's boot id, ``ticks`` the process's start time.

    Fields are ``None`` where the claim does not tell, as in one that is damaged.
    """

    number: int
    host: str | None = None
    boot: str | None = None
    pid: int | None = None
    ticks: int | None = None
    job_id: str | None = None
    started: str | None = None

    def __str__(self) -> str:
        if self.pid is None:
            return "another process that has just begun"
        job = f" (job {self.job_id})" if self.job_id else ""
        return f"process {self.pid} on {self.host}{job}, since {self.started}"


def host_name() -> str:
    """The name of this node."""
    return socket.gethostname()


def boot_id() -> str | None:
    """Changes whenever the node is started; ``None`` where the kernel does not tell."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None


def process_age() -> float | None:
    """Seconds since this process began, its interpreter's start included; ``None`` where nobody tells."""
    ticks = process_ticks(os.getpid())
    if ticks is None or not hasattr(time, "CLOCK_BOOTTIME"):
        return None
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")


def process_ticks(pid: int) -> int | None:
    """When ``pid`` began, in clock ticks since the node was started; ``None`` if there is no such process.

    With the number it names one process for good: numbers are used again.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    fields = text[text.rindex(b")") + 2 :].split()  # the name in parentheses may hold anything
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


def identity() -> dict[str, Any]:
    """What a record says of the process that writes it."""
    return {
        "host": host_name(),
        "boot": boot_id(),
        "pid": os.getpid(),
        "ticks": process_ticks(os.getpid()),
        "job_id": os.environ.get("PBS_JOBID"),
    }


def holder_of(record: dict[str, Any], number: int) -> Holder:
    """The holder that ``record`` names; values of an unexpected type count as unknown."""

    def one(key: str, kind: type) -> Any:
        value = record.get(key)
        return value if type(value) is kind else None

    return Holder(
        number,
        *(one(key, kind) for key, kind in (("host", str), ("boot", str), ("pid", int), ("ticks", int))),
        *(one(key, str) for key in ("job_id", "started")),
    )


def is_alive(holder: Holder) -> bool | None:
    """Whether the holder's process is there; ``None`` where this host cannot tell."""
    if holder.host != host_name() or holder.pid is None:
        return None
    boot = boot_id()
    if holder.boot is not None and boot is not None and holder.boot != boot:
        return False
    if not Path("/proc/self/stat").exists():
        return None
    ticks = process_ticks(holder.pid) if 0 < holder.pid < 2**31 else None
    return ticks is not None and holder.ticks in (None, ticks)


def newest_number(paths: PointPaths) -> int:
    """The number of the newest claim; 0 if there is none."""
    try:
        names = [path.name for path in paths.claims.iterdir()]
    except OSError:  # none yet, or a handle that went stale: then the files that are read next tell
        return 0
    return max((int(match[1]) for match in map(_CLAIM.fullmatch, names) if match), default=0)


def read_holder(paths: PointPaths, number: int) -> Holder:
    """The holder that claim ``number`` names, with nothing known where the claim is damaged or gone."""
    try:
        return holder_of(read_record(paths.claim(number)), number)
    except (FileNotFoundError, DamagedRecord):
        return Holder(number)


def sign_of_life(path: Path) -> int | None:
    """When the claim at ``path`` was last touched, in the file server's nanoseconds; ``None`` if it is gone."""
    # Opened, not only looked at: NFS answers a bare stat from a cache that may be a minute old.
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        return os.fstat(descriptor).st_mtime_ns
    finally:
        os.close(descriptor)


def silent_seconds(paths: PointPaths, number: int) -> float | None:
    """For how long the claim has not been touched, by this host's clock; ``None`` where there is no claim.

    The file server's clock may differ from this one by minutes: good enough to tell a person, and to tell the
    dead from the living only where the answer is far beyond that.
    """
    seen = sign_of_life(paths.claim(number))
    return None if seen is None else max(0.0, time.time() - seen / 1e9)


def _silent_on_server(paths: PointPaths, number: int) -> float:
    """The same by the file server's clock alone: compared with a file that is touched now."""
    seen = sign_of_life(paths.claim(number))
    try:
        os.utime(paths.lock)
        present = paths.lock.stat().st_mtime_ns
    except OSError:
        return 0.0
    return 0.0 if seen is None else (present - seen) / 1e9


@contextmanager
def guarded(paths: PointPaths) -> Iterator[bool | None]:
    """Try the point's lock once and hold it: ``True`` held, ``False`` another process has it, ``None`` no locks here."""
    paths.claims.mkdir(parents=True, exist_ok=True)
    # A soft lock would outlive a dead host: where there is no flock, the numbered claims do without.
    lock = FileLock(paths.lock, fallback_to_soft=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        yield False
        return
    except (OSError, NotImplementedError):
        if not os.access(paths.state, os.W_OK):
            raise
        yield None
        return
    try:
        yield True
    finally:
        lock.release()


class Claim:
    """A point held by this process; see :func:`claimed`."""

    def __init__(self, paths: PointPaths, number: int, interval: float) -> None:
        self.paths, self.number, self.interval = paths, number, interval
        self._taken_over = threading.Event()
        self._released = threading.Event()
        self._thread = threading.Thread(target=self._live, name="sign of life", daemon=True)
        self._thread.start()

    def _live(self) -> None:
        path = self.paths.claim(self.number)
        while not self._released.wait(self.interval):
            # The disk may be full or away for a while; whoever misses the sign takes over, and `check` tells.
            with contextlib.suppress(OSError):
                os.utime(path)
            with contextlib.suppress(OSError):
                if newest_number(self.paths) > self.number:
                    self._taken_over.set()

    def release(self) -> None:
        """Give no further sign of life."""
        self._released.set()
        self._thread.join(timeout=5)  # a network file system may hang

    def look(self) -> None:
        """Raise :class:`TakenOver` if the last sign of life found a newer claim; costs nothing."""
        if self._taken_over.is_set():
            self._raise()

    def check(self) -> None:
        """Raise :class:`TakenOver` if there is a newer claim now. Called before whatever others will read."""
        if newest_number(self.paths) > self.number:
            self._taken_over.set()
            self._raise()

    def _raise(self) -> None:
        holder = read_holder(self.paths, newest_number(self.paths))
        raise TakenOver(f"{self.paths.folder.name} was taken over by {holder}; nothing more is written here")


def _has_ended(paths: PointPaths, number: int) -> bool:
    """Whether attempt ``number`` said how it ended, so that nobody needs to be alive."""
    try:
        record = read_record(paths.status)
    except (FileNotFoundError, DamagedRecord):
        return False
    attempts = record.get("attempts")
    return type(attempts) is int and attempts >= number and record.get("state") != "running"


def _watch(paths: PointPaths, holder: Holder, interval: float) -> bool:
    """Watch for as long as a dead one is given; ``True`` as soon as it shows that it lives, or has ended."""
    path = paths.claim(holder.number)
    before = sign_of_life(path)
    deadline = time.monotonic() + DEAD_AFTER * interval
    while time.monotonic() < deadline:
        time.sleep(min(1.0, interval / 4))
        if sign_of_life(path) != before or newest_number(paths) > holder.number:
            return True
        if _has_ended(paths, holder.number):
            return False
    return False


def _check_holder(
    paths: PointPaths, holder: Holder, locked: bool | None, interval: float, say: Callable[[str], None]
) -> None:
    """Return if the point may be taken over from ``holder``; raise :class:`Busy` if not."""
    busy = Busy(f"{paths.folder.name} is being trained by {holder}")
    alive = is_alive(holder)
    if alive and locked and holder.pid == os.getpid():
        alive = False  # an earlier attempt of this very process, which could not say how it ended
    if alive or (locked is False and alive is not None):
        raise busy
    if alive is False:
        say(f"{paths.folder.name}: {holder} is gone; taking over")
        return
    own = os.environ.get("PBS_JOBID")
    if holder.job_id is not None and holder.job_id == own:
        say(f"{paths.folder.name}: PBS has run {own} again; taking over from {holder}")
        return
    if locked is False and _silent_on_server(paths, holder.number) < 2 * interval:
        raise busy
    say(
        f"{paths.folder.name}: claimed by {holder}; watching for {DEAD_AFTER * interval:g} s whether it is alive"
    )
    if _watch(paths, holder, interval):
        raise Busy(f"{paths.folder.name} is being trained by {read_holder(paths, newest_number(paths))}")
    say(f"{paths.folder.name}: no sign of life; taking over")


@contextmanager
def claimed(
    paths: PointPaths, *, interval: float = INTERVAL, attempts: int = 0, say: Callable[[str], None] = print
) -> Iterator[Claim]:
    """Hold the point for this process.

    ``interval`` is the time in seconds between two signs of life, the same for all processes of a run;
    ``attempts`` are known from elsewhere (a run of an older version), so that numbers go on. Raises
    :class:`Busy`, naming the holder: at once where it is known to live, after at most :data:`DEAD_AFTER`
    intervals where it had to be watched. Raises ``OSError`` where nothing can be written.
    """
    with guarded(paths) as locked:
        number = newest_number(paths)
        if number and not _has_ended(paths, number):
            _check_holder(paths, read_holder(paths, number), locked, interval, say)
        elif locked is False:
            raise Busy(f"{paths.folder.name} is being trained by another process that has just begun")
        number = max(number, attempts) + 1
        if not write_record_once(
            paths.claim(number), {**identity(), "started": now(), "token": secrets.token_hex(8)}
        ):
            raise Busy(f"{paths.folder.name} is being trained by {read_holder(paths, number)}")
        claim = Claim(paths, number, interval)
        try:
            _forget(paths, number)
            yield claim
        finally:
            claim.release()


def _forget(paths: PointPaths, number: int) -> None:
    """Remove claims of long ago, and what a killed process was just writing."""
    for path in paths.claims.iterdir():
        match = _CLAIM.fullmatch(path.name)
        if (match and int(match[1]) <= number - KEPT) or is_abandoned(path):
            with contextlib.suppress(OSError):
                path.unlink()
