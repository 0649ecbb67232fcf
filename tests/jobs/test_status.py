from __future__ import annotations

import json
import shlex
import subprocess
import sys

import pytest

from jobs import resubmit, status
from jobs.monitor.progress import summarise
from jobs.monitor.scheduler_view import look
from jobs.pbs.commands import Scheduler
from jobs.pbs.qsub_arguments import plan_jobs
from jobs.pbs.submissions import jobs_of, locked_submissions, read_submissions
from jobs.pbs.submitter import submit
from jobs.point.log import last_lines
from jobs.run.known import remember
from tests.conftest import REPOSITORY
from tests.jobs.test_submit import give_result, give_state, run  # noqa: F401 - the fixture


def states(run, live=True):  # noqa: F811
    picture = look(run, Scheduler() if live else None)
    return {view.entry.index: view.state for view in picture.views}


@pytest.fixture
def array(run, pbs):  # noqa: F811
    planned = plan_jobs(run, range(1, 13), submission=1)
    with locked_submissions(run) as record:
        submit(run, record, planned, Scheduler(), kind="submit", say=lambda text: None)
    return pbs


def test_files_alone_never_ask_the_scheduler(run, array):  # noqa: F811
    assert set(states(run, live=False).values()) == {"waiting"}
    assert array.calls("qstat") == []


def test_live_asks_exactly_once_and_names_what_is_queued(run, array):  # noqa: F811
    assert set(states(run).values()) == {"queued"}
    assert len(array.calls("qstat")) == 1


@pytest.mark.parametrize(
    ("written", "sub_job", "expected"),
    [
        (None, {"job_state": "R", "run_count": 1}, "running"),
        ("running", {"job_state": "R", "run_count": 1}, "running"),
        (
            "running",
            {"job_state": "X", "run_count": 1, "Exit_status": 137},
            "lost",
        ),  # anybody can send signal 9
        (
            "running",
            {
                "job_state": "X",
                "run_count": 1,
                "Exit_status": 137,
                "resources_used": {"mem": "33000000kb"},
                "Resource_List": {"mem": "32gb"},
            },
            "oom",
        ),
        (
            "running",
            {
                "job_state": "X",
                "run_count": 1,
                "Exit_status": 137,
                "resources_used": {"mem": "3000000kb"},
                "Resource_List": {"mem": "32gb"},
            },
            "lost",
        ),
        ("running", {"job_state": "X", "run_count": 1, "Exit_status": -29}, "timeout"),
        ("running", {"job_state": "X", "run_count": 1, "Exit_status": -27}, "oom"),
        ("running", {"job_state": "X", "run_count": 1, "Exit_status": 271}, "cancelled"),
        ("running", {"job_state": "X", "run_count": 1, "Exit_status": 1}, "lost"),
        ("running", {"job_state": "Q", "run_count": 1, "Exit_status": -20}, "queued"),
        ("error", {"job_state": "X", "run_count": 1, "Exit_status": 13}, "error"),
        ("timeout", {"job_state": "X", "run_count": 1, "Exit_status": 271}, "timeout"),
        ("cancelled", {"job_state": "X", "run_count": 1, "Exit_status": -29}, "timeout"),
        (
            None,
            {"job_state": "X"},
            "cancelled",
        ),  # deleted while queued: no run_count, the parent's exit status
        (None, {"job_state": "X", "run_count": 1, "Exit_status": 0}, "lost"),
    ],
)
def test_files_and_scheduler_joined(run, array, written, sub_job, expected):  # noqa: F811
    if written:
        give_state(run, 4, written, job_id="1[4].pbshost")
    array.sub_job(1, 4, **sub_job)
    assert states(run)[4] == expected


@pytest.mark.parametrize(
    "trouble", [{"code": 255, "stderr": "qstat: cannot find the server\n"}, {"code": 0, "stdout": "{oops"}]
)
def test_a_scheduler_that_does_not_answer_gives_unknown_and_never_finished(run, array, trouble, capsys):  # noqa: F811
    give_state(run, 4, "running", job_id="1[4].pbshost")
    array.trouble("qstat", trouble)
    assert status.main([str(run.paths.root), "--live"]) == 0
    shown = capsys.readouterr().out
    assert "scheduler: unknown" in shown and "1 running" in shown and "11 waiting" in shown


def test_without_history_a_vanished_array_is_unknown(run, array):  # noqa: F811
    give_state(run, 4, "running", job_id="1[4].pbshost")
    array.finish(1)
    array.set(history=False)
    views = look(run, Scheduler()).views
    assert views[3].state == "running" and views[3].scheduler == "unknown"


