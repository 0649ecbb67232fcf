from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys

import pytest

from jobs import resubmit, submit
from jobs.common.records import read_record, write_record
from jobs.grid.config import load_config
from jobs.run.create import make_run
from jobs.run.index import read_run
from tests.conftest import REPOSITORY, TINY, write_images

TWELVE = TINY.replace("[1e-3, 5e-3]", "[1e-4, 2e-4, 1e-3, 5e-3]").replace("[8]", "[2, 4, 8]")


@pytest.fixture
def run(tmp_path, write_grid):
    write_images(tmp_path / "data")
    return make_run(load_config(write_grid(TWELVE)), tmp_path / "run", say=lambda text: None).run


def give_state(run, index, state, **more):
    entry = run.entry(index)
    paths = run.point_paths(entry)
    paths.state.mkdir(parents=True, exist_ok=True)
    record = {"name": entry.name, "key": entry.key, "host": "node1", "pid": 1, "attempts": 1, "state": state}
    write_record(paths.status, {**record, **more})


def give_result(run, index, status="done"):
    entry = run.entry(index)
    paths = run.point_paths(entry)
    paths.folder.mkdir(exist_ok=True)
    metrics = {"best_val_jaccard": 0.5 + index / 100, "best_epoch": 2, "chance_jaccard": 0.1}
    write_record(paths.results, {"key": entry.key, "status": status, "metrics": metrics})


def qsubs(pbs):
    return [dict(zip(call[::2], call[1::2], strict=False)) for call in pbs.calls("qsub")]


def test_submit_sends_one_array_of_the_runs_size_and_a_collect_that_waits_for_it(run, pbs, capsys):
    assert submit.main([str(run.paths.root), "--max-running", "5"]) == 0
    array, collect = qsubs(pbs)
    assert array["-J"] == "1-12%5"
    assert collect["-W"] == "depend=afterany:1[].pbshost"
    record = read_record(run.paths.submissions)["submissions"][0]
    assert record["jobs"][0]["id"] == "1[].pbshost" and record["collect"]["id"] == "2.pbshost"
    assert record["jobs"][0]["command"] == ["qsub", *pbs.calls("qsub")[0]]
    printed = capsys.readouterr().out
    assert "1[].pbshost" in printed and "2.pbshost" in printed
    assert f"qsub {shlex.join(pbs.calls('qsub')[0])}" in printed
    assert not pbs.load()["jobs"]["2"]["deleted"]  # the real one deletes a job that depends on nothing


def test_the_sub_job_is_told_the_run_the_repository_and_the_walltime(run, pbs):
    submit.main([str(run.paths.root)])
    root = run.paths.root.resolve()
    assert qsubs(pbs)[0]["-v"] == f"RUN_DIR={root},REPOSITORY={REPOSITORY},WALLTIME_SECONDS=14400"
    assert qsubs(pbs)[0]["-o"] == f"{root}/logs/submission_01_^array_index^.log"
    assert (root / "logs").is_dir()


