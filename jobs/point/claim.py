"""Who trains a point: one holder at a time, on one host or many, and how the claim of a dead holder is taken over.

A claim is a numbered file in the point's ``state/claims`` (``0001.json`` and so on), one for each attempt. It is
created so that exactly one of several processes succeeds. The highest number holds the point; a process takes
over by creating the next one. While it works, a holder touches its claim every few seconds. Whether a holder is
alive is decided by the first of these that gives an answer:

* the lock file (``flock``), which the kernel releases when its holder dies, where the file system shares locks;
* on the same host: whether the process exists, by its start time, and whether the node has been restarted;
* the same PBS job id: PBS has started the sub-job again, so the earlier process has ended or is about to;
* the heartbeat: unchanged for :data:`DEAD_AFTER` intervals on the observer's own clock means dead.

No decision depends on the lock alone (between NFS clients it may not exclude others), and none on comparing the
clocks of two hosts. A holder that was only paused sees, before it writes anything, that a higher number exists.
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
from dataclasses import dataclass, field
from pathlib import Path

from jobs.common.files import is_abandoned, lock_file, remove, touch
from jobs.common.folders import make_folder
from jobs.common.reading import UnsafeFile
from jobs.common.records import DamagedRecord, read, write_once
from jobs.common.schema import ClaimRecord, PointRecord, Process
from jobs.run.paths import PointPaths
from jobs.run.provenance import now

INTERVAL = 10.0  # seconds between two heartbeats, unless the site block sets another
DEAD_AFTER = 6  # intervals without a heartbeat
MOST = 99_999  # attempts of one point; a claim with a higher number is none
KEPT = 5  # claims of past attempts that are kept for people to read
_CLAIM = re.compile(r"(\d{4,9})\.json")


class BusyError(Exception):
    """Another process, which the message names, is training the point."""


class TakenOver(BaseException):
    """Another process has taken this point over. Not an ``Exception``: no handler for errors may catch it."""


@dataclass(frozen=True)
class Holder:
    """The process of a claim: its number, and what the claim says (nothing, where the claim is damaged or gone)."""

    number: int
    process: Process = field(default_factory=Process)
    started: str | None = None

    def __str__(self) -> str:
        if self.process.pid is None:
            return "another process that has just started"
        job = f" (job {self.process.job_id})" if self.process.job_id else ""
        return f"process {self.process.pid} on {self.process.host}{job}, since {self.started}"


def host_name() -> str:
    """The name of this node."""
    return socket.gethostname()


def boot_id() -> str | None:
    """Changes whenever the node is restarted; ``None`` where the kernel does not provide it."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None


def process_age() -> float | None:
    """Seconds since this process started, including the start of its interpreter; ``None`` where unknown."""
    ticks = process_ticks(os.getpid())
    if ticks is None or not hasattr(time, "CLOCK_BOOTTIME"):
        return None
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")


