"""Which of a point's jobs is the newest, and what PBS says of it. Job numbers are compared as numbers."""

from __future__ import annotations

import pytest

from jobs.common.records import write, write_record
from jobs.common.schema import CollectJob, Submission, Submissions, SubmittedJob
from jobs.monitor.scheduler_view import look
from jobs.pbs.commands import Scheduler
from jobs.pbs.qstat_output import Answer, Job


class Fixed(Scheduler):
    """Gives one answer, and keeps the ids that it was asked about."""

    def __init__(self, jobs, **options):
        super().__init__()
        self.answer = Answer(jobs, **options)
        self.ids = None

    def qstat(self, ids):
        self.ids = list(ids)
        return self.answer


def submitted(run, *numbers):
    jobs = [SubmittedJob(id=f"{number}[].pbs", indices="1-2") for number in numbers]
    record = Submission(number=1, jobs=tuple(jobs), collect=CollectJob(id="1000.pbs"))
    write(run.paths.submissions, Submissions(submissions=(record,)))


def trained_by(run, job_id, state="error"):
    entry = run.entries[0]
    paths = run.point_paths(entry)
    paths.state.mkdir(parents=True, exist_ok=True)
    record = {"name": entry.name, "key": entry.key, "state": state, "job_id": job_id, "host": "n", "pid": 1}
    write_record(paths.status, {**record, "attempts": 1, "reason": "it failed"})


@pytest.mark.parametrize(
    ("recorded", "own", "newest"),
    [
        (9, 10, 10),  # submitted by hand after what is on record; as text, 9 is the larger
        (99, 100, 100),
        (10, 9, 10),  # submitted again since: what is on record counts
        (100, 99, 100),
        (10, 10, 10),
    ],
)
def test_of_two_jobs_the_larger_number_is_the_newer(tiny_run, recorded, own, newest):
    submitted(tiny_run, recorded)
    trained_by(tiny_run, f"{own}[1].pbs")
    states = {(number, 1): Job("Q" if number == newest else "X", 1, ran=True) for number in (recorded, own)}
    view = look(tiny_run, Fixed(states)).views[0]
    assert (view.state, view.scheduler) == ("queued", "Q")


def test_of_two_jobs_on_record_the_last_is_the_newer(tiny_run):
    submitted(tiny_run, 9, 10)
    view = look(tiny_run, Fixed({(9, 1): Job("X", 1, ran=True), (10, 1): Job("R", None, ran=True)})).views[0]
    assert (view.state, view.reason, view.starting) == ("running", "", True)


def test_a_sub_job_that_qstat_leaves_out_of_an_array_that_has_not_ended_may_be_queued(tiny_run):
    submitted(tiny_run, 9)
    views = look(tiny_run, Fixed({(9, None): Job("B"), (9, 1): Job("X", 1, ran=True)})).views
    assert [view.state for view in views] == ["lost", "queued"]


def test_every_job_that_may_concern_the_run_is_asked_about_once(tiny_run):
    submitted(tiny_run, 9, 10)
    trained_by(tiny_run, "11[1].pbs")
    scheduler = Fixed({})
    look(tiny_run, scheduler)
    assert scheduler.ids == ["9[].pbs", "10[].pbs", "1000.pbs", "11[].pbs"]
    trained_by(tiny_run, "10[1]")  # the id on record is the complete one
    look(tiny_run, scheduler)
    assert scheduler.ids == ["9[].pbs", "10[].pbs", "1000.pbs"]


def test_a_job_that_pbs_calls_finished_without_details_has_ended(tiny_run):
    submitted(tiny_run, 9)
    views = look(tiny_run, Fixed({}, finished=frozenset({9}))).views
    assert [view.scheduler for view in views] == ["F", "F"]
    views = look(tiny_run, Fixed({}, finished=frozenset({10}))).views
    assert [view.scheduler for view in views] == ["unknown", "unknown"]


def test_a_record_that_cannot_be_used_is_a_problem_of_the_picture(tiny_run):
    write_record(tiny_run.paths.submissions, {"submissions": [{"jobs": 3}]})
    picture = look(tiny_run, Fixed({}))
    assert picture.submissions == ()
    assert str(tiny_run.paths.submissions) in picture.problem
