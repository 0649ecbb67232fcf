"""The shell scripts, run as PBS runs them: from a copy elsewhere, in $HOME, with PBS's variables."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from jobs.common.records import read_record
from jobs.grid.config import load_config
from jobs.pbs.job_paths import as_variable
from jobs.run.create import make_run
from jobs.run.site_file import write_site
from tests.conftest import REPOSITORY, TINY, write_images
from tests.jobs.script_runner import run_script
from tests.jobs.test_submit import give_result


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


@pytest.mark.parametrize("script", ["train_array.pbs", "collect.pbs", "probe.pbs", "verify_setup.sh"])
def test_a_script_reads_paths_that_qsub_would_have_changed(script, tmp_path):
    """Its repository and its run are where it is told, whatever their names are."""
    repository = tmp_path / "l\u00e4uf, it's" / 'a "repository"'
    run = tmp_path / "r \N{GRINNING FACE} "
    for folder in (repository / "jobs", run / "logs"):
        folder.mkdir(parents=True)
    (repository / "jobs/environment.sh").write_text((REPOSITORY / "jobs/environment.sh").read_text())
    (repository / "run_point.py").touch()
    (run / "site.conf").write_text("container=/no/such/image\n")
    given = {"RUN_DIR": as_variable(run), "REPOSITORY": as_variable(repository), "PBS_O_WORKDIR": "/"}
    said = run_script(script, tmp_path, code=1 if script == "verify_setup.sh" else 2, **given)
    assert "/no/such/image does not exist" in said and "no jobs/environment.sh" not in said


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