def process_ticks(pid: int) -> int | None:
    """When ``pid`` started, in clock ticks since the node did; ``None`` if there is no such process.

    Process ids are reused; an id with its start time identifies one process for good.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    fields = text[text.rindex(b")") + 2 :].split()  # the name in parentheses may contain anything
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


def identity() -> Process:
    """The current process, as its records name it."""
    return Process(
        host=host_name(),
        boot=boot_id(),
        pid=os.getpid(),
        ticks=process_ticks(os.getpid()),
        job_id=os.environ.get("PBS_JOBID"),
    )


def is_alive(process: Process) -> bool | None:
    """Whether ``process`` exists; ``None`` where this host cannot know."""
    if process.host != host_name() or process.pid is None:
        return None
    boot = boot_id()
    if process.boot is not None and boot is not None and process.boot != boot:
        return False
    if not Path("/proc/self/stat").exists():
        return None
    if not 0 < process.pid < 2**31:
        return False
    ticks = process_ticks(process.pid)
    if ticks is None and _is_hidden(process.pid):
        return None  # it may be a later process with this id: the heartbeat decides
    return ticks is not None and process.ticks in (None, ticks)


def _is_hidden(pid: int) -> bool:
    """Whether there is a process ``pid`` of another user whose files in /proc this user may not see (``hidepid``)."""
    if os.path.lexists(f"/proc/{pid}/stat"):
        with contextlib.suppress(OSError):
            os.close(os.open(f"/proc/{pid}/stat", os.O_RDONLY))
            return False
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except OSError:
        return False
    return False


def newest_number(paths: PointPaths) -> int:
    """The number of the newest claim; 0 if there is none. Raises ``PermissionError`` where this user may not see them."""
    try:
        names = os.listdir(paths.claims)  # noqa: PTH208 - half the time of Path.iterdir, times 10,000 points
    except PermissionError:
        raise
    except OSError:  # no claim yet, or a stale network handle: then the files that are read next decide
        return 0
    numbers = (int(match[1]) for match in map(_CLAIM.fullmatch, names) if match)
    return max((number for number in numbers if number <= MOST), default=0)


def read_holder(paths: PointPaths, number: int) -> Holder:
    """The holder that claim ``number`` names, with nothing known where the claim is damaged or gone."""
    try:
        record = read(paths.claim(number), ClaimRecord)
    except (FileNotFoundError, DamagedRecord):
        return Holder(number)
    return Holder(number, record, record.started)


def heartbeat(path: Path) -> int | None:
    """When the claim at ``path`` was last touched, in the file server's nanoseconds; ``None`` if it is gone."""
    # The file is opened because NFS may answer a bare stat from a cache that is a minute old.
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY)
    except PermissionError:  # another user's: its time can be seen where its content cannot
        with contextlib.suppress(OSError):
            return path.lstat().st_mtime_ns
        return None
    except OSError:
        return None
    try:
        return os.fstat(descriptor).st_mtime_ns
    finally:
        os.close(descriptor)


def silent_seconds(paths: PointPaths, number: int) -> float | None:
    """Seconds since the last heartbeat, by this host's clock; ``None`` where there is no claim.

    The file server's clock may differ from this one by minutes. The answer is good enough to show to a person,
    and to recognise a dead holder only where it is far above that.
    """
    seen = heartbeat(paths.claim(number))
    return None if seen is None else max(0.0, time.time() - seen / 1e9)


def _silent_on_server(paths: PointPaths, number: int) -> float:
    """Seconds since the last heartbeat by the file server's clock alone: compared with a file touched now."""
    seen = heartbeat(paths.claim(number))
    try:
        touch(paths.lock)
        present = paths.lock.stat().st_mtime_ns
    except OSError:
        return 0.0
    return 0.0 if seen is None else (present - seen) / 1e9


@contextmanager
def guarded(paths: PointPaths) -> Iterator[bool | None]:
    """Try once to lock the point: ``True`` locked, ``False`` another process has the lock, ``None`` no locks here."""
    from filelock import Timeout  # here, because a look at a run does without it and its import

    make_folder(paths.claims)
    # A soft lock would outlive a dead host. Where there is no flock, the numbered claims are enough.
    lock = lock_file(paths.lock, soft=False)
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
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self._thread.start()

    def _beat(self) -> None:
        path = self.paths.claim(self.number)
        while not self._released.wait(self.interval):
            # The disk may be full or away for a while. If another process then takes over, `check` finds out.
            with contextlib.suppress(OSError):
                touch(path)
            with contextlib.suppress(OSError):
                if newest_number(self.paths) > self.number:
                    self._taken_over.set()

    def release(self) -> None:
        """Stop the heartbeat."""
        self._released.set()
        self._thread.join(timeout=5)  # a network file system may hang

    def look(self) -> None:
        """Raise :class:`TakenOver` if the last heartbeat found a newer claim; reads no file."""
        if self._taken_over.is_set():
            self._raise()

    def check(self) -> None:
        """Raise :class:`TakenOver` if there is a newer claim now. Called before anything is written for others."""
        if newest_number(self.paths) > self.number:
            self._taken_over.set()
            self._raise()

    def _raise(self) -> None:
        holder = read_holder(self.paths, newest_number(self.paths))
        raise TakenOver(
            f"{self.paths.folder.name} was taken over by {holder}; this process writes nothing more"
        )


