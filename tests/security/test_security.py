"""A run that came from anyone: the table of threats and commands, and files that are replaced at random.

The long form (``make test-security``) has 2,000 replacements, and every threat with every command.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import analyze
import collect
from tests.conftest import REPOSITORY
from tests.jobs.test_submit import give_result
from tests.security.threats import ONLY_ROOT, THREATS
from tests.security.trials import every_command

TEXTS = "| escapes in texts | escape sequences and line breaks in each text of each file of the run, and of the scheduler |"
LONG = "SECURITY_TRIALS" in os.environ
TRIALS = int(os.environ.get("SECURITY_TRIALS", "200"))


def answer(module: str, *arguments: object) -> dict:
    """What a module of these tests prints; it forks, and so it has a process without threads."""
    done = subprocess.run(
        [sys.executable, "-m", f"tests.security.{module}", *map(str, arguments)],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def test_whatever_file_is_replaced_by_whatever_no_command_hangs_or_writes_elsewhere(tmp_path):
    found = answer("trials", tmp_path / "place", TRIALS)
    assert found["trials"] == TRIALS and found["wrong"] == []


def test_no_threat_has_an_effect_in_any_command(tmp_path):
    found = answer("threats", tmp_path / "place", 1 if LONG else 21)
    root = os.geteuid() == 0
    assert len(found) == len(THREATS) - (not root)
    commands = {command for row in found.values() for command in row}
    assert len(commands) == 21
    wrong = {
        (threat, command): words for threat, row in found.items() for command, words in row.items() if words
    }
    assert wrong == {}
    if not root:
        pytest.skip(f"every threat was tried but {ONLY_ROOT!r}: only root can give a file to another user")


def test_no_text_of_a_run_or_of_the_scheduler_controls_a_terminal_or_makes_a_line_of_its_own(tmp_path):
    found = answer("texts", tmp_path / "place", 1 if LONG else 42)
    assert found["tried"] >= 100 and found["wrong"] == []


@pytest.mark.parametrize("name", ["analysis", "analysis/report.html"])
def test_a_report_is_not_written_through_a_link(tiny_run, tmp_path, capsys, name):
    give_result(tiny_run, 1)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("mine")
    path = tiny_run.paths.root / name
    path.parent.mkdir(exist_ok=True)
    path.symlink_to(outside if name == "analysis" else outside / "file")

    collect.main([str(tiny_run.paths.root)])
    code = analyze.main([str(tiny_run.paths.root)])
    assert [one.name for one in outside.iterdir()] == ["file"] and (outside / "file").read_text() == "mine"
    if name == "analysis":
        assert code == 2 and "is a link, where a folder of the run belongs" in capsys.readouterr().err
    else:
        assert code == 0 and not path.is_symlink()


def test_the_document_names_every_threat_and_command(tmp_path):
    text = (Path(REPOSITORY) / "SECURITY.md").read_text()
    rows = {f"| {name.partition(':')[0]} | {threat.words} |" for name, threat in THREATS.items()}
    assert {line for line in text.splitlines() if line.startswith("| ")} == {
        "| threat | what is done |",
        *rows,
        TEXTS,
    }
    for command in every_command(tmp_path):
        assert re.search(rf"[ ,]{re.escape(command)}[,.]", " ".join(text.split())), command
