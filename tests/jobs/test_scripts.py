"""The shell scripts, run as PBS runs them: from a copy elsewhere, in $HOME, with PBS's variables."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path

import pytest

from jobs.common.records import read_record
from jobs.grid.config import load_config
from jobs.run.create import make_run
from jobs.run.site_file import write_site
from tests.conftest import REPOSITORY, TINY, write_images
from tests.jobs.test_submit import give_result


def run_script(name, tmp_path, *arguments, code=0, **variables):
    spool = tmp_path / "spool"
    shutil.copy(REPOSITORY / "jobs" / name, spool)
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "PBS_O_WORKDIR": str(REPOSITORY),
        "PYTHONSAFEPATH": "1",  # as a user may have it in ~/.bashrc
        **variables,
    }
    answer = subprocess.run(
        ["bash", str(spool), *arguments],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert answer.returncode == code, answer.stdout + answer.stderr
    return answer.stdout + answer.stderr


@pytest.fixture
def python_of_the_tests(tiny_run):
    """The run's site block names the environment that runs the tests, whose TensorFlow sees no GPU."""
    tiny_run.site["environment"] = sys.prefix
    write_site(tiny_run)
    with tiny_run.paths.grid.open("a") as grid:
        grid.write("\nsite: {allow_cpu: true}\n")
    return tiny_run


def test_the_array_script_asks_for_one_gpu_and_a_share_of_a_node():
    directives = [
        line
        for line in (REPOSITORY / "jobs/train_array.pbs").read_text().splitlines()
        if line.startswith("#PBS")
    ]
    assert "#PBS -J 1-36" in directives and "#PBS -r y" in directives
    assert "#PBS -l select=1:ncpus=8:ngpus=1:mem=32gb" in directives


def test_a_sub_job_trains_its_index_and_the_collect_job_reports(python_of_the_tests, tmp_path):
    run = python_of_the_tests
    said = run_script(
        "train_array.pbs", tmp_path, RUN_DIR=str(run.paths.root), PBS_ARRAY_INDEX="2", PBS_JOBID="9[2].x"
    )
    assert f"point 2 of {run.paths.root}" in said and "exp_02_UNet_lr0.005_bs8: done" in said
    said = run_script("collect.pbs", tmp_path, RUN_DIR=str(run.paths.root))
    assert "exp_01_UNet_lr0.001_bs8" in said and run.paths.summary.exists()
    assert (run.paths.analysis / "comprehensive_analysis_report.txt").exists()


def test_a_probe_job_measures_the_run_and_touches_no_point(python_of_the_tests, tmp_path):
    run = python_of_the_tests
    said = run_script(
        "probe.pbs", tmp_path, RUN_DIR=str(run.paths.root), PBS_JOBID="9.x", WALLTIME_SECONDS="900"
    )
    assert f"of {run.paths.root}" in said and "1 of 1 combinations measured" in said
    assert read_record(run.paths.probe)["combinations"][0]["job_id"] == "9.x"
    assert not list(run.paths.root.glob("exp_*"))
    assert "call qsub in the folder" in run_script("probe.pbs", tmp_path, PBS_O_WORKDIR=str(tmp_path), code=2)


def test_a_sub_job_beyond_the_index_says_so_and_leaves(python_of_the_tests, tmp_path):
    said = run_script(
        "train_array.pbs", tmp_path, RUN_DIR=str(python_of_the_tests.paths.root), PBS_ARRAY_INDEX="36"
    )
    assert "has 2 points; sub-job 36 has nothing to do" in said


def test_the_collect_job_fails_only_if_there_is_nothing(python_of_the_tests, tmp_path):
    run = python_of_the_tests
    said = run_script("collect.pbs", tmp_path, RUN_DIR=str(run.paths.root), code=4)
    assert "2 waiting" in said
    give_result(run, 1)
    run_script("collect.pbs", tmp_path, RUN_DIR=str(run.paths.root), code=0)


def test_what_is_missing_is_named(tmp_path, python_of_the_tests):
    run = python_of_the_tests
    assert "call qsub in the folder" in run_script(
        "train_array.pbs", tmp_path, PBS_O_WORKDIR=str(tmp_path), code=2
    )
    assert "is not a folder" in run_script("train_array.pbs", tmp_path, RUN_DIR="/none", code=2)
    run.site["environment"] = "/none"
    write_site(run)
    assert "/none has no bin/python" in run_script(
        "train_array.pbs", tmp_path, RUN_DIR=str(run.paths.root), code=2
    )
    run.site["container"] = "/none.sif"
    write_site(run)
    assert "the container /none.sif does not exist" in run_script(
        "train_array.pbs", tmp_path, RUN_DIR=str(run.paths.root), code=2
    )


