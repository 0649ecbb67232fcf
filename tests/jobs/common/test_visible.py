"""No text of a file, a name or another program controls the terminal of the user, or hides what is printed."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
import textwrap

import pytest
from rich.table import Table
from rich.text import Text

from jobs.common.console import SafeConsole
from jobs.common.errors import one_line
from jobs.common.startup import SafeText
from jobs.common.visible import visible
from tests.conftest import REPOSITORY

CONTROLS = [chr(number) for number in (*range(32), 127, *range(128, 160)) if chr(number) not in "\n\t"]
HIDING = ["\u202e", "\u2066", "\u200e", "\ufeff", "\u00ad", "\u2028", "\u2029", "\ud800", "\U000e0041"]


@pytest.mark.parametrize("character", CONTROLS + HIDING, ids=lambda one: f"{ord(one):04x}")
def test_what_controls_or_hides_is_shown_as_its_escape(character):
    shown = visible(f"a{character}b\n")
    assert character not in shown and shown.isascii() and shown.startswith("a\\") and shown.endswith("b\n")


@pytest.mark.parametrize(
    "text", ["", "line\n\tindented\n", "läuft 漢字 ёлка", "\N{GRINNING FACE}", "👩\u200d🔬", "é", "a\u00a0b"]
)
def test_what_people_write_stays_as_it_is(text):
    assert visible(text) == text


def test_one_line_keeps_what_people_write_and_nothing_that_controls():
    assert one_line("läuft 漢字\n👩\u200d🔬") == "läuft 漢字 👩\u200d🔬"
    for character in CONTROLS + HIDING:
        assert character not in one_line(f"a{character}b")


def test_a_stream_of_a_command_shows_escapes_however_it_is_written_to():
    raw = io.BytesIO()
    stream = SafeText(raw, encoding="utf-8", errors="backslashreplace")
    assert stream.write("\x1b[2J") == 4
    print("a\x07", "b", file=stream)
    stream.writelines(["\x9b1m", "\u202e"])
    stream.flush()
    assert raw.getvalue() == b"\\x1b[2Ja\\x07 b\n\\x9b1m\\u202e"
    stream.unchecked().write("\x1b[1m")
    stream.flush()
    assert raw.getvalue().endswith(b"\x1b[1m")


def test_a_table_shows_the_escapes_of_its_texts_and_keeps_its_own(capsys):
    output = io.StringIO()
    console = SafeConsole(file=output, force_terminal=True, width=60)
    table = Table("name\x1b[2J")
    table.add_row(Text("bad\x1b]0;title\x07", style="red"))
    console.print(table)
    console.print("plain\x1b[2J", style="bold", markup=False)
    shown = output.getvalue()
    assert "bad\\x1b]0;t" in shown and "\x1b]0" not in shown and "\x1b[2J" not in shown
    assert "\x1b[31m" in shown and "\x1b[1m" in shown


COMMAND = """
    import sys
    sys.argv[0] = "status.py"
    import jobs
    from jobs.common.console import SafeConsole
    from jobs.common.errors import UserError, run_command
    import argparse, warnings

    def command():
        print("printed\\x1b[2J")
        SafeConsole().print("table\\x1b[3J", style="red", markup=False, highlight=False)
        warnings.warn("warned\\x1b[4J")
        raise UserError("error\\x1b[5J\\u202e")

    code = run_command("x", command)
    argparse.ArgumentParser(prog="p").parse_args(["--no\\x1b[6J"])
"""


@pytest.mark.parametrize("terminal", [False, True])
def test_whatever_a_command_prints_is_shown_as_text(terminal):
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "200"}
    environment.pop("NO_COLOR", None)
    program = [sys.executable, "-c", textwrap.dedent(COMMAND)]
    if terminal:
        parent, child = pty.openpty()
        process = subprocess.Popen(program, cwd=REPOSITORY, env=environment, stdout=child, stderr=child)
        os.close(child)
        said = b""
        while True:
            try:
                more = os.read(parent, 65536)
            except OSError:  # the other end is closed
                break
            if not more:
                break
            said += more
        process.wait()
        os.close(parent)
    else:
        done = subprocess.run(
            program,
            cwd=REPOSITORY,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        said = done.stdout
    for number, word in enumerate(("printed", "table", "warned", "error", "--no"), start=2):
        assert f"{word}\\x1b[{number}J".encode() in said
        assert f"\x1b[{number}J".encode() not in said
    assert b"\\u202e" in said
    assert (b"\x1b[31m" in said) is terminal  # the colour of the table itself
