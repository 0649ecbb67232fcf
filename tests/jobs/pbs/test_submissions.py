"""The record of what was submitted, and the lock on it."""

from __future__ import annotations

import fcntl
import os
import re

import pytest
from msgspec.structs import replace

from jobs.common.errors import ACTIVE, USAGE, UserError
from jobs.common.records import read_record, write_record
from jobs.common.schema import CollectJob, Requested, Submission, SubmittedJob
from jobs.pbs import submissions
from jobs.pbs.submissions import jobs_of, locked_submissions, read_submissions, requested

RECORDED = Requested(walltime="02:00:00", mem="16gb", ncpus=4, ngpus=2)
COMMAND = ("qsub", "-l", "select=1:ncpus=16:ngpus=1:mem=110gb", "-l", "walltime=08:00:00", "x.pbs")


def test_a_run_without_a_record_was_never_submitted(tiny_run):
    assert read_submissions(tiny_run) == ()


def test_a_record_has_the_keys_that_other_programs_read(tiny_run):
    submission = Submission(
        number=1,
        kind="submit",
        made="2026-01-01T00:00:00+00:00",
        host="login1",
        user="alice",
        jobs=(SubmittedJob(id="9[].pbs", indices="1-2", asked=RECORDED, command=COMMAND),),
        collect=CollectJob(id="10.pbs", command=("qsub", "y.pbs"), waits_for=("9[].pbs",)),
    )
    with locked_submissions(tiny_run) as record:
        record.save(submission)
    assert read_record(tiny_run.paths.submissions) == {
        "submissions": [
            {
                "number": 1,
                "kind": "submit",
                "made": "2026-01-01T00:00:00+00:00",
                "host": "login1",
                "user": "alice",
                "jobs": [
                    {
                        "id": "9[].pbs",
                        "indices": "1-2",
                        "asked": {"walltime": "02:00:00", "mem": "16gb", "ncpus": 4, "ngpus": 2},
                        "command": list(COMMAND),
                    }
                ],
                "collect": {"id": "10.pbs", "command": ["qsub", "y.pbs"], "waits_for": ["9[].pbs"]},
                "retried": "",
                "reasons": {},
            }
        ],
        "probes": [],
        "changes": [],
        "intents": [],
    }
    assert read_submissions(tiny_run) == (submission,)


def test_a_record_of_an_older_version_is_read(tiny_run):
    """Before ``asked`` was recorded, and with a submission of which only jobs are known."""
    older = {
        "number": 1,
        "kind": "submit",
        "made": "then",
        "host": "h",
        "user": "u",
        "jobs": [{"id": "9[].pbs", "indices": "1-2", "command": list(COMMAND)}],
        "collect": None,
    }
    bare = {"jobs": [{"id": "10[].pbs", "indices": "1-3:2"}]}
    write_record(tiny_run.paths.submissions, {"submissions": [older, bare]})
    first, second = read_submissions(tiny_run)
    assert first.jobs == (SubmittedJob(id="9[].pbs", indices="1-2", command=COMMAND),)
    assert (second.number, second.collect) == (0, None)
    assert jobs_of([first, second]) == [("9[].pbs", (1, 2)), ("10[].pbs", (1, 3))]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"submissions": 3}, r"Expected `array`, got `int` - at `\$\.submissions`"),
        ({"submissions": [None]}, r"Expected `object`, got `null` - at `\$\.submissions\[0\]`"),
        ({"submissions": [{"jobs": [{"indices": "1-2"}]}]}, "missing required field `id`"),
        ({"submissions": [{"jobs": [{"id": 1, "indices": "1-2"}]}]}, "Expected `str`, got `int`"),
        ({"submissions": [{"jobs": [{"id": "1", "indices": "1-2", "asked": "much"}]}]}, "got `str`"),
        ({"submissions": [{"collect": {"command": []}}]}, "missing required field `id`"),
    ],
)
def test_a_wrong_shape_is_one_error_that_names_the_file(tiny_run, content, message):
    write_record(tiny_run.paths.submissions, content)
    with pytest.raises(UserError, match=message) as error:
        read_submissions(tiny_run)
    assert str(error.value).startswith(f"{tiny_run.paths.submissions} is not a valid Submissions record")
    assert error.value.exit_code == USAGE


def test_jobs_whose_id_or_indices_make_no_sense_are_left_out():
    jobs = [
        ("9[].pbs", "9-10"),
        ("x", "1-2"),
        ("11[].pbs", "2-1"),
        ("12[].pbs", "1,2"),
        ("10[].pbs", "7-8:2"),
    ]
    submission = Submission(jobs=tuple(SubmittedJob(id=one, indices=indices) for one, indices in jobs))
    assert jobs_of([submission]) == [("9[].pbs", (9, 10)), ("10[].pbs", (7,))]


