"""Which GPU a process uses, where neither the scheduler nor the user has chosen one.

On a cluster with the cgroups hook, each sub-job sees only its own GPU. Without it, every sub-job of a node sees all of
them, and TensorFlow would put each sub-job on the first card.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

from filelock import FileLock, Timeout

from jobs.common.errors import UserError
from jobs.common.schema import GpuUse as GpuUseRecord

if TYPE_CHECKING:
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


def _locks() -> Path:
    """A folder of this user on this node: ``TMPDIR`` differs between sub-jobs, and $HOME is shared by all nodes."""
    folder = Path("/tmp") / f"unet_gpus_{os.getuid()}"  # noqa: S108 - its owner is checked
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise UserError(
            f"{folder} belongs to another user; expected a folder of your own: ask them to remove it"
        )
    return folder


@contextlib.contextmanager
def claimed_gpu(
    *, folder: Path | None = None, wait: float = WAIT_SECONDS, say: Callable[[str], None] = print
) -> Iterator[str | None]:
    """Lock one GPU of this node while the block runs, and show this process only that one.

    Does so only in a PBS job that sees several GPUs while ``CUDA_VISIBLE_DEVICES`` is not set: a value that is set is
    never changed. Cards that another program uses are chosen last. The operating system releases the lock of a process
    that dies. Yields the UUID, or ``None`` where no lock was needed. Raises :class:`jobs.common.errors.UserError` if all
    are locked for ``wait`` seconds.
    """
    if "PBS_JOBID" not in os.environ or "CUDA_VISIBLE_DEVICES" in os.environ:
        yield None
        return
    gpus = gpus_of_this_node()
    if len(gpus) < 2:
        yield None
        return
    place = folder or _locks()
    deadline = time.monotonic() + wait
    while True:
        busy = _busy()
        for gpu in sorted(gpus, key=lambda name: name in busy):  # a stable sort: else in the node's order
            lock = FileLock(place / f"{gpu}.lock")
            try:
                lock.acquire(timeout=0)
            except Timeout:
                continue
            try:
                os.environ["CUDA_VISIBLE_DEVICES"] = gpu
                say(f"no GPU was assigned by the scheduler and {len(gpus)} are visible; claimed {gpu}")
                yield gpu
            finally:
                os.environ.pop("CUDA_VISIBLE_DEVICES", None)
                lock.release()
            return
        if time.monotonic() >= deadline:
            raise UserError(
                f"all {len(gpus)} GPUs of this node are claimed by other sub-jobs of yours; expected a free one. "
                "The node runs more sub-jobs than it has GPUs: check ngpus and select in the site block"
            )
        time.sleep(min(5.0, max(0.1, wait / 10)))


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
