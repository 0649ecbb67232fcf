from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from dataclasses import replace

import pytest

from jobs import resubmit, submit
from jobs.common.errors import UserError
from jobs.common.records import read_record, write_record
from jobs.grid.config import load_config
from jobs.pbs.commands import Scheduler
from jobs.pbs.job_paths import from_variable
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
    command = ["qsub", *without_token(pbs.calls("qsub")[0])]
    assert record["jobs"][0]["command"] == command
    printed = capsys.readouterr().out
    assert "1[].pbshost" in printed and "2.pbshost" in printed
    assert shlex.join(command) in printed
    assert not pbs.load()["jobs"]["2"]["deleted"]  # the real one deletes a job that depends on nothing


def test_a_sub_job_receives_the_run_the_repository_and_the_walltime(run, pbs):
    submit.main([str(run.paths.root)])
    root = run.paths.root.resolve()
    variables, _, token = qsubs(pbs)[0]["-v"].partition(",SUBMISSION_TOKEN=")
    assert variables.startswith(f"RUN_DIR={root},REPOSITORY={REPOSITORY},SITE_BLOCK=umask:00")
    assert variables.endswith(",WALLTIME_SECONDS=14400") and len(token) == 16
    assert qsubs(pbs)[0]["-o"] == f"{root}/logs/submission_01_^array_index^.log"
    assert (root / "logs").is_dir()


def without_token(call):
    """A ``qsub`` as it is printed: the token, by which a job is found that is on no record, is not."""
    return [re.sub(r",SUBMISSION_TOKEN=\w{16}$", "", word) for word in call]


