"""What the documents say of the classes is what the table in code says."""

from __future__ import annotations

import re

from jobs.common.states import STATES
from tests.conftest import REPOSITORY


def test_the_documented_classes_are_those_of_the_code():
    text = (REPOSITORY / "docs" / "interruptions.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (\w+) \| (\w+) \| (\d+) \|$", text, re.MULTILINE)
    words = {True: "yes", False: "no"}
    assert rows == [
        (name, words[state.successful], words[state.rerun], words[state.resumed], str(state.exit_code))
        for name, state in STATES.items()
    ]
    codes = (REPOSITORY / "docs" / "exit_codes.md").read_text()
    for state in STATES.values():
        assert f"\n| {state.exit_code} |" in codes
