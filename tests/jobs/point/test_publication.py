"""A result is published once, says where its numbers come from, and another's is never replaced."""

from __future__ import annotations

import json

import pytest

from jobs.common.records import read, write
from jobs.common.schema import Result
from jobs.point.publication import has_result, publish_result
from jobs.point.status import PointStatus
from tests.jobs.test_submit import run  # noqa: F401 - the fixture


@pytest.mark.parametrize(
    ("result", "again", "job", "expected"),
    [
        (None, False, None, False),
        (Result(key="k", status="done", job_id="4[1].x"), False, None, True),
        (Result(key="k", status="done", job_id="4[1].x"), True, None, False),
        (Result(key="k", status="done", job_id="4[1].x"), True, "5[1].x", False),
        (Result(key="k", status="done", job_id="4[1].x"), True, "4[1].x", True),
        (Result(key="k", status="done"), True, "4[1].x", False),
    ],
)
def test_a_sub_job_that_pbs_starts_twice_trains_once(monkeypatch, result, again, job, expected):
    monkeypatch.delenv("PBS_JOBID", raising=False)
    if job is not None:
        monkeypatch.setenv("PBS_JOBID", job)
    assert has_result(PointStatus("done", result=result), again=again) is expected


def publish(run, result, replaced=None, said=None):  # noqa: F811
    entry = run.entry(1)
    run.point_paths(entry).folder.mkdir(exist_ok=True)
    checks = []
    state = publish_result(
        run,
        entry,
        result,
        replaced=replaced,
        check=lambda: checks.append(1),
        say=([] if said is None else said).append,
    )
    assert checks == [1]
    return state


def test_the_first_result_is_kept_and_its_state_returned(run):  # noqa: F811
    key = run.entry(1).key
    first, second = (
        Result(key=key, status="diverged", lineage="a"),
        Result(key=key, status="done", lineage="b"),
    )
    said = []
    assert publish(run, first) == "diverged"
    assert publish(run, second, said=said) == "diverged"
    path = run.point_paths(run.entry(1)).results
    assert read(path, Result).lineage == "a"
    assert said == ["another process has published a result for this point; it is kept"]
    assert publish(run, second, replaced=first) == "done"
    assert read(path, Result).lineage == "b"


def test_a_result_that_was_read_and_written_again_is_the_same_file(tiny_run):
    from jobs.point.attempt import run_point

    entry = tiny_run.entry(1)
    run_point(tiny_run, entry, echo=False, tell=lambda text: None)
    path = tiny_run.point_paths(entry).results
    before = path.read_bytes()
    write(path, read(path, Result))
    assert path.read_bytes() == before
    result = json.loads(before)
    # Whose number is whose: validation, test and chance differ on this data.
    scores = {
        result["metrics"][name] for name in ("best_val_jaccard", "chance_jaccard", "train_jaccard_at_best")
    }
    assert len(scores) == 3
    last = result["history"][result["metrics"]["best_epoch"] - 1]
    assert result["metrics"]["best_val_jaccard"] == last["val_jaccard"]


@pytest.mark.parametrize("name", ["curves", "predictions"])
def test_a_picture_that_cannot_be_drawn_withholds_no_result(tiny_run, monkeypatch, name):
    from jobs.point.attempt import run_point
    from unet_models import pictures

    def fail(*arguments, **options):
        raise RuntimeError("Failed to process string with tex because latex could not be found")

    monkeypatch.setattr(pictures, name, fail)
    entry = tiny_run.entry(1)
    paths = tiny_run.point_paths(entry)
    assert run_point(tiny_run, entry, echo=False, tell=lambda text: None) == "done"
    result = read(paths.results, Result)
    missing = getattr(paths, name)
    assert result.status == "done" and paths.model.exists() and not missing.exists()
    assert f"the picture {missing.name} is missing (RuntimeError: Failed to process" in result.reason
    assert "is missing" in paths.log.read_text()
