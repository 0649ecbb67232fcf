"""What ``qstat`` prints. ``shared/pbs/samples`` has the output of a real OpenPBS."""

from __future__ import annotations

import pytest

from jobs.pbs.qstat_output import Answer, Job, parse_qstat
from tests.conftest import REPOSITORY

SAMPLES = REPOSITORY.parent / "shared" / "pbs" / "samples"
recorded = pytest.mark.skipif(not SAMPLES.is_dir(), reason=f"no recorded scheduler output in {SAMPLES}")


def sample(name: str) -> Answer:
    return parse_qstat((SAMPLES / name).read_text(), "", 0)


@recorded
def test_recorded_array_with_queued_sub_jobs():
    answer = sample("subjobs_some_queued.json")
    # Queued sub-jobs have a copy of the array's exit status.
    assert answer == Answer(
        {
            (79, None): Job("B", None, ran=False),
            (79, 1): Job("E", None, ran=True),
            (79, 2): Job("X", 3, ran=True),
            (79, 3): Job("R", None, ran=True),
            (79, 4): Job("Q", None, ran=False),
            (79, 5): Job("Q", None, ran=False),
            (79, 6): Job("Q", None, ran=False),
        }
    )


@recorded
def test_recorded_finished_array_with_the_exit_status_of_each_sub_job():
    exit_statuses = {1: 0, 2: 3, 3: -29, 4: 137}
    expected = {(80, index): Job("F", code, ran=True) for index, code in exit_statuses.items()}
    assert sample("subjobs_finished.json") == Answer({(80, None): Job("F"), **expected})


@recorded
@pytest.mark.parametrize(
    ("file", "code", "finished"),
    [("finished_without_x.txt", 35, {79}), ("unknown_job.txt", 153, set())],
)
def test_recorded_exit_codes_35_and_153_are_answers(file, code, finished):
    lines = (SAMPLES / file).read_text().splitlines()
    stderr = "\n".join(line for line in lines if line.startswith("qstat:"))
    stdout = "\n".join(line for line in lines if not line.startswith(("qstat:", "$", "[rc")))
    assert parse_qstat(stdout, stderr, code) == Answer({}, finished=frozenset(finished))


def test_unknown_and_finished_jobs_are_an_answer_without_jobs():
    assert parse_qstat("{}", "qstat: Unknown Job Id 11[].pbs1\n", 153) == Answer({})
    finished = "qstat: 9[].pbs1 Job has finished, use -x or -H to obtain historical job information\n"
    assert parse_qstat("{}", finished, 35) == Answer({}, finished=frozenset({9}))


def test_every_job_named_as_finished_is_known():
    stderr = (
        "qstat: 9[].pbs1 Job has finished, use -x or -H to obtain historical job information\n"
        "qstat: Unknown Job Id 11.pbs1\n"
        "qstat: 10.pbs1 Job has finished, use -x or -H to obtain historical job information\n"
    )
    assert parse_qstat("{}", stderr, 35) == Answer({}, finished=frozenset({9, 10}))


@pytest.mark.parametrize(
    ("stdout", "problem"),
    [
        ("", "is not JSON"),
        ("{", "is not JSON"),
        ('{"Jobs": {"1": {"A": 005}}}', "is not JSON"),
        ("Job id  Name", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ('{"Jobs": []}', "has no jobs in it"),
        ("[]", "has no jobs in it"),
    ],
)
def test_what_is_not_json_of_jobs_is_a_problem_and_not_an_answer(stdout, problem):
    answer = parse_qstat(stdout, "", 0)
    assert problem in answer.problem
    assert answer.jobs == {}


@pytest.mark.parametrize("character", ["\t", "\n", "\x01", "\x1b"])
def test_control_characters_in_an_environment_are_accepted(character):
    """PBS does not escape them: an exported shell function has line breaks in it."""
    text = '{"Jobs": {"1[2].x": {"Variable_List": {"F": "() {CUT}"}, "job_state": "R", "run_count": 1}}}'
    answer = parse_qstat(text.replace("CUT", character), "", 0)
    assert answer == Answer({(1, 2): Job("R", None, ran=True)})


def test_no_jobs_without_an_error_is_an_answer():
    assert parse_qstat('{"pbs_server": "x"}', "", 0) == Answer({})
    assert parse_qstat('{"Jobs": {}}', "a warning", 0) == Answer({})


def test_an_error_without_jobs_is_a_problem():
    answer = parse_qstat("{}", "qstat: cannot connect to server x\n" * 3, 255)  # once for each job
    assert answer == Answer({}, "qstat failed (exit code 255): qstat: cannot connect to server x")


def test_an_error_for_one_job_leaves_the_others():
    text = '{"Jobs": {"1.x": {"job_state": "Q"}}}'
    assert parse_qstat(text, "qstat: something about 2.x", 1) == Answer({(1, None): Job("Q")})


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ('{"Exit_status": "?", "job_state": 3}', Job("3")),
        ("{}", Job("?")),
        ('{"job_state": "X", "run_count": 1, "Exit_status": "271"}', Job("X", 271, ran=True)),
        ('{"job_state": "X", "run_count": 1, "Exit_status": -29}', Job("X", -29, ran=True)),
        ('{"job_state": "F", "run_count": 2, "Exit_status": 0}', Job("F", 0, ran=True)),
        ('{"job_state": "F", "run_count": 1, "Exit_status": []}', Job("F", None, ran=True)),
        ('{"job_state": "F", "run_count": 1, "Exit_status": 1e999}', Job("F", None, ran=True)),
        ('{"job_state": "Q", "run_count": 1, "Exit_status": -20}', Job("Q", None, ran=True)),
        ('{"job_state": "X", "Exit_status": 1}', Job("X", None, ran=False)),
    ],
)
def test_an_exit_status_is_that_of_a_job_that_ran_and_ended(attributes, expected):
    found = parse_qstat(f'{{"Jobs": {{"1[2].x": {attributes}, "odd": {{}}, "2": 5}}}}', "", 0)
    assert found == Answer({(1, 2): expected})


