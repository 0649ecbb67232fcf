from __future__ import annotations

import dataclasses

import pytest
from msgspec.structs import replace

from jobs import resubmit, status, submit
from jobs.common.records import read_record
from jobs.common.schema import CollectJob, Submission
from jobs.monitor.scheduler_view import Picture
from jobs.pbs.commands import Scheduler
from jobs.pbs.qstat_output import Answer, Details, Job
from jobs.resubmit import waiting_collect
from tests.jobs.test_submit import give_result, give_state, qsubs, run, uneven  # noqa: F401 - the fixtures

OLDER = CollectJob(id="9.pbs", waits_for=("8[].pbs",))
NEWER = CollectJob(id="12.pbs", waits_for=("8[].pbs", "10[].pbs", "11[].pbs"))


def picture(run, states, problem="", submissions=None):  # noqa: F811
    """What PBS reports: the state of each job number."""
    found = submissions if submissions is not None else (Submission(collect=OLDER), Submission(collect=NEWER))
    answer = Answer(
        {(number, None): Job(state) for number, state in states.items()},
        problem,
        details={number: Details(run_directory=str(run.paths.root)) for number in states},
    )
    return Picture(run, (), found, answer=answer)


@pytest.mark.parametrize("state", ["H", "W"])
def test_the_newest_collect_job_can_wait_for_more_if_it_has_not_started(run, state):  # noqa: F811
    found = waiting_collect(picture(run, {8: "F", 9: state, 10: "B", 11: "B", 12: state}))
    assert found == NEWER


@pytest.mark.parametrize("state", ["Q", "R", "E", "F"])
def test_a_collect_job_that_may_start_at_any_time_is_not_changed(run, state):  # noqa: F811
    assert waiting_collect(picture(run, {8: "F", 9: "H", 10: "B", 12: state})) is None


def test_jobs_that_pbs_does_not_report_any_more_are_no_longer_waited_for(run):  # noqa: F811
    found = waiting_collect(picture(run, {10: "B", 12: "H"}))
    assert found == replace(NEWER, waits_for=("10[].pbs",))


def test_a_collect_job_of_another_run_is_not_changed(run):  # noqa: F811
    found = picture(run, {10: "B", 12: "H"})
    for strange in (Details(run_directory="/another/run"), Details(name="simulation"), Details()):
        found.answer.details[12] = strange
        assert waiting_collect(found) is None
    found.answer.details[12] = Details(name="unet_collect")
    assert waiting_collect(found) is not None


def test_a_submission_without_a_collect_job_is_passed_over(run):  # noqa: F811
    submissions = (Submission(collect=OLDER), Submission())
    assert waiting_collect(picture(run, {8: "B", 9: "H"}, submissions=submissions)) == OLDER


@pytest.mark.parametrize("collect", [CollectJob(id="x"), CollectJob(id="13.pbs")])
def test_a_collect_job_that_pbs_does_not_report_is_not_changed(run, collect):  # noqa: F811
    assert waiting_collect(picture(run, {12: "H"}, submissions=(Submission(collect=collect),))) is None


def test_without_an_answer_of_pbs_no_collect_job_is_changed(run):  # noqa: F811
    states = {8: "B", 10: "B", 12: "H"}
    assert waiting_collect(picture(run, states, problem="down")) is None
    assert waiting_collect(dataclasses.replace(picture(run, states), answer=None)) is None


def submitted(run, pbs, **ended):  # noqa: F811
    submit.main([str(run.paths.root)])
    pbs.finish(1)
    pbs.finish(2)
    for index in range(1, 13):
        if index not in (3, 7, 10):
            give_result(run, index)
    give_state(run, 3, "error", job_id="1[3].pbshost", reason="ValueError: x")
    give_state(run, 7, "running", job_id="1[7].pbshost")
    give_state(run, 10, "oom", job_id="1[10].pbshost")
    pbs.sub_job(1, 7, Exit_status=-29)