@pytest.mark.parametrize(
    ("asked", "command", "expected"),
    [
        (RECORDED, COMMAND, RECORDED),  # the record counts, not the command
        (Requested(), COMMAND, Requested(walltime="08:00:00", mem="110gb")),
        (Requested(), (), Requested()),
        (Requested(), ("qsub", "-l", "ncpus=12,ngpus=1,mem=90GB"), Requested(mem="90GB")),
        (Requested(), ("qsub", "-l", "walltime=100:00:00"), Requested(walltime="100:00:00")),
        (Requested(), ("qsub", "-v", "WALLTIME_SECONDS=14400", "-l", "mem=much"), Requested()),
        (
            Requested(walltime="soon", mem="1e9", ngpus=1),
            COMMAND,
            Requested(walltime="08:00:00", mem="110gb", ngpus=1),
        ),
        (Requested(walltime="01:60:00", mem="0gb"), (), Requested()),
        (Requested(walltime="1:00:00", mem="100kb"), (), Requested(walltime="1:00:00", mem="100kb")),
    ],
)
def test_what_a_job_requested(asked, command, expected):
    assert requested(SubmittedJob(id="1", indices="1-2", asked=asked, command=command)) == expected


def test_submissions_are_numbered_one_after_the_other_and_kept(tiny_run):
    for number in (1, 2, 3):
        with locked_submissions(tiny_run) as record:
            assert record.number == number
            assert len(record.earlier) == number - 1
            record.save(Submission(number=number))
            record.save(Submission(number=number, kind="submit"))  # replaces what was saved before
    assert [one.number for one in read_submissions(tiny_run)] == [1, 2, 3]
    assert [one.kind for one in read_submissions(tiny_run)] == ["submit"] * 3


def test_a_submission_that_is_withdrawn_leaves_the_earlier_ones(tiny_run):
    with locked_submissions(tiny_run) as record:
        record.save(Submission(number=1))
    with locked_submissions(tiny_run) as record:
        record.save(Submission(number=2))
        assert record.current == Submission(number=2)
        record.withdraw()
        assert record.current is None
    assert read_submissions(tiny_run) == (Submission(number=1),)


@pytest.fixture
def held(tiny_run):
    """Another process's lock: a function that releases it."""
    descriptor = os.open(tiny_run.paths.root / ".submit.lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    yield lambda: fcntl.flock(descriptor, fcntl.LOCK_UN)
    os.close(descriptor)


def test_a_second_submission_waits_and_then_finds_the_first_on_record(tiny_run, held):
    said = []

    def say(text):
        said.append(text)
        write_record(tiny_run.paths.submissions, {"submissions": [{"number": 1}]})
        held()

    with locked_submissions(tiny_run, say=say) as record:
        assert record.earlier == (Submission(number=1),)
        assert record.number == 2
    assert said == [f"another process is submitting {tiny_run.paths.root}: waiting for it, at most 120 s"]


def test_a_second_submission_is_refused_if_the_first_takes_too_long(tiny_run, held, monkeypatch):
    monkeypatch.setattr(submissions, "LOCK_SECONDS", 0.2)
    said = []
    with (
        pytest.raises(UserError, match="still submitting") as error,
        locked_submissions(tiny_run, say=said.append),
    ):
        pytest.fail("the lock was given twice")
    assert error.value.exit_code == ACTIVE
    assert len(said) == 1
    held()
    with locked_submissions(tiny_run, say=said.append):
        pass
    assert len(said) == 1  # nothing to wait for


@pytest.mark.parametrize("damaged", [False, True])
def test_the_lock_is_free_again_after_an_error(tiny_run, damaged):
    if damaged:
        tiny_run.paths.submissions.write_text("{")
        with pytest.raises(UserError, match="is not whole JSON") as error, locked_submissions(tiny_run):
            pytest.fail("a damaged record was accepted")
        assert error.value.exit_code == USAGE
        tiny_run.paths.submissions.unlink()
    else:
        with pytest.raises(KeyError), locked_submissions(tiny_run):
            raise KeyError
    with locked_submissions(tiny_run, seconds=0, say=pytest.fail):
        pass


def test_a_run_directory_that_cannot_be_locked_is_an_error_of_the_user(tiny_run):
    (tiny_run.paths.root / ".submit.lock").mkdir()
    message = re.escape(f"{tiny_run.paths.root} cannot be locked")
    with pytest.raises(UserError, match=message) as error, locked_submissions(tiny_run):
        pytest.fail("a folder was locked")
    assert error.value.exit_code == USAGE


def test_a_record_that_cannot_be_written_is_an_error_that_names_the_file(tiny_run):
    first = Submission(number=1)
    with locked_submissions(tiny_run) as record:
        record.save(first)
        tiny_run.paths.submissions.unlink()
        tiny_run.paths.submissions.mkdir()
        with pytest.raises(UserError, match=r"submissions\.json cannot be written \(Is a directory\)"):
            record.save(replace(first, kind="submit"))
        assert record.current == first
