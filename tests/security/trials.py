"""Replaces a file or folder of a run by something else, and runs a command: ``python -m tests.security.trials FOLDER N [FIRST]``.

N trials, numbered from FIRST (0); a trial is repeated by its number. Prints a JSON list of the trials that went wrong. In
each, whatever the command says, it must end within :data:`LIMIT` seconds, without a traceback, and must have changed nothing
outside the run. Each command runs in a process that is forked from this one, so that a trial takes a tenth of a second.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import shutil
import signal
import socket
import sys
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast
from unittest import mock

import make_grid
from jobs import resubmit, status, submit
from jobs.common.startup import SafeText
from tests.faults import stand_in
from tests.permissions.trials import commands, idle, made, tried
from tests.standin_pbs import StandIn

LIMIT = 30.0  # seconds; each takes less than one on an idle machine
SLOW = ("analyze", "make_grid", "supervise", "local")  # chosen less often
# What stands for the rest of a command: the report that takes seconds, and a point that another process has.
EXPECTED = ("_Reached", "BusyError")
PRIVATE = "private words of the user\n"
Replace = Callable[[Path, "Outside"], None]


@dataclass(frozen=True)
class Outside:
    """The decoys beside a run: ``folder`` has a private file and what was exchanged for a link."""

    folder: Path

    @property
    def private(self) -> Path:
        """A file that no command may change."""
        return self.folder / "private"

    def made(self) -> Outside:
        """Make the folder anew."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        self.private.write_text(PRIVATE)
        return self

    def content(self) -> dict[str, tuple[object, ...]]:
        """Every file and folder with its content and times; of links, where they lead."""
        found = {}
        for path in sorted(self.folder.rglob("*")):
            state = path.lstat()
            what = path.readlink() if path.is_symlink() else path.read_bytes() if path.is_file() else b""
            found[str(path)] = (what, state.st_mode, state.st_uid, state.st_mtime_ns)
        return found


def link_to_copy(path: Path, outside: Outside) -> None:
    """A link to the same content elsewhere."""
    target = outside.folder / f"copy of {path.name}"
    shutil.move(path, target)
    path.symlink_to(target)


def link_to_private(path: Path, outside: Outside) -> None:
    """A link to a file of the user."""
    _removed(path)
    path.symlink_to(outside.private)


def dangling_link(path: Path, outside: Outside) -> None:
    """A link to a file that the command could make."""
    _removed(path)
    path.symlink_to(outside.folder / "new")


def link_to_itself(path: Path, outside: Outside) -> None:
    """A link that leads nowhere."""
    _removed(path)
    path.symlink_to(path.name)


def hard_link(path: Path, outside: Outside) -> None:
    """A second name of a file of the user."""
    _removed(path)
    os.link(outside.private, path)


def pipe(path: Path, outside: Outside) -> None:
    """A named pipe that nobody writes to."""
    _removed(path)
    os.mkfifo(path)


def device(path: Path, outside: Outside) -> None:
    """A device that never ends; only root can make one, so that others get a pipe."""
    _removed(path)
    try:
        os.mknod(path, 0o666 | 0o020000, os.makedev(1, 5))
    except PermissionError:
        os.mkfifo(path)


def a_socket(path: Path, outside: Outside) -> None:
    """A socket that nobody listens to."""
    _removed(path)
    before = Path.cwd()
    os.chdir(path.parent)  # the path of a socket is short
    with socket.socket(socket.AF_UNIX) as one:
        one.bind("s")
    Path("s").rename(path.name)
    os.chdir(before)


def huge(path: Path, outside: Outside) -> None:
    """A file of 8 GB of which nothing is on the disk."""
    _removed(path)
    with path.open("wb") as file:
        file.truncate(8 * 10**9)


def empty(path: Path, outside: Outside) -> None:
    """A file without content."""
    _removed(path)
    path.touch()


def noise(path: Path, outside: Outside) -> None:
    """Bytes without meaning."""
    _removed(path)
    path.write_bytes(random.Random(str(path)).randbytes(3000))