def test_resubmit_keeps_the_indices_of_what_failed_and_makes_few_calls(run, pbs, capsys):  # noqa: F811
    submitted(run, pbs)
    assert resubmit.main([str(run.paths.root), "--all-failed"]) == 0
    arrays = qsubs(pbs)[2:]
    assert [call.get("-J") for call in arrays] == ["3-7:4", "10-11:2", None]
    assert arrays[-1]["-W"] == "depend=afterany:3[].pbshost:4[].pbshost"
    assert "submission_02_" in arrays[0]["-o"]
    record = read_record(run.paths.submissions)["submissions"]
    assert [job["indices"] for job in record[1]["jobs"]] == ["3-7:4", "10-11:2"]


def test_resubmit_without_a_choice_leaves_out_oom_and_finished_points(run, pbs):  # noqa: F811
    submitted(run, pbs)
    assert resubmit.main([str(run.paths.root)]) == 0
    assert [call.get("-J") for call in qsubs(pbs)[2:]] == ["3-7:4", None]


def test_resubmit_by_class_takes_timeouts_from_the_scheduler(run, pbs):  # noqa: F811
    submitted(run, pbs)
    assert (
        resubmit.main(
            [str(run.paths.root), "--class", "timeout,oom", "--walltime", "08:00:00", "--mem", "64gb"]
        )
        == 0
    )
    array = pbs.calls("qsub")[2]
    assert "7-10:3" in array and "walltime=08:00:00" in array and "mem=64gb" in " ".join(array)
    assert "WALLTIME_SECONDS=28800" in " ".join(array)


def test_a_finished_point_is_trained_again_only_if_named(run, pbs, capsys):  # noqa: F811
    submitted(run, pbs)
    assert resubmit.main([str(run.paths.root), "--indices", "1"]) == 0
    assert "TRAIN_AGAIN=yes" in " ".join(pbs.calls("qsub")[2])
    assert "1 of these points have a result" in capsys.readouterr().out


def test_points_that_are_queued_or_running_are_refused(run, pbs, capsys):  # noqa: F811
    submit.main([str(run.paths.root)])
    give_state(run, 2, "running", job_id="1[2].pbshost")
    pbs.sub_job(1, 2, job_state="R", run_count=1)
    for indices, state in (("2", "running"), ("1,5-6", "queued")):
        assert resubmit.main([str(run.paths.root), "--indices", indices]) == 6
        assert state in capsys.readouterr().err
    assert resubmit.main([str(run.paths.root), "--all-failed"]) == 0
    assert "nothing to run again" in capsys.readouterr().out
    assert len(pbs.calls("qsub")) == 2


def test_a_collect_that_still_waits_is_extended(run, pbs):  # noqa: F811
    submit.main([str(run.paths.root)])
    give_state(run, 3, "error", job_id="1[3].pbshost")
    pbs.sub_job(1, 3, job_state="X", run_count=1, Exit_status=13)
    assert resubmit.main([str(run.paths.root), "--class", "error"]) == 0
    assert len(pbs.calls("qsub")) == 3
    assert pbs.calls("qalter") == [["-W", "depend=afterany:1[].pbshost:3[].pbshost", "2.pbshost"]]
    assert read_record(run.paths.submissions)["submissions"][1]["collect"]["id"] == "2.pbshost"


def test_a_collect_that_has_started_is_followed_by_a_new_one(run, pbs):  # noqa: F811
    submit.main([str(run.paths.root)])
    give_state(run, 3, "error", job_id="1[3].pbshost")
    pbs.sub_job(1, 3, job_state="X", run_count=1, Exit_status=13)
    pbs.trouble("qalter", {"code": 35, "stderr": "qalter: Job has finished 2.pbshost\n"})
    assert resubmit.main([str(run.paths.root), "--class", "error"]) == 0
    # The first array still has sub-jobs: what they train is collected, too.
    assert qsubs(pbs)[-1]["-W"] == "depend=afterany:1[].pbshost:3[].pbshost"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--indices", "99"], "no point 99; expected an index from 1 to 12"),
        (["--indices", "a"], "expected numbers and ranges"),
        (["--class", "bad"], "received 'bad', expected one or more of"),
        (["--all-failed", "--walltime", "4h"], "--walltime: received '4h'"),
        (["--all-failed", "--mem", "much"], "--mem: received 'much'"),
        (["--max-running", "0"], "--max-running: received 0"),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_submitted(run, pbs, capsys, arguments, message):  # noqa: F811
    assert resubmit.main([str(run.paths.root), *arguments]) == 2
    assert message in capsys.readouterr().err
    assert pbs.calls("qsub") == []


