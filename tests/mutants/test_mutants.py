"""The sample of mutants: which changes are left out, and where a survivor is reported."""

from __future__ import annotations

import pytest

from tests.mutants.__main__ import HERE, Mutant, Outcome, configure, table


def mutant(before: str, after: str) -> Mutant:
    difference = (
        f"--- a.py\n+++ a.py\n@@ -1,3 +1,3 @@\n def f(x):\n-    {before}\n+    {after}\n     return x\n"
    )
    return Mutant("a.x_f__mutmut_1", "a.py", difference)


@pytest.mark.parametrize(
    ("before", "after", "only_words"),
    [
        ('fail("not a number")', 'fail("XXnot a numberXX")', True),
        ('fail("not a number")', 'fail("NOT A NUMBER")', True),
        ('row["mem"]', 'row["XXmemXX"]', False),
        ('row["mem"] + "a b"', 'row["MEM"] + "a b"', False),
        ('row["mem"] + "a b"', 'row["mem"] + "A B"', True),
        ("x < 1", "x <= 1", False),
        ('fail("not a number")', "fail(None)", False),
    ],
)
def test_only_a_change_of_words_is_left_out(before, after, only_words):
    assert mutant(before, after).only_words is only_words


@pytest.mark.parametrize(
    ("name", "number"), [("a.x_f__mutmut_1", 5), ("a.xǁCǁf__mutmut_2", 12), ("a.x_none__mutmut_1", 0)]
)
def test_a_survivor_is_reported_with_its_line_in_the_file(tmp_path, name, number):
    function = "def f(x):\n    x = 1\n    y = 2\n    x = 1\n    return x\n"
    method = "".join(f"    {line}\n" for line in function.splitlines())
    (tmp_path / "a.py").write_text(f"\n{function}\nclass C:\n{method}")
    difference = (
        "--- a.py\n+++ a.py\n@@ -2,4 +2,4 @@\n     x = 1\n     y = 2\n-    x = 1\n+    x = 2\n     return x\n"
    )
    assert Mutant(name, "a.py", difference).line(tmp_path) == number


def test_timeouts_count_as_killed_and_changes_without_a_test_as_survived():
    statuses = ["killed", "killed", "timeout", "survived", "no tests"]
    tried = {Mutant(str(number), "a.py", ""): status for number, status in enumerate(statuses)}
    row = table([Outcome("claims", 90, tried, 60.0)]).splitlines()[2]
    assert row == "| claims | 90 | 5 | 2 | 1 | 1 | 1 | 60% | 1.0 |"


def test_the_settings_of_mutmut_name_the_files_and_the_tests_that_exist(tmp_path):
    (tmp_path / "tests" / "jobs").mkdir(parents=True)
    configure(tmp_path, {"source": ["jobs/pbs", "jobs/a.py"], "tests": ["tests/jobs", "tests/none"]})
    text = (tmp_path / "setup.cfg").read_text()
    assert "only_mutate =\n    jobs/pbs/*\n    jobs/a.py\n" in text
    assert "test_selection =\n    tests/jobs\n" in text and "tests/none" not in text


def test_every_room_names_files_that_exist():
    import yaml

    rooms = yaml.safe_load((HERE / "rooms.yaml").read_text())
    assert set(rooms) == {"records", "claims", "status", "submissions", "data", "statistics"}
    assert [
        source
        for room in rooms.values()
        for source in room["source"]
        if not (HERE.parent.parent / source).exists()
    ] == []