def nested(path: Path, outside: Outside) -> None:
    """Brackets in brackets, which is valid JSON and YAML."""
    _removed(path)
    path.write_text("[" * 100_000 + "]" * 100_000)


def bomb(path: Path, outside: Outside) -> None:
    """An archive of a few kilobytes that promises an array of terabytes."""
    _removed(path)
    header = b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'fortran_order': False, 'shape': (1000000, 1000000), }"
    content = header.ljust(127) + b"\n"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("00000.npy", content)
        archive.writestr("images.npy", content + b"\0" * 50_000_000)


def folder(path: Path, outside: Outside) -> None:
    """A folder where a file belongs, or a file where a folder belongs."""
    was_folder = path.is_dir()
    _removed(path)
    path.write_text("a file\n") if was_folder else path.mkdir()


def escapes(path: Path, outside: Outside) -> None:
    """Text that controls a terminal."""
    _removed(path)
    path.write_text("\x1b[2J\x1b]0;title\x07 \u202e\n" * 3)


LINKS: tuple[Replace, ...] = (link_to_copy, link_to_private, dangling_link, link_to_itself, hard_link)
KINDS: tuple[Replace, ...] = (
    *LINKS,
    pipe,
    device,
    a_socket,
    huge,
    empty,
    noise,
    nested,
    bomb,
    folder,
    escapes,
)


def _removed(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)


def every_command(folder: Path) -> dict[str, Callable[[], int]]:
    """The commands of :mod:`tests.permissions.trials`, and their forms that print something else."""
    root = str(folder / "run")
    return {
        **commands(folder),
        "status --json": lambda: status.main([root, "--json"]),
        "status --live --json": lambda: status.main([root, "--live", "--json"]),
        "submit --dry-run": lambda: submit.main([root, "--force", "--dry-run"]),
        "resubmit --dry-run": lambda: resubmit.main([root, "--dry-run"]),
        "submit --probe": lambda: submit.main([root, "--probe"]),
        "make_grid --explain": lambda: make_grid.main(["--explain", f"{root}/grid.yaml"]),
    }


class Place:
    """A run with points in all states, a PBS, and the decoys, in ``folder``; each trial has a fresh copy of the run."""

    def __init__(self, folder: Path) -> None:
        """Make it; it changes the working directory and PATH of this process."""
        self.folder = folder
        self.pbs = StandIn(folder / "pbs")
        os.environ["PATH"] = f"{self.pbs.bin}{os.pathsep}{os.environ['PATH']}"
        os.environ["XDG_STATE_HOME"] = str(folder / "state")
        os.chdir(folder)
        stand_in.install()
        with contextlib.redirect_stdout(sys.stderr):
            made(folder)
        self._add_checkpoint()
        (folder / "run").rename(folder / "kept")
        self.outside = Outside(folder / "outside")
        self.jobs = self.pbs.load()
        self.names = sorted(str(path.relative_to(folder / "kept")) for path in (folder / "kept").rglob("*"))
        self.commands = sorted(every_command(folder))

    def _add_checkpoint(self) -> None:
        for state in (self.folder / "run").glob("exp_02*/state"):
            (state / "checkpoint.json").write_text("{}")
            (state / "epoch_00001_model_0001.npz").write_bytes(b"")

    def fresh(self) -> Path:
        """The run as it was made; returns its folder."""
        run = self.folder / "run"
        _removed(run)
        shutil.copytree(self.folder / "kept", run, symlinks=True)
        self.outside.made()
        self.pbs.save(self.jobs)
        return run

    def run(self, name: str) -> tuple[str, str]:
        """Run a command in a process of its own; returns what is wrong with how it ended, empty if nothing, and its output."""
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            os.setsid()
            with idle(self.pbs), mock.patch("time.sleep", return_value=None):
                code, out, err = self._tried(name)
            with os.fdopen(writing, "w") as stream:
                json.dump([code, out[-3000:], err[-3000:]], stream)
            os._exit(0)
        os.close(writing)
        said = self._answer(reading, child)
        if said is None:
            return f"it has not ended after {LIMIT:g} s", ""
        try:
            code, out, err = json.loads(said)
        except ValueError:
            return f"the process died: {said[:300]!r}", ""
        if isinstance(code, str) and not any(known in code for known in EXPECTED):
            return code, out + err
        if "Traceback" in out + err:
            return f"a traceback: {err[-1500:]}", out + err
        return "", out + err

    def _tried(self, name: str) -> tuple[int | str, str, str]:
        """The exit code of a command or its traceback, what it printed and its errors, as a terminal would get them."""
        out, err = (SafeText(io.BytesIO(), encoding="utf-8", errors="backslashreplace") for _ in range(2))

        def command() -> int:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                return every_command(self.folder)[name]()

        code, _, _ = tried(command)
        return code, *(_written(stream) for stream in (out, err))

    @staticmethod
    def _answer(reading: int, child: int) -> str | None:
        """What the child writes; ``None`` if it does not end in time, and is killed."""
        ends = time.monotonic() + LIMIT
        os.set_blocking(reading, False)
        said = b""
        done = False
        while not done and time.monotonic() < ends:
            with contextlib.suppress(BlockingIOError):
                more = os.read(reading, 65536)
                said += more
                done = not more
                continue
            time.sleep(0.005)
        os.close(reading)
        if not done:
            os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return said.decode(errors="replace") if done else None


