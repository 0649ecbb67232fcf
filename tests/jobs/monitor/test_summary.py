"""The summary has a row for every index, and `grep False` finds the failed points and only those."""

from __future__ import annotations

import csv

import pytest

from jobs.common.records import read_record, write_record
from jobs.monitor import summary
from jobs.monitor.summary import LEADING, collect, device_notes
from unet_models.training.history import COLUMNS, summarise


def finish(run, entry, status="done", reason="", **more):
    paths = run.point_paths(entry)
    paths.state.mkdir(parents=True)
    row = dict.fromkeys(COLUMNS, 0.25) | {"epoch": 1}
    metrics = {**summarise([row], 2), "training_time_seconds": 1.5, "chance_jaccard": 0.1}
    record = {"key": entry.key, "status": status, "reason": reason, "metrics": metrics, "attempts": 1, **more}
    write_record(paths.results, record)


def rows(run):
    with run.paths.summary.open() as stream:
        return list(csv.DictReader(stream))


def test_every_index_has_a_row_and_the_predecessors_columns_come_first(tiny_run):
    finish(tiny_run, tiny_run.entries[0])
    collected = collect(tiny_run)
    assert collected.counts == {"done": 1, "waiting": 1} and collected.with_result == 1
    assert [point.index for point in collected.missing] == [2]
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


def test_a_result_of_a_wrong_shape_is_named_and_counts_as_lost(tiny_run):
    entry = tiny_run.entries[0]
    paths = tiny_run.point_paths(entry)
    paths.state.mkdir(parents=True)
    for metrics, effective in ((None, 3), ([], "x"), ({"best_val_jaccard": {"a": 1}}, {})):
        write_record(
            paths.results, {"key": entry.key, "status": "done", "metrics": metrics, "effective": effective}
        )
        collected = collect(tiny_run)
        assert collected.counts["lost"] == 1
        assert "is not a valid Result record" in collected.missing[0].reason


def test_what_a_point_used_stands_in_its_row(tiny_run):
    import os

    entry, second = tiny_run.entries
    finish(tiny_run, entry)
    paths = tiny_run.point_paths(entry)
    result = read_record(paths.results)
    times = {"started": "2026-01-01T10:00:00+00:00", "ended": "2026-01-01T10:30:00+00:00"}
    gpu = {"utilisation_percent_mean": 71.5}
    write_record(
        paths.results,
        {**result, **times, "attempts": 2, "peak_host_memory_mb": 900.0, "job_id": "4[1].x", "gpu": gpu},
    )
    paths.claims.mkdir()
    write_record(paths.claim(1), {"host": "a", "pid": 1, "started": "2026-01-01T08:00:00+00:00"})
    last = 1767258000 - 3600 + 1800  # 2026-01-01T08:30:00 UTC
    os.utime(paths.claim(1), (last, last))
    other = tiny_run.point_paths(second)
    other.state.mkdir(parents=True)
    record = {
        "state": "error",
        "started": times["started"],
        "updated": "2026-01-01T10:00:20+00:00",
        "attempts": 1,
    }
    write_record(other.status, record)
    collect(tiny_run)
    one, two = rows(tiny_run)
    assert (one["wall_seconds"], one["earlier_seconds"]) == ("1800.0", "1800.0")
    assert (one["peak_host_memory_mb"], one["gpu_utilisation_percent"], one["job_id"]) == (
        "900.0",
        "71.5",
        "4[1].x",
    )
    assert (two["wall_seconds"], two["earlier_seconds"], two["job_id"]) == ("20.0", "0.0", "")
    paths.claim(1).unlink()
    write_record(other.status, {**record, "started": "yesterday", "attempts": ["x"]})
    collect(tiny_run)
    one, two = rows(tiny_run)
    assert one["earlier_seconds"] == "" and two["wall_seconds"] == ""


def test_the_devices_are_counted_and_those_without_their_gpu(tiny_run):
    for entry, device in zip(tiny_run.entries, ("CPU", "NVIDIA A40"), strict=True):
        finish(tiny_run, entry, device=device, job_id=f"7[{entry.index}].pbs")
    collected = collect(tiny_run)
    assert collected.devices == {"CPU": 1, "NVIDIA A40": 1} and collected.without_gpu == 1
    first, second = device_notes(collected)
    assert first.startswith("1 point trained on the CPU, although their jobs asked for a GPU")
    assert "1 on CPU, 1 on NVIDIA A40" in second
    # The jobs on record asked for none.
    jobs = [{"id": "7[].pbs", "indices": "1-2", "asked": {"ngpus": 0}}]
    write_record(tiny_run.paths.submissions, {"submissions": [{"number": 1, "made": "then", "jobs": jobs}]})
    assert collect(tiny_run).without_gpu == 0


@pytest.mark.parametrize("text", ["=cmd|' /C calc'!A0", "+1+1", "@SUM(A1)", "-2+3"])
def test_a_text_that_a_spreadsheet_would_execute_is_a_text_there(text):
    assert summary._cell(text) == f"'{text}" and summary._cell(-0.25) == "-0.25"
