"""Deleting what was submitted: in the right order, on record, and only what was named."""

from __future__ import annotations

import pytest

from jobs import cancel, resubmit, submit, supervise
from jobs.common.records import read_record
from tests.jobs.test_submit import give_result, give_state, run  # noqa: F401 - the fixture


@pytest.fixture
def submitted(run, pbs):  # noqa: F811
    submit.main([str(run.paths.root)])
    return pbs


def test_the_job_that_collects_is_deleted_first_so_that_it_is_not_started(run, submitted, capsys):  # noqa: F811
    give_result(run, 1)
    submitted.sub_job(1, 1, job_state="X", run_count=1, Exit_status=0)
    give_state(run, 2, "running", job_id="1[2].pbshost")
    submitted.sub_job(1, 2, job_state="R", run_count=1)
    assert cancel.main([str(run.paths.root)]) == 0
    assert submitted.calls("qdel") == [["2.pbshost", "1[].pbshost"]]
    said = capsys.readouterr().out
    assert "1 point had finished; the results stay" in said
    assert "deleted: 11 points (1 running, which stops after the current step, 10 waiting)" in said
    assert f"python -m jobs.resubmit {run.paths.root}" in said and "collect.py" in said
    change = read_record(run.paths.submissions)["changes"][0]
    assert (change["kind"], change["after"], change["indices"]) == ("cancel", 1, "")
    assert change["ids"] == ["2.pbshost", "1[].pbshost"]


def test_with_indices_only_their_sub_jobs_are_deleted_and_the_collect_waits_on(run, submitted, capsys):  # noqa: F811
    give_result(run, 1)
    submitted.sub_job(1, 1, job_state="X", run_count=1, Exit_status=0)
    assert cancel.main([str(run.paths.root), "--indices", "1,3-4"]) == 0
    assert submitted.calls("qdel") == [["1[3].pbshost", "1[4].pbshost"]]
    said = capsys.readouterr().out
    assert "not in the queue: 1 point (1 done)" in said and "deleted: 2 points (2 waiting)" in said
    assert submitted.load()["jobs"]["2"]["job_state"] == "H"
    assert read_record(run.paths.submissions)["changes"][0]["indices"] == "1,3-4"


def test_cancelled_points_can_be_submitted_again(run, submitted):  # noqa: F811
    cancel.main([str(run.paths.root)])
    assert resubmit.main([str(run.paths.root)]) == 0
    assert len(submitted.calls("qsub")) == 4


def test_a_dry_run_deletes_nothing(run, submitted, capsys):  # noqa: F811
    assert cancel.main([str(run.paths.root), "--dry-run"]) == 0
    assert "qdel 2.pbshost '1[].pbshost'" in capsys.readouterr().out
    assert submitted.calls("qdel") == [] and read_record(run.paths.submissions)["changes"] == []


def test_nothing_in_the_queue_is_said(run, pbs, capsys):  # noqa: F811
    assert cancel.main([str(run.paths.root)]) == 0
    assert "no job to delete" in capsys.readouterr().out and pbs.calls("qdel") == []


def test_a_probe_that_waits_is_deleted_too(run, pbs):  # noqa: F811
    submit.main([str(run.paths.root), "--probe"])
    assert cancel.main([str(run.paths.root)]) == 0
    assert pbs.calls("qdel") == [["1.pbshost"]]


def test_a_scheduler_that_does_not_answer_is_an_error_and_nothing_is_deleted(run, submitted, capsys):  # noqa: F811
    submitted.trouble("qstat", {"code": 255, "stderr": "qstat: no\n"})
    assert cancel.main([str(run.paths.root)]) == 5
    assert "nothing was changed" in capsys.readouterr().err and submitted.calls("qdel") == []


def test_what_pbs_refuses_is_said_with_its_words(run, submitted, capsys):  # noqa: F811
    submitted.trouble("qdel", {"code": 159, "stderr": "qdel: Unauthorized Request  1[].pbshost\n"})
    assert cancel.main([str(run.paths.root)]) == 5
    assert "Unauthorized Request" in capsys.readouterr().err
    assert "Unauthorized" in read_record(run.paths.submissions)["changes"][0]["refused"][0]


def test_a_job_that_ended_meanwhile_is_no_failure(run, submitted):  # noqa: F811
    submitted.trouble("qdel", {"code": 35, "stderr": "qdel: Job has finished 1[].pbshost\n"})
    assert cancel.main([str(run.paths.root)]) == 0


def test_an_index_that_the_run_does_not_have_is_refused(run, pbs, capsys):  # noqa: F811
    assert cancel.main([str(run.paths.root), "--indices", "99"]) == 2
    assert "no point 99" in capsys.readouterr().err


def test_what_pbs_refuses_to_delete_is_counted_and_is_not_cancelled(run, submitted, capsys):  # noqa: F811
    """Another user's jobs: nothing was cancelled, so that jobs.supervise goes on."""
    lines = "".join(f"qdel: Unauthorized Request {one}\n" for one in ("2.pbshost", "1[].pbshost"))
    submitted.trouble("qdel", {"code": 159, "stderr": lines})
    assert cancel.main([str(run.paths.root)]) == 5
    said = capsys.readouterr().err
    assert "refused to delete 2 of 2 jobs" in said and "others" not in said and "only the user who" in said
    assert supervise.main([str(run.paths.root), "--once"]) == 0
    assert "cancelled" not in run.paths.supervisor_log.read_text()
    submitted.trouble("qdel", {"code": 159, "stderr": "qdel: Unauthorized Request 2.pbshost\n"})
    assert cancel.main([str(run.paths.root)]) == 5
    assert "refused to delete 1 of 2 jobs" in (said := capsys.readouterr().err) and "The others were" in said
    changes = read_record(run.paths.submissions)["changes"]
    assert [change["ids"] for change in changes] == [[], ["1[].pbshost"]]
    assert supervise.main([str(run.paths.root), "--once"]) == 3