def test_the_container_gets_gpu_binds_and_the_environments_python(tmp_path, python_of_the_tests):
    run = python_of_the_tests
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "apptainer").write_text('#!/bin/sh\necho "apptainer $*"\n')
    (tmp_path / "bin" / "apptainer").chmod(0o755)
    (tmp_path / "image.sif").write_text("")
    run.site.update(
        container=str(tmp_path / "image.sif"), container_command="apptainer", container_binds="/scratch,/data"
    )
    write_site(run)
    path = f"{tmp_path}/bin:{os.environ['PATH']}"
    said = run_script(
        "train_array.pbs", tmp_path, RUN_DIR=str(run.paths.root), PBS_ARRAY_INDEX="1", PATH=path
    )
    assert (
        "apptainer exec --nv" in said
        and "--bind /scratch,/data" in said
        and f"--bind {run.paths.root}" in said
    )
    assert f"{tmp_path}/image.sif {sys.prefix}/bin/python run_point.py {run.paths.root}" in said


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
    job = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
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
    job = submit(pbs, repository, "-W", f"depend=afterany:{one}", at=40)
    pbs.trouble("qstat", {"code": 1})
    said = collect(repository, tmp_path, job)
    assert f"of {other_run} (the newest run now, because qstat -f {job} did not answer; what this job" in said
    assert "-v RUN_DIR=" in said


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


def test_the_set_up_check_passes_here_and_fails_with_a_remedy(tmp_path, python_of_the_tests, pbs):
    command = ["bash", "jobs/verify_setup.sh", str(python_of_the_tests.paths.root)]
    answer = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=240, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    for line in (
        "file system: atomic replace",
        "file system: hard link",
        "file system: lock between",
        "data: ",
        "TensorFlow:",
    ):
        assert line in answer.stdout
    (python_of_the_tests.paths.data / "pack.json").write_bytes(b"no data")
    answer = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=240, check=False)
    assert answer.returncode == 1 and "FAILURE  data:" in answer.stdout


def test_the_set_up_check_runs_in_a_job_where_its_script_is_a_copy(tmp_path, python_of_the_tests, pbs):
    run = python_of_the_tests
    job = {"PBS_JOBID": "1.pbshost", "RUN_DIR": str(run.paths.root), "PBS_O_WORKDIR": str(tmp_path)}
    run.paths.grid.write_text(run.paths.grid.read_text().replace("allow_cpu: true", "allow_cpu: false"))
    said = run_script("verify_setup.sh", tmp_path, REPOSITORY=str(REPOSITORY), code=1, **job)
    assert f"ok       run: {run.paths.root} (given as RUN_DIR)" in said
    assert "ok       PBS: job 1.pbshost on " in said and "queue:" not in said
    (failure,) = [line for line in said.splitlines() if line.startswith("FAILURE")]
    assert failure.startswith("FAILURE  TensorFlow: ") and "the job asked for 1 GPU" in failure
    assert "file system: atomic replace" in said
    said = run_script("verify_setup.sh", tmp_path, code=1, **job)
    assert said.startswith("FAILURE  repository: no jobs/environment.sh in") and "-v REPOSITORY=" in said
    said = run_script(
        "verify_setup.sh", tmp_path, code=1, REPOSITORY=str(REPOSITORY), **{**job, "RUN_DIR": "/none"}
    )
    assert said.startswith("FAILURE  run: RUN_DIR=/none is not a folder on ")


def test_the_set_up_check_asks_pbs_outside_the_container(tmp_path, python_of_the_tests, pbs):
    run = python_of_the_tests
    command = tmp_path / "bin" / "apptainer"
    command.parent.mkdir()
    command.write_text(
        '#!/bin/bash\nwhile [[ $1 != --answers ]]; do shift; done\ngrep -h -o "max_array_size\\|workq" "$2"/*; ls "$2"\n'
    )
    command.chmod(0o755)
    (tmp_path / "image.sif").write_text("")
    run.site.update(container=str(tmp_path / "image.sif"), container_command="apptainer")
    write_site(run)
    answer = subprocess.run(
        ["bash", "jobs/verify_setup.sh", str(run.paths.root)],
        cwd=REPOSITORY,
        env={**os.environ, "PATH": f"{command.parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
    )
    assert {"max_array_size", "workq", "nodes", "queues", "server"} <= set(answer.stdout.splitlines())
    assert not list(run.paths.root.glob(".verify_*"))


def test_every_preset_gives_lines_that_a_pbs_takes(tmp_path, write_grid, pbs):
    from jobs import submit

    write_images(tmp_path / "data")
    extra = {"nscc_aspire2a": "project: p1", "nci_gadi": "project: p1, extra_options: '-l storage=gdata/p1'"}
    for preset in ("openpbs", "nus_vanda", "nscc_aspire2a", "nci_gadi", "imperial"):
        site = f"site: {{preset: {preset}{', ' + extra[preset] if preset in extra else ''}}}\n"
        run = make_run(load_config(write_grid(TINY + site)), tmp_path / preset, say=lambda text: None).run
        assert submit.main([str(run.paths.root)]) == 0
