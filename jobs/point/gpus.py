"""Which GPU a process uses, where neither the scheduler nor the user has chosen one.

On a cluster with the cgroups hook, each sub-job sees only its own GPU. Without it, every sub-job of a node sees all of
them, and TensorFlow would put each sub-job on the first card.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

from filelock import Timeout

from jobs.common.errors import UserError
from jobs.common.files import lock_file
from jobs.common.schema import GpuUse as GpuUseRecord
from jobs.run.known import state_file

if TYPE_CHECKING:
    from filelock import BaseFileLock
    from typing_extensions import Self  # in typing from Python 3.11

SAMPLE_SECONDS = 10
WAIT_SECONDS = 120.0  # for another sub-job of ours that is about to end


def ask_driver(*query: str) -> list[str]:
    """The lines that ``nvidia-smi`` prints; none where it is not installed, or fails."""
    if shutil.which("nvidia-smi") is None:
        return []
    try:
        answer = subprocess.run(
            ["nvidia-smi", *query], capture_output=True, text=True, timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in answer.stdout.splitlines() if line.strip()]


def named_gpus() -> list[str] | None:
    """The GPUs that ``CUDA_VISIBLE_DEVICES`` names; an empty list where it hides all, ``None`` where it is not set."""
    names = os.environ.get("CUDA_VISIBLE_DEVICES")
    if names is None:
        return None
    return [name.strip() for name in names.split(",") if name.strip() not in ("", "-1")]


def gpus_of_this_node() -> list[str]:
    """The UUIDs of all GPUs that the driver shows to this process, regardless of ``CUDA_VISIBLE_DEVICES``."""
    return [
        line for line in ask_driver("--query-gpu=uuid", "--format=csv,noheader") if line.startswith("GPU-")
    ]


def _busy() -> set[str]:
    return set(ask_driver("--query-compute-apps=gpu_uuid", "--format=csv,noheader"))


def _private_folder() -> Path | None:
    """A folder of this user on this node that nobody else can have made, or change; ``None`` where there is none.

    All sub-jobs of the user on the node find the same one. ``TMPDIR`` differs between them, and the home directory is
    shared by all nodes. Anyone can make a folder with our name in ``/dev/shm`` or ``/tmp``, but it is not ours then, and
    the next place is taken.
    """
    name = f"unet_gpus_{os.getuid()}"
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    places = [Path("/dev/shm", name), *([Path(runtime, name)] if runtime.startswith("/") else [])]  # noqa: S108 - its owner is checked
    places += [Path("/tmp", name), Path("/var/tmp", name)]  # noqa: S108 - as above
    home = state_file(f"gpus_{socket.gethostname()}")
    if home is not None:
        places.append(home)
    return next((place for place in places if _is_private(place, parents=place == home)), None)


def _is_private(place: Path, *, parents: bool) -> bool:
    """Whether ``place`` is a folder that only this user may enter; it is made where it is missing, with its ``parents``."""
    try:
        with contextlib.suppress(FileExistsError):
            place.mkdir(mode=0o700, parents=parents)
        descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        state = os.fstat(descriptor)
        return state.st_uid == os.geteuid() and not state.st_mode & 0o077
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def claimed_gpu(
    *, folder: Path | None = None, wait: float = WAIT_SECONDS, say: Callable[[str], None] = print
) -> Iterator[str | None]:
    """Lock one GPU of this node while the block runs, and show this process only that one.

    Does so only in a PBS job that sees several GPUs while ``CUDA_VISIBLE_DEVICES`` is not set: a value that is set is
    never changed. Cards that another program uses are chosen last. The operating system releases the lock of a process
    that dies. Yields the UUID, or ``None`` where no lock was needed. Raises :class:`jobs.common.errors.UserError` if all
    are locked by other sub-jobs of this user for ``wait`` seconds. Where no lock can be made, a card is taken without one,
    and a line says so: no point fails because of the lock.
    """
    if "PBS_JOBID" not in os.environ or "CUDA_VISIBLE_DEVICES" in os.environ:
        yield None
        return
    gpus = gpus_of_this_node()
    if len(gpus) < 2:
        yield None
        return
    place = folder or _private_folder()
    deadline = time.monotonic() + wait
    while True:
        busy = _busy()
        free = sorted(gpus, key=lambda name: name in busy)  # a stable sort: else in the node's order
        for gpu in free:
            try:
                lock = _locked(place, gpu)
            except Timeout:
                continue
            except OSError as error:
                lock = None
                say(
                    f"no lock for the GPUs of this node can be made ({error}); two sub-jobs may use one of them. "
                    "Let the scheduler assign them (the cgroups hook of PBS)"
                )
            try:
                os.environ["CUDA_VISIBLE_DEVICES"] = gpu
                say(f"no GPU was assigned by the scheduler and {len(gpus)} are visible; claimed {gpu}")
                yield gpu
            finally:
                os.environ.pop("CUDA_VISIBLE_DEVICES", None)
                if lock is not None:
                    lock.release()
            return
        if time.monotonic() >= deadline:
            raise UserError(
                f"all {len(gpus)} GPUs of this node are claimed by other sub-jobs of yours; expected a free one. "
                "The node runs more sub-jobs than it has GPUs: check ngpus and select in the site block"
            )
        time.sleep(min(5.0, max(0.1, wait / 10)))


def _locked(place: Path | None, gpu: str) -> BaseFileLock:
    """The lock of ``gpu``, held; ``filelock.Timeout`` where another sub-job has it, ``OSError`` where there can be none."""
    if place is None:
        raise OSError(errno.EACCES, "no folder in /dev/shm, /tmp or the home directory is this user's alone")
    lock = lock_file(place / f"{gpu}.lock", soft=False)
    try:
        lock.acquire(timeout=0)
    except NotImplementedError as error:  # a file system without locks
        raise OSError(errno.ENOTSUP, str(error)) from error
    return lock


class GpuUse:
    """Utilisation and used memory of a GPU, sampled by ``nvidia-smi`` every ``seconds`` while the block runs.

    One process of the driver's tool runs all the time. :meth:`summary` is ``None`` where that tool is not installed, where
    all GPUs are hidden from this process, or where it reports nothing (a MIG slice has no utilisation).
    """

    def __init__(self, seconds: int = SAMPLE_SECONDS) -> None:
        self._seconds = seconds
        self._samples: list[tuple[float, float]] = []
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        named = named_gpus()
        if shutil.which("nvidia-smi") is None or named == []:
            return self
        command = [
            "nvidia-smi",
            "--query-gpu=utilization.gpu,memory.used",
            "--format=csv,noheader,nounits",
            f"--loop={self._seconds}",
            f"--id={named[0] if named else '0'}",  # the first that this process may use, like TensorFlow
        ]
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
        except OSError:
            return self
        self._reader = threading.Thread(target=self._read, args=(self._process.stdout,), daemon=True)
        self._reader.start()
        return self

    def _read(self, lines: IO[str]) -> None:
        with lines:
            for line in lines:
                with contextlib.suppress(ValueError):  # [N/A], or a message
                    utilisation, memory = map(float, line.split(","))
                    self._samples.append((utilisation, memory))

    def __exit__(self, *exception: object) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._reader.join(5)

    def summary(self) -> GpuUseRecord | None:
        """Utilisation in percent, memory in MB (MiB, of all processes on the card); ``None`` without a sample."""
        samples = list(self._samples)
        if not samples:
            return None
        utilisations, memories = zip(*samples, strict=True)
        return GpuUseRecord(
            utilisation_percent_mean=round(sum(utilisations) / len(utilisations), 1),
            utilisation_percent_max=max(utilisations),
            memory_used_mb_max=max(memories),
            samples=len(samples),
        )
