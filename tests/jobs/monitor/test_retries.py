"""The next step of an unattended run, from files, record and scheduler."""

from __future__ import annotations

import pytest

from jobs.common.schema import Change, Requested, Submission, SubmittedJob
from jobs.grid.retry import RetryRule
from jobs.monitor.retries import decide, normalised
from jobs.monitor.scheduler_view import Picture, View
from jobs.point.status import PointStatus
from tests.jobs.test_submit import run  # noqa: F401 - the fixture

RULES = {"timeout": RetryRule(2, walltime=1.5), "lost": RetryRule(1), "error": RetryRule(3)}


def picture(run, states, *submissions):  # noqa: F811
    """``states``: ``(state, reason)`` by index; every other point is done."""
    views = []
    for entry in run.entries:
        state, reason = states.get(entry.index, ("done", ""))
        queued = state == "queued"
        status = PointStatus("waiting" if queued else state, reason)
        views.append(View(entry, status, state, reason, job_id=f"9[{entry.index}].x" if queued else ""))
    return Picture(run, tuple(views), tuple(submissions))


def submitted(number, indices, *, retried=None, reasons=None, walltime="04:00:00"):
    job = SubmittedJob(id=f"{number}[].x", indices=indices, asked=Requested(walltime=walltime, mem="32gb"))
    kind = "submit" if retried is None else "supervise"
    return Submission(number=number, kind=kind, jobs=(job,), retried=retried or "", reasons=reasons or {})


def test_what_was_never_submitted_is_fresh_and_what_failed_is_submitted_again_by_its_class(run):  # noqa: F811
    states = {1: ("timeout", "t"), 2: ("lost", "l"), 3: ("oom", "o"), 4: ("waiting", ""), 5: ("queued", "")}
    decision = decide(picture(run, states, submitted(1, "1-3")), (), RULES)
    assert {one.state: dict(one.proposed) for one in decision.again} == {
        "lost": {2: ("04:00:00", "32gb")},
        "timeout": {1: ("06:00:00", "32gb")},
    }
    assert decision.fresh == (4,) and decision.later == 0
    assert decision.given_up == {3: "oom: the site block does not retry this class"}


def test_the_walltime_grows_from_what_was_requested_last(run):  # noqa: F811
    first, second = submitted(1, "1-3"), submitted(2, "1-2:2", retried="timeout", walltime="06:00:00")
    decision = decide(picture(run, {1: ("timeout", "t")}, first, second), (), RULES)
    assert decision.again[0].proposed == {1: ("09:00:00", "32gb")}


def test_a_class_is_retried_as_often_as_its_rule_says(run):  # noqa: F811
    history = [submitted(1, "1-3"), *(submitted(n, "1-2:2", retried="timeout") for n in (2, 3))]
    decision = decide(picture(run, {1: ("timeout", "slow")}, *history), (), RULES)
    assert not decision.submits and decision.given_up[1].startswith("timeout: submitted again 2 times")
    # Attempts of another class do not count, and a person who submits it begins anew.
    assert decide(picture(run, {1: ("lost", "x")}, *history), (), RULES).submits
    assert decide(picture(run, {1: ("timeout", "x")}, *history, submitted(4, "1-2:2")), (), RULES).submits


def test_the_same_error_again_gives_a_point_up(run):  # noqa: F811
    history = (
        submitted(1, "1-3"),
        submitted(2, "1-2:2", retried="error", reasons={"1": "OSError: 12 bytes in /a/b"}),
    )
    again = decide(picture(run, {1: ("error", "OSError: 99 bytes in /c/d")}, *history), (), RULES)
    assert not again.submits and again.given_up[1].startswith("error: the same again")
    other = decide(picture(run, {1: ("error", "ValueError: no")}, *history), (), RULES)
    assert other.again[0].reasons == {1: "ValueError: no"}


def test_one_error_in_every_point_stops_everything(run):  # noqa: F811
    states = {entry.index: ("waiting", "") for entry in run.entries}
    states |= {index: ("error", f"ImportError: {index}") for index in (1, 2, 3)}
    decision = decide(picture(run, states, submitted(1, "1-3")), (), RULES)
    assert "the same error ends every point (3 so far): ImportError" in decision.stopped
    assert not decision.submits
    # With a result the fault is not in what all points share.
    assert decide(picture(run, {**states, 12: ("done", "")}, submitted(1, "1-3")), (), RULES).submits


def test_a_point_that_was_submitted_never_started_and_is_in_no_queue_counts_as_lost(run):  # noqa: F811
    first = submitted(1, "1-3")
    decision = decide(picture(run, {1: ("waiting", "")}, first), (), RULES)
    assert [one.state for one in decision.again] == ["lost"] and decision.fresh == ()
    decision = decide(
        picture(run, {1: ("waiting", "")}, first, submitted(2, "1-2:2", retried="lost")), (), RULES
    )
    assert not decision.submits  # where PBS keeps no history, this would go on for ever


@pytest.mark.parametrize(
    ("room", "again", "fresh", "later"), [(0, 0, 0, 5), (1, 1, 0, 4), (3, 2, 1, 2), (9, 2, 3, 0)]
)
def test_no_more_is_submitted_than_the_queue_takes(run, room, again, fresh, later):  # noqa: F811
    states = {1: ("timeout", ""), 2: ("timeout", ""), **dict.fromkeys((3, 4, 5), ("waiting", ""))}
    decision = decide(picture(run, states, submitted(1, "1-2")), (), RULES, room=room, order=[5, 4, 3])
    assert sum(len(one.proposed) for one in decision.again) == again
    assert (decision.fresh, decision.later) == ((5, 4, 3)[:fresh], later)


def test_what_was_cancelled_stays_so_until_a_person_submits_it(run):  # noqa: F811
    states = {1: ("cancelled", ""), 2: ("waiting", "")}
    whole = Change(kind="cancel", user="alice", made="today", after=1)
    rules = {**RULES, "cancelled": RetryRule(1)}
    stopped = decide(picture(run, states, submitted(1, "1-2")), (whole,), rules)
    assert "cancelled by alice at today" in stopped.stopped and not stopped.submits
    assert not decide(picture(run, states, submitted(1, "1-2"), submitted(2, "1-2")), (whole,), rules).stopped
    part = Change(kind="cancel", user="bob", after=1, indices="1")
    decision = decide(picture(run, states, submitted(1, "1-2")), (part,), rules)
    assert decision.given_up == {1: "cancelled by bob"} and decision.submits


def test_reasons_are_compared_without_what_differs_between_attempts():
    assert normalised("killed 0x7f3 at /a/b.py:12") == normalised("killed 0x99 at /c/d.py:7")
    assert normalised("OSError") != normalised("ValueError")


def test_what_cannot_be_read_is_given_up_with_the_reason(run):  # noqa: F811
    decision = decide(picture(run, {1: ("unreadable", "permission denied")}, submitted(1, "1-3")), (), RULES)
    assert decision.given_up == {1: "permission denied"} and not decision.submits