def test_resubmit_keeps_the_order_and_a_given_walltime_overrides_the_proposal(uneven, pbs):  # noqa: F811
    arguments = [str(uneven.paths.root), "--indices", "2,3,4", "--proposed"]
    assert resubmit.main([*arguments, "--walltime", "09:00:00"]) == 0
    first, second, _ = pbs.calls("qsub")
    assert "3-4:2" in first and "2-4:2" in second
    assert "walltime=09:00:00" in first and "walltime=09:00:00" in second
    assert "WALLTIME_SECONDS=32400" in first[first.index("-v") + 1]
    assert "mem=12gb" in " ".join(first) and "mem=2gb" in " ".join(second)


@pytest.mark.parametrize(
    "answer",
    [
        {"code": 255, "stderr": "qstat: cannot connect to server pbshost (errno=15010)\n"},
        {"code": 0, "stdout": '{"Jobs":{"1[].pbshost":{"job_state":"B","Variable_List":{"A":005}}}}'},
        {"code": 0, "stdout": ""},
        {"code": 0, "stdout": '{"Jobs":{"1[].pbshost":null}}'},
    ],
    ids=["server down", "no JSON", "nothing", "not the job"],
)
def test_nothing_is_submitted_again_blindly(run, pbs, capsys, monkeypatch, answer):  # noqa: F811
    monkeypatch.setitem(Scheduler.__init__.__kwdefaults__, "pauses", (0.0, 0.0, 0.0))
    submit.main([str(run.paths.root)])
    before = len(pbs.calls("qsub"))
    for command in (resubmit, submit):
        pbs.trouble("qstat", *[answer] * 20)
        assert command.main([str(run.paths.root)]) == 6
        printed = capsys.readouterr().err
        assert "the scheduler does not report whether" in printed and "--force" in printed
    assert len(pbs.calls("qsub")) == before


def test_resubmit_goes_ahead_without_the_scheduler_only_if_told_to(run, pbs, monkeypatch):  # noqa: F811
    monkeypatch.setitem(Scheduler.__init__.__kwdefaults__, "pauses", (0.0, 0.0, 0.0))
    submit.main([str(run.paths.root)])
    before = len(pbs.calls("qsub"))
    pbs.trouble("qstat", *[{"code": 255, "stderr": "qstat: cannot connect\n"}] * 4)
    assert resubmit.main([str(run.paths.root), "--force"]) == 0
    assert len(pbs.calls("qsub")) == before + 2


def test_a_limit_of_running_sub_jobs_is_for_each_array_and_that_is_said(run, pbs, capsys):  # noqa: F811
    submit.main([str(run.paths.root)])
    give_state(run, 12, "timeout", job_id="1[12].pbshost")
    pbs.sub_job(1, 12, job_state="X", run_count=1, Exit_status=0)
    assert resubmit.main([str(run.paths.root), "--max-running", "4"]) == 0
    said = capsys.readouterr().out
    assert "1[].pbshost still run beside them" in said
    assert f"jobs.alter {run.paths.root} --max-running 4" in said


@pytest.mark.parametrize(
    "option",
    ["-S /bin/evil", "-W Shell_Path_List=/bin/evil", "-V", "-v BASH_ENV=/x", "-- /bin/evil", "evil.sh"],
)
@pytest.mark.parametrize("key", ["extra_options", "array_options", "collect_options", "log_options"])
def test_refused_options_end_every_command_before_qsub(run, pbs, capsys, key, option):  # noqa: F811
    with run.paths.grid.open("a") as grid:
        grid.write(f"\nsite: {{{key}: {option!r}}}\n")
    root = str(run.paths.root)
    for command, more in (
        *((resubmit.main, more) for more in ([], ["--dry-run"], ["--indices", "1"])),
        *((submit.main, more) for more in ([], ["--dry-run"])),
    ):
        assert command([root, *more]) == 2
        said = capsys.readouterr().err
        assert f"{run.paths.grid}: site.{key}: received '{option}', expected " in said
        assert len(said.splitlines()) == 1
    if key in ("extra_options", "log_options"):
        assert submit.main(["--probe", root]) == 2
    assert pbs.calls("qsub") == []
    assert status.main([root]) == 0  # it can be looked at
