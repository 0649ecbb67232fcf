from __future__ import annotations

import subprocess

import pytest

from jobs.common.errors import SCHEDULER, UserError
from jobs.pbs.commands import Scheduler
from jobs.pbs.qstat_output import Answer, Job
from tests.conftest import REPOSITORY

DOWN = {"code": 1, "stderr": "qsub: cannot connect to server pbshost (errno=15010)\n"}


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "script"
    path.write_text("#!/bin/sh\n")
    return str(path)


def test_a_server_that_cannot_be_reached_is_tried_again(pbs, script, tmp_path):
    pbs.trouble("qsub", DOWN, DOWN)
    assert Scheduler(pauses=(0, 0)).qsub([script], tmp_path) == "1.pbshost"
    assert len(pbs.calls("qsub")) == 3


def test_after_the_last_attempt_the_error_has_the_servers_words(pbs, script, tmp_path):
    pbs.trouble("qsub", DOWN, DOWN, DOWN, DOWN)
    with pytest.raises(UserError, match="cannot connect to server pbshost") as error:
        Scheduler(pauses=(0, 0)).qsub([script], tmp_path)
    assert error.value.exit_code == SCHEDULER
    assert len(pbs.calls("qsub")) == 3


def test_without_pauses_there_is_one_attempt(pbs, script, tmp_path):
    pbs.trouble("qsub", DOWN)
    with pytest.raises(UserError, match="cannot connect"):
        Scheduler(pauses=()).qsub([script], tmp_path)
    assert len(pbs.calls("qsub")) == 1


def test_a_job_that_was_accepted_with_a_warning_is_not_submitted_again(pbs, tmp_path):
    pbs.trouble("qsub", {"code": 0, "stdout": "12.pbs\n", "stderr": "the accounting server is busy\n"})
    assert Scheduler(pauses=(0, 0)).qsub(["x"], tmp_path) == "12.pbs"
    assert len(pbs.calls("qsub")) == 1


def test_a_refused_job_is_not_submitted_again(pbs, tmp_path):
    with pytest.raises(UserError) as error:
        Scheduler(pauses=(0, 0)).qsub(["-J", "5-5", str(REPOSITORY / "jobs/train_array.pbs")], tmp_path)
    assert str(error.value) == "qsub refused the job (exit code 2): qsub: illegal -J value"
    assert error.value.exit_code == SCHEDULER
    assert len(pbs.calls("qsub")) == 1


def test_a_refusal_without_a_message_names_the_exit_code(pbs, tmp_path):
    pbs.trouble("qsub", {"code": 17})
    with pytest.raises(UserError, match=r"\(exit code 17\): exit code 17, and no message"):
        Scheduler().qsub(["x"], tmp_path)


def test_a_qsub_that_hangs_is_not_repeated_because_it_may_have_submitted(pbs, tmp_path):
    pbs.trouble("qsub", {"sleep": 30})
    with pytest.raises(UserError, match="may or may not be in the queue") as error:
        Scheduler(timeout=0.5, pauses=(0, 0)).qsub(["x"], tmp_path)
    assert error.value.exit_code == SCHEDULER


@pytest.mark.parametrize("stdout", ["Welcome!\n", "", "12[x]\n", "12.pbs was submitted\n"])
def test_output_that_does_not_end_in_an_id_is_an_error(pbs, tmp_path, stdout):
    pbs.trouble("qsub", {"code": 0, "stdout": stdout})
    with pytest.raises(UserError, match="expected the id of a job") as error:
        Scheduler().qsub(["x"], tmp_path)
    assert error.value.exit_code == SCHEDULER


@pytest.mark.parametrize(
    ("stdout", "job_id"),
    [
        ("12.pbshost\n", "12.pbshost"),
        ("12[].pbshost", "12[].pbshost"),
        ("Welcome to the cluster!\nYour project has 9 hours left.\n  13[].pbshost \n\n", "13[].pbshost"),
    ],
)
def test_the_id_is_the_last_word_that_qsub_prints(pbs, tmp_path, stdout, job_id):
    pbs.trouble("qsub", {"code": 0, "stdout": stdout, "stderr": "a warning\n"})
    assert Scheduler().qsub(["x"], tmp_path) == job_id


def test_without_pbs_the_error_contains_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"qsub is not on PATH.*jobs\.local") as error:
        Scheduler().qsub(["x"], tmp_path)
    assert error.value.exit_code == SCHEDULER
    assert Scheduler().qstat(["1"]).problem.startswith("qstat is not on PATH")
    assert Scheduler().array_limit() is None


def test_qstat_about_no_job_calls_nothing(pbs):
    assert Scheduler().qstat([]) == Answer({})
    assert pbs.calls("qstat") == []


def test_a_qstat_that_hangs_leaves_everything_unknown(pbs):
    pbs.trouble("qstat", {"sleep": 30})
    assert Scheduler(timeout=0.5).qstat(["1[]"]) == Answer({}, "qstat did not answer within 0.5 s")