def test_dry_run_prints_the_same_lines_and_submits_nothing(run, pbs, capsys):
    assert submit.main([str(run.paths.root), "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert pbs.calls("qsub") == [] and not run.paths.submissions.exists()
    submit.main([str(run.paths.root)])
    assert f"job=$(qsub {shlex.join(pbs.calls('qsub')[0])})" in printed


def test_a_run_of_one_point_is_an_array_of_one(tmp_path, write_grid, pbs):
    write_images(tmp_path / "data")
    one = make_run(
        load_config(write_grid(TINY.replace("[1e-3, 5e-3]", "[1e-3]"))),
        tmp_path / "one",
        say=lambda text: None,
    ).run
    assert submit.main([str(one.paths.root)]) == 0
    assert qsubs(pbs)[0]["-J"] == "1-2:2"


def test_an_array_beyond_the_servers_limit_is_parted(run, pbs):
    pbs.set(limit=5)
    assert submit.main([str(run.paths.root)]) == 0
    assert [call.get("-J") for call in qsubs(pbs)] == ["1-5", "6-10", "11-12", None]
    assert qsubs(pbs)[-1]["-W"] == "depend=afterany:1[].pbshost:2[].pbshost:3[].pbshost"


def test_a_queued_run_is_not_submitted_twice_unless_forced(run, pbs, capsys):
    submit.main([str(run.paths.root)])
    assert submit.main([str(run.paths.root)]) == 6
    assert "12 points are queued" in capsys.readouterr().err
    assert len(pbs.calls("qsub")) == 2
    assert submit.main([str(run.paths.root), "--force"]) == 0
    assert len(pbs.calls("qsub")) == 4


def at_once(command, run):
    """Two processes of ``python -m jobs.COMMAND RUN`` started at the same time: their exit codes, sorted, and output."""
    pair = [
        subprocess.Popen(
            [sys.executable, "-m", f"jobs.{command}", str(run.paths.root)],
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for _ in range(2)
    ]
    said = "".join(one.communicate(timeout=300)[0] for one in pair)
    return sorted(one.returncode for one in pair), said


@pytest.mark.parametrize("races", [2, pytest.param(8, marks=pytest.mark.slow)])
def test_of_two_submits_at_once_exactly_one_submits(run, pbs, races):
    pbs.set(slow=0.3)
    for race in range(races):
        codes, said = at_once("submit", run)
        assert codes == [0, 6], said
        assert "12 points are queued" in said
        record = read_record(run.paths.submissions)["submissions"]
        assert [one["number"] for one in record] == [1]
        ids = [record[0]["jobs"][0]["id"], record[0]["collect"]["id"]]
        assert ids == [f"{2 * race + 1}[].pbshost", f"{2 * race + 2}.pbshost"]
        assert len(pbs.calls("qsub")) == 2 * race + 2
        run.paths.submissions.unlink()


@pytest.mark.parametrize("races", [2, pytest.param(8, marks=pytest.mark.slow)])
def test_of_two_resubmits_at_once_exactly_one_submits(run, pbs, races):
    pbs.set(slow=0.3)
    for race in range(races):
        codes, said = at_once("resubmit", run)
        assert codes == [0, 0], said
        assert said.count("nothing to run again (12 queued)") == 1
        assert said.count("12 points submitted as") == 1
        assert [one["number"] for one in read_record(run.paths.submissions)["submissions"]] == [1]
        assert len(pbs.calls("qsub")) == 2 * race + 2
        run.paths.submissions.unlink()


def test_a_forced_second_submit_has_a_number_and_logs_of_its_own(run, pbs):
    submit.main([str(run.paths.root), "--force"])
    submit.main([str(run.paths.root), "--force"])
    assert [one["number"] for one in read_record(run.paths.submissions)["submissions"]] == [1, 2]
    assert [call["-o"].rsplit("/", 1)[1] for call in qsubs(pbs)] == [
        "submission_01_^array_index^.log",
        "submission_01_collect.log",
        "submission_02_^array_index^.log",
        "submission_02_collect.log",
    ]


def test_a_run_whose_scheduler_does_not_answer_is_not_submitted_twice(run, pbs, capsys):
    submit.main([str(run.paths.root)])
    pbs.trouble("qstat", {}, {"code": 0, "stdout": "not json"}, {"code": 0, "stdout": "not json"})
    assert submit.main([str(run.paths.root)]) == 6
    assert "does not report whether its jobs are still queued" in capsys.readouterr().err


def test_a_run_that_trains_is_not_submitted(run, pbs, capsys):
    give_state(run, 3, "running")
    assert submit.main([str(run.paths.root)]) == 6
    assert run.entry(3).name in capsys.readouterr().err


def test_qsub_that_refuses_leaves_no_submission_on_record(run, pbs, capsys):
    pbs.trouble("qsub", {"code": 32, "stderr": "qsub: Unknown queue\n"})
    assert submit.main([str(run.paths.root)]) == 5
    assert "Unknown queue" in capsys.readouterr().err
    assert read_record(run.paths.submissions)["submissions"] == []


def test_a_collect_that_is_refused_loses_no_array(run, pbs, capsys):
    pbs.set(trouble={"qsub": [None, {"code": 1, "stderr": "qsub: no collect today\n"}]})
    assert submit.main([str(run.paths.root)]) == 5
    error = capsys.readouterr().err
    assert "no collect today" in error and "already submitted, and on record: 1[].pbshost" in error
    line = re.search(r"^  (qsub .*)$", error, re.MULTILINE)[1]
    assert "depend=afterany:1[].pbshost" in shlex.split(line)
    assert read_record(run.paths.submissions)["submissions"][0]["jobs"][0]["id"] == "1[].pbshost"


def test_a_path_with_a_comma_arrives_whole_and_one_with_a_quote_is_refused(tmp_path, write_grid, pbs, capsys):
    write_images(tmp_path / "data")
    for name, code in (("a,b", 0), ("a'b", 2)):
        # make_grid prints the lines too, so it must not fail for what only qsub cannot carry
        made = make_run(load_config(write_grid(TINY)), tmp_path / name, say=lambda text: None).run
        assert submit.main([str(made.paths.root)]) == code
    assert f"RUN_DIR='{tmp_path}/a,b'" in qsubs(pbs)[0]["-v"]
    assert "qsub -v cannot pass on" in capsys.readouterr().err


@pytest.mark.parametrize("root", ["missing", "."])
def test_no_run_is_told_apart(tmp_path, monkeypatch, root, capsys, pbs):
    monkeypatch.chdir(tmp_path)
    assert submit.main([root]) == 2
    assert resubmit.main([root]) == 2
    assert "make_grid.py" in capsys.readouterr().err


def test_without_job_arrays_each_point_is_a_job(tmp_path, write_grid, pbs):
    write_images(tmp_path / "data")
    site = "site: {preset: nci_gadi, project: ab12, extra_options: '-l storage=gdata/ab12'}\n"
    run = make_run(load_config(write_grid(TINY + site)), tmp_path / "run", say=lambda text: None).run
    assert submit.main([str(run.paths.root)]) == 0
    calls = pbs.calls("qsub")
    assert len(calls) == 3
    assert "POINT_INDEX=2" in " ".join(calls[1]) and calls[1][calls[1].index("-C") + 1] == ""
    assert "ncpus=12,ngpus=1,mem=90gb" in calls[0] and "storage=gdata/ab12" in calls[0]
    assert "depend=afterany:1.pbshost:2.pbshost" in calls[2] and "normal" in calls[2]
    assert submit.main([str(run.paths.root)]) == 6


def submitted(run, pbs, **ended):
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


def test_resubmit_takes_what_failed_with_true_indices_and_fewest_calls(run, pbs, capsys):
    submitted(run, pbs)
    assert resubmit.main([str(run.paths.root), "--all-failed"]) == 0
    arrays = qsubs(pbs)[2:]
    assert [call.get("-J") for call in arrays] == ["3-7:4", "10-11:2", None]
    assert arrays[-1]["-W"] == "depend=afterany:3[].pbshost:4[].pbshost"
    assert "submission_02_" in arrays[0]["-o"]
    record = read_record(run.paths.submissions)["submissions"]
    assert [job["indices"] for job in record[1]["jobs"]] == ["3-7:4", "10-11:2"]


def test_resubmit_without_a_choice_leaves_oom_and_what_is_finished_alone(run, pbs):
    submitted(run, pbs)
    assert resubmit.main([str(run.paths.root)]) == 0
    assert [call.get("-J") for call in qsubs(pbs)[2:]] == ["3-7:4", None]


def test_resubmit_by_class_knows_the_walltime_from_the_scheduler(run, pbs):
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


def test_a_finished_point_is_trained_again_only_if_named(run, pbs, capsys):
    submitted(run, pbs)
    assert resubmit.main([str(run.paths.root), "--indices", "1"]) == 0
    assert "TRAIN_AGAIN=yes" in " ".join(pbs.calls("qsub")[2])
    assert "1 of these points have a result" in capsys.readouterr().out


def test_points_at_work_are_refused(run, pbs, capsys):
    submit.main([str(run.paths.root)])
    give_state(run, 2, "running", job_id="1[2].pbshost")
    pbs.sub_job(1, 2, job_state="R", run_count=1)
    for indices, state in (("2", "running"), ("1,5-6", "queued")):
        assert resubmit.main([str(run.paths.root), "--indices", indices]) == 6
        assert state in capsys.readouterr().err
    assert resubmit.main([str(run.paths.root), "--all-failed"]) == 0
    assert "nothing to run again" in capsys.readouterr().out
    assert len(pbs.calls("qsub")) == 2


def test_a_collect_that_still_waits_is_extended(run, pbs):
    submit.main([str(run.paths.root)])
    give_state(run, 3, "error", job_id="1[3].pbshost")
    pbs.sub_job(1, 3, job_state="X", run_count=1, Exit_status=13)
    assert resubmit.main([str(run.paths.root), "--class", "error"]) == 0
    assert len(pbs.calls("qsub")) == 3
    assert pbs.calls("qalter") == [["-W", "depend=afterany:1[].pbshost:3[].pbshost", "2.pbshost"]]
    assert read_record(run.paths.submissions)["submissions"][1]["collect"]["id"] == "2.pbshost"


def test_a_collect_that_began_meanwhile_is_followed_by_a_new_one(run, pbs):
    submit.main([str(run.paths.root)])
    give_state(run, 3, "error", job_id="1[3].pbshost")
    pbs.sub_job(1, 3, job_state="X", run_count=1, Exit_status=13)
    pbs.trouble("qalter", {"code": 35, "stderr": "qalter: Job has finished 2.pbshost\n"})
    assert resubmit.main([str(run.paths.root), "--class", "error"]) == 0
    assert qsubs(pbs)[-1]["-W"] == "depend=afterany:3[].pbshost"


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
def test_bad_arguments_are_refused_before_anything_is_submitted(run, pbs, capsys, arguments, message):
    assert resubmit.main([str(run.paths.root), *arguments]) == 2
    assert message in capsys.readouterr().err
    assert pbs.calls("qsub") == []


def test_a_damaged_record_of_submissions_is_named(run, pbs, capsys):
    submit.main([str(run.paths.root)])
    run.paths.submissions.write_bytes(run.paths.submissions.read_bytes()[:-20])
    assert submit.main([str(run.paths.root)]) == 2
    assert "submissions.json" in capsys.readouterr().err


def test_the_run_read_again_has_its_site(run):
    assert read_run(run.paths.root).site["mem"] == "32gb"
    assert os.access(run.paths.site, os.R_OK)


@pytest.fixture
def uneven(tmp_path, write_grid):
    """Eight points of which those of batch 4 take twice as long, by a probe."""
    from tests.jobs.cost.builders import GPU, measurement, write_probe

    write_images(tmp_path / "data")
    grid = TINY.replace("[1e-3, 5e-3]", "[1e-4, 2e-4, 1e-3, 5e-3]").replace("[8]", "[4, 8]")
    run = make_run(
        load_config(write_grid(grid.replace("epochs: 2", "epochs: 30"))),
        tmp_path / "run",
        say=lambda text: None,
    ).run
    write_probe(
        run,
        measurement(run, 0, **GPU, step_seconds=9.0, peak_host_memory_mb=9000.0),
        measurement(run, 1, **GPU, step_seconds=9.0, peak_host_memory_mb=500.0),
    )
    return run


def test_the_longest_points_are_submitted_first_and_keep_their_indices(uneven, pbs):
    assert submit.main([str(uneven.paths.root), "--max-running", "8"]) == 0
    first, second, collect = qsubs(pbs)
    assert (first["-J"], second["-J"]) == ("1-7:2", "2-8:2")
    assert collect["-W"] == "depend=afterany:1[].pbshost:2[].pbshost"
    assert first["-l"] == second["-l"] == "walltime=04:00:00"  # the site's, unless --proposed


def test_proposed_asks_for_what_was_measured_and_the_record_tells_it(uneven, pbs):
    from jobs.grid.sites import seconds

    assert submit.main([str(uneven.paths.root), "--proposed", "--max-running", "3"]) == 0
    first, second, _ = pbs.calls("qsub")
    record = read_record(uneven.paths.submissions)["submissions"][0]["jobs"]
    for call, job, mem in ((first, record[0], "12gb"), (second, record[1], "2gb")):
        asked = job["asked"]
        assert asked["mem"] == mem and f"select=1:ncpus=8:ngpus=1:mem={mem}" in call
        assert f"walltime={asked['walltime']}" in call and asked["walltime"] != "04:00:00"
        assert f"WALLTIME_SECONDS={seconds(asked['walltime'])}" in call[call.index("-v") + 1]
    assert seconds(record[0]["asked"]["walltime"]) > seconds(record[1]["asked"]["walltime"])
    # three at a time in all, more of them for the longer ones
    assert [call[call.index("-J") + 1] for call in (first, second)] == ["1-7:2%2", "2-8:2%1"]


def test_without_job_arrays_the_longest_jobs_come_first(uneven, pbs):
    text = uneven.paths.grid.read_text() + "site: {job_arrays: false}\n"
    uneven.paths.grid.write_text(text)
    assert submit.main([str(uneven.paths.root)]) == 0
    points = [re.search(r"POINT_INDEX=(\d+)", " ".join(call)) for call in pbs.calls("qsub")]
    assert [int(found[1]) for found in points if found] == [1, 3, 5, 7, 2, 4, 6, 8]


def test_resubmit_keeps_the_order_and_what_is_named_stands_before_what_is_proposed(uneven, pbs):
    arguments = [str(uneven.paths.root), "--indices", "2,3,4", "--proposed"]
    assert resubmit.main([*arguments, "--walltime", "09:00:00"]) == 0
    first, second, _ = pbs.calls("qsub")
    assert "3-4:2" in first and "2-4:2" in second
    assert "walltime=09:00:00" in first and "walltime=09:00:00" in second
    assert "WALLTIME_SECONDS=32400" in first[first.index("-v") + 1]
    assert "mem=12gb" in " ".join(first) and "mem=2gb" in " ".join(second)


def test_a_dry_run_tells_the_cost_in_comments_and_its_lines_can_be_pasted(uneven, pbs, capsys):
    assert submit.main([str(uneven.paths.root), "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("# estimate: at most ") and "probe.json (NVIDIA A40)" in lines[0]
    assert all(line.startswith(("# ", "job1=$(qsub ", "job2=$(qsub ", "qsub ")) for line in lines)
    script = "\n".join(["qsub() { echo 9; }", *lines, 'echo "$job1 $job2"'])
    answer = subprocess.run(["bash", "-eu", "-c", script], capture_output=True, text=True, check=True)
    assert answer.stdout.splitlines()[-1] == "9 9" and pbs.calls("qsub") == []


def test_estimate_submits_nothing(uneven, pbs, capsys):
    assert submit.main([str(uneven.paths.root), "--estimate"]) == 0
    assert "GPU hours" in capsys.readouterr().out and pbs.load()["calls"] == []
    assert not uneven.paths.submissions.exists()


def test_a_probe_is_one_short_job_with_the_resources_of_a_sub_job(uneven, pbs, capsys):
    assert submit.main([str(uneven.paths.root), "--probe", "--dry-run"]) == 0
    assert pbs.calls("qsub") == []
    line = capsys.readouterr().out.strip()
    assert submit.main([str(uneven.paths.root), "--probe"]) == 0
    (call,) = pbs.calls("qsub")
    assert shlex.join(["qsub", *call]) == line and "-J" not in call
    assert "select=1:ncpus=8:ngpus=1:mem=32gb" in call and "walltime=00:20:00" in call
    assert "WALLTIME_SECONDS=1200" in call[call.index("-v") + 1]
    assert call[-1] == str(REPOSITORY / "jobs/probe.pbs") and uneven.paths.site.exists()
    assert not uneven.paths.submissions.exists()
    assert submit.main([str(uneven.paths.root)]) == 0  # a probe is no submission of points


def test_options_that_contradict_each_other_are_refused(uneven, capsys):
    assert submit.main([str(uneven.paths.root), "--json"]) == 2
    assert "--json: received without --estimate" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        submit.main([str(uneven.paths.root), "--estimate", "--probe"])
