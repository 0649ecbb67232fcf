from __future__ import annotations

import subprocess

import pytest

from jobs.common.errors import SCHEDULER, UserError
from jobs.pbs.scheduler import Job, Scheduler, job_number, parse_qstat, sub_job_index
from tests.conftest import REPOSITORY

SAMPLES = REPOSITORY.parent / "shared" / "pbs" / "samples"
recorded = pytest.mark.skipif(not SAMPLES.is_dir(), reason=f"no recorded scheduler output in {SAMPLES}")


@pytest.mark.parametrize(
    ("text", "number", "index"),
    [
        ("12", "12", None),
        ("12.pbshost", "12", None),
        ("12[]", "12", None),
        ("12[].pbs-101.nscc.sg", "12", None),
        ("12[7].pbshost", "12", 7),
        ("", None, None),
        ("qsub: hello", None, None),
        ("12[x]", None, None),
    ],
)
def test_ids_are_understood_with_and_without_brackets_and_server(text, number, index):
    assert job_number(text) == number
    assert sub_job_index(text) == index


@recorded
def test_recorded_array_with_queued_sub_jobs():
    answer = parse_qstat((SAMPLES / "subjobs_some_queued.json").read_text(), "", 0)
    assert not answer.problem
    assert answer.jobs["79", None].state == "B"
    states = {index: job.state for (_, index), job in answer.jobs.items() if index is not None}
    assert set(states) == set(range(1, 7)) and states[6] == "Q"
    assert answer.jobs["79", 6].exit_status is None  # a copy of the array's own
    assert answer.jobs["79", 6].waits and not answer.jobs["79", 6].ran


@recorded
def test_recorded_finished_array_tells_how_each_sub_job_ended():
    answer = parse_qstat((SAMPLES / "subjobs_finished.json").read_text(), "", 0)
    ended = [job for (_, index), job in answer.jobs.items() if index is not None]
    assert ended and all(job.ended for job in ended)
    assert any(job.exit_status not in (0, None) for job in ended)


@recorded
@pytest.mark.parametrize(
    ("file", "code", "named"),
    [("finished_without_x.txt", 35, "finished"), ("unknown_job.txt", 153, "unknown")],
)
def test_recorded_exit_codes_35_and_153_are_answers(file, code, named):
    lines = (SAMPLES / file).read_text().splitlines()
    stderr = "\n".join(line for line in lines if line.startswith("qstat:"))
    stdout = "\n".join(line for line in lines if not line.startswith(("qstat:", "$", "[rc")))
    answer = parse_qstat(stdout, stderr, code)
    assert not answer.problem and not answer.jobs
    assert getattr(answer, named)


@pytest.mark.parametrize(
    "stdout", ["", "{", '{"Jobs": []}', "[]", '{"Jobs": {"1": {"A": 005}}}', "Job id  Name"]
)
def test_what_is_no_json_of_jobs_is_a_problem_and_no_answer(stdout):
    assert parse_qstat(stdout, "", 0).problem


def test_an_error_without_jobs_is_a_problem():
    assert "cannot connect" in parse_qstat("{}", "qstat: cannot connect to server x", 255).problem


def test_odd_attributes_do_not_crash():
    answer = parse_qstat(
        '{"Jobs": {"1[2].x": {"Exit_status": "?", "job_state": 3}, "odd": {}, "2": 5}}', "", 0
    )
    assert answer.jobs == {("1", 2): Job("3")}


def test_a_transient_error_is_tried_again_and_then_told_in_the_servers_words(pbs, tmp_path):
    down = {"code": 1, "stderr": "qsub: cannot connect to server pbshost (errno=15010)\n"}
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\n")
    pbs.trouble("qsub", down, down)
    assert Scheduler(pauses=(0, 0)).qsub([str(script)], tmp_path) == "1.pbshost"
    pbs.trouble("qsub", down, down, down)
    with pytest.raises(UserError, match="cannot connect to server pbshost") as error:
        Scheduler(pauses=(0, 0)).qsub([str(script)], tmp_path)
    assert error.value.exit_code == SCHEDULER
    assert len(pbs.calls("qsub")) == 6


def test_what_is_refused_for_good_is_not_repeated(pbs, tmp_path):
    with pytest.raises(UserError, match="illegal -J value"):
        Scheduler(pauses=(0, 0)).qsub(["-J", "5-5", str(REPOSITORY / "jobs/train_array.pbs")], tmp_path)
    assert len(pbs.calls("qsub")) == 1


def test_a_qsub_that_hangs_is_not_repeated_for_it_may_have_submitted(pbs, tmp_path):
    pbs.trouble("qsub", {"sleep": 30})
    with pytest.raises(UserError, match="may or may not have submitted"):
        Scheduler(timeout=0.5).qsub(["x"], tmp_path)


def test_an_answer_that_is_no_id_is_an_error(pbs, tmp_path):
    pbs.trouble("qsub", {"code": 0, "stdout": "Welcome!\n"})
    with pytest.raises(UserError, match="expected a job's id"):
        Scheduler().qsub(["x"], tmp_path)


def test_without_pbs_the_error_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"not on PATH.*jobs\.local"):
        Scheduler().qsub(["x"], tmp_path)
    assert Scheduler().qstat(["1"]).problem
    assert Scheduler().array_limit() is None


def test_a_qstat_that_hangs_leaves_everything_unknown(pbs):
    pbs.trouble("qstat", {"sleep": 30})
    answer = Scheduler(timeout=0.5).qstat(["1[]"])
    assert "did not answer" in answer.problem and not answer.jobs


def test_without_history_a_second_call_asks_for_what_is_there(pbs):
    pbs.set(history=False)
    answer = Scheduler().qstat(["1[]"])
    assert not answer.problem and not answer.history and answer.unknown == {"1"}
    assert ["-x" in call for call in pbs.calls("qstat")] == [True, False]


def test_the_stand_in_is_first_on_path(pbs):
    where = subprocess.run(["sh", "-c", "command -v qsub"], capture_output=True, text=True, check=True).stdout
    assert where.startswith(str(pbs.bin))