def test_jobs_and_sub_jobs_come_with_one_call(pbs, script, tmp_path):
    scheduler = Scheduler()
    assert [scheduler.qsub(arguments, tmp_path) for arguments in (["-J", "9-10", script], [script])] == [
        "1[].pbshost",
        "2.pbshost",
    ]
    pbs.sub_job(1, 9, job_state="X", run_count=1, Exit_status=3)
    assert scheduler.qstat(["1[].pbshost", "2.pbshost", "7.pbshost"]) == Answer(
        {(1, None): Job("Q"), (1, 9): Job("X", 3, ran=True), (1, 10): Job("Q"), (2, None): Job("Q")}
    )
    assert pbs.calls("qstat") == [["-x", "-t", "-f", "-F", "json", "1[].pbshost", "2.pbshost", "7.pbshost"]]


def test_without_history_a_second_call_finds_the_jobs_that_have_not_ended(pbs, script, tmp_path):
    Scheduler().qsub([script], tmp_path)
    pbs.set(history=False)
    assert Scheduler().qstat(["1.pbshost", "2[]"]) == Answer({(1, None): Job("Q")})
    assert ["-x" in call for call in pbs.calls("qstat")] == [True, False]


@pytest.mark.parametrize(
    ("stdout", "limit"),
    [
        ("Server: x\n    max_array_size = 10000\n", 10000),
        (
            "    max_array_size = 900\nServer: y\n    max_array_size=10000\n",
            900,
        ),  # the smaller number, not text
        ("    max_array_size = 10000\nServer: y\n    max_array_size=900\n", 900),
        ("Server: x\n", None),
        ("    max_array_size = many\n", None),
    ],
)
def test_the_array_limit_is_the_smallest_number_that_the_servers_report(pbs, stdout, limit):
    pbs.trouble("qstat", {"code": 0, "stdout": stdout})
    assert Scheduler().array_limit() == limit


def test_the_array_limit_is_unknown_if_qstat_hangs(pbs):
    pbs.trouble("qstat", {"sleep": 30})
    assert Scheduler(timeout=0.5).array_limit() is None


def test_qalter_returns_why_it_failed(pbs):
    pbs.trouble(
        "qalter", {"code": 0, "stderr": "a warning\n"}, {"code": 35, "stderr": "qalter: Job has\n finished\n"}
    )
    assert Scheduler().qalter(["2"]) == ""
    assert Scheduler().qalter(["2"]) == "qalter: Job has finished"
    pbs.trouble("qalter", {"sleep": 30})
    assert Scheduler(timeout=0.5).qalter(["2"]) == "qalter did not answer within 0.5 s"


def test_the_stand_in_is_first_on_path(pbs):
    where = subprocess.run(["sh", "-c", "command -v qsub"], capture_output=True, text=True, check=True).stdout
    assert where.startswith(str(pbs.bin))


def test_the_walltime_that_pbs_has_on_record_is_read(pbs, script, tmp_path):
    assert (
        Scheduler().qsub(["-l", "walltime=100:00:05", "-v", "RUN_DIR=/a b", script], tmp_path) == "1.pbshost"
    )
    assert Scheduler().walltime("1.pbshost") == 360005
    pbs.job(1, walltime="00:10:00")  # by qalter
    assert Scheduler().walltime("1.pbshost") == 600
    pbs.job(1, walltime=None)
    assert Scheduler().walltime("1.pbshost") is None


@pytest.mark.parametrize(
    "answer", [{"code": 153, "stderr": "qstat: Unknown Job Id"}, {"sleep": 3, "code": 0}]
)
def test_a_walltime_that_pbs_does_not_report_is_not_known(pbs, answer):
    pbs.trouble("qstat", answer)
    assert Scheduler(timeout=1, pauses=()).walltime("1.pbshost") is None


