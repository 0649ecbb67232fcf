"""Where the first points of a run all fail, the rest say so instead of failing one by one."""

from __future__ import annotations

import pytest

from jobs.common.records import write_record
from jobs.point import circuit_breaker
from jobs.point.attempt import run_point
from jobs.point.circuit_breaker import LOCAL_SESSION, session, why_not_to_start
from jobs.point.status import read_status
from tests.jobs.test_submit import give_result, give_state, run  # noqa: F401 - the fixture
from unet_models.training import training


@pytest.fixture(autouse=True)
def _outside_a_job(monkeypatch):
    for name in ("PBS_JOBID", LOCAL_SESSION):
        monkeypatch.delenv(name, raising=False)


def fail(run, *indices, own="local a", **more):  # noqa: F811
    for index in indices:
        give_state(run, index, "error", reason=f"ValueError: {index}", session=own, **more)


def test_three_failures_and_nothing_else_stop_the_rest(run):  # noqa: F811
    fail(run, 1, 2)
    assert why_not_to_start(run, "local a") == ""
    fail(run, 5)
    reason = why_not_to_start(run, "local a")
    assert "the first 3 points of this run all failed" in reason and reason.count("exp_0") == 3
    assert "ValueError: 5" in reason


@pytest.mark.parametrize(
    "healthy",
    [
        lambda of: give_result(of, 9),
        lambda of: give_state(of, 9, "running", epoch=1, session="local a"),
        lambda of: give_state(of, 9, "timeout", session="local a"),
        lambda of: give_state(of, 9, "oom", session="local a"),
    ],
)
def test_one_point_that_trains_keeps_the_others_going(run, healthy):  # noqa: F811
    fail(run, 1, 2, 3)
    healthy(run)
    assert why_not_to_start(run, "local a") == ""


def test_failures_of_an_earlier_session_do_not_count(run):  # noqa: F811
    fail(run, 1, 2, 3)
    assert why_not_to_start(run, "local b") == "" and why_not_to_start(run, None) == ""


def test_points_that_were_not_started_are_no_further_evidence(run):  # noqa: F811
    fail(run, 1, 2)
    fail(run, 3, 4, 5, not_started=True)
    assert why_not_to_start(run, "local a") == ""


def test_a_session_is_a_submission_an_array_by_hand_or_a_local_run(run, monkeypatch):  # noqa: F811
    assert session(run) is None
    monkeypatch.setenv("PBS_JOBID", "12[3].pbs")
    assert session(run) == "job 12"
    jobs = [{"id": "11[].pbs", "indices": "1-3"}, {"id": "12[].pbs", "indices": "4-5"}]
    write_record(run.paths.submissions, {"submissions": [{"number": 1, "made": "then", "jobs": jobs}]})
    first = session(run)
    monkeypatch.setenv("PBS_JOBID", "11[1].pbs")
    assert session(run) == first == "submission 1 of then"
    run.paths.submissions.write_text("{")
    assert session(run) == "job 11"
    monkeypatch.setenv(LOCAL_SESSION, "x")
    assert session(run) == "local x"


def test_the_fourth_point_is_stopped_with_the_others_message_and_tried_again_later(run, monkeypatch):  # noqa: F811
    calls = []

    def broken(*arguments, **options):
        calls.append(1)
        raise ValueError("the data are not there")

    monkeypatch.setattr(training, "prepare_process", broken)
    monkeypatch.setenv(LOCAL_SESSION, "first")

    def train(index):
        return run_point(run, run.entry(index), echo=False, tell=lambda text: None)

    assert [train(index) for index in range(1, 8)] == ["error"] * 7
    assert len(calls) == circuit_breaker.FAILURES
    status = read_status(run, run.entry(7))
    assert "not started" in status.reason and "the data are not there" in status.reason
    assert "not started" in run.point_paths(run.entry(7)).log.read_text()
    monkeypatch.setenv(LOCAL_SESSION, "second")
    train(7)
    assert len(calls) == circuit_breaker.FAILURES + 1


@pytest.mark.parametrize(
    ("states", "stopped"),
    [
        (["error", "error"], False),
        (["error", "error", "error"], True),
        (["error", "error", "error", "timeout"], False),
        (["error", "error", "error", ("running", 0)], True),
        (["error", "error", "error", ("running", 1)], False),
        (["error", "error", ("error", 0, "another")], False),
        (["error", "error", ("not started",), "error"], True),
        (["error", "error", ("not started",)], False),
        (["error", "error", "error", "result"], False),
    ],
)
def test_three_failures_of_one_session_stop_it_and_nothing_less(run, states, stopped):  # noqa: F811
    for index, state in enumerate(states, start=1):
        name, *more = state if isinstance(state, tuple) else (state,)
        if name == "result":
            give_result(run, index)
            continue
        given = {"session": "job 7", "epoch": more[0] if more else 0, "reason": f"fault {index}"}
        if len(more) == 2:
            given["session"] = more[1]
        if name == "not started":
            name, given = "error", {**given, "not_started": True}
        give_state(run, index, name, **given)
    reason = why_not_to_start(run, "job 7")
    assert bool(reason) is stopped
    assert why_not_to_start(run, None) == "" and why_not_to_start(run, "job 8") == ""
    if stopped:
        assert reason.startswith("not started: the first 3 points of this run all failed (")
