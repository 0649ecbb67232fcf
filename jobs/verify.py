"""``python -m jobs.verify [RUN]``: checks packages, TensorFlow, the run's data, free space and the file system.

It is the part of ``jobs/verify_setup.sh`` that needs Python. It prints one line per check: ok, warning or FAILURE with
what to do. Exit codes: 0 no failure (perhaps warnings), 1 at least one failure, 2 bad arguments.
"""

# Only the standard library is imported here: this command must work where the packages are missing.

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from jobs.common.errors import UserError, run_command
from jobs.common.hints import hint
from jobs.common.requirements import PROJECT, Requirement, release, requirements

if TYPE_CHECKING:
    from jobs.run.index import Run

NEEDED_GB = 1.0  # for a small run; where there is a run, it is computed from its models
OLDEST_KERAS = "3.0.5"
Level = Literal["ok", "warning", "FAILURE"]
Check = tuple[Level, str]  # and the line to print

# The first import prepares the process as that of a point, whatever the user's keras.json and matplotlibrc are.
_TENSORFLOW = f"""
import sys
sys.path.insert(0, {str(PROJECT.parent)!r})
import unet_models, keras, tensorflow as tf
print(tf.__version__, keras.__version__, ",".join(d.name for d in tf.config.list_physical_devices("GPU")) or "-")
"""


def _repair() -> str:
    """The command that makes the environment."""
    return hint("jobs/make_environment.sh")


def check_python() -> Iterator[Check]:
    """The version of the interpreter."""
    version = ".".join(map(str, sys.version_info[:3]))
    if (3, 10) <= sys.version_info[:2] <= (3, 13):
        yield "ok", f"Python: {version} ({sys.executable})"
    else:
        yield "FAILURE", f"Python: {version}; expected 3.10 to 3.13: {_repair()}"


def check_packages(wanted: Iterable[Requirement]) -> Iterator[Check]:
    """Every package that ``pyproject.toml`` lists: it must be there, and should not be older than listed."""
    found = {requirement: requirement.installed() for requirement in wanted}
    missing = [requirement.package for requirement, version in found.items() if version is None]
    if missing:
        yield (
            "FAILURE",
            f"packages: {', '.join(missing)} missing, and the other checks need them; install them with: {_repair()}",
        )
    old = [
        f"{requirement.package} {version} (expected {requirement.oldest} or newer)"
        for requirement, version in found.items()
        if version and release(version) < release(requirement.oldest)
    ]
    if old:
        yield (
            "warning",
            f"packages: {', '.join(old)}: older than tested; install newer ones with: {_repair()}",
        )
    if not missing and not old:
        yield "ok", f"packages: {', '.join(requirement.package for requirement in found)}"


