"""Which GPU a process takes, where nobody has said so.

A cluster with the cgroups hook shows each sub-job its own GPU only. One without shows every sub-job of a node
all of them, and TensorFlow would put each sub-job on the first card.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from jobs.errors import UserError

WAIT_SECONDS = 120.0  # for a sub-job of ours that is just ending


def ask_driver(*query: str) -> list[str]:
    """The lines that ``nvidia-smi`` answers; none where there is none, or it fails."""
    if shutil.which("nvidia-smi") is None:
        return []
    try:
        answer = subprocess.run(
            ["nvidia-smi", *query], capture_output=True, text=True, timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in answer.stdout.splitlines() if line.strip()]


def gpus_of_this_node() -> list[str]:
    """The UUIDs of all GPUs that the driver shows to this process, whatever ``CUDA_VISIBLE_DEVICES`` says."""
    return [
        line for line in ask_driver("--query-gpu=uuid", "--format=csv,noheader") if line.startswith("GPU-")
    ]


def _busy() -> set[str]:
    return set(ask_driver("--query-compute-apps=gpu_uuid", "--format=csv,noheader"))


def _locks() -> Path:
    """A folder of this user on this node: ``TMPDIR`` would be the sub-job's own, and $HOME every node's."""
    folder = Path("/tmp") / f"unet_gpus_{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise UserError(
            f"{folder} belongs to somebody else; expected a folder of your own: ask them to remove it"
        )
    return folder


@contextlib.contextmanager
def claimed_gpu(
    *, folder: Path | None = None, wait: float = WAIT_SECONDS, say: Callable[[str], None] = print
) -> Iterator[str | None]:
    """Hold one GPU of this node by a lock while the block runs, and show this process only that one.

    Only inside a PBS job that sees several GPUs while ``CUDA_VISIBLE_DEVICES`` is not set: a value that is
    set is never touched. Cards that another program computes on are taken last. The operating system frees
    the lock of a process that dies. Yields the UUID, or ``None`` where nothing had to be claimed. Raises
    :class:`UserError` if all are taken for ``wait`` seconds.
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
        for gpu in sorted(gpus, key=lambda name: name in busy):  # stable: the node's order otherwise
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
