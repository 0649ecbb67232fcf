"""``python -m benchmarks.publishers``: 64 processes publish results at once; counts what is lost, and results per second.

Each process has points of its own, and takes part in every race for the contested ones. Some are claimed as in
:mod:`jobs.point.attempt`; others are published without a claim, as on a file system whose locks do not exclude.
Meanwhile a reader reads all points without pause. Exit codes: 0 nothing was lost, partial or double, 1 something was.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.filled_run import history_of, make_run_directory, result_of
from benchmarks.table import keep, show
from jobs.common.records import DamagedRecord, write, write_once
from jobs.common.schema import PointRecord
from jobs.monitor.summary import collect
from jobs.point.claim import BusyError, claimed, identity
from jobs.point.status import read_result
from jobs.run.index import Entry, Run

POINTS = 1_000  # of the run; those that no process publishes remain waiting
CONTESTED = 40  # half of them with a claim, half without
MOST_EACH = 15


@dataclass(frozen=True)
class Counted:
    """What happened. All but the first five must be 0.

    ``lost``: published, but missing or different; ``partial``: not whole when it was read; ``double``: points of which
    more than one process was told that it published; ``changed``: results that changed after a reader saw them;
    ``left``: temporary files; ``miscounted``: wrong rows of the summary.
    """

    processes: int
    results: int
    seconds: float
    per_second: float
    looks: int
    lost: int
    partial: int
    double: int
    changed: int
    left: int
    miscounted: int

    @property
    def good(self) -> bool:
        """Whether every result is in place, once."""
        return not any((self.lost, self.partial, self.double, self.changed, self.left, self.miscounted))


def _publish(run: Run, entry: Entry, token: str, *, claim: bool) -> bool:
    """Publish like :mod:`jobs.point.attempt`, without model and pictures; ``True`` if this process published first."""
    paths = run.point_paths(entry)
    rows = history_of(entry, "done", random.Random(token))
    result = msgspec.structs.replace(result_of(entry, "done", rows), lineage=token)
    if not claim:
        paths.state.mkdir(parents=True, exist_ok=True)
        return write_once(paths.results, result)
    try:
        with claimed(paths, say=lambda _text: None) as held:
            who = identity().fields()
            record = PointRecord(**who, name=entry.name, key=entry.key, attempts=held.number, state="running")
            write(paths.status, record)
            if read_result(run, entry) is not None:
                return False
            held.check()
            mine = write_once(paths.results, result)
            write(paths.status, msgspec.structs.replace(record, state="done"))
            return mine
    except BusyError:
        return False


def _work(
    run: Run, number: int, own: Sequence[Entry], contested: Sequence[Entry], start: Any, told: Path
) -> None:
    """One publisher: publishes its points in an order of its own, and records which results are its own."""
    tasks = [(entry, True) for entry in own]
    tasks += [(entry, place % 2 == 0) for place, entry in enumerate(contested)]
    random.Random(number).shuffle(tasks)
    # The contested points first, in the same order for all processes: else each would meet no competitor.
    tasks.sort(key=lambda task: task[0] not in contested)
    tasks[: len(contested)] = sorted(tasks[: len(contested)], key=lambda task: task[0].index)
    start.wait()
    mine = []
    for entry, claim in tasks:
        token = f"{number}:{entry.index}"
        if _publish(run, entry, token, claim=claim):
            mine.append((entry.index, token))
    (told / f"{number}.json").write_text(json.dumps([time.time(), mine]))


def measure(folder: Path, processes: int, each: int) -> Counted:
    """``processes`` publish ``each`` points of their own and fight for :data:`CONTESTED`, in a new run."""
    run = make_run_directory(folder / f"run_{processes}", POINTS)
    told = folder / f"told_{processes}"
    told.mkdir()
    contested, entries = run.entries[:CONTESTED], run.entries[CONTESTED:]
    context = multiprocessing.get_context("fork")
    start = context.Barrier(processes + 1)
    workers = [
        context.Process(
            target=_work,
            args=(run, number, entries[number * each : (number + 1) * each], contested, start, told),
        )
        for number in range(processes)
    ]
    for worker in workers:
        worker.start()
    start.wait()
    began = time.time()
    expected = run.entries[: CONTESTED + processes * each]
    seen: dict[int, str] = {}
    looks, partial, changed = 0, 0, 0
    while True:
        at_work = any(worker.is_alive() for worker in workers)  # asked first: the last look is after the end
        for entry in expected:
            looks += 1
            try:
                result = read_result(run, entry)
            except DamagedRecord:
                partial += 1
                continue
            found = "" if result is None else result.lineage
            changed += seen.setdefault(entry.index, found) not in ("", found)
            seen[entry.index] = found
        if not at_work:
            break
    for worker in workers:
        worker.join()
        if worker.exitcode:
            raise SystemExit(f"a publisher ended with {worker.exitcode}")

    answers = [json.loads(path.read_text()) for path in told.iterdir()]
    published = [(index, token) for _, mine in answers for index, token in mine]
    winners = Counter(index for index, _ in published)
    collected = collect(run)
    seconds = max(ended for ended, _ in answers) - began
    return Counted(
        processes=processes,
        results=len(published),
        seconds=seconds,
        per_second=len(published) / seconds,
        looks=looks,
        lost=sum(seen[index] != token for index, token in published if winners[index] == 1)
        + sum(winners[entry.index] == 0 for entry in expected),
        partial=partial,
        double=sum(count > 1 for count in winners.values()),
        changed=changed,
        left=sum(".tmp" in name for _, _, files in os.walk(run.paths.root) for name in files),
        miscounted=abs(collected.counts["done"] - len(expected)) + abs(collected.total - POINTS),
    )


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark with the arguments ``argv`` and return its exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--each", type=int, default=MOST_EACH, help="points that each process has for itself")
    parser.add_argument(
        "--folder", type=Path, help="on the file system to be tried; default: the temporary one"
    )
    parser.add_argument("--json", type=Path, metavar="FOLDER", help="keep the figures there, too")
    arguments = parser.parse_args(argv)
    if max(arguments.processes) * arguments.each > POINTS - CONTESTED:
        parser.error(f"--processes times --each: expected at most {POINTS - CONTESTED}")
    with tempfile.TemporaryDirectory(prefix="unet_publishers_", dir=arguments.folder) as folder:
        found = [measure(Path(folder), processes, arguments.each) for processes in arguments.processes]
    rows = [asdict(one) for one in found]
    show("Results published at once by so many processes, every write on the disk", rows)
    keep(arguments.json, "publishers", rows)
    return 0 if all(one.good for one in found) else 1


if __name__ == "__main__":
    sys.exit(main())