def test_a_point_submitted_by_hand_is_found_by_its_own_job(run, pbs):  # noqa: F811
    subprocess.run(["qsub", "-J", "1-12", str(REPOSITORY / "jobs/train_array.pbs")], check=True)
    give_state(run, 4, "running", job_id="1[4].pbshost")
    pbs.finish(1, Exit_status=-29)
    assert states(run)[4] == "timeout"


def test_the_summary_shows_what_runs_what_failed_why_and_how_to_go_on(run, capsys):  # noqa: F811
    give_result(run, 1)
    give_result(run, 2, "diverged")
    give_state(
        run,
        3,
        "running",
        epoch=3,
        epochs=10,
        epoch_seconds=60.0,
        val_jaccard=0.41,
        best_val_jaccard=0.45,
        best_epoch=2,
    )
    give_state(run, 4, "oom", reason="ResourceExhausted: x")
    give_state(run, 5, "timeout")
    log = run.point_paths(run.entry(4)).log
    log.write_text("first\nsecond\n\nthird\nfourth\n")
    assert status.main([str(run.paths.root)]) == 0
    shown = capsys.readouterr().out
    assert "2 of 12 points have a result: 7 waiting, 1 running, 1 done, 1 diverged, 1 oom, 1 timeout" in shown
    assert "3/2" in shown and "0.410" in shown and "0.450 (2)" in shown
    assert "ResourceExhausted: x" in shown and "| fourth" in shown and "| first" not in shown
    assert f"python -m jobs.resubmit {run.paths.root} --all-failed --indices 5 --walltime 08:00:00" in shown
    assert "best so far" in shown and run.entry(1).name in shown


def test_json_holds_everything(run, capsys):  # noqa: F811
    give_result(run, 1)
    assert status.main([str(run.paths.root), "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["counts"] == {"waiting": 11, "done": 1}
    assert content["best"][0]["best_val_jaccard"] == 0.51
    assert content["asked_scheduler"] is False


def test_time_left_counts_how_many_run_at_once(run):  # noqa: F811
    for index in (1, 2):
        give_state(run, index, "running", epoch=1, epoch_seconds=100.0, updated="2026-01-01T00:00:00+00:00")
    from datetime import datetime, timezone

    progress = summarise(look(run), now=datetime(2026, 1, 1, tzinfo=timezone.utc))
    # Two places, each 100 s from free; ten points of 2 epochs, 200 s each, five on each place.
    assert progress.at_once == 2
    assert progress.seconds_left == pytest.approx(100 + 5 * 200)


def test_records_of_odd_types_do_not_crash_the_summary(run, capsys):  # noqa: F811
    give_state(
        run, 3, "running", epoch="x", epoch_seconds=None, val_jaccard=[], updated=5, best_epoch="?", job_id=7
    )
    assert status.main([str(run.paths.root)]) == 0
    assert run.entry(3).name in capsys.readouterr().out


def test_last_lines_of_a_long_log_are_read_from_its_end(tmp_path):
    path = tmp_path / "log"
    path.write_bytes(b"x" * 100_000 + b"\none\ntwo \xff\n")
    assert last_lines(path, 2) == ("one", "two \N{REPLACEMENT CHARACTER}")
    assert last_lines(tmp_path / "none") == ()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "?"), (40, "40 s"), (720, "12 min"), (11100, "3 h 05 min"), (200000, "2 d 7 h")],
)
def test_durations_are_readable(seconds, text):
    assert status.duration(seconds) == text


@pytest.mark.parametrize("arguments", [["--watch", "--json"], ["--live", "--watch", "--interval", "5"]])
def test_watching_does_not_flood_the_scheduler(run, arguments):  # noqa: F811
    assert status.main([str(run.paths.root), *arguments]) == 2


@pytest.mark.parametrize(
    "module",
    [
        "jobs.status",
        "jobs.submit",
        "jobs.resubmit",
        "jobs.probe",
        "jobs.cost.measurements",
        "jobs.cost.estimate",
        "jobs.cost.table",
        "unet_models.networks.flops",
        "jobs.verify",
        "make_grid",
        "collect",
    ],
)
def test_what_answers_at_the_prompt_never_imports_tensorflow(module):
    code = f"import sys, {module}; sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=True)


def test_watching_ends_when_every_point_has_ended_with_a_result_or_without(run, capsys, monkeypatch):  # noqa: F811
    for index in range(1, 12):
        give_result(run, index)
    give_state(run, 12, "running", host="elsewhere")
    looks = []

    def pause(seconds):
        looks.append(seconds)
        give_state(run, 12, "error", reason="a fault")

    monkeypatch.setattr(status.time, "sleep", pause)
    assert status.main([str(run.paths.root), "--watch", "--interval", "3"]) == 0
    shown = capsys.readouterr().out
    assert looks == [3.0] and "next update in 3 s" in shown and "a fault" in shown
    assert shown.rstrip().endswith("every point has ended; 1 without a result")


