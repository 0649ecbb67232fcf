"""Changing what is in the queue: through qalter, for the jobs that have not ended, on record."""

from __future__ import annotations

import pytest

from jobs import alter, submit
from jobs.common.records import read_record
from tests.jobs.test_submit import give_state, run  # noqa: F401 - the fixture


@pytest.fixture
def submitted(run, pbs):  # noqa: F811
    submit.main([str(run.paths.root)])
    return pbs


def test_the_walltime_of_what_waits_and_the_running_limit_are_changed(run, submitted, capsys):  # noqa: F811
    give_state(run, 1, "running", job_id="1[1].pbshost")
    submitted.sub_job(1, 1, job_state="R", run_count=1)
    assert alter.main([str(run.paths.root), "--max-running", "4", "--walltime", "06:00:00"]) == 0
    call = ["-W", "max_run_subjobs=4", "-l", "walltime=06:00:00", "1[].pbshost"]
    assert submitted.calls("qalter") == [call]
    said = capsys.readouterr().out
    assert "qalter -W max_run_subjobs=4 -l walltime=06:00:00 '1[].pbshost'" in said
    assert "11 points that had not started; those that run keep theirs" in said
    record = read_record(run.paths.submissions)
    assert record["submissions"][0]["jobs"][0]["asked"]["walltime"] == "06:00:00"
    assert record["changes"][0]["commands"] == [["qalter", *call]]


def test_the_memory_is_part_of_the_select_statement(run, submitted):  # noqa: F811
    assert alter.main([str(run.paths.root), "--mem", "64gb"]) == 0
    assert submitted.calls("qalter") == [["-l", "select=1:ncpus=8:ngpus=1:mem=64gb", "1[].pbshost"]]
    assert read_record(run.paths.submissions)["submissions"][0]["jobs"][0]["asked"]["mem"] == "64gb"


def test_the_running_limit_is_divided_among_arrays_by_what_is_left_of_them(run, pbs):  # noqa: F811
    pbs.set(limit=4)
    submit.main([str(run.paths.root)])
    for index in range(1, 4):
        pbs.sub_job(1, index, job_state="X", run_count=1, Exit_status=0)
    assert alter.main([str(run.paths.root), "--max-running", "5"]) == 0
    given = {call[-1]: call[1] for call in pbs.calls("qalter")}
    assert given == {
        "1[].pbshost": "max_run_subjobs=1",
        "2[].pbshost": "max_run_subjobs=2",
        "3[].pbshost": "max_run_subjobs=2",
    }


def test_a_dry_run_changes_nothing(run, submitted, capsys):  # noqa: F811
    assert alter.main([str(run.paths.root), "--walltime", "06:00:00", "--dry-run"]) == 0
    assert "qalter -l walltime=06:00:00 '1[].pbshost'" in capsys.readouterr().out
    assert submitted.calls("qalter") == [] and read_record(run.paths.submissions)["changes"] == []


def test_what_pbs_refuses_is_an_error_with_its_words(run, submitted, capsys):  # noqa: F811
    submitted.trouble("qalter", {"code": 159, "stderr": "qalter: Unauthorized Request 1[].pbshost\n"})
    assert alter.main([str(run.paths.root), "--walltime", "06:00:00"]) == 5
    assert "refused 1 of 1 changes: 1[].pbshost: qalter: Unauthorized Request" in capsys.readouterr().err
    record = read_record(run.paths.submissions)
    assert record["submissions"][0]["jobs"][0]["asked"]["walltime"] == "04:00:00"


def test_without_a_job_in_the_queue_there_is_nothing_to_change(run, submitted, capsys):  # noqa: F811
    submitted.finish(1)
    assert alter.main([str(run.paths.root), "--max-running", "4"]) == 0
    assert "no job to change" in capsys.readouterr().out


def test_jobs_that_are_no_arrays_have_no_limit_that_can_be_changed(run, pbs, capsys):  # noqa: F811
    with run.paths.grid.open("a") as grid:
        grid.write("\nsite: {job_arrays: false}\n")
    submit.main([str(run.paths.root)])
    assert alter.main([str(run.paths.root), "--max-running", "4"]) == 0
    assert "its jobs are no job arrays" in capsys.readouterr().out
    assert alter.main([str(run.paths.root), "--walltime", "06:00:00"]) == 0
    assert len(pbs.calls("qalter")) == 12


def test_points_that_all_run_keep_what_they_requested(run, submitted, capsys):  # noqa: F811
    for index in range(1, 13):
        submitted.sub_job(1, index, job_state="R", run_count=1)
    assert alter.main([str(run.paths.root), "--walltime", "06:00:00"]) == 0
    assert "have not ended run already" in capsys.readouterr().out


def test_a_limit_below_the_number_of_arrays_is_said_to_be_none(run, pbs, capsys):  # noqa: F811
    pbs.set(limit=4)
    submit.main([str(run.paths.root)])
    assert alter.main([str(run.paths.root), "--max-running", "2"]) == 0
    assert "there are 3: 3 may run at a time" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "received no change"),
        (["--max-running", "0"], "expected at least 1"),
        (["--walltime", "6h"], "--walltime: received '6h'"),
        (["--mem", "lots"], "--mem: received 'lots'"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(run, pbs, capsys, arguments, message):  # noqa: F811
    assert alter.main([str(run.paths.root), *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_scheduler_that_does_not_answer_is_an_error(run, submitted, capsys):  # noqa: F811
    submitted.trouble("qstat", {"code": 255, "stderr": "qstat: no\n"})
    assert alter.main([str(run.paths.root), "--max-running", "4"]) == 5
    assert "nothing was changed" in capsys.readouterr().err and submitted.calls("qalter") == []
