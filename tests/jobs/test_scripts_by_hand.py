"""Jobs that were submitted by hand take the run of the time of their submission, and collect jobs that of their array."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from datetime import datetime, timezone
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.jobs.script_runner import run_script


@pytest.fixture
def repository(tmp_path):
    """A repository whose Python programs only say what they were called with."""
    folder = tmp_path / "a repository"
    (folder / "jobs").mkdir(parents=True)
    shutil.copy(REPOSITORY / "jobs/environment.sh", folder / "jobs")
    for name in ("run_point", "collect", "analyze", "jobs/probe", "jobs/__init__"):
        (folder / f"{name}.py").write_text(f"import sys; print('{name}', sys.argv[1:])\n")
    return folder


NOON = 1795608000  # 2026-11-25 12:00:00 UTC


def add_run(repository, made, *, name=None, began=None):
    """A run that was made ``made`` seconds after :data:`NOON`."""
    time = datetime.fromtimestamp(NOON + made, timezone.utc)
    folder = repository / (name or f"hyperparameter_optimization_{time:%Y%m%d_%H%M%S}")
    (folder / "logs").mkdir(parents=True)
    record = {"data": {"source": 'a "made": "2000-01-01T00:00:00'}, "made": [{"made": time.isoformat()}]}
    record["made"].append({"made": "2027-01-01T00:00:00+00:00"})  # it grew
    (folder / "provenance.json").write_text(json.dumps(record, indent=1, sort_keys=True))
    (folder / "index.csv").write_text("")
    (folder / ".make_grid.lock").write_text("")
    os.utime(folder / ".make_grid.lock", (NOON + (made - 1 if began is None else began),) * 2)
    return folder


def submit(pbs, repository, *arguments, at=0):
    """The id of a job that was submitted by hand ``at`` seconds after :data:`NOON`."""
    script = repository / "job.pbs"
    script.write_text("#!/bin/bash\n")
    command = ["qsub", *arguments, str(script)]
    answer = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=True)
    job = answer.stdout.strip()
    pbs.job(int(re.match(r"\d+", job)[0]), ctime=NOON + at)
    return job


def sub_job(repository, array, index=1):
    return {
        "PBS_O_WORKDIR": str(repository),
        "PBS_JOBID": array.replace("[]", f"[{index}]"),
        "PBS_ARRAY_ID": array,
        "PBS_ARRAY_INDEX": str(index),
    }


def test_an_array_by_hand_trains_the_run_that_was_newest_when_it_was_submitted(pbs, repository, tmp_path):
    add_run(repository, -3600)
    meant = add_run(repository, -5, name="hyperparameter_optimization_a b")
    later = add_run(repository, 20)
    array = submit(pbs, repository, "-J", "1-3")
    said = run_script("train_array.pbs", tmp_path, **sub_job(repository, array, 1))
    assert f"run_point ['{meant}']" in said
    assert f"of {meant} (the newest run when 1[].pbshost was submitted, 2026-11-25T12:00:00 UTC)" in said
    assert len(pbs.calls("qstat")) == 1 and pbs.calls("qstat")[0] == ["-f", "1[1].pbshost", array]
    said = run_script("train_array.pbs", tmp_path, **sub_job(repository, array, 2))
    assert f"run_point ['{meant}']" in said and "as its first sub-job noted" in said
    other = submit(pbs, repository, "-J", "1-3", at=20)
    assert str(later) in run_script("train_array.pbs", tmp_path, **sub_job(repository, other, 3))
    probe = submit(pbs, repository, at=-60)
    said = run_script("probe.pbs", tmp_path, PBS_O_WORKDIR=str(repository), PBS_JOBID=probe)
    assert "hyperparameter_optimization_20261125_110000 (the newest run when" in said


@pytest.mark.parametrize(
    ("made", "began", "meant"),
    [
        (0, -1, True),  # the second of the submission
        (3, -1, True),  # the clock of the login node is ahead of PBS's: it was being made
        (3, 0, False),  # begun after the submission
        (6, -1, False),
    ],
)
def test_clocks_may_differ_by_less_than_it_takes_to_make_a_run(pbs, repository, tmp_path, made, began, meant):
    before = add_run(repository, -60)
    run = add_run(repository, made, began=began)
    array = submit(pbs, repository, "-J", "1-3")
    said = run_script("train_array.pbs", tmp_path, **sub_job(repository, array))
    assert f"run_point ['{run if meant else before}']" in said


def test_of_runs_of_the_same_second_the_last_one_is_taken(pbs, repository, tmp_path):
    name = "hyperparameter_optimization_20261125_115000"
    runs = [add_run(repository, -600, name=name + end) for end in ("", "_10", "_2")]
    for age, run in zip((30, 10, 20), runs, strict=True):
        os.utime(run / "index.csv", (NOON - age,) * 2)
    array = submit(pbs, repository, "-J", "1-3")
    assert str(runs[1]) in run_script("train_array.pbs", tmp_path, **sub_job(repository, array))


def test_where_no_run_had_been_made_the_job_says_so(pbs, repository, tmp_path):
    array = submit(pbs, repository, "-J", "1-3")
    assert "no run in" in run_script("train_array.pbs", tmp_path, **sub_job(repository, array), code=2)
    run = add_run(repository, 90)
    said = run_script("train_array.pbs", tmp_path, **sub_job(repository, array), code=2)
    assert "had been made when 1[].pbshost was submitted" in said and "-v RUN_DIR=" in said
    near = add_run(repository, 50, began=49)
    assert f"run_point ['{near}']" in run_script("train_array.pbs", tmp_path, **sub_job(repository, array))
    assert run.exists()


def test_where_pbs_does_not_answer_the_newest_run_is_taken_and_the_array_stays_with_it(
    pbs, repository, tmp_path
):
    run = add_run(repository, -3600)
    array = submit(pbs, repository, "-J", "1-3")
    pbs.trouble("qstat", {"code": 1}, {"code": 1}, {"code": 1})
    said = run_script("train_array.pbs", tmp_path, **sub_job(repository, array, 1))
    assert f"of {run} (the newest run now, because qstat -f 1[1].pbshost did not answer)" in said
    later = add_run(repository, 20)
    said = run_script("train_array.pbs", tmp_path, **sub_job(repository, array, 2))
    assert f"of {run} (the run of array 1[].pbshost, as its first sub-job noted)" in said
    said = run_script("train_array.pbs", tmp_path, **sub_job(repository, "1[].another", 1))
    assert f"run_point ['{later}']" in said  # the same number of another server


def test_where_pbs_does_not_say_when_it_was_submitted_the_newest_run_is_taken(pbs, repository, tmp_path):
    run = add_run(repository, -3600)
    array = submit(pbs, repository, "-J", "1-3")
    pbs.trouble("qstat", {"code": 0, "stdout": f"Job Id: {array}\n    job_state = B\n    ctime = soon\n"})
    said = run_script("train_array.pbs", tmp_path, **sub_job(repository, array, 1))
    assert f"of {run} (the newest run now, because PBS does not say when 1[].pbshost was submitted)" in said


def test_the_mark_of_an_array_that_had_the_same_number_long_ago_is_ignored(pbs, repository, tmp_path):
    old, new = add_run(repository, -7200), add_run(repository, -3600)
    array = submit(pbs, repository, "-J", "1-3")
    mark = old / "logs" / ".array_1"
    mark.write_text("")
    os.utime(mark, (NOON - 7000,) * 2)
    assert f"run_point ['{new}']" in run_script("train_array.pbs", tmp_path, **sub_job(repository, array))
    os.utime(mark, (NOON + 7000,) * 2)  # of the first version, without the id
    (new / "logs" / ".array_1").unlink()
    assert f"run_point ['{old}']" in run_script("train_array.pbs", tmp_path, **sub_job(repository, array))


def _sparse(path):
    with path.open("wb") as file:
        file.truncate(8 * 2**30)


@pytest.mark.parametrize(
    "kind", [os.mkfifo, _sparse, lambda path: path.symlink_to("/dev/zero"), lambda path: path.mkdir()]
)
def test_what_is_no_plain_file_of_a_run_does_not_keep_a_job_from_its_own(pbs, repository, tmp_path, kind):
    strange = add_run(repository, -7200)
    run = add_run(repository, -3600)
    (strange / "provenance.json").unlink()
    for place in ("provenance.json", "submissions.json", "logs/.array_1"):
        kind(strange / place)
    array = submit(pbs, repository, "-J", "1-3")
    assert f"run_point ['{run}']" in run_script("train_array.pbs", tmp_path, **sub_job(repository, array))
    job = submit(pbs, repository, "-W", f"depend=afterany:{array}", at=40)
    pbs.set(history=False)
    pbs.finish(1)
    (run / "logs" / ".array_1").unlink()
    (run / "submissions.json").write_text(json.dumps([{"id": array}]))
    assert f"collect ['{run}'" in collect(repository, tmp_path, job)


def collect(repository, tmp_path, job, code=0):
    return run_script("collect.pbs", tmp_path, PBS_O_WORKDIR=str(repository), PBS_JOBID=job, code=code)


def test_a_collect_job_by_hand_takes_the_run_of_the_array_that_it_waited_for(pbs, repository, tmp_path):
    first = add_run(repository, -60)
    array = submit(pbs, repository, "-J", "1-3")
    second = add_run(repository, 20)
    job = submit(pbs, repository, "-W", f"depend=afterany:{array}@pbshost,umask=022", at=30)
    pbs.finish(1)
    said = collect(repository, tmp_path, job)  # the array never ran: nothing is marked
    assert f"collect ['{first}', '--settle']" in said and f"analyze ['{first}']" in said
    assert f"of {first} (the run of {array}, for which this job waited)" in said
    (second / "logs" / ".array_1").write_text(array + "\n")
    assert f"collect ['{second}'" in collect(repository, tmp_path, job)
    job = submit(pbs, repository, at=30)
    said = collect(repository, tmp_path, job)
    assert f"collect ['{second}'" in said and "the newest run when 3.pbshost was submitted" in said
    job = submit(pbs, repository, at=10)
    assert f"collect ['{first}'" in collect(repository, tmp_path, job)


def test_a_collect_job_by_hand_takes_the_run_that_its_array_was_given(pbs, repository, tmp_path):
    run = add_run(tmp_path / "else\\where, far", -60, name="a run with a long name " + 80 * "x")
    given = str(run).replace("\\", "\\\\").replace(",", "\\,")
    array = submit(pbs, repository, "-J", "1-3", "-v", f"A=1,RUN_DIR={given},WALLTIME_SECONDS=60")
    single = submit(pbs, repository, "-v", f"POINT_INDEX=7,RUN_DIR={given}")
    job = submit(pbs, repository, "-W", f"depend=afterany:{array}:{single}", at=30)
    assert f"collect [{str(run)!r}, '--settle']" in collect(repository, tmp_path, job)


def test_a_collect_job_by_hand_collects_no_other_run_in_silence(pbs, repository, tmp_path):
    run = add_run(repository, -60)
    one = submit(pbs, repository, "-J", "1-3")
    other_run = add_run(repository, 20)
    two = submit(pbs, repository, "-J", "1-3", at=30)
    job = submit(pbs, repository, "-W", f"depend=afterany:{one}:{two}", at=40)
    said = collect(repository, tmp_path, job, code=2)
    assert f"jobs of different runs, {run} and {other_run}" in said and "-v RUN_DIR=" in said
    alien = submit(pbs, repository, at=40)
    job = submit(pbs, repository, "-W", f"depend=afterany:{alien}", at=40)
    said = collect(repository, tmp_path, job, code=2)
    assert f"the run of {alien}, for which this job waited, is not known; give it: qsub -v RUN_DIR=" in said
    elsewhere = submit(pbs, tmp_path, "-J", "1-3", at=40)  # not in a repository
    job = submit(pbs, repository, "-W", f"depend=afterany:{elsewhere}", at=40)
    assert f"the run of {elsewhere}, for which this" in collect(repository, tmp_path, job, code=2)
    job = submit(pbs, repository, "-W", f"depend=afterany:{one}", at=40)
    pbs.trouble("qstat", {"code": 1})
    said = collect(repository, tmp_path, job)
    assert f"of {other_run} (the newest run now, because qstat -f {job} did not answer; what this job" in said
    assert "-v RUN_DIR=" in said


def test_a_collect_job_by_hand_finds_the_run_of_an_array_of_another_copy_of_the_repository(
    pbs, repository, tmp_path
):
    add_run(repository, -60)
    copy = tmp_path / "copy"
    shutil.copytree(repository, copy)
    (run,) = copy.glob("hyper*")
    array = submit(pbs, copy, "-J", "1-3")
    job = submit(pbs, repository, "-W", f"depend=afterany:{array}", at=30)
    assert f"collect ['{run}', '--settle']" in collect(repository, tmp_path, job)
    array = submit(pbs, tmp_path, "-J", "1-3", "-v", f"REPOSITORY={copy}")
    job = submit(pbs, repository, "-W", f"depend=afterany:{array}", at=30)
    assert f"collect ['{run}', '--settle']" in collect(repository, tmp_path, job)


def test_a_collect_job_by_hand_finds_its_run_where_pbs_keeps_no_history(pbs, repository, tmp_path):
    marked, recorded = add_run(repository, -60), add_run(repository, -50)
    array = submit(pbs, repository, "-J", "1-3")
    (marked / "logs" / ".array_1").write_text(array)
    job = submit(pbs, repository, "-W", f"depend=afterany:{array}", at=40)
    pbs.set(history=False)
    pbs.finish(1)
    assert f"collect ['{marked}'" in collect(repository, tmp_path, job)
    (marked / "logs" / ".array_1").unlink()
    (recorded / "submissions.json").write_text(json.dumps([{"id": "11[].pbshost"}]))
    assert "is not known" in collect(repository, tmp_path, job, code=2)
    (recorded / "submissions.json").write_text(json.dumps([{"id": array}]))
    assert f"collect ['{recorded}'" in collect(repository, tmp_path, job)


def test_pbss_commands_are_found_where_path_does_not_name_them(pbs, repository, tmp_path):
    run = add_run(repository, -60)
    add_run(repository, 20)
    array = submit(pbs, repository, "-J", "1-3")
    home = str(pbs.home)
    config = tmp_path / "pbs.conf"
    config.write_text(f'PBS_SERVER=x\nPBS_EXEC="{home}"\n')
    path = ":".join(folder for folder in os.environ["PATH"].split(":") if not Path(folder, "qstat").exists())
    for place in ({"PBS_EXEC": home}, {"PBS_EXEC": "/none", "PBS_CONF_FILE": str(config)}):
        said = run_script("train_array.pbs", tmp_path, PATH=path, **place, **sub_job(repository, array))
        assert f"of {run} (the newest run when" in said
        (run / "logs" / ".array_1").unlink()


def walltime_seen(repository, tmp_path, array, **variables):
    (repository / "run_point.py").write_text("import os; print(os.environ.get('WALLTIME_SECONDS'))\n")
    said = run_script("train_array.pbs", tmp_path, **{**sub_job(repository, array), **variables})
    return said.splitlines()[-1]


def test_the_walltime_is_the_one_that_pbs_has_on_record(pbs, repository, tmp_path):
    run = add_run(repository, -60)
    given = {"RUN_DIR": str(run), "WALLTIME_SECONDS": "3600"}
    array = submit(pbs, repository, "-J", "1-3", "-l", "walltime=01:00:00")
    pbs.job(1, walltime="100:08:09")  # qalter -l walltime
    assert walltime_seen(repository, tmp_path, array, **given) == "360489"
    assert len(pbs.calls("qstat")) == 1
    pbs.trouble("qstat", {"code": 1})
    assert walltime_seen(repository, tmp_path, array, **given) == "3600"
    pbs.job(1, walltime=None)
    assert walltime_seen(repository, tmp_path, array, **given) == "3600"
    assert walltime_seen(repository, tmp_path, array) == "None"