def test_watching_goes_on_while_points_wait(run, monkeypatch):  # noqa: F811
    give_state(run, 1, "error")

    def pause(seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr(status.time, "sleep", pause)
    assert status.main([str(run.paths.root), "--watch"]) == 130


def test_without_a_run_the_users_runs_are_listed_from_any_folder(run, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    remember(run.paths.root)
    give_result(run, 1)
    result = subprocess.run(
        [sys.executable, str(REPOSITORY / "jobs/status.py")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    line = next(line for line in result.stdout.splitlines() if "1 of 12" in line)
    assert "11 waiting, 1 done" in result.stdout and line
    assert f"cd {REPOSITORY} && python -m jobs.status RUN" in result.stdout
    assert status.main(["--live"]) == 2


def test_a_damaged_run_has_its_error_in_the_list(run, tmp_path, monkeypatch, capsys):  # noqa: F811
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    remember(run.paths.root)
    run.paths.provenance.write_text("x")
    assert status.main([]) == 0
    assert "cannot be used" in " ".join(capsys.readouterr().out.split())


def test_json_has_the_state_of_each_point_and_its_sub_job(run, array, capsys):  # noqa: F811
    give_result(run, 1)
    array.sub_job(1, 1, job_state="X", run_count=1, Exit_status=0)
    give_state(run, 2, "error", reason="a fault", job_id="1[2].pbshost")
    array.sub_job(1, 2, job_state="X", run_count=1, Exit_status=13)
    assert status.main([str(run.paths.root), "--live", "--json"]) == 0
    points = json.loads(capsys.readouterr().out)["points"]
    assert [point["index"] for point in points] == list(range(1, 13))
    assert [(point["state"], point["reason"]) for point in points[:3]] == [
        ("done", ""),
        ("error", "a fault"),
        ("queued", ""),
    ]
    assert [point["job_id"] for point in points[:3]] == ["", "", "1[3].pbshost"]


def test_why_points_wait_is_shown_in_the_words_of_the_scheduler(run, array, capsys):  # noqa: F811
    array.job(1, comment="Can Never Run: Insufficient amount of resource: ncpus (R: 64 A: 8 T: 8)")
    assert status.main([str(run.paths.root), "--live"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "1[].pbshost: 12 points queued since" in shown
    assert (
        "the scheduler says: Can Never Run: Insufficient amount of resource: ncpus (R: 64 A: 8 T: 8)" in shown
    )
    array.job(1, job_state="H", Hold_Types="u", comment="")
    status.main([str(run.paths.root), "--live"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "12 points held, queued since" in shown and "qrls '1[].pbshost'" in shown


def test_a_server_without_history_is_said(run, array, capsys):  # noqa: F811
    array.set(history=False)
    status.main([str(run.paths.root), "--live"])
    assert "keeps no history" in capsys.readouterr().out


def test_the_last_line_of_what_the_job_script_said_is_the_reason(run, array, capsys):  # noqa: F811
    run.paths.captured(1, "4").write_text("loading\nunet_grid: module load cuda failed\n")
    array.sub_job(1, 4, job_state="X", run_count=1, Exit_status=2)
    status.main([str(run.paths.root), "--live"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "ended with exit status 2 and left no record: unet_grid: module load cuda failed" in shown


@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize("code", [137, -29, 271, 1])
def test_the_printed_command_submits_exactly_its_points(run, array, capsys, code, live):  # noqa: F811
    """Whatever the class is called with and without the scheduler."""
    for index, state in ((2, "lost"), (5, "cancelled"), (9, "timeout")):
        give_state(run, index, state, job_id=f"1[{index}].pbshost")
    array.finish(1)
    for index in (2, 5, 9):
        array.sub_job(1, index, Exit_status=code)
    for index in {*range(1, 13)} - {2, 5, 9}:
        give_result(run, index)
    status.main([str(run.paths.root), *(["--live"] if live else [])])
    printed = [line.strip() for line in capsys.readouterr().out.splitlines() if "jobs.resubmit" in line]
    for line in printed:
        words = shlex.split(line.partition("  #")[0])
        assert words[:3] == ["python", "-m", "jobs.resubmit"]
        assert resubmit.main(words[3:]) == 0
    submitted = read_submissions(run)[1:]
    assert sorted(index for _, indices in jobs_of(submitted) for index in indices) == [2, 5, 9]
    # Pasted once more, it submits nothing: they are in the queue.
    for line in printed:
        assert resubmit.main(shlex.split(line.partition("  #")[0])[3:]) == 0
    assert len(read_submissions(run)) == 1 + len(submitted)
