"""Commands in messages work where they are pasted."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from jobs.common.hints import hint, hint_lines
from jobs.common.shell_words import pasted
from tests.conftest import REPOSITORY


@pytest.fixture(autouse=True)
def login_node(monkeypatch):
    monkeypatch.delenv("PBS_JOBID", raising=False)


def words(line: str, folder: Path) -> list[str]:
    """The words that bash makes of a command, and the folder in which it runs, with a stand-in for ``python``."""
    stand_in = 'python() { printf "%s\\0" "$PWD" "$@"; }; bash() { python "$@"; }; '
    done = subprocess.run(["bash", "-ec", stand_in + line], cwd=folder, capture_output=True, check=True)
    return [os.fsdecode(word) for word in done.stdout.split(b"\0")[:-1]]


def test_in_the_repository_a_command_is_short(monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    assert hint("jobs.submit", Path("my run"), "--live") == "python -m jobs.submit 'my run' --live"
    assert hint("make_grid.py", "--run-dir", Path("run")) == "python make_grid.py --run-dir run"
    assert hint("jobs/make_environment.sh") == "bash jobs/make_environment.sh"


def test_elsewhere_a_command_finds_the_repository_and_the_run(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert words(hint("jobs.submit", Path("my run")), tmp_path) == [
        *(str(REPOSITORY), "-m", "jobs.submit", f"{tmp_path}/my run"),
    ]
    assert words(hint("collect.py", Path("run")), tmp_path) == [
        *(str(tmp_path), f"{REPOSITORY}/collect.py", f"{tmp_path}/run"),
    ]
    assert words(hint("jobs/verify_setup.sh"), tmp_path) == [
        *(str(tmp_path), f"{REPOSITORY}/jobs/verify_setup.sh"),
    ]


def test_what_is_read_later_works_in_every_folder(monkeypatch, tmp_path):
    monkeypatch.chdir(REPOSITORY)
    assert words(hint("jobs.status", Path("run"), anywhere=True), tmp_path)[::3] == [
        *(str(REPOSITORY), f"{REPOSITORY}/run"),
    ]
    script = "\n".join(hint_lines(("make_grid.py", Path("a.yaml")), ("jobs.local", Path("run"))))
    assert words(script, tmp_path) == [
        *(str(REPOSITORY), "make_grid.py", f"{REPOSITORY}/a.yaml"),
        *(str(REPOSITORY), "-m", "jobs.local", f"{REPOSITORY}/run"),
    ]


def test_a_job_prints_commands_for_whoever_reads_its_log(monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    monkeypatch.setenv("PBS_JOBID", "5[1].x")
    assert hint("jobs.resubmit", Path("/run")).startswith(f"cd {REPOSITORY} && python -m jobs.resubmit")


def test_a_removed_working_directory_does_not_end_a_message(monkeypatch, tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert hint("jobs.local", Path("/run")) == f"cd {REPOSITORY} && python -m jobs.local /run"


@pytest.mark.parametrize(
    "name",
    ["a b", "it's", "-x", '$HOME `ls` \\ "', "läuf 😀", "a\nb'\\", "tab\there", os.fsdecode(b"r\xff1")],
)
def test_every_name_of_a_folder_arrives_whole(name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    line = hint("jobs.local", Path(name))
    assert words(line, tmp_path)[-1] == f"{tmp_path}/{name}" and len(line.splitlines()) == 1
    monkeypatch.chdir(REPOSITORY)
    assert words(hint("jobs.local", Path(name)), tmp_path)[-1].removeprefix("./") == name
    assert words(f"python {pasted(name)}", tmp_path)[-1].removeprefix("./") == name
