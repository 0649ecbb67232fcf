"""The log of a point, as a person may print it with ``cat``."""

from __future__ import annotations

from jobs.point.log import captured


def test_what_a_point_prints_does_not_control_the_terminal_of_who_prints_its_log(tmp_path):
    path = tmp_path / "training_log.txt"
    with captured(path, echo=False) as log:
        log.line("reason\x1b[2J\nof two lines")
        print("a traceback of\x1b]0;title\x07 läuft 漢字 \u202e")
    first, second = path.read_text().splitlines()
    assert first.endswith("reason\N{REPLACEMENT CHARACTER}[2J of two lines")
    assert second == "a traceback of\\x1b]0;title\\x07 läuft 漢字 \\u202e"
