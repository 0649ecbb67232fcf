"""``python -m jobs.verify [RUN]``: checks packages, TensorFlow, queue, nodes, the run's data, space and file system.

It is the part of ``jobs/verify_setup.sh`` that needs Python. It prints one line per check: ok, warning or FAILURE with
what to do. The queue and the nodes are compared with what the run requests: what can never run is a FAILURE, what is only
slow a warning. Inside a job, that part is left out, and a GPU that was requested must be there. Exit codes: 0 no failure (perhaps warnings), 1 at least one failure, 2 bad arguments.
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
Level = Literal["ok", "warning", "FAILURE", "next"]
Check = tuple[Level, str]  # and the line to print

# The first import prepares the process as that of a point, whatever the user's keras.json and matplotlibrc are.
_TENSORFLOW = f"""
import sys
sys.path.insert(0, {str(PROJECT.parent)!r})
import unet_models, keras, tensorflow as tf
gpus = ",".join(d.name for d in tf.config.list_physical_devices("GPU")) or "-"
print(tf.__version__, keras.__version__, gpus, tf.test.is_built_with_gpu_support())
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


def check_tensorflow(run: Run | None = None) -> Iterator[Check]:
    """TensorFlow and Keras, imported in a process of their own: a crash must not end the other checks.

    Inside a job that requested a GPU for ``run``, TensorFlow must see one.
    """
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
    if answer.returncode != 0 or len(words) != 4:
        last = (answer.stderr.strip() or "no output").splitlines()[-1]
        if answer.returncode < 0:
            last += f", ended by {signal.Signals(-answer.returncode).name}"
        yield "FAILURE", f"TensorFlow: cannot be imported ({last}); {_repair()}"
        return
    tensorflow, keras, gpus, built = words
    if release(keras) < release(OLDEST_KERAS):
        yield "FAILURE", f"Keras: {keras}; expected {OLDEST_KERAS} or newer: {_repair()}"
    found = f"TensorFlow: {tensorflow}, Keras {keras}"
    if gpus != "-":
        yield "ok", f"{found}, GPU {gpus}"
    elif run is not None:
        yield _without_gpu(run, found, built_for_gpus=built == "True")
    else:
        yield "warning", f"{found}: {_no_gpu_here()}"


def _no_gpu_here() -> str:
    where = (
        "give the run, so that it is known whether this job requested one: qsub -v RUN_DIR=/its/path ..."
        if "PBS_JOBID" in os.environ
        else "most login nodes have none: run this check inside a job, too"
    )
    return f"no GPU here, so it would run on the CPU; {where}"


def _without_gpu(run: Run, found: str, *, built_for_gpus: bool) -> Check:
    """Whether it is a fault that TensorFlow sees no GPU here."""
    from jobs.point.gpu_check import gpus_asked_for, likely_causes, no_gpu

    if run.site["ngpus"] == 0:
        return "ok", f"{found}, on the CPU (ngpus: 0 in the site block)"
    asked = gpus_asked_for(run)
    if not asked:
        return "warning", f"{found}: {_no_gpu_here()}"
    if run.site["allow_cpu"]:
        causes = likely_causes(built_for_gpus=built_for_gpus, run=run)
        return "warning", f"{found}: no GPU here, so points train on the CPU (allow_cpu). {causes}"
    return "FAILURE", f"{found}: {no_gpu(asked, built_for_gpus=built_for_gpus, run=run)}"


def check_pbs(run: Run | None, answers: Path | None = None) -> Iterator[Check]:
    """What PBS's server, queues and nodes cannot run, or run slowly; nothing inside a job, and without PBS's commands.

    ``answers`` is a folder with what the commands printed, where this Python is in a container that lacks them.
    """
    if "PBS_JOBID" in os.environ or (answers is None and shutil.which("qstat") is None):
        return
    from jobs.pbs.commands import Scheduler
    from jobs.pbs.feasibility import QUESTIONS, check_cluster

    def read(*command: str) -> str | None:
        name = next(name for name, question in QUESTIONS.items() if question == command)
        try:
            return (Path() if answers is None else answers).joinpath(name).read_text(errors="replace")
        except OSError:
            return None

    yield from check_cluster(run, Scheduler(pauses=()).printed if answers is None else read)


def node_check(run: Run) -> Iterator[Check]:
    """The command that checks a node, in a job that requests what a sub-job does."""
    from jobs.pbs.job_paths import qsub_line
    from jobs.pbs.qsub_arguments import verify_arguments

    try:
        command = qsub_line(run, verify_arguments(run))
    except UserError as error:
        yield "FAILURE", f"run: no job can be submitted: {error}"
        return
    yield "next", f"check a node as well: {command}"
    yield "next", f"its result: {run.paths.captured_verify}"


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


def checks(root: Path | None, answers: Path | None = None) -> Iterator[Check]:
    """All checks, in order; those of the run at ``root`` where it is given. ``answers`` is that of :func:`check_pbs`.

    Where a package is missing, the checks after it are left out: they need the packages.
    """
    yield from check_python()
    for check in check_packages(requirements()):
        yield check
        if check[0] == "FAILURE":
            return
    run, problem = _read(root)
    yield from check_tensorflow() if run is None else check_tensorflow(run)
    yield from check_pbs(run, answers)
    if problem:
        yield "FAILURE", f"run: {problem}"
    if run is not None:
        yield from check_run(run)
    if root is not None and not root.is_dir():
        return
    folder = Path.cwd() if root is None else root
    yield from check_space(folder, run)
    yield from check_file_system(folder)
    if run is not None and "PBS_JOBID" not in os.environ and (answers is not None or shutil.which("qsub")):
        yield from node_check(run)


def _read(root: Path | None) -> tuple[Run | None, str]:
    """The run at ``root``, and why it cannot be read."""
    if root is None:
        return None, ""
    from jobs.run.index import read_run

    try:
        return read_run(root), ""
    except UserError as error:
        return None, str(error)


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
    parser.add_argument(
        "--answers",
        metavar="FOLDER",
        type=Path,
        help="what PBS's commands printed, for a Python in a container (verify_setup.sh passes it)",
    )
    arguments = parser.parse_args(argv)

    def command() -> int:
        failed = False
        for level, line in checks(arguments.run, arguments.answers):
            failed |= level == "FAILURE"
            print(f"{level:<8} {line}", flush=True)
        return int(failed)

    return run_command("jobs.verify", command)


if __name__ == "__main__":
    sys.exit(main())