@pytest.mark.parametrize("state", "QHWTSM")
def test_a_job_that_waits_has_not_ended(state):
    assert (Job(state).waits, Job(state).ended) == (True, False)


@pytest.mark.parametrize("state", "XF")
def test_a_job_that_ended_does_not_wait(state):
    assert (Job(state).waits, Job(state).ended) == (False, True)


@pytest.mark.parametrize("state", "REB?")
def test_a_job_that_runs_neither_waits_nor_has_ended(state):
    assert (Job(state).waits, Job(state).ended) == (False, False)


ARRAY, RUNNING = '"1[].srv":{"job_state":"B"}', '"1[1].srv":{"job_state":"R","run_count":1}'
WHOLE = {(1, None): Job("B"), (1, 1): Job("R", ran=True)}


@pytest.mark.parametrize(
    "text",
    [
        f'{{"Jobs":{{{ARRAY},{RUNNING}}}}}',
        f'Welcome to the cluster!\nMaintenance on Friday\n{{"Jobs":{{{ARRAY},{RUNNING}}}}}',
        f'{{"Jobs":{{{ARRAY}}},"Jobs":{{{RUNNING}}}}}',
    ],
    ids=["as it should be", "after a message of the day", "a block for each job"],
)
def test_what_is_odd_but_clear_is_understood(text):
    assert parse_qstat(text, "", 0) == Answer(WHOLE)


@pytest.mark.parametrize(
    "text",
    [
        f'{{"Jobs":{{{ARRAY},{RUNNING},"1[1].srv":{{"job_state":"X"}}}}}}',
        f'{{"Jobs":{{{ARRAY},{RUNNING}}},"Jobs":{{"1[1].srv":{{"job_state":"X"}}}}}}',
        f'{{"Jobs":{{{ARRAY}{RUNNING}}}}}',
        f'{{"Jobs":{{"1[].srv":{{"job_state":"B","x":.5}},{RUNNING}}}}}',
        f'{{"Jobs":{{"1[].srv":{{"job_state":"B","x":"\\\'"}},{RUNNING}}}}}',
        '{"Jobs":[]}',
        "{",
        "",
    ],
)
def test_what_is_not_clear_is_unknown(text):
    answer = parse_qstat(text, "", 0)
    assert answer.problem and answer.jobs == {}


HELD = """{"Jobs": {"7[].x": {"job_state": "H", "Hold_Types": "u", "qtime": "Fri Nov 27 11:05:16 2026",
"comment": "Not Running: Queue not started", "estimated": {"start_time": "Fri Nov 27 12:00:00 2026"},
"depend": "afterany:3[].x", "Resource_List": {"walltime": "04:00:00"},
"Variable_List": {"RUN_DIR": "/runs/a", "PBS_O_WORKDIR": "/repo"}},
"7[1].x": {"job_state": "Q", "comment": "a copy"}}}"""


def test_what_pbs_says_about_a_job_as_a_whole_is_kept():
    details = parse_qstat(HELD, "", 0).details
    assert list(details) == [7]
    job = details[7]
    assert (job.hold, job.comment, job.depend) == ("u", "Not Running: Queue not started", "afterany:3[].x")
    assert (job.walltime, job.run_directory, job.folder) == ("04:00:00", "/runs/a", "/repo")
    assert f"{job.since:%H:%M} {job.start:%H:%M}" == "11:05 12:00" and not job.can_never_run


@pytest.mark.parametrize(
    "attributes", ['{"qtime": [], "Hold_Types": "n", "Variable_List": 3, "estimated": "x"}', "{}"]
)
def test_odd_attributes_of_a_job_are_as_if_they_were_not_there(attributes):
    job = parse_qstat(f'{{"Jobs": {{"7.x": {attributes}}}}}', "", 0).details[7]
    assert (job.hold, job.since, job.start, job.run_directory) == ("", None, None, "")


def test_times_in_seconds_are_read_too():
    job = parse_qstat('{"Jobs": {"7.x": {"qtime": 1795777516}}}', "", 0).details[7]
    assert job.since.timestamp() == 1795777516


@pytest.mark.parametrize(
    ("used", "requested", "share"),
    [
        ("16gb", "32gb", 0.5),
        ("33554432kb", "32gb", 1.0),
        ("7", "32gb", None),
        ("1gb", None, None),
        ("0b", "1b", 0.0),
    ],
)
def test_the_memory_that_a_job_used_is_compared_with_what_it_requested(used, requested, share):
    resources = f'"resources_used": {{"mem": "{used}"}}'
    if requested is not None:
        resources += f', "Resource_List": {{"mem": "{requested}"}}'
    text = f'{{"Jobs": {{"1[2].x": {{"job_state": "X", "run_count": 1, "Exit_status": 137, {resources}}}}}}}'
    assert parse_qstat(text, "", 0).jobs[1, 2].memory_share == share