def test_where_there_are_no_pbs_commands_nothing_is_printed(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert Scheduler().printed("pbsnodes", "-av") is None and Scheduler().walltime("1.pbshost") is None


def test_a_job_that_a_bulk_query_leaves_out_is_asked_about_alone(pbs, script, tmp_path):
    scheduler = Scheduler()
    ids = [
        scheduler.qsub(arguments, tmp_path)
        for arguments in (["-J", "1-2", script], ["-J", "3-4", script], [script])
    ]
    pbs.set(first_only=True)
    answer = scheduler.qstat([*ids, "9.pbshost"])
    assert set(answer.jobs) == {(1, None), (1, 1), (1, 2), (2, None), (2, 3), (2, 4), (3, None)}
    assert answer.problem == "" and answer.unknown == {9}
    assert [call[-1] for call in pbs.calls("qstat")] == ["9.pbshost", *ids[1:], "9.pbshost"]


def test_a_job_that_has_no_answer_alone_either_is_a_problem_and_the_others_stay_known(pbs, script, tmp_path):
    scheduler = Scheduler()
    ids = [scheduler.qsub([script], tmp_path) for _ in range(3)]
    pbs.set(first_only=True)
    bulk = {"code": 0, "stdout": '{"Jobs": {"1.pbshost": {"job_state": "Q"}}}'}
    pbs.trouble("qstat", bulk, {"code": 0, "stdout": "{}"})
    answer = scheduler.qstat(ids)
    assert set(answer.jobs) == {(1, None)} and answer.knows(1) and not answer.knows(2)
    assert answer.problem == "qstat exited with 0, but did not show the job 2.pbshost"
    assert len(pbs.calls("qstat")) == 2  # the others are not tried: the scheduler has a problem


def test_without_history_each_job_is_asked_about_without_x(pbs, script, tmp_path):
    scheduler = Scheduler()
    ids = [scheduler.qsub([script], tmp_path) for _ in range(2)]
    pbs.set(first_only=True, history=False)
    answer = scheduler.qstat(ids)
    assert set(answer.jobs) == {(1, None), (2, None)} and not answer.history
    assert ["-x" in call for call in pbs.calls("qstat")] == [True, False, False]


@pytest.mark.parametrize("first_only", [False, True])
def test_a_job_that_has_ended_is_asked_about_once(pbs, script, tmp_path, first_only):
    scheduler = Scheduler()
    ids = [scheduler.qsub(["-J", "1-2", script], tmp_path) for _ in range(3)]
    pbs.set(first_only=first_only)
    pbs.finish(1)
    pbs.sub_job(1, 2, Exit_status=-29)
    first = scheduler.qstat(ids)
    before = len(pbs.calls("qstat"))
    second = scheduler.qstat(ids)
    assert second == first and second.jobs[1, 2].exit_status == -29 and second.details == first.details
    assert not any("1[].pbshost" in call for call in pbs.calls("qstat")[before:])
    pbs.finish(2)
    assert scheduler.qstat(ids).jobs[2, None].ended
    assert set(scheduler.qstat(ids[1:]).jobs) == {(2, None), (2, 1), (2, 2), (3, None), (3, 1), (3, 2)}


@pytest.mark.parametrize("first_only", [False, True])
def test_jobs_in_the_queue_are_found_by_their_name(pbs, script, tmp_path, first_only):
    scheduler = Scheduler()
    for name in ("a", "b", "a", "a"):
        scheduler.qsub(["-N", name, "-v", f"RUN_DIR=/runs/{name}", script], tmp_path)
    pbs.finish(3)
    pbs.set(first_only=first_only)
    found, problem = scheduler.jobs_in_the_queue("a")
    assert problem == ""
    assert {one: details.run_directory for one, details in found.items()} == {
        "1.pbshost": "/runs/a",
        "4.pbshost": "/runs/a",
    }
    assert list(scheduler.jobs_in_the_queue("a", known={1})[0]) == ["4.pbshost"]


def test_jobs_of_some_users_only_are_asked_for(pbs):
    Scheduler().jobs_in_the_queue("a", users=["alice", "bob"])
    assert pbs.calls("qselect") == [["-N", "a", "-u", "alice,bob"]]


def test_a_qselect_that_fails_finds_nothing(pbs):
    pbs.trouble("qselect", {"code": 1, "stderr": "no\n"})
    assert Scheduler().jobs_in_the_queue("a") == ({}, "")


def test_a_qselect_that_does_not_reach_the_server_is_a_problem(pbs):
    """What was submitted by hand is unknown then, and must not be submitted again."""
    pbs.trouble("qselect", {"code": 1, "stderr": "Connection refused\nqselect: cannot connect to server x\n"})
    assert "cannot connect" in Scheduler().jobs_in_the_queue("a")[1]
    pbs.trouble("qselect", {"sleep": 30})
    assert "did not answer" in Scheduler(timeout=0.5).jobs_in_the_queue("a")[1]


def test_deleting_what_has_ended_is_no_failure_and_any_other_refusal_is(pbs, script, tmp_path):
    scheduler = Scheduler()
    scheduler.qsub([script], tmp_path)
    assert scheduler.qdel(["1.pbshost"]) == ""
    assert scheduler.qdel(["1.pbshost", "77.pbshost"]) == ""  # has finished, and unknown
    pbs.trouble("qdel", {"code": 159, "stderr": "qdel: Unauthorized Request 1\n"})
    assert scheduler.qdel(["1.pbshost"]) == "qdel: Unauthorized Request 1"
    pbs.trouble("qdel", {"sleep": 30})
    assert Scheduler(timeout=0.5).qdel(["1"]) == "qdel did not answer within 0.5 s"


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        ("qsub: Array job exceeds server or queue size limit", "max_array_size in the site block"),
        (
            "qsub: would exceed queue generic's per-user limit",
            "jobs.supervise with --max-queued",
        ),
        ("qsub: Job violates queue and/or server resource limits", "change walltime, mem, ncpus or queue"),
        ("qsub: Queue is not enabled", "choose another queue"),
        ("qsub: Unknown queue", "qstat -Q lists the queues"),
    ],
)
def test_a_refusal_comes_with_the_setting_that_avoids_it(pbs, tmp_path, words, advice):
    pbs.trouble("qsub", {"code": 1, "stderr": words})
    with pytest.raises(UserError) as error:
        Scheduler().qsub(["x"], tmp_path)
    assert words in str(error.value) and advice in str(error.value)
