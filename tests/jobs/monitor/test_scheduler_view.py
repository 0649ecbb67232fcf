"""Which of a point's jobs is the newest, and what PBS says of it. Job numbers are compared as numbers."""

from __future__ import annotations

import getpass
from datetime import datetime, timezone

import msgspec
import pytest

from jobs.common.errors import UnreadableError
from jobs.common.records import write, write_record
from jobs.common.schema import CollectJob, Submission, Submissions, SubmittedJob
from jobs.monitor.scheduler_view import look
from jobs.pbs.commands import Scheduler
from jobs.pbs.qstat_output import Answer, Details, Job


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


def test_of_an_array_that_was_submitted_by_hand_every_index_in_the_answer_is_known(tiny_run):
    trained_by(tiny_run, "65[1].pbs", state="running")
    answer = {(65, None): Job("B"), (65, 1): Job("R", ran=True), (65, 2): Job("Q")}
    picture = look(tiny_run, Fixed(answer))
    assert [view.state for view in picture.views] == ["running", "queued"]
    assert [view.job_id for view in picture.views] == ["65[1].pbs", "65[2].pbs"]
    assert picture.active_jobs() == ("65[].pbs",)


def test_an_array_that_marked_the_run_is_known_before_a_point_has_written_anything(tiny_run):
    (tiny_run.paths.logs / ".array_65").touch()
    scheduler = Fixed({(65, None): Job("Q"), (65, 1): Job("Q"), (65, 2): Job("Q")})
    assert [view.state for view in look(tiny_run, scheduler).views] == ["queued", "queued"]
    assert scheduler.ids == ["65[]"]


def test_arrays_by_hand_that_have_not_started_are_found_by_their_run(tiny_run, pbs):
    import subprocess

    from tests.conftest import REPOSITORY

    script = str(REPOSITORY / "jobs/train_array.pbs")
    elsewhere = tiny_run.paths.root.parent / "another"
    for folder in (tiny_run.paths.root, elsewhere):
        subprocess.run(["qsub", "-J", "1-2", "-v", f"RUN_DIR={folder}", script], check=True)
    picture = look(tiny_run, Scheduler())
    assert [view.job_id for view in picture.views] == ["1[1].pbshost", "1[2].pbshost"]
    assert picture.active_jobs() == ("1[].pbshost",)


def test_a_job_by_hand_that_is_no_array_is_known_by_the_index_that_it_got(tiny_run, pbs):
    import subprocess

    from tests.conftest import REPOSITORY

    script = str(REPOSITORY / "jobs/train_array.pbs")
    variables = f"RUN_DIR={tiny_run.paths.root},POINT_INDEX=2"
    subprocess.run(["qsub", "-N", "unet_grid", "-C", "", "-v", variables, script], check=True)
    assert [view.job_id for view in look(tiny_run, Scheduler()).views] == ["", "1.pbshost"]


def test_only_jobs_of_those_who_may_write_into_the_run_are_asked_for(tiny_run, pbs):
    """A PBS that answers for one job at a time would be asked about everybody's."""
    write(tiny_run.paths.submissions, Submissions(submissions=(Submission(number=1, user="alice"),)))
    tiny_run.paths.root.chmod(0o755)
    look(tiny_run, Scheduler())
    (call,) = pbs.calls("qselect")
    assert call[:3] == ["-N", "unet_grid", "-u"] and {"alice", getpass.getuser()} <= set(call[3].split(","))
    tiny_run.paths.root.chmod(0o2775)
    look(tiny_run, Scheduler())
    assert pbs.calls("qselect")[1] == ["-N", "unet_grid"]


def test_an_older_job_that_still_waits_counts_where_the_newer_one_has_ended(tiny_run):
    submitted(tiny_run, 9, 10)
    answer = {(9, 1): Job("Q"), (10, 1): Job("X", 271, ran=True), (9, 2): Job("X"), (10, 2): Job("X")}
    views = look(tiny_run, Fixed(answer)).views
    assert [view.state for view in views] == ["queued", "cancelled"]
    assert views[0].job_id == "9[1].pbs"


def test_what_has_no_answer_is_unknown_and_what_has_one_is_known(tiny_run):
    jobs = (SubmittedJob(id="9[].pbs", indices="1-2:2"), SubmittedJob(id="10[].pbs", indices="2-3:2"))
    write(tiny_run.paths.submissions, Submissions(submissions=(Submission(number=1, jobs=jobs),)))
    views = look(tiny_run, Fixed({(9, None): Job("Q"), (9, 1): Job("Q")}, problem="no answer for 10[]")).views
    assert [(view.state, view.scheduler) for view in views] == [("queued", "Q"), ("waiting", "unknown")]


