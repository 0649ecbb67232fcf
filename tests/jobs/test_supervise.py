"""A run that is brought to its end without a person, on the stand-in PBS."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from filelock import FileLock

from jobs import cancel, resubmit, supervise
from jobs.common.errors import UserError
from jobs.common.records import read_record
from jobs.monitor.lasting_log import Log
from jobs.pbs.commands import Scheduler
from jobs.pbs.index_ranges import indices_of
from jobs.run.index import read_run
from tests.conftest import REPOSITORY
from tests.jobs.test_submit import give_result, give_state, qsubs, run  # noqa: F401 - the fixture

TRAIN = REPOSITORY / "jobs" / "train_array.pbs"


def once(run, *arguments):  # noqa: F811
    return supervise.main([str(run.paths.root), "--once", *arguments])


def end(pbs, number, **attributes):
    pbs.finish(number, **attributes)


def log(run):  # noqa: F811
    return run.paths.supervisor_log.read_text()


def test_it_submits_waits_submits_again_what_failed_and_ends(run, pbs):  # noqa: F811
    assert once(run) == 0
    assert [call.get("-J") for call in qsubs(pbs)] == ["1-12", None]
    assert once(run) == 0 and len(pbs.calls("qsub")) == 2  # everything is queued
    end(pbs, 1)
    for index in range(1, 12):
        give_result(run, index)
    give_state(run, 12, "timeout", job_id="1[12].pbshost")
    pbs.sub_job(1, 12, Exit_status=-29)
    assert once(run) == 0
    (array,) = qsubs(pbs)[2:]
    assert array["-J"] == "12-13:2" and "walltime=06:00:00" in pbs.calls("qsub")[2]
    assert pbs.calls("qalter")[0][1] == "depend=afterany:1[].pbshost:3[].pbshost"
    record = read_record(run.paths.submissions)["submissions"][-1]
    assert (record["kind"], record["retried"]) == ("supervise", "timeout")
    give_result(run, 12)
    end(pbs, 3)
    pbs.job(2, job_state="F")
    assert once(run) == 0
    assert len(pbs.calls("qsub")) == 4  # no summary has the last result: one more job collects
    assert "depend" not in " ".join(pbs.calls("qsub")[3])
    assert "submitted 12 points (for the first time; indices 1-12; walltime 04:00:00) as 1[].pbshost" in log(
        run
    )
    assert "submitted 1 point (again, after timeout; indices 12; walltime 06:00:00) as 3[].pbshost" in log(
        run
    )
    assert "ended: every point has a result" in log(run)


def test_it_never_has_more_jobs_in_the_queue_than_allowed(run, pbs):  # noqa: F811
    assert once(run, "--max-queued", "5") == 0
    # The points with the smallest batches take longest; no job collects while points are to come.
    assert [call.get("-J") for call in qsubs(pbs)] == ["1-10:3"]
    assert once(run, "--max-queued", "5") == 0
    assert len(pbs.calls("qsub")) == 1
    for index in (1, 4, 7):
        give_result(run, index)
        pbs.sub_job(1, index, job_state="X", run_count=1, Exit_status=0)
    assert once(run, "--max-queued", "5") == 0
    assert qsubs(pbs)[1]["-J"] == "2-8:3"
    for index in (10, 2, 5, 8):
        give_result(run, index)
    end(pbs, 1)
    end(pbs, 2)
    assert once(run, "--max-queued", "6") == 0
    last = [call["-J"] for call in qsubs(pbs)[2:] if "-J" in call]
    assert sum(len(indices_of(one)) for one in last) == 5
    assert len(qsubs(pbs)) == 2 + len(last) + 1 and qsubs(pbs)[-1]["-W"].startswith(
        "depend=afterany:3[].pbshost"
    )


def test_a_scheduler_that_does_not_answer_is_waited_for(run, pbs):  # noqa: F811
    once(run)
    end(pbs, 1)
    pbs.trouble("qstat", {"code": 255, "stderr": "qstat: no server\n"})
    assert once(run) == 5
    assert len(pbs.calls("qsub")) == 2 and "does not report what is queued" in log(run)
    assert once(run) == 0 and len(pbs.calls("qsub")) > 2


def test_it_stops_where_the_same_error_ends_every_point(run, pbs):  # noqa: F811
    once(run)
    end(pbs, 1)
    for index in range(1, 13):
        give_state(run, index, "error", reason="ImportError: no module x", job_id=f"1[{index}].pbshost")
    assert once(run) == 3
    assert len(pbs.calls("qsub")) == 2
    assert "stopped: the same error ends every point (12 so far): ImportError: no module x" in log(run)


def test_it_does_not_submit_what_was_cancelled(run, pbs):  # noqa: F811
    once(run)
    cancel.main([str(run.paths.root)])
    assert once(run) == 3
    assert len(pbs.calls("qsub")) == 2 and "the run was cancelled by" in log(run)


def test_a_refusal_by_pbs_is_said_and_tried_again(run, pbs, capsys):  # noqa: F811
    refusal = {"code": 1, "stderr": "qsub: would exceed limit on jobs\n"}
    pbs.trouble("qsub", refusal)
    assert once(run) == 5
    assert "would exceed limit" in log(run) and "would exceed limit" in capsys.readouterr().err
    assert once(run) == 0 and len(pbs.calls("qsub")) == 3


def test_it_ends_after_refusals_in_a_row_with_nothing_in_the_queue(run, pbs):  # noqa: F811
    pbs.trouble("qsub", *[{"code": 1, "stderr": "qsub: Unauthorized Request\n"}] * 9)
    pauses = []
    supervisor = supervise.Supervisor(
        run.paths.root, Scheduler(), Log(run.paths.supervisor_log), supervise.Options()
    )
    with pytest.raises(UserError, match="Unauthorized"):
        supervise.supervise(supervisor, once=False, interval=60, pause=pauses.append)
    assert len(pauses) == supervise.REFUSALS - 1


def test_it_asks_the_scheduler_at_most_once_a_minute(run, pbs):  # noqa: F811
    """Also where a bulk query is answered for its first job only, so that several queries are needed."""
    pbs.set(first_only=True)
    pauses = []

    def pause(seconds):
        pauses.append((seconds, len(pbs.calls("qstat")) + len(pbs.calls("qselect"))))
        if len(pauses) == 4:
            raise KeyboardInterrupt

    supervisor = supervise.Supervisor(
        run.paths.root, Scheduler(), Log(run.paths.supervisor_log), supervise.Options()
    )
    with pytest.raises(KeyboardInterrupt):
        supervise.supervise(supervisor, once=False, interval=60, pause=pause)
    before = 0
    for seconds, queries in pauses:
        assert seconds >= 60 * (queries - before)
        before = queries


def test_one_supervises_a_run_at_a_time(run, pbs, capsys):  # noqa: F811
    with FileLock(run.paths.supervisor_lock):
        assert once(run) == 6
    assert "supervised by another process" in capsys.readouterr().err and pbs.calls("qsub") == []


def test_a_supervisor_that_was_killed_goes_on_where_it_was(run, pbs):  # noqa: F811
    """All that it knows is in the run: a new process neither submits twice nor forgets how often it has tried."""
    for attempt in range(6):
        code = subprocess.run(
            [sys.executable, "-m", "jobs.supervise", str(run.paths.root), "--once"],
            cwd=REPOSITORY,
            capture_output=True,
            check=False,
        ).returncode
        if code == 3:
            break
        newest = max(int(number) for number, job in pbs.load()["jobs"].items() if job["subjobs"])
        end(pbs, newest)
        for index in range(1, 12):
            give_result(run, index)
        give_state(run, 12, "timeout", job_id=f"{newest}[12].pbshost", attempts=attempt + 1)
        pbs.sub_job(newest, 12, Exit_status=-29)
    assert code == 3 and attempt == 4
    walltimes = [
        re.search(r"walltime=(\S+)", " ".join(call))[1] for call in pbs.calls("qsub") if "-J" in call
    ]
    assert walltimes == ["04:00:00", "06:00:00", "09:00:00", "13:30:00"]
    assert log(run).count("given up: ") == 1


def test_the_log_repeats_nothing(run, pbs):  # noqa: F811
    for _ in range(3):
        once(run)
    lines = [line.partition(" ")[2] for line in log(run).splitlines()]
    assert len(lines) == len(set(lines))


def supervisor(run, **options):  # noqa: F811
    return supervise.Supervisor(
        run.paths.root, Scheduler(pauses=()), Log(run.paths.supervisor_log), supervise.Options(**options)
    )


def by_hand(run, pbs, indices):  # noqa: F811
    subprocess.run(
        [pbs.bin / "qsub", "-N", "unet_grid", "-J", indices, "-v", f"RUN_DIR={run.paths.root}", TRAIN],
        check=True,
    )


def one_timeout(run, pbs):  # noqa: F811
    """Point 12 was stopped at the walltime by array 1, the others have results."""
    end(pbs, 1)
    for index in range(1, 12):
        give_result(run, index)
    give_state(run, 12, "timeout", job_id="1[12].pbshost")
    pbs.sub_job(1, 12, Exit_status=-29)


def test_a_job_that_is_on_no_record_is_seen_before_each_submission(run, pbs):  # noqa: F811
    """A person typed qsub meanwhile, or a qsub of its own gave no answer."""
    one = supervisor(run)
    one.step()
    one_timeout(run, pbs)
    by_hand(run, pbs, "12-13:2")
    one.step()
    assert len(pbs.calls("qsub")) == 3


def test_a_job_that_is_on_no_record_is_seen_where_the_scheduler_was_down_at_first(run, pbs):  # noqa: F811
    by_hand(run, pbs, "1-12")
    pbs.set(down=True)
    one = supervisor(run)
    one.step()
    pbs.set(down=False)
    one.step()
    assert len(pbs.calls("qsub")) == 1


def test_a_walltime_that_the_queue_does_not_allow_does_not_grow(run, pbs):  # noqa: F811
    once(run)
    one_timeout(run, pbs)
    pbs.trouble("qsub", {"code": 1, "stderr": "qsub: Job violates queue and/or server resource limits\n"})
    assert once(run) == 0
    walltimes = [
        re.search(r"walltime=(\S+)", " ".join(call))[1] for call in pbs.calls("qsub") if "-J" in call
    ]
    assert walltimes == ["04:00:00", "06:00:00", "04:00:00"]
    assert "with the walltime that they had before" in log(run)
    assert read_record(run.paths.submissions)["submissions"][-1]["retried"] == "timeout"


def test_a_group_that_is_refused_does_not_keep_the_others_from_the_queue(run, pbs, write_grid):  # noqa: F811
    once(run)
    end(pbs, 1)
    for index in range(1, 11):
        give_result(run, index)
    give_state(run, 11, "error", job_id="1[11].pbshost")
    give_state(run, 12, "timeout", job_id="1[12].pbshost")
    pbs.trouble("qsub", {"code": 1, "stderr": "qsub: no\n"})
    assert once(run) == 0
    assert [call["-J"] for call in qsubs(pbs)[2:] if "-J" in call] == ["11-12:2", "12-13:2"]
    assert read_record(run.paths.submissions)["submissions"][-1]["retried"] == "timeout"


def test_what_passes_does_not_end_it(run, pbs):  # noqa: F811
    """Somebody edits the site block while it runs."""
    text = run.paths.grid.read_text()
    pauses = []

    def pause(seconds):
        pauses.append(seconds)
        run.paths.grid.write_text(text if len(pauses) == 3 else text + "\nsite:\n  walltime: ever\n")
        if len(pauses) == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        supervise.supervise(supervisor(run), once=False, interval=60, pause=pause)
    assert log(run).count("nothing is done: ") == 1 and "walltime" in log(run)
    run.paths.grid.write_text(text + "\nsite:\n  walltime: ever\n")
    assert once(run) == 2
    with pytest.raises(UserError, match="walltime"):
        supervise.supervise(supervisor(run), once=False, interval=60, pause=pauses.append)


def test_it_submits_nothing_after_a_cancel_with_nothing_in_the_queue(run, pbs):  # noqa: F811
    once(run)
    one_timeout(run, pbs)
    pbs.job(2, job_state="F")
    assert cancel.main([str(run.paths.root)]) == 0
    assert once(run) == 3
    assert len(pbs.calls("qsub")) == 2 and "jobs.resubmit" in log(run)


def test_a_cancel_after_the_last_result_changes_nothing(run, pbs):  # noqa: F811
    once(run)
    end(pbs, 1)
    for index in range(1, 13):
        give_result(run, index)
    assert cancel.main([str(run.paths.root)]) == 0
    assert once(run) == 0
    assert "ended: every point has a result" in log(run) and "stopped" not in log(run)


def test_points_that_are_not_in_the_queue_yet_can_be_cancelled(run, pbs):  # noqa: F811
    once(run, "--max-queued", "5")
    cancel.main([str(run.paths.root), "--indices", "2,3"])
    assert once(run) == 0
    submitted = {
        index for call in qsubs(pbs) if "-J" in call for index in indices_of(call["-J"].partition("%")[0])
    }
    assert submitted == set(range(1, 13)) - {2, 3}


def test_of_a_cancelled_run_only_what_a_person_submitted_goes_on(run, pbs):  # noqa: F811
    """Without history the deleted sub-jobs are unknown to PBS, which else means lost."""
    once(run)
    cancel.main([str(run.paths.root)])
    pbs.set(history=False)
    resubmit.main([str(run.paths.root), "--indices", "3"])
    assert once(run) == 0
    assert [call["-J"] for call in qsubs(pbs) if "-J" in call] == ["1-12", "3-4:2"]
    assert "cancelled by" in log(run)


def test_a_job_that_collects_and_fails_is_submitted_twice_and_no_more(run, pbs):  # noqa: F811
    once(run)
    end(pbs, 1)
    pbs.job(2, job_state="F")
    for index in range(1, 13):
        give_result(run, index)
    for _ in range(5):
        assert once(run) == 0
        for number in pbs.load()["jobs"]:
            pbs.job(int(number), job_state="F")
    assert len(pbs.calls("qsub")) == 4
    assert log(run).count("ended: every point has a result") == 3  # once after each other line
    assert "ended without a summary" in log(run) and "collect.py" in log(run)


def test_what_there_is_is_collected_where_pbs_takes_the_rest_never(run, pbs):  # noqa: F811
    once(run)
    one_timeout(run, pbs)
    pbs.job(2, job_state="F")
    refusal = {"code": 188, "stderr": "qsub: Job violates queue and/or server resource limits\n"}
    pbs.trouble("qsub", refusal, refusal)
    assert once(run) == 5
    assert [call["-N"] for call in qsubs(pbs)[4:]] == ["unet_collect"]


def test_the_arrays_of_a_run_together_run_no_more_than_allowed(run, pbs):  # noqa: F811
    """PBS limits the sub-jobs of each array by itself."""
    once(run, "--max-running", "2")
    assert qsubs(pbs)[0]["-J"] == "1-12%2"
    give_state(run, 12, "timeout", job_id="1[12].pbshost")
    pbs.sub_job(1, 12, job_state="X", run_count=1, Exit_status=0)
    once(run, "--max-running", "2")
    assert len(pbs.calls("qsub")) == 2  # 11 points of the array may still run, 2 at a time
    for index in range(1, 11):
        give_result(run, index)
        pbs.sub_job(1, index, job_state="X", run_count=1, Exit_status=0)
    once(run, "--max-running", "2")
    assert qsubs(pbs)[2]["-J"] == "12-13:2"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--interval", "10"], "expected 60 to 86400"),
        (["--max-queued", "1"], "expected at least 2"),
        (["--max-running", "0"], "expected at least 1"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(run, pbs, capsys, arguments, message):  # noqa: F811
    assert once(run, *arguments) == 2
    assert message in capsys.readouterr().err


def test_points_that_are_added_to_the_run_are_submitted(run, pbs, write_grid):  # noqa: F811
    from jobs.grid.config import load_config
    from jobs.run.create import make_run
    from tests.jobs.test_submit import TWELVE

    once(run)
    make_run(
        load_config(write_grid(TWELVE.replace("[2, 4, 8]", "[1, 2, 4, 8]"))),
        run.paths.root,
        say=lambda text: None,
    )
    assert len(read_run(run.paths.root).entries) == 16
    once(run)
    assert qsubs(pbs)[2]["-J"] == "13-16"
