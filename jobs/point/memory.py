"""Evidence of used-up memory: exceptions, the log, the kernel's counter; and the peak that a process reached."""

from __future__ import annotations

import os
import resource
from pathlib import Path

from jobs.common.files import is_full
from jobs.point.log import written_by

_IN_MESSAGE = (
    "OOM when allocating",
    "out of memory",
    "Out of memory",
    "CUDNN_STATUS_ALLOC_FAILED",
    "Failed to allocate",
    "exception:Status: 1,",  # oneDNN's code for it
)
# What the allocators write before the failure shows as something else: a crash, an aborted step.
IN_LOG = (
    "RESOURCE_EXHAUSTED",
    "OOM when allocating",
    "bad_alloc",
    "annot allocate memory",
    "Resource temporarily unavailable",  # no thread could be started: its stack needs memory, too
)


def is_out_of_memory(error: BaseException, log: Path | None = None) -> bool:
    """Whether ``error`` means that there was not enough device or host memory.

    A full disk raises the same type and does not count. Where TensorFlow raised ``error``, the messages of its
    allocators in ``log`` count, too: an operation that runs out of memory often ends another one.
    """
    if isinstance(error, MemoryError):
        return True
    text = f"{type(error).__name__}: {error}"
    if is_full(error) or "No space left on device" in text or "quota" in text.lower():
        return False
    if any(sign in text for sign in _IN_MESSAGE) or "ResourceExhausted" in text:
        return True
    if log is None or not type(error).__module__.startswith("tensorflow"):
        return False
    written = written_by(os.getpid(), log)
    return any(sign in written for sign in IN_LOG)


def sign_in_log(log: Path, pid: int) -> str | None:
    """The first line of process ``pid`` in ``log`` that an allocator wrote when memory was used up, or ``None``."""
    lines = written_by(pid, log).splitlines()
    return next((line for sign in IN_LOG for line in lines if sign in line), None)


def peak_memory_mb() -> float:
    """The most host memory (MB) that this process has used."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)  # kB on Linux


def oom_kills() -> int | None:
    """How many processes this node's kernel has killed for memory; ``None`` where it has no such counter."""
    try:
        text = Path("/proc/vmstat").read_text()
    except OSError:
        return None
    for line in text.splitlines():
        if line.startswith("oom_kill "):
            return int(line.split()[1])
    return None