def _has_ended(paths: PointPaths, number: int) -> bool:
    """Whether attempt ``number`` has recorded how it ended, so that no process needs to be alive."""
    try:
        record = read(paths.status, PointRecord)
    except (FileNotFoundError, DamagedRecord):
        return False
    return record.attempts >= number and record.state != "running"


def _watch(paths: PointPaths, holder: Holder, interval: float) -> bool:
    """Watch until a dead holder would be certain; ``True`` as soon as there is a heartbeat or a newer claim."""
    path = paths.claim(holder.number)
    before = heartbeat(path)
    deadline = time.monotonic() + DEAD_AFTER * interval
    while time.monotonic() < deadline:
        time.sleep(min(1.0, interval / 4))
        if heartbeat(path) != before or newest_number(paths) > holder.number:
            return True
        if _has_ended(paths, holder.number):
            return False
    return False


def _check_holder(
    paths: PointPaths, holder: Holder, *, locked: bool | None, interval: float, say: Callable[[str], None]
) -> None:
    """Return if the point may be taken over from ``holder``; raise :class:`BusyError` if not."""
    busy = BusyError(f"{paths.folder.name} is being trained by {holder}")
    alive = is_alive(holder.process)
    if alive and locked and holder.process.pid == os.getpid():
        alive = False  # an earlier attempt of this very process, which could not record how it ended
    if alive or (locked is False and alive is not None):
        raise busy
    if alive is False:
        say(f"{paths.folder.name}: {holder} no longer exists; taking over")
        return
    own = os.environ.get("PBS_JOBID")
    if holder.process.job_id is not None and holder.process.job_id == own:
        say(f"{paths.folder.name}: PBS has started {own} again; taking over from {holder}")
        return
    if locked is False and _silent_on_server(paths, holder.number) < 2 * interval:
        raise busy
    say(
        f"{paths.folder.name}: claimed by {holder}; watching for {DEAD_AFTER * interval:g} s whether it is alive"
    )
    if _watch(paths, holder, interval):
        raise BusyError(f"{paths.folder.name} is being trained by {read_holder(paths, newest_number(paths))}")
    say(f"{paths.folder.name}: no heartbeat; taking over")


@contextmanager
def claimed(
    paths: PointPaths, *, interval: float = INTERVAL, attempts: int = 0, say: Callable[[str], None] = print
) -> Iterator[Claim]:
    """Hold the point for this process while the block runs.

    ``interval`` is the time in seconds between two heartbeats, the same for all processes of a run. ``attempts``
    is the number of attempts known from elsewhere (a run of an older version); claims are numbered from there.

    Raises :class:`BusyError`, which names the holder: at once where the holder is known to be alive, after at most
    :data:`DEAD_AFTER` intervals where it had to be watched. Raises ``OSError`` where nothing can be written.
    """
    with guarded(paths) as locked:
        number = newest_number(paths)
        if number and not _has_ended(paths, number):
            _check_holder(paths, read_holder(paths, number), locked=locked, interval=interval, say=say)
        elif locked is False:
            raise BusyError(f"{paths.folder.name} is being trained by another process that has just started")
        number = max(number, min(attempts, MOST)) + 1
        if number > MOST:
            raise UnsafeFile(
                paths.claim(number - 1),
                "has the number of a last attempt, and no point has so many; move it away",
            )
        process = identity()
        record = ClaimRecord(**process.fields(), started=now(), token=secrets.token_hex(8))
        if not write_once(paths.claim(number), record):
            raise BusyError(f"{paths.folder.name} is being trained by {read_holder(paths, number)}")
        claim = Claim(paths, number, interval)
        try:
            _forget(paths, number)
            yield claim
        finally:
            claim.release()


def _forget(paths: PointPaths, number: int) -> None:
    """Remove old claims, and the temporary files of processes that were killed while writing one."""
    for path in paths.claims.iterdir():
        match = _CLAIM.fullmatch(path.name)
        if (match and int(match[1]) <= number - KEPT) or is_abandoned(path):
            with contextlib.suppress(OSError):
                remove(path)
