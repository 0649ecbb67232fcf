"""``python -m tests.faults.fight RUN PROCESSES SECONDS SEED``: processes fight over all points of a run.

Each takes points at random and is killed with signal 9 at random, some after a pause long enough to be taken over;
another takes its place. For the second half of the processes locks do not work and the host has another name, as on
a node whose file system does not share locks. Prints one JSON object.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path

import filelock

from jobs.point import claim
from jobs.point.attempt import run_point
from jobs.point.claim import BusyError
from jobs.point.status import read_result, read_status
from jobs.point.worker import die_with_parent
from jobs.run.index import Run, read_run
from tests.faults import stand_in


class NoLock:
    """A file lock on a file system without locks."""

    def __init__(self, *arguments, **options) -> None:
        pass

    def acquire(self, timeout) -> None:
        raise OSError(38, "Function not implemented")


def worker(run: Run, seed: int, other_host: bool) -> None:
    stand_in.install()
    stand_in.batch_seconds = 0.02
    stand_in.ends = run.paths.root / "ends.txt"
    if other_host:
        claim.host_name = lambda: "other-node"
        filelock.FileLock = NoLock  # claim imports it when it locks
    choose = random.Random(seed)
    while True:
        entry = choose.choice(run.entries)
        try:
            run_point(run, entry, echo=False, tell=lambda text: None)
        except BusyError:
            time.sleep(0.02)


def start(run: Run, seed: int, other_host: bool) -> int:
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        die_with_parent(parent)
        log = os.open(run.paths.root / "workers.txt", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.dup2(log, 1)
        os.dup2(log, 2)
        try:
            worker(run, seed, other_host)
        finally:
            if sys.exc_info()[0] is not None:
                import traceback

                traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)
    return pid


def main() -> None:
    root, count, limit, seed = Path(sys.argv[1]), *map(int, sys.argv[2:5])
    run = read_run(root)
    choose = random.Random(seed)
    kills, pauses, harmed, paused = 0, 0, set(), {}
    workers = {start(run, place, place >= count // 2): place >= count // 2 for place in range(count)}
    began = time.monotonic()

    def all_ended() -> bool:
        return all(read_status(run, entry, verify=False).result for entry in run.entries)

    def replace(pid: int) -> None:
        other_host = workers.pop(pid)
        workers[start(run, choose.randrange(10**6), other_host)] = other_host

    failures = 0
    while True:
        for pid in list(workers):
            ended, _ = os.waitpid(pid, os.WNOHANG)
            if ended:  # by itself: a fault of the product's, or of the trial's
                failures += 1
                replace(pid)
        spent = time.monotonic() - began
        if spent > limit and all_ended():
            break
        if spent > 4 * limit + 120:
            break
        if spent > limit:
            time.sleep(0.2)  # no more kills: the rest must come to its end by itself
            for pid in list(paused):
                os.kill(pid, signal.SIGCONT)
                del paused[pid]
            continue
        time.sleep(choose.uniform(0.05, 0.4))
        for pid, since in list(paused.items()):
            if time.monotonic() - since > 3.0:
                os.kill(pid, signal.SIGCONT)
                del paused[pid]
        victim = choose.choice([pid for pid in workers if pid not in paused] or list(workers))
        if choose.random() < 0.15 and victim not in paused:
            os.kill(victim, signal.SIGSTOP)
            paused[victim] = time.monotonic()
            harmed.add(victim)
            pauses += 1
            continue
        paused.pop(victim, None)
        os.kill(victim, signal.SIGKILL)
        os.waitpid(victim, 0)
        harmed.add(victim)
        kills += 1
        replace(victim)
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)

    ends: dict[str, list[int]] = defaultdict(list)
    ends_file = root / "ends.txt"
    for line in ends_file.read_text().splitlines() if ends_file.exists() else []:
        rate, pid = line.split()
        ends[rate].append(int(pid))
    twice = {rate: pids for rate, pids in ends.items() if len(pids) > 1}
    results, wrong = Counter(), []
    checksums = set()
    for entry in run.entries:
        result = read_result(run, entry)
        results[result.status if result else "none"] += 1
        if result is not None:
            checksums.add((result.metrics.val_loss_at_best, result.history))
        files = list(run.point_paths(entry).folder.glob("*_results.json*"))
        if len(files) != 1:
            wrong.append(f"{entry.name}: {len(files)} results")
        taken = run.point_paths(entry).log.read_text().count("attempt ")
        rate = str(entry.point.settings["learning_rate"])
        # Twice to the end only where a holder was killed or paused between that and its result.
        unharmed = sum(pid not in harmed for pid in ends[rate])
        if unharmed > 1 or len(ends[rate]) > taken:
            wrong.append(f"{entry.name}: {len(ends[rate])} ends in {taken} attempts, {unharmed} unharmed")
        if not ends[rate]:
            wrong.append(f"{entry.name}: never trained to its end")
    print(
        json.dumps(
            {
                "points": len(run.entries),
                "results": dict(results),
                "different_results": len(checksums),
                "kills": kills,
                "pauses": pauses,
                "failures": failures,
                "trained_twice": {
                    rate: sum(pid not in harmed for pid in pids) for rate, pids in sorted(twice.items())
                },
                "wrong": wrong,
                "quarantined": len(list(root.rglob("quarantine/*"))),
                "seconds": round(time.monotonic() - began, 1),
            }
        )
    )


if __name__ == "__main__":
    main()
