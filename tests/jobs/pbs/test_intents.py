"""A qsub that is on record without an id: its job is found by its token, or PBS has none."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest

from jobs import resubmit, status, submit
from jobs.common.errors import ACTIVE, OK, SCHEDULER
from jobs.monitor.scheduler_view import look
from jobs.pbs import intents, submissions
from jobs.pbs.commands import Scheduler
from jobs.pbs.submissions import LockedSubmissions, read_all
from tests.jobs.test_submit import run  # noqa: F401 - the fixture


@pytest.fixture
def at_once(monkeypatch):
    """What is not in the queue now was not accepted."""
    for module in (intents, submissions):
        monkeypatch.setattr(module, "SETTLE_SECONDS", 0.0)


@pytest.fixture
def interrupted(run, pbs, monkeypatch):  # noqa: F811
    """A function: a submission of the run that is stopped after this number of jobs, before the last id is on record."""

    def after(count):
        left = [count]
        accept = LockedSubmissions.accept

        def stopped(record, intent, job_id):
            left[0] -= 1
            if not left[0]:
                raise KeyboardInterrupt
            accept(record, intent, job_id)

        with monkeypatch.context() as patch:
            patch.setattr(LockedSubmissions, "accept", stopped)
            submit.main([str(run.paths.root)])
        return read_all(run)

    return after


def test_an_array_without_an_id_is_shown_and_recorded_and_not_submitted_again(run, pbs, interrupted, capsys):  # noqa: F811
    record = interrupted(1)
    assert [one.kind for one in record.intents] == ["points"] and record.submissions[0].jobs == ()
    assert "12 queued" in printed(capsys, status.main([str(run.paths.root), "--live"]))
    assert read_all(run) == record  # a look writes nothing
    assert submit.main([str(run.paths.root)]) == ACTIVE
    record = read_all(run)
    assert record.intents == () and [job.id for job in record.submissions[0].jobs] == ["1[].pbshost"]
    assert record.submissions[0].jobs[0].indices == "1-12" and len(pbs.calls("qsub")) == 1


def printed(capsys, code):
    assert code in (OK, ACTIVE)
    return capsys.readouterr().out


def test_a_collect_job_without_an_id_is_recorded(run, pbs, interrupted):  # noqa: F811
    interrupted(2)
    assert resubmit.main([str(run.paths.root)]) == OK
    record = read_all(run)
    assert record.intents == () and record.submissions[0].collect.id == "2.pbshost"
    assert record.submissions[0].collect.waits_for == ("1[].pbshost",)


def test_a_probe_without_an_id_is_recorded(run, pbs, monkeypatch, capsys):  # noqa: F811
    def stopped(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(LockedSubmissions, "accept", stopped)
        submit.main([str(run.paths.root), "--probe"])
    assert submit.main([str(run.paths.root), "--probe"]) == ACTIVE
    assert "a probe is queued or running already: 1.pbshost" in capsys.readouterr().err
    assert [one.id for one in read_all(run).probes] == ["1.pbshost"]


def test_a_job_that_has_ended_is_found_where_the_server_keeps_it(run, pbs, interrupted):  # noqa: F811
    interrupted(1)
    pbs.finish(1, Exit_status=271)
    picture = look(run, Scheduler())
    assert [job.id for job in picture.submissions[0].jobs] == ["1[].pbshost"]
    assert {view.state for view in picture.views} == {"cancelled"}


def test_what_pbs_never_accepted_is_forgotten(run, pbs, interrupted, at_once):  # noqa: F811
    interrupted(1)
    state = pbs.load()
    state["jobs"].clear()
    pbs.save(state)
    assert submit.main([str(run.paths.root)]) == OK
    record = read_all(run)
    assert record.intents == () and [len(one.jobs) for one in record.submissions] == [0, 1]
    assert look(run, Scheduler()).unanswered == ""


def test_a_moment_after_the_interruption_it_is_waited_for(run, pbs, interrupted, monkeypatch, capsys):  # noqa: F811
    interrupted(1)
    state = pbs.load()
    jobs, state["jobs"] = state["jobs"], {}
    pbs.save(state)

    def arrive(seconds):
        pbs.save({**pbs.load(), "jobs": jobs})  # the server was slow

    # Of this module only: subprocess waits for a command with time.sleep, too, where the machine is busy.
    monkeypatch.setattr(submissions, "time", SimpleNamespace(sleep=arrive))
    assert submit.main([str(run.paths.root)]) == ACTIVE
    assert re.search(r"waiting for at most \d+ s: a qsub that was begun \d+ s ago", capsys.readouterr().out)
    assert [job.id for job in read_all(run).submissions[0].jobs] == ["1[].pbshost"]


def test_without_an_answer_nothing_is_submitted_and_the_announcement_stays(
    run,  # noqa: F811
    pbs,
    interrupted,
    at_once,
    monkeypatch,
    capsys,
):
    monkeypatch.setattr("jobs.pbs.commands.PAUSES", ())
    record = interrupted(1)
    pbs.set(down=True)
    monkeypatch.setattr(submit, "Scheduler", lambda: Scheduler(pauses=()))
    assert submit.main([str(run.paths.root)]) == ACTIVE
    assert "does not report" in capsys.readouterr().err
    assert read_all(run).intents == record.intents


def test_a_qsub_that_hangs_is_looked_for_by_the_next_command(run, pbs, monkeypatch, capsys):  # noqa: F811
    monkeypatch.setattr(submit, "Scheduler", lambda: Scheduler(timeout=3.0, pauses=()))
    pbs.set(slow=5)
    assert submit.main([str(run.paths.root)]) == SCHEDULER
    assert "the job may or may not be in the queue" in capsys.readouterr().err
    pbs.set(slow=0)
    monkeypatch.setattr(submit, "Scheduler", Scheduler)
    assert submit.main([str(run.paths.root)]) == ACTIVE
    assert [job.id for job in read_all(run).submissions[0].jobs] == ["1[].pbshost"]


def test_the_token_is_one_of_the_variables():
    arguments = intents.with_token(["-N", "x", "-v", "A=1,B=2", "script"], "00ff")
    assert arguments == ("-N", "x", "-v", "A=1,B=2,SUBMISSION_TOKEN=00ff", "script")
