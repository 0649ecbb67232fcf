"""What is on record at the moment of each ``qsub``, and what is left after a failure at any of them."""

from __future__ import annotations

import errno
import shlex

import pytest

from jobs.common.errors import SCHEDULER, USAGE, UserError
from jobs.common.files import DiskFull
from jobs.common.reserved import Reserved
from jobs.common.schema import CollectJob
from jobs.pbs import submissions
from jobs.pbs.commands import Scheduler, UnsureError
from jobs.pbs.qsub_arguments import collect_arguments, plan_jobs
from jobs.pbs.submissions import locked_submissions, read_all, read_submissions
from jobs.pbs.submitter import submit


class Recorder(Scheduler):
    """Gives the ids 9, 10, ... and keeps what was on record at each call; ``refuse`` is the number of a ``qsub`` (from 1)."""

    def __init__(self, run, refuse=None, qalter=""):
        super().__init__()
        self.run = run
        self.refuse = refuse
        self.answer = qalter
        self.calls = []

    def qsub(self, arguments, folder):
        self.calls.append(("qsub", read_submissions(self.run)))
        if len(self.calls) == self.refuse:
            raise UserError("qsub refused the job (exit code 32): no", exit_code=SCHEDULER)
        number = 8 + len(self.calls)
        return f"{number}[].pbs" if "-J" in arguments else f"{number}.pbs"

    def qalter(self, arguments):
        self.calls.append(("qalter", read_submissions(self.run)))
        self.altered = arguments
        return self.answer


def send(run, scheduler, say=lambda text: None, **options):
    """Two arrays of one point each, and the collect job."""
    with locked_submissions(run) as record:
        planned = [*plan_jobs(run, [1], submission=1), *plan_jobs(run, [2], submission=1)]
        return submit(run, record, planned, scheduler, kind="submit", say=say, **options)


def on_record(found):
    """``(number of jobs, has a collect job)`` for each submission."""
    return [(len(one.jobs), one.collect is not None) for one in found]


def test_each_id_is_on_record_before_the_next_job_is_submitted(tiny_run):
    scheduler = Recorder(tiny_run)
    submission = send(tiny_run, scheduler)
    assert [on_record(found) for _, found in scheduler.calls] == [[(0, False)], [(1, False)], [(2, False)]]
    assert [[job.id for one in found for job in one.jobs] for _, found in scheduler.calls] == [
        [],
        ["9[].pbs"],
        ["9[].pbs", "10[].pbs"],
    ]
    assert read_submissions(tiny_run) == (submission,)
    assert [(job.id, job.indices) for job in submission.jobs] == [("9[].pbs", "1-2:2"), ("10[].pbs", "2-3:2")]
    assert submission.collect.waits_for == ("9[].pbs", "10[].pbs")
    assert submission.collect.id == "11.pbs"
    assert (submission.number, submission.kind) == (1, "submit")


def test_the_record_has_the_commands_and_what_was_requested(tiny_run):
    said = []
    submission = send(tiny_run, Recorder(tiny_run), said.append)
    planned = plan_jobs(tiny_run, [1], submission=1)[0]
    assert submission.jobs[0].command == ("qsub", *planned.arguments)
    assert submission.jobs[0].asked == planned.requested
    collect = ("qsub", *collect_arguments(tiny_run, ["9[].pbs", "10[].pbs"], submission=1))
    assert submission.collect.command == collect
    lines = [
        shlex.join(submission.jobs[0].command),
        shlex.join(submission.jobs[1].command),
        shlex.join(collect),
    ]
    assert said == [lines[0], "  9[].pbs", lines[1], "  10[].pbs", lines[2], "  11.pbs"]


def test_earlier_submissions_are_kept(tiny_run):
    first = send(tiny_run, Recorder(tiny_run))
    scheduler = Recorder(tiny_run)
    second = send(tiny_run, scheduler)
    assert read_submissions(tiny_run) == (first, second)
    assert second.number == 2
    assert on_record(scheduler.calls[0][1]) == [(2, True), (0, False)]


@pytest.fixture
def full_disk(monkeypatch):
    """A function: space for the record can be taken so many times, then the disk is full."""

    def after(times):
        left = [times]

        class Limited(Reserved):
            def __init__(self, *arguments):
                left[0] -= 1
                if left[0] < 0:
                    raise DiskFull(errno.ENOSPC, "No space left on device: what is needed and what is free")
                super().__init__(*arguments)

        monkeypatch.setattr(submissions, "Reserved", Limited)

    return after


def test_a_full_disk_is_noticed_before_any_job_is_submitted(tiny_run, full_disk):
    full_disk(0)
    scheduler = Recorder(tiny_run)
    with pytest.raises(UserError) as error:
        send(tiny_run, scheduler)
    assert scheduler.calls == [] and read_submissions(tiny_run) == ()
    assert str(error.value) == "No space left on device: what is needed and what is free"
    assert error.value.exit_code == USAGE