def check_tensorflow() -> Iterator[Check]:
    """TensorFlow and Keras, imported in a process of their own: a crash must not end the other checks."""
    try:
        answer = subprocess.run(
            [sys.executable, "-c", _TENSORFLOW],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        yield "FAILURE", f"TensorFlow: {error}"
        return
    words = answer.stdout.split()
    if answer.returncode != 0 or len(words) != 3:
        last = (answer.stderr.strip() or "no output").splitlines()[-1]
        if answer.returncode < 0:
            last += f", ended by {signal.Signals(-answer.returncode).name}"
        yield "FAILURE", f"TensorFlow: cannot be imported ({last}); {_repair()}"
        return
    tensorflow, keras, gpus = words
    if release(keras) < release(OLDEST_KERAS):
        yield "FAILURE", f"Keras: {keras}; expected {OLDEST_KERAS} or newer: {_repair()}"
    if gpus == "-":
        text = f"TensorFlow: {tensorflow}, Keras {keras}: no GPU here, so it would run on the CPU"
        yield "warning", f"{text}. Most login nodes have none: run this check inside a job, too"
    else:
        yield "ok", f"TensorFlow: {tensorflow}, Keras {keras}, GPU {gpus}"


def check_run(run: Run) -> Iterator[Check]:
    """The packed data are those from which the run was made."""
    from unet_models.data.errors import DataError
    from unet_models.data.packing import read_packed

    yield "ok", f"run: {len(run.entries)} points"
    try:
        data = read_packed(run.paths.data)
        data.verify()
    except (OSError, ValueError, KeyError, DataError) as error:
        yield "FAILURE", f"data: {run.paths.data} cannot be read ({error}); make the run again"
        return
    if data.fingerprint == run.fingerprint:
        yield "ok", f"data: {data.describe()}"
    else:
        yield (
            "FAILURE",
            f"data: fingerprint {data.fingerprint}, expected {run.fingerprint}; make the run again",
        )


def _needed_gb(run: Run | None) -> float:
    if run is None:
        return NEEDED_GB
    from unet_models.networks.parameters import parameter_count

    parameters = sum(
        parameter_count(
            entry.point.settings["architecture"],
            base_filters=entry.point.settings["base_filters"],
            levels=entry.point.settings["levels"],
        )
        for entry in run.entries
    )
    # In float32: the best weights, and a checkpoint of the weights, the best ones and Adam's two slots.
    return 0.1 + parameters * 4 * 5 / 1e9


def check_space(folder: Path, run: Run | None) -> Iterator[Check]:
    """Free space in the file system of ``folder``, and the quota where the system reports it."""
    free = shutil.disk_usage(folder).free / 1e9
    needed = _needed_gb(run)
    if free >= needed:
        yield "ok", f"space: {free:.1f} GB free in {folder}, {needed:.1f} GB needed at most"
    else:
        yield (
            "FAILURE",
            f"space: {free:.1f} GB free in {folder}, about {needed:.1f} GB needed; free some, or use another --run-dir",
        )
    if shutil.which("quota") is None:
        yield (
            "warning",
            "quota: not known, because there is no quota command here; your site's documentation shows how to see it",
        )
        return
    try:
        answer = subprocess.run(["quota", "-s"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        yield "warning", f"quota: {error}"
        return
    over = [line.strip() for line in answer.stdout.splitlines() if "*" in line]
    if over:
        yield "FAILURE", f"quota: over the limit: {'; '.join(over)}"
    else:
        yield "ok", "quota: within the limits that `quota -s` reports"


def check_file_system(folder: Path) -> Iterator[Check]:
    """The operations on files that the program needs, tried in ``folder``: replace, hard link, lock."""
    try:
        with tempfile.TemporaryDirectory(prefix=".verify_", dir=folder) as name:
            place = Path(name)
            yield _attempt("atomic replace", lambda: _replace(place))
            yield _attempt("hard link", lambda: _hard_link(place), needed=False)
            yield _attempt("lock between two processes", lambda: _exclude(place))
    except OSError as error:
        yield "FAILURE", f"file system: nothing can be written in {folder} ({error}); use another --run-dir"


def _attempt(what: str, check: Callable[[], str], *, needed: bool = True) -> Check:
    from filelock import Timeout

    from jobs.common.records import DamagedRecord

    try:
        problem = check()
    except (OSError, Timeout, DamagedRecord, subprocess.SubprocessError) as error:
        problem = str(error) or type(error).__name__
    if not problem:
        return "ok", f"file system: {what}"
    remedy = "put the run on another file system (--run-dir), or ask the support of your site"
    return ("FAILURE" if needed else "warning"), f"file system: {what}: {problem}; {remedy}"


def _replace(place: Path) -> str:
    from jobs.common.records import read, write
    from jobs.common.schema import Process

    path = place / "record.json"
    for number in (1, 2):
        write(path, Process(pid=number))
    if read(path, Process).pid != 2:
        return "the old file is still there"
    left = [file.name for file in place.iterdir() if file != path]
    return f"other files are left: {', '.join(left)}" if left else ""


def _hard_link(place: Path) -> str:
    first, second = place / "first", place / "second"
    first.write_text("x")
    second.hardlink_to(first)
    return "" if first.stat().st_nlink == 2 else "the file system does not count links"


_HOLDER = """
import sys
from filelock import FileLock
with FileLock(sys.argv[1]):
    print("locked", flush=True)
    sys.stdin.readline()
"""


def _exclude(place: Path) -> str:
    from filelock import FileLock, Timeout

    path = place / "claim.lock"
    with subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        try:
            if holder.stdout is None or holder.stdout.readline().strip() != "locked":
                return "the first process did not get the lock"
            try:
                with FileLock(path, timeout=0):
                    return "two processes had the lock at the same time"
            except Timeout:
                pass
        finally:
            holder.communicate("\n", timeout=30)
    with FileLock(path, timeout=10):
        return ""


def checks(root: Path | None) -> Iterator[Check]:
    """All checks, in order; those of the run at ``root`` where it is given.

    Where a package is missing, the checks after it are left out: they need the packages.
    """
    yield from check_python()
    for check in check_packages(requirements()):
        yield check
        if check[0] == "FAILURE":
            return
    yield from check_tensorflow()
    run = None
    if root is not None:
        from jobs.run.index import read_run

        try:
            run = read_run(root)
        except UserError as error:
            yield "FAILURE", f"run: {error}"
        else:
            yield from check_run(run)
        if not root.is_dir():
            return
    folder = Path.cwd() if root is None else root
    yield from check_space(folder, run)
    yield from check_file_system(folder)


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m jobs.verify",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "run",
        metavar="RUN",
        nargs="?",
        type=Path,
        help="a run directory (default: the current folder, no run)",
    )
    arguments = parser.parse_args(argv)

    def command() -> int:
        failed = False
        for level, line in checks(arguments.run):
            failed |= level == "FAILURE"
            print(f"{level:<8} {line}", flush=True)
        return int(failed)

    return run_command("jobs.verify", command)


if __name__ == "__main__":
    sys.exit(main())