def _written(stream: SafeText) -> str:
    stream.flush()
    return cast("io.BytesIO", stream.buffer).getvalue().decode()


@dataclass(frozen=True)
class Trial:
    """What is replaced by what, and which command then runs."""

    number: int
    name: str
    kind: Replace
    command: str

    @classmethod
    def of(cls, number: int, place: Place) -> Trial:
        """The trial with this number, always the same for the same run."""
        chance = random.Random(number)
        command = chance.choice([*place.commands, "run_point", "run_point"])
        if command in SLOW and chance.random() < 0.7:
            command = chance.choice(place.commands)
        names = place.names
        if command == "run_point" and chance.random() < 0.8:
            names = [name for name in names if name.startswith("exp_02")]
        # There are fewer folders and links than other things, and they lead furthest.
        folders = [name for name in names if (place.folder / "kept" / name).is_dir()]
        name = chance.choice(folders if chance.random() < 0.3 else names)
        kind = chance.choice(LINKS if chance.random() < 0.4 else KINDS)
        return cls(number, name, kind, command)

    def tried(self, place: Place) -> str:
        """What went wrong; empty if nothing."""
        run = place.fresh()
        path = run / self.name
        if self.kind is hard_link and path.is_dir():
            return ""  # there is no second name of a folder
        self.kind(path, place.outside)
        before = place.outside.content()
        wrong, _ = place.run(self.command)
        return wrong or changed(before, place.outside.content())

    def __str__(self) -> str:
        return f"trial {self.number}: {self.name} replaced by {self.kind.__name__}, then {self.command}"


def changed(before: dict[str, tuple[object, ...]], after: dict[str, tuple[object, ...]]) -> str:
    """Which files outside the run a command has changed; empty if none."""
    names = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    return "".join(
        f"changed outside the run: {name}: {before.get(name)} -> {after.get(name)}" for name in names[:3]
    )


def main() -> None:
    """Make the run, try, and print what went wrong."""
    folder, count = Path(sys.argv[1]), int(sys.argv[2])
    first = int(sys.argv[3]) if len(sys.argv) > 3 else 0
    place = Place(folder)
    found = []
    for number in range(first, first + count):
        trial = Trial.of(number, place)
        wrong = trial.tried(place)
        if wrong:
            found.append(f"{trial}: {wrong}")
            print(found[-1], file=sys.stderr, flush=True)
    json.dump({"trials": count, "wrong": found}, sys.stdout)


if __name__ == "__main__":
    main()