def test_dry_run_prints_the_same_lines_and_submits_nothing(run, pbs, capsys):
    assert submit.main([str(run.paths.root), "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert pbs.calls("qsub") == [] and not run.paths.submissions.exists()
    submit.main([str(run.paths.root)])
    assert f"job=$(qsub {shlex.join(without_token(pbs.calls('qsub')[0]))})" in printed


@pytest.mark.parametrize(
    ("site", "server", "limit"),
    [
        (None, None, None),
        (900, None, 900),
        (None, 900, 900),
        (900, 10000, 900),
        (10000, 900, 900),
        (9, 10, 9),
    ],
)
def test_the_array_limit_is_the_smaller_of_the_sites_and_the_servers(run, site, server, limit):
    class Server(Scheduler):
        def array_limit(self):
            return server

    limited = replace(run, site={**run.site, "max_array_size": site})
    assert submit.array_limit(limited, Server()) == limit
    assert submit.array_limit(limited, None) == site


@pytest.mark.parametrize(("requested", "accepted"), [(None, True), (1, True), (0, False), (-1, False)])
def test_at_least_one_sub_job_must_be_allowed_to_run(requested, accepted):
    if accepted:
        submit.check_max_running(requested)
    else:
        with pytest.raises(UserError, match=f"--max-running: received {requested}, expected at least 1"):
            submit.check_max_running(requested)


@pytest.mark.parametrize(
    ("combinations", "walltime"),
    [
        (1, "00:15:00"),
        (2, "00:20:00"),
        (10, "01:00:00"),
        (45, "03:55:00"),
        (46, "04:00:00"),
        (47, "04:00:00"),
    ],
)
def test_a_probe_may_take_longer_for_more_combinations_up_to_four_hours(
    run, monkeypatch, combinations, walltime
):
    monkeypatch.setattr(submit, "kinds", lambda entries: [None] * combinations)
    assert submit.probe_walltime(run) == walltime


def test_a_run_of_one_point_is_an_array_of_one(tmp_path, write_grid, pbs):
    write_images(tmp_path / "data")
    one = make_run(
        load_config(write_grid(TINY.replace("[1e-3, 5e-3]", "[1e-3]"))),
        tmp_path / "one",
        say=lambda text: None,
    ).run
    assert submit.main([str(one.paths.root)]) == 0
    assert qsubs(pbs)[0]["-J"] == "1-2:2"


def test_an_array_beyond_the_servers_limit_becomes_several(run, pbs):
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
        pbs.finish(2 * race + 1)
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
        pbs.finish(2 * race + 1)
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


def test_a_run_that_is_training_is_not_submitted(run, pbs, capsys):
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


@pytest.mark.parametrize(
    "name", ["a,b", "it's", 'a"b', "läuf", "r \N{GRINNING FACE}", "a\nb", "a=b:c%d ", "-x"]
)
def test_a_run_of_any_name_is_submitted_and_found_again(tmp_path, write_grid, pbs, capsys, name):
    write_images(tmp_path / "data")
    run = make_run(load_config(write_grid(TINY)), tmp_path / name, say=lambda text: None).run
    assert submit.main([str(run.paths.root)]) == 0
    printed = capsys.readouterr().out
    first = qsubs(pbs)[0]
    given = dict(one.split("=", 1) for one in first["-v"].split(","))
    assert from_variable(given["RUN_DIR"]) == run.paths.root.resolve()
    answer = Scheduler().qstat(["1[].pbshost"])
    assert answer.details[1].run_directory == str(run.paths.root.resolve())
    # The line that was printed does the same, in any folder.
    line = next(line for line in printed.splitlines() if "qsub -N unet_grid" in line)
    subprocess.run(["bash", "-ec", line], cwd="/", check=True)
    assert pbs.calls("qsub")[2] == without_token(pbs.calls("qsub")[0])


def test_a_run_whose_jobs_pbs_could_not_run_is_refused_and_unchanged(tmp_path, write_grid, pbs, capsys):
    write_images(tmp_path / "data")
    run = make_run(load_config(write_grid(TINY)), tmp_path / "a\\b", say=lambda text: None).run
    before = {path: path.stat().st_mtime_ns for path in run.paths.root.rglob("*")}
    for arguments in ([], ["--probe"], ["--dry-run"]):
        assert submit.main([str(run.paths.root), *arguments]) == 2
        assert "contains a backslash" in capsys.readouterr().err
    assert pbs.calls("qsub") == []
    after = {path: path.stat().st_mtime_ns for path in run.paths.root.rglob("*")}
    assert {path: after[path] for path in before} == before


@pytest.mark.parametrize("root", ["missing", "."])
def test_a_folder_that_is_not_a_run_is_an_error(tmp_path, monkeypatch, root, capsys, pbs):
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


def test_proposed_requests_what_was_measured_and_records_it(uneven, pbs):
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
    # three at a time, two of them for the longer points
    assert [call[call.index("-J") + 1] for call in (first, second)] == ["1-7:2%2", "2-8:2%1"]


def test_without_job_arrays_the_longest_jobs_come_first(uneven, pbs):
    text = uneven.paths.grid.read_text() + "site: {job_arrays: false}\n"
    uneven.paths.grid.write_text(text)
    assert submit.main([str(uneven.paths.root)]) == 0
    points = [re.search(r"POINT_INDEX=(\d+)", " ".join(call)) for call in pbs.calls("qsub")]
    assert [int(found[1]) for found in points if found] == [1, 3, 5, 7, 2, 4, 6, 8]


def test_a_dry_run_shows_the_cost_in_comments_and_its_lines_can_be_pasted(uneven, pbs, capsys):
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
    assert shlex.join(["qsub", *without_token(call)]) == line and "-J" not in call
    assert "select=1:ncpus=8:ngpus=1:mem=32gb" in call and "walltime=00:20:00" in call
    assert "WALLTIME_SECONDS=1200" in call[call.index("-v") + 1]
    assert call[-1] == str(REPOSITORY / "jobs/probe.pbs") and uneven.paths.site.exists()
    record = read_record(uneven.paths.submissions)
    assert record["submissions"] == [] and [probe["id"] for probe in record["probes"]] == ["1.pbshost"]
    assert submit.main([str(uneven.paths.root)]) == 0  # a probe is no submission of points


def test_options_that_contradict_each_other_are_refused(uneven, capsys):
    assert submit.main([str(uneven.paths.root), "--json"]) == 2
    assert "--json: received without --estimate" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        submit.main([str(uneven.paths.root), "--estimate", "--probe"])


def test_points_that_have_a_result_are_not_submitted(run, pbs, capsys):
    for index in (1, 2):
        give_result(run, index)
    assert submit.main([str(run.paths.root)]) == 0
    assert qsubs(pbs)[0]["-J"] == "3-12"
    said = capsys.readouterr().out
    assert "2 points with a result already" in said and "10 points submitted as" in said


def test_a_finished_run_is_not_submitted(run, pbs, capsys):
    for index in range(1, 13):
        give_result(run, index)
    for arguments in ([], ["--dry-run"], ["--force"]):
        assert submit.main([str(run.paths.root), *arguments]) == 0
        assert "nothing to submit: every point has a result" in capsys.readouterr().out
    assert pbs.calls("qsub") == []


def test_a_second_probe_is_refused_while_one_is_in_the_queue(run, pbs, capsys):
    assert submit.main([str(run.paths.root), "--probe"]) == 0
    assert submit.main([str(run.paths.root), "--probe"]) == 6
    assert "a probe is queued or running already: 1.pbshost" in capsys.readouterr().err
    pbs.trouble("qstat", {"code": 255, "stderr": "no\n"})
    assert submit.main([str(run.paths.root), "--probe"]) == 6
    assert "does not report" in capsys.readouterr().err
    assert len(pbs.calls("qsub")) == 1
    pbs.finish(1)
    assert submit.main([str(run.paths.root), "--probe"]) == 0


def test_after_a_half_refused_submission_the_next_collect_waits_for_every_active_job(run, pbs, monkeypatch):
    pbs.set(limit=6)
    real = Scheduler.qsub
    answers = iter([True, False])

    def qsub(self, arguments, folder):
        if next(answers, True):
            return real(self, arguments, folder)
        raise UserError("qsub refused the job: no", exit_code=5)

    monkeypatch.setattr(Scheduler, "qsub", qsub)
    assert submit.main([str(run.paths.root)]) == 5  # the first array is in the queue, and no job collects
    assert resubmit.main([str(run.paths.root)]) == 0
    assert qsubs(pbs)[-1]["-W"] == "depend=afterany:1[].pbshost:2[].pbshost"


@pytest.mark.parametrize("module", [submit, resubmit])
def test_a_point_that_is_predicted_to_exceed_its_walltime_is_said(uneven, pbs, capsys, monkeypatch, module):
    real = submit.predict

    def slow(*arguments, **options):
        found, problem = real(*arguments, **options)
        return replace(found, durations=dict.fromkeys(found.durations, 5 * 3600.0)), problem

    monkeypatch.setattr(module, "predict", slow)
    assert module.main([str(uneven.paths.root)]) == 0
    assert (
        "8 points predicted to take longer than the walltime, point 1 the longest: 5 h 00 min of 04:00:00. Such a point"
        in (capsys.readouterr().out)
    )


def test_options_for_the_points_and_for_the_job_that_collects_are_separate(tmp_path, write_grid, pbs):
    write_images(tmp_path / "data")
    options = 'site: {extra_options: "-A all", array_options: "-m n", collect_options: "-m e -M me@x.org"}\n'
    made = make_run(
        load_config(write_grid(TWELVE.rstrip() + "\n" + options)), tmp_path / "r", say=lambda text: None
    )
    assert submit.main([str(made.run.paths.root)]) == 0
    array, collect = (" ".join(call) for call in pbs.calls("qsub"))
    assert "-A all -m n" in array and "me@x.org" not in array
    assert "-A all -m e -M me@x.org" in collect and "-m n" not in collect


@pytest.mark.parametrize("command", ["submit", "resubmit"])
@pytest.mark.parametrize("first_only", [False, True])
def test_with_two_arrays_in_the_queue_nothing_is_submitted_again(run, pbs, capsys, command, first_only):
    pbs.set(limit=6)
    submit.main([str(run.paths.root)])
    assert len(pbs.calls("qsub")) == 3
    pbs.set(first_only=first_only)
    module = {"submit": submit, "resubmit": resubmit}[command]
    assert module.main([str(run.paths.root)]) == (6 if command == "submit" else 0)
    assert (
        "12 points are queued" in (said := "".join(capsys.readouterr()))
        or "nothing to run again (12 queued)" in said
    )
    assert len(pbs.calls("qsub")) == 3


@pytest.mark.parametrize("choice", [[], ["--all-failed"], ["--class", "error"], ["--indices", "1-3"]])
def test_without_a_server_nothing_is_submitted_again_unless_it_is_forced(
    run, pbs, capsys, choice, monkeypatch
):
    submit.main([str(run.paths.root)])
    for index in (1, 2, 3):
        give_state(run, index, "error", job_id=f"1[{index}].pbshost")
    real = Scheduler.__init__

    def without_pauses(self, **options):
        real(self, **{"pauses": (), **options})

    monkeypatch.setattr(Scheduler, "__init__", without_pauses)
    pbs.set(down=True)
    assert resubmit.main([str(run.paths.root), *choice]) == 6
    assert "nothing was submitted" in capsys.readouterr().err
    assert resubmit.main([str(run.paths.root), *choice, "--force"]) == 5  # qsub does not reach it either
    pbs.set(down=False)
    pbs.trouble("qstat", {"code": 0, "stdout": "Welcome!\n"})
    assert resubmit.main([str(run.paths.root), *choice]) == 6
    assert len(read_record(run.paths.submissions)["submissions"]) == 1
