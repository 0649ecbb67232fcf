"""Drawing in other processes gives the same results, reports every failure, and never forks a process with threads."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest

from analysis.figures.background import MOST_PROCESSES, drawing_processes, in_background
from tests.analysis.report.test_report import frame
from tests.conftest import REPOSITORY

SCRIPT = """
import os, signal, sys, threading, time
from functools import partial

from analysis.figures.background import in_background
from jobs.common.errors import UserError

def kill():
    os.kill(os.getpid(), signal.SIGKILL)

def refuse():
    raise ValueError("no such thing")

def wait(seconds):
    time.sleep(seconds)

def main(case):
    # A process in the background of a shell ignores SIGINT, and so do the processes that it starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    tasks = {name: os.getpid for name in "abc"}
    with in_background(tasks | {"d": {"killed": kill, "refused": refuse}.get(case, os.getpid)}, 2) as results:
        if case == "interrupted":
            os.killpg(0, signal.SIGINT)
            time.sleep(5)
        if case == "abandoned":
            raise UserError("something else")
        try:
            found = results()
        except UserError as error:
            print("UserError", error)
        except ValueError as error:
            print("ValueError", error)
        else:
            print(*found, os.getpid() in found.values(), len(set(found.values())) <= 2)

if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except KeyboardInterrupt:
        print("interrupted")
    except UserError as error:
        print("ended", error)
"""

ON_CORES = """
import os, sys
os.sched_setaffinity(0, eval(sys.argv[1]))
import analyze
analyze.main(["--summary_file", sys.argv[2], "--output_dir", sys.argv[3]])
"""


def _run(case):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, case],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
        start_new_session=True,
    )
    return done.stdout.strip(), done.stderr


@pytest.mark.parametrize(
    ("case", "reported"),
    [
        ("well", "a b c d False True"),
        ("refused", "ValueError no such thing"),
        ("interrupted", "interrupted"),
        ("abandoned", "ended something else"),
    ],
)
def test_results_and_failures_come_back_from_other_processes(case, reported):
    assert _run(case) == (reported, "")


def test_a_killed_process_is_reported_with_what_to_do():
    output, errors = _run("killed")
    assert (
        output.startswith("UserError one of the processes for a, b, c, d was killed") and "memory" in output
    )
    assert errors == ""


def test_a_process_with_threads_is_not_forked():
    held = threading.Event()
    thread = threading.Thread(target=held.wait)
    thread.start()
    try:
        with in_background({"a": os.getpid, "b": os.getpid}, 2) as results:
            assert results() == {"a": os.getpid(), "b": os.getpid()}
    finally:
        held.set()
        thread.join()


@pytest.mark.parametrize(
    ("cores", "expected"), [(1, 1), (3, 3), (MOST_PROCESSES, MOST_PROCESSES), (128, MOST_PROCESSES)]
)
def test_a_shared_node_is_not_overloaded(cores, expected, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(cores)))
    monkeypatch.delenv("NCPUS", raising=False)
    assert drawing_processes() == expected


def test_a_job_draws_in_no_more_processes_than_it_requested_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(128)))
    monkeypatch.setenv("NCPUS", "2")
    assert drawing_processes() == 2


def test_with_one_process_everything_runs_in_this_process():
    with in_background({"a": os.getpid, "b": os.getpid}, 1) as results:
        assert results() == {"a": os.getpid(), "b": os.getpid()}


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="only one core: there is no other process")
def test_a_report_is_the_same_on_one_core_and_on_two(tmp_path):
    frame().to_csv(tmp_path / "summary.csv", index=False)
    available = sorted(os.sched_getaffinity(0))
    written = []
    for count in (1, 2):
        output = tmp_path / "analysis"
        subprocess.run(
            [sys.executable, "-c", ON_CORES, repr(available[:count]), tmp_path / "summary.csv", output],
            cwd=REPOSITORY,
            check=True,
            capture_output=True,
        )
        written.append({path.name: path.read_bytes() for path in output.iterdir()})
        output.rename(tmp_path / f"analysis_{count}")
    assert written[0].keys() == written[1].keys()
    for name, content in written[0].items():
        assert content == written[1][name], name