def test_a_disk_that_fills_up_later_leaves_every_job_on_record(tiny_run, full_disk):
    full_disk(2)
    scheduler = Recorder(tiny_run)
    with pytest.raises(UserError) as error:
        send(tiny_run, scheduler)
    assert len(scheduler.calls) == 2  # the third was not submitted
    _, kept, missing, *_ = str(error.value).splitlines()
    assert kept == "already submitted, and on record: 9[].pbs, 10[].pbs"
    assert missing.endswith(f"python -m jobs.resubmit {tiny_run.paths.root}")
    assert on_record(read_submissions(tiny_run)) == [(2, False)]


def test_each_job_is_announced_with_the_space_for_its_id_before_it_is_submitted(tiny_run, monkeypatch):
    seen = []

    class Announced(Recorder):
        def qsub(self, arguments, folder):
            record = read_all(self.run)
            (intent,) = record.intents
            assert f"SUBMISSION_TOKEN={intent.token}" in " ".join(arguments)
            (space,) = self.run.paths.root.glob(".submissions.*.tmp.json")
            seen.append(space.stat().st_size - self.run.paths.submissions.stat().st_size)
            return super().qsub(arguments, folder)

    send(tiny_run, Announced(tiny_run))
    assert len(seen) == 3 and min(seen) >= 1000
    assert read_all(tiny_run).intents == () and not list(tiny_run.paths.root.glob(".submissions.*"))


def test_a_job_that_pbs_does_not_answer_for_stays_announced(tiny_run):
    class Silent(Recorder):
        def qsub(self, arguments, folder):
            super().qsub(arguments, folder)
            raise UnsureError("qsub did not answer", exit_code=SCHEDULER)

    with pytest.raises(UserError, match="is found, and recorded, by the next command"):
        send(tiny_run, Silent(tiny_run))
    record = read_all(tiny_run)
    assert [one.kind for one in record.intents] == ["points"] and on_record(record.submissions) == [
        (0, False)
    ]


def test_what_stands_in_the_place_of_a_captured_log_is_removed_before_the_job_is_submitted(
    tiny_run, tmp_path
):
    (tmp_path / "private").write_text("mine")
    tiny_run.paths.logs.mkdir(exist_ok=True)
    link = tiny_run.paths.captured(1, "1")
    link.symlink_to(tmp_path / "private")
    send(tiny_run, Recorder(tiny_run))
    assert not link.is_symlink() and (tmp_path / "private").read_text() == "mine"


def test_a_refused_first_job_leaves_no_submission(tiny_run):
    first = send(tiny_run, Recorder(tiny_run))
    with pytest.raises(UserError, match="no") as error:
        send(tiny_run, Recorder(tiny_run, refuse=1))
    assert str(error.value) == "qsub refused the job (exit code 32): no"
    assert error.value.exit_code == SCHEDULER
    assert read_submissions(tiny_run) == (first,)


def test_a_refused_second_job_leaves_the_first_on_record_and_says_how_to_go_on(tiny_run):
    with pytest.raises(UserError) as error:
        send(tiny_run, Recorder(tiny_run, refuse=2))
    assert error.value.exit_code == SCHEDULER
    assert on_record(read_submissions(tiny_run)) == [(1, False)]
    follow = shlex.join(["qsub", *collect_arguments(tiny_run, ["9[].pbs"], submission=1)])
    assert str(error.value).splitlines() == [
        "qsub refused the job (exit code 32): no",
        "already submitted, and on record: 9[].pbs",
        f"then submit the points that are missing: python -m jobs.resubmit {tiny_run.paths.root}",
        "or only collect after the jobs that are on record:",
        f"  {follow}",
    ]


def test_a_refused_collect_job_leaves_both_arrays_on_record(tiny_run):
    with pytest.raises(UserError, match=r"on record: 9\[\]\.pbs, 10\[\]\.pbs"):
        send(tiny_run, Recorder(tiny_run, refuse=3))
    assert on_record(read_submissions(tiny_run)) == [(2, False)]


WAITING = CollectJob(id="7.pbs", command=("qsub", "x"), waits_for=("6[].pbs",))


def test_a_waiting_collect_job_waits_for_the_new_jobs_as_well(tiny_run):
    scheduler = Recorder(tiny_run)
    submission = send(tiny_run, scheduler, waiting=WAITING)
    assert [command for command, _ in scheduler.calls] == ["qsub", "qsub", "qalter"]
    assert scheduler.altered == ["-W", "depend=afterany:6[].pbs:9[].pbs:10[].pbs", "7.pbs"]
    assert submission.collect == CollectJob(
        id="7.pbs",
        command=("qalter", *scheduler.altered),
        waits_for=("6[].pbs", "9[].pbs", "10[].pbs"),
    )
    assert read_submissions(tiny_run) == (submission,)


def test_a_collect_job_that_cannot_be_changed_is_replaced(tiny_run):
    said = []
    scheduler = Recorder(tiny_run, qalter="qalter: Job has finished 7.pbs")
    submission = send(tiny_run, scheduler, said.append, waiting=WAITING)
    assert [command for command, _ in scheduler.calls] == ["qsub", "qsub", "qalter", "qsub"]
    assert submission.collect.id == "12.pbs"
    assert submission.collect.waits_for == ("9[].pbs", "10[].pbs")
    assert "  qalter: Job has finished 7.pbs; submitting a new collect job instead" in said