def test_the_sub_jobs_of_a_held_array_are_held_although_pbs_calls_them_queued(tiny_run):
    submitted(tiny_run, 9)
    details = {9: Details(comment="", hold="u", since=datetime(2026, 11, 27, 8, 0).astimezone())}
    picture = look(
        tiny_run, Fixed({(9, None): Job("H"), (9, 1): Job("Q"), (9, 2): Job("Q")}, details=details)
    )
    assert [(view.state, view.reason) for view in picture.views] == [("queued", "held")] * 2
    (waiting,) = picture.waiting()
    assert (waiting.id, waiting.state, waiting.points, waiting.never) == ("9[].pbs", "held", 2, False)


@pytest.mark.parametrize(
    ("comment", "shown", "never"),
    [
        (
            "Can Never Run: Insufficient amount of resource: mem",
            "Can Never Run: Insufficient amount of resource: mem",
            True,
        ),
        ("Not Running: Queue not started.", "Not Running: Queue not started.", False),
        ("Job Array Began at Fri Nov 27 at 11:05", "", False),
    ],
)
def test_the_reason_why_an_array_waits_is_the_comment_of_the_array(tiny_run, comment, shown, never):
    submitted(tiny_run, 9)
    answer = Fixed(
        {(9, None): Job("Q"), (9, 1): Job("Q"), (9, 2): Job("S")}, details={9: Details(comment=comment)}
    )
    (waiting,) = look(tiny_run, answer).waiting()
    assert (waiting.reason, waiting.never, waiting.state) == (shown, never, "suspended")


def test_a_collect_job_that_somebody_holds_is_shown_and_one_that_waits_for_the_array_is_not(tiny_run):
    submitted(tiny_run, 9)
    for hold, shown in (("s", []), ("us", ["1000.pbs"])):
        details = {1000: Details(hold=hold)}
        picture = look(tiny_run, Fixed({(9, None): Job("F"), (1000, None): Job("H")}, details=details))
        assert [waiting.id for waiting in picture.waiting()] == shown
        assert picture.active_collects() == ("1000.pbs",)


def test_an_array_without_a_run_belongs_to_the_run_that_was_newest_when_it_was_submitted(
    tmp_path, write_grid, pbs
):
    import shutil
    import subprocess

    from jobs.grid.config import load_config
    from jobs.run.create import make_run
    from jobs.run.index import read_provenance, read_run
    from tests.conftest import REPOSITORY, TINY, write_images

    write_images(tmp_path / "data")
    runs = {}
    for hour in (10, 11, 12):
        root = tmp_path / f"hyperparameter_optimization_20260101_{hour}0000"
        run = make_run(load_config(write_grid(TINY)), root, say=lambda text: None).run
        record = read_provenance(run.paths)
        made = msgspec.structs.replace(record.made[0], made=f"2026-01-01T{hour}:00:00+00:00")
        write(run.paths.provenance, msgspec.structs.replace(record, made=(made,)))
        runs[hour] = read_run(root)
    script = shutil.copy(REPOSITORY / "jobs/train_array.pbs", tmp_path)
    subprocess.run(["qsub", "-J", "1-2", str(script)], cwd=tmp_path, check=True)
    moment = datetime(2026, 1, 1, 11, 30, tzinfo=timezone.utc).astimezone()
    pbs.job(1, qtime=f"{moment:%a %b %d %H:%M:%S %Y}")
    states = {hour: {view.state for view in look(run, Scheduler()).views} for hour, run in runs.items()}
    assert states == {10: {"waiting"}, 11: {"queued"}, 12: {"waiting"}}


def test_a_point_that_ends_while_pbs_answers_is_not_lost(tiny_run):
    """Its files were read when it was running, and PBS's answer is from after its end."""
    submitted(tiny_run, 9)
    trained_by(tiny_run, "9[1].pbs", state="running")
    entry = tiny_run.entries[0]

    class Slow(Fixed):
        def qstat(self, ids):
            write_record(
                tiny_run.point_paths(entry).results, {"key": entry.key, "status": "done", "metrics": {}}
            )
            return super().qstat(ids)

    view = look(tiny_run, Slow({(9, 1): Job("X", 0, ran=True)})).views[0]
    assert (view.state, view.scheduler) == ("done", "X")


def test_what_cannot_be_read_is_refused_whatever_pbs_says(tiny_run):
    submitted(tiny_run, 9)
    first, second = tiny_run.entries
    tiny_run.point_paths(first).results.mkdir(parents=True)  # a folder cannot be read as a file
    jobs = {(9, 1): Job("X", 0, ran=True), (9, 2): Job("Q")}
    picture = look(tiny_run, Fixed(jobs))
    assert [view.state for view in picture.views] == ["unreadable", "queued"]
    assert first.name in picture.unreadable and "Is a directory" in picture.unreadable
    with pytest.raises(UnreadableError, match=first.name):
        picture.refuse_unreadable()
    with pytest.raises(UnreadableError):
        picture.refuse_unreadable([first.index])
    picture.refuse_unreadable([second.index])
    # It may run: that is known. But nobody may train it again because of that.
    queued = look(tiny_run, Fixed({**jobs, (9, 1): Job("Q")}))
    assert queued.views[0].state == "queued" and not queued.unreadable
    with pytest.raises(UnreadableError):
        queued.refuse_unreadable()
