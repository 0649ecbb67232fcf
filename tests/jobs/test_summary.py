"""The summary has a row for every index, and `grep False` finds the failed points and only those."""

from __future__ import annotations

import csv

from jobs.records import write_record
from jobs.summary import LEADING, collect
from unet_models.history import COLUMNS, summarise


def finish(run, entry, status="done", reason=""):
    paths = run.point_paths(entry)
    paths.state.mkdir(parents=True)
    row = dict.fromkeys(COLUMNS, 0.25) | {"epoch": 1}
    metrics = {**summarise([row], 2), "training_time_seconds": 1.5, "chance_jaccard": 0.1}
    record = {"key": entry.key, "status": status, "reason": reason, "metrics": metrics, "attempts": 1}
    write_record(paths.results, record)


def rows(run):
    with run.paths.summary.open() as stream:
        return list(csv.DictReader(stream))


def test_every_index_has_a_row_and_the_predecessors_columns_come_first(tiny_run):
    finish(tiny_run, tiny_run.entries[0])
    collected = collect(tiny_run)
    assert collected.counts == {"done": 1, "waiting": 1} and collected.with_result == 1
    assert [row[0] for row in collected.missing] == [2]
    found = rows(tiny_run)
    assert [row["index"] for row in found] == ["1", "2"]
    assert tuple(found[0])[: len(LEADING)] == LEADING
    assert found[0]["best_val_jaccard"] == "0.25" and found[0]["learning_rate"] == "0.001"
    assert found[1]["best_val_jaccard"] == "" and found[1]["status"] == "waiting"


def test_grep_false_finds_failed_points_and_only_those(tiny_run):
    first, second = tiny_run.entries
    finish(tiny_run, first)
    paths = tiny_run.point_paths(second)
    paths.state.mkdir(parents=True)
    write_record(paths.status, {"state": "error", "reason": "expected False,\nreceived False"})
    collect(tiny_run)
    lines = tiny_run.paths.summary.read_text().splitlines()
    assert [line for line in lines if "False" in line] == [lines[2]] and len(lines) == 3
    assert lines[2].count("False") == 1


def test_a_diverged_point_is_a_result_without_success(tiny_run):
    finish(tiny_run, tiny_run.entries[0], "diverged", "the training loss became nan")
    assert collect(tiny_run).with_result == 1
    assert rows(tiny_run)[0]["training_successful"] == "False"
    assert rows(tiny_run)[0]["reason"] == "the training loss became nan"


def test_unexpected_types_in_a_result_do_not_crash(tiny_run):
    entry = tiny_run.entries[0]
    paths = tiny_run.point_paths(entry)
    paths.state.mkdir(parents=True)
    for metrics, effective in ((None, 3), ([], "x"), ({"best_val_jaccard": {"a": 1}}, {})):
        write_record(
            paths.results, {"key": entry.key, "status": "done", "metrics": metrics, "effective": effective}
        )
        assert collect(tiny_run).counts["done"] == 1
