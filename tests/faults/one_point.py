"""``python -m tests.faults.one_point RUN INDEX [OPTION=VALUE ...]``: ``run_point.py`` with a fault built in.

``stand_in=SECONDS`` trains with the stand-in, a batch in so many seconds. ``stuck=yes`` does not listen to signals,
as C++ code in a long step does not. ``host=NAME`` pretends to be another node on a file system without locks.
``memory=MB`` lets the process have so much more than it needs to begin (a real limit, RLIMIT_AS).
"""

from __future__ import annotations

import ctypes
import resource
import signal
import sys
import time
from pathlib import Path

import filelock

from jobs.point import claim, worker
from jobs.run.index import read_run
from tests.faults import stand_in
from tests.faults.fight import NoLock


def limit_memory(megabytes: int) -> None:
    """From the end of TensorFlow's start on, this process gets ``megabytes`` and no more."""
    from unet_models.training import training

    prepare = training.prepare_process

    def limited(settings, **options) -> None:
        prepare(settings, **options)
        import tensorflow as tf

        tf.linalg.matmul(tf.ones((64, 64)), tf.ones((64, 64)))  # starts its threads
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        size = pages * resource.getpagesize() + megabytes * 2**20
        resource.setrlimit(resource.RLIMIT_AS, (size, size))

    training.prepare_process = limited


def main() -> int:
    options = dict(item.split("=") for item in sys.argv[3:])
    if "host" in options:
        claim.host_name = lambda: options["host"]
        filelock.FileLock = NoLock  # claim imports it when it locks
    original = worker.run_point

    def run_point(*arguments, **more):
        if "stand_in" in options:
            stand_in.install()
            stand_in.batch_seconds = float(options["stand_in"])
        if "stuck" in options:
            train = stand_in.train

            def stuck(*a, on_batch, **o):
                batches = iter(range(10**6))

                def long_step():
                    on_batch()
                    if next(batches) == 6:  # in the second epoch
                        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
                        ctypes.CDLL(None).sleep(60)

                return train(*a, on_batch=long_step, **o)

            stand_in.train = stuck
        if "memory" in options:
            limit_memory(int(options["memory"]))
        return original(*arguments, **more)

    worker.run_point = run_point
    worker.STOP_SECONDS = float(options.get("stop", worker.STOP_SECONDS))
    run = read_run(Path(sys.argv[1]))
    began = time.monotonic()
    code = worker.train_in_process(run, run.entry(int(sys.argv[2])))
    print(f"ended after {time.monotonic() - began:.1f} s")
    return code


if __name__ == "__main__":
    sys.exit(main())
