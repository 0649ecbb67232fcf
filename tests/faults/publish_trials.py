"""``python -m tests.faults.publish_trials RUN TRIALS SEED``: kill a point at every step of its way to disk.

Each trial trains one point in a process that kills itself with signal 9 at one system call of the product's:
before it, after it, or in the middle of a write. Meanwhile and afterwards every file that others read is read
without a pause. Then the point is run again, unharmed. Prints one JSON object with what was counted.
"""

from __future__ import annotations

import csv
import json
import os
import random
import signal
import sys
import zipfile
from pathlib import Path

import numpy as np

from jobs.common.records import DamagedRecord, read_record
from jobs.point.attempt import run_point
from jobs.point.status import read_result
from jobs.run.index import Entry, Run, read_run
from tests.faults import stand_in

CALLS = ("open", "write", "fsync", "close", "replace", "link", "unlink", "rename", "mkdir", "utime")


class Injection:
    """Counts the system calls of this process and ends it at number ``at``; ``how``: before, after, within."""

    def __init__(self, at: int | None, how: str) -> None:
        self.count, self.at, self.how = 0, at, how
        self.names: list[str] = []

    def install(self) -> None:
        for name in CALLS:
            setattr(os, name, self._wrapped(name, getattr(os, name)))
        savez = np.savez

        def save(file, **arrays):
            self._step("savez", lambda: savez(file, **dict(list(arrays.items())[:-1])))
            return savez(file, **arrays)

        np.savez = save

    def _wrapped(self, name, call):
        def wrapper(*arguments, **options):
            part = None
            if name == "write" and len(arguments[1]) > 1:

                def part():
                    call(arguments[0], bytes(arguments[1])[: len(arguments[1]) // 2])

            number = self._step(name, part)
            try:
                return call(*arguments, **options)
            finally:  # also after a call that fails, such as the opening of a file that is not there yet
                # The number is that of this call: the thread of the heartbeat makes calls at the same time.
                if number == self.at and self.how == "after":
                    os.kill(os.getpid(), signal.SIGKILL)

        return wrapper

    def _step(self, name, part) -> int:
        number, self.count = self.count, self.count + 1
        self.names.append(name)
        if number != self.at or self.how == "after":
            return number
        if self.how == "within" and part is not None:
            part()
        os.kill(os.getpid(), signal.SIGKILL)
        return number


def child(run: Run, entry: Entry, injection: Injection, notes: Path) -> int:
    pid = os.fork()
    if pid:
        return pid
    stand_in.install()
    injection.install()
    try:
        state = run_point(run, entry, echo=False, tell=lambda text: None)
        notes.write_text(json.dumps([state, injection.count, injection.names, stand_in.epochs_trained]))
    except BaseException as error:  # noqa: BLE001 - the trial reports it: a child has nobody to raise to
        notes.write_text(json.dumps([f"{type(error).__name__}: {error}", 0, [], 0]))
    os._exit(0)


def look(run: Run, entry: Entry) -> list[str]:
    """Read all that others read; what of it was not whole."""
    paths = run.point_paths(entry)
    wrong = []
    for path in (paths.results, paths.status, paths.checkpoint, *paths.claims.glob("[0-9]*.json")):
        try:
            read_record(path)
        except FileNotFoundError:
            continue
        except DamagedRecord as error:
            wrong.append(str(error))
    try:
        with paths.history.open() as file:
            rows = list(csv.reader(file))
        if not rows or any(len(row) != len(rows[0]) for row in rows):
            wrong.append(f"{paths.history}: {rows}")
    except FileNotFoundError:
        pass
    for path in paths.state.glob("epoch_*.npz"):
        try:
            with np.load(path) as arrays:
                _ = arrays["00000"]
        except FileNotFoundError:
            continue
        except (ValueError, KeyError, EOFError, OSError, zipfile.BadZipFile) as error:
            wrong.append(f"{path}: {error}")
    return wrong


def main() -> None:
    root, trials, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    run = read_run(root)
    notes = root / "notes.json"
    choose = random.Random(seed)

    def train(entry: Entry, injection: Injection) -> tuple[int, list[str], int]:
        """Run ``entry`` while reading; the child's wait status, what was read by halves, the number of looks."""
        notes.unlink(missing_ok=True)
        pid = child(run, entry, injection, notes)
        wrong, looks = [], 0
        while True:
            ended, code = os.waitpid(pid, os.WNOHANG)
            wrong += look(run, entry)
            looks += 1
            if ended:
                return code, wrong, looks

    # An undisturbed point tells how many calls there are, and what the result must be.
    train(run.entries[0], Injection(None, ""))
    state, total, names, _ = json.loads(notes.read_text())
    assert state == "done", state
    expected = read_result(run, run.entries[0])
    found = {"trials": 0, "calls": total, "kinds": sorted(set(names)), "killed": 0, "looks": 0}
    found |= {"partial": [], "lost": [], "again": [], "after_result": 0, "most_epochs": 0}
    for number, entry in enumerate(run.entries[1 : trials + 1]):
        # Every call in turn, then at random.
        at = number if number < total else choose.randrange(total)
        code, wrong, looks = train(entry, Injection(at, choose.choice(["before", "after", "within"])))
        found["trials"] += 1
        found["killed"] += os.WIFSIGNALED(code)
        found["looks"] += looks
        found["partial"] += wrong + look(run, entry)
        before = read_result(run, entry)
        text = run.point_paths(entry).results.read_bytes() if before else b""
        _, wrong, looks = train(entry, Injection(None, ""))
        found["partial"] += wrong
        state, _, _, epochs = json.loads(notes.read_text())
        found["most_epochs"] = max(found["most_epochs"], epochs)
        after = read_result(run, entry)
        paths = run.point_paths(entry)
        if before is not None:
            found["after_result"] += 1
            if paths.results.read_bytes() != text or epochs:
                found["lost"].append(f"{entry.name}: a published result was changed, or trained again")
        if state != "done" or after is None or after.metrics != expected.metrics:
            found["lost"].append(f"{entry.name}: {state} after a kill at call {at} ({names[at]})")
        elif after.history != expected.history or not paths.model.exists():
            found["lost"].append(f"{entry.name}: another history, or no model")
        left = [path.name for path in paths.folder.rglob("*") if ".tmp" in path.name or "epoch_" in path.name]
        if before is None and left:
            found["again"].append(f"{entry.name}: left behind {left}")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
