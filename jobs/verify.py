"""The part of ``jobs/verify_setup.sh`` that needs Python: packages, TensorFlow, data, space, the file system.

``python -m jobs.verify [RUN]``: one line a check. Exit codes: 0 no failure, 1 at least one.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from jobs.common.errors import UserError
from jobs.common.records import DamagedRecord, read_record, write_record
from jobs.run.index import Run, read_run

MODULES = ("numpy", "pandas", "scipy", "matplotlib", "seaborn", "yaml", "filelock", "PIL", "rich", "keras")
NEEDED_GB = 1.0  # for a small run; the models' own sizes are added where there is a run
Check = tuple[str, str]  # "ok", "warning" or "FAILURE"; the line

_TENSORFLOW = """
import keras, tensorflow as tf
print(tf.__version__, keras.__version__, ",".join(d.name for d in tf.config.list_physical_devices("GPU")) or "-")
"""


def check_python() -> Iterator[Check]:
    """The interpreter's version and every package."""
    version = ".".join(map(str, sys.version_info[:3]))
    if (3, 10) <= sys.version_info[:2] <= (3, 13):
        yield "ok", f"Python: {version} ({sys.executable})"
    else:
        yield "FAILURE", f"Python: {version}; expected 3.10 to 3.13: bash jobs/make_environment.sh"
    missing = [name for name in MODULES if importlib.util.find_spec(name) is None]
    if missing:
        yield (
            "FAILURE",
            f"packages: {', '.join(missing)} missing; make them with: bash jobs/make_environment.sh",
        )
    else:
        yield "ok", f"packages: {', '.join(MODULES)}"


def check_tensorflow() -> Iterator[Check]:
    """TensorFlow in a process of its own: a crash in it must not end the other checks."""
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
        yield "FAILURE", f"TensorFlow: cannot be imported ({last}); bash jobs/make_environment.sh"
        return
    tensorflow, keras, gpus = words
    if int(keras.split(".")[0]) < 3:
        yield "FAILURE", f"Keras: {keras}; expected 3.0.5 or newer: bash jobs/make_environment.sh"
    if gpus == "-":
        yield (
            "warning",
            f"TensorFlow: {tensorflow}, Keras {keras}: no GPU here, it would run on CPU. A login node has none, as a "
            "rule: run this check inside a job, too",
        )
    else:
        yield "ok", f"TensorFlow: {tensorflow}, Keras {keras}, GPU {gpus}"


def check_run(run: Run) -> Iterator[Check]:
    """The packed data are those that the run was made from."""
    from unet_models.data.images import DataError
    from unet_models.data.packed import read_packed

    yield "ok", f"run: {len(run.entries)} points"
    try:
        data = read_packed(run.paths.data)
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
    # The best weights, and what a checkpoint with Adam's two slots takes beside them.
    return 0.1 + parameters * 4 * 5 / 1e9


def check_space(folder: Path, run: Run | None) -> Iterator[Check]:
    """Free space of the file system, and the quota where the system tells it."""
    free = shutil.disk_usage(folder).free / 1e9
    needed = _needed_gb(run)
    if free >= needed:
        yield "ok", f"space: {free:.1f} GB free in {folder}, {needed:.1f} GB needed at most"
    else:
        yield (
            "FAILURE",
            f"space: {free:.1f} GB free in {folder}, about {needed:.1f} GB needed; clear some, or --run-dir elsewhere",
        )
    if shutil.which("quota") is None:
        yield "warning", "quota: no quota command here, so it is not known; ask your site how to see it"
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
        yield "ok", "quota: within the limits that `quota -s` tells"


def check_file_system(folder: Path) -> Iterator[Check]:
    """What the product's files rest on, tried in ``folder``: atomic replace, hard link, exclusion by a lock."""
    try:
        with tempfile.TemporaryDirectory(prefix=".verify_", dir=folder) as name:
            place = Path(name)
            yield _attempt("atomic replace", lambda: _replace(place))
            yield _attempt("hard link", lambda: _hard_link(place), needed=False)
            yield _attempt("lock between two processes", lambda: _exclude(place))
    except OSError as error:
        yield "FAILURE", f"file system: nothing can be written in {folder} ({error}); use another --run-dir"


def _attempt(what: str, check: Callable[[], str], *, needed: bool = True) -> Check:
    try:
        problem = check()
    except (OSError, Timeout, DamagedRecord, subprocess.SubprocessError) as error:
        problem = str(error) or type(error).__name__
    if not problem:
        return "ok", f"file system: {what}"
    remedy = "put the run on another file system (--run-dir), or ask your site"
    return ("FAILURE" if needed else "warning"), f"file system: {what}: {problem}; {remedy}"


def _replace(place: Path) -> str:
    path = place / "record.json"
    for value in (1, 2):
        write_record(path, {"value": value})
    left = [file.name for file in place.iterdir() if file != path]
    return "" if read_record(path)["value"] == 2 and not left else f"the old file is still there ({left})"


def _hard_link(place: Path) -> str:
    first, second = place / "first", place / "second"
    first.write_text("x")
    os.link(first, second)
    return "" if first.stat().st_nlink == 2 else "the link does not count"


_HOLDER = """
import sys
from filelock import FileLock
with FileLock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.readline()
"""


def _exclude(place: Path) -> str:
    path = place / "claim.lock"
    with subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        try:
            if holder.stdout is None or holder.stdout.readline().strip() != "held":
                return "the first process got no lock"
            try:
                with FileLock(path, timeout=0):
                    return "two processes held it at the same time"
            except Timeout:
                pass
        finally:
            holder.communicate("\n", timeout=30)
    with FileLock(path, timeout=10):
        return ""


def main(argv: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if argv is None else argv
    failed = False

    def show(checks: Iterator[Check]) -> None:
        nonlocal failed
        for level, line in checks:
            failed |= level == "FAILURE"
            print(f"{level:<8} {line}", flush=True)

    show(check_python())
    show(check_tensorflow())
    run = None
    folder = Path.cwd()
    if arguments:
        folder = Path(arguments[0])
        try:
            run = read_run(folder)
        except UserError as error:
            show(iter([("FAILURE", f"run: {error}")]))
        else:
            show(check_run(run))
    show(check_space(folder, run))
    show(check_file_system(folder))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
