"""The exact arguments of ``qsub``. What several points of one array request is compared as numbers, never as text."""

from __future__ import annotations

import dataclasses
import shlex

import pytest

from jobs.common.errors import UserError
from jobs.common.schema import Requested
from jobs.pbs.job_paths import shell_line
from jobs.pbs.qsub_arguments import (
    by_hand,
    collect_arguments,
    dependency,
    plan_jobs,
    probe_arguments,
    verify_arguments,
)
from tests.conftest import REPOSITORY


@pytest.fixture
def run(tiny_run):
    """Two points: indices 1 and 2."""
    tiny_run.paths.root.chmod(0o755)  # whatever the umask of the tests is
    return tiny_run


def with_site(run, **values):
    return dataclasses.replace(run, site={**run.site, **values})


def options(job):
    """The arguments as ``{"-N": ["unet_grid"], ...}``; the script is the value of ``""``."""
    found = {"": [job[-1]]}
    for name, value in zip(job[:-1:2], job[1:-1:2], strict=True):
        found.setdefault(name, []).append(value)
    return found


def test_an_array_of_the_whole_run(run):
    (job,) = plan_jobs(run, [1, 2], submission=7)
    root = run.paths.root.resolve()
    assert job.indices == (1, 2)
    assert job.requested == Requested(walltime="04:00:00", mem="32gb", ncpus=8, ngpus=1)
    assert job.arguments == (
        *("-N", "unet_grid", "-W", "umask=0022", "-r", "y", "-J", "1-2"),
        *("-l", "select=1:ncpus=8:ngpus=1:mem=32gb", "-l", "walltime=04:00:00", "-j", "oe"),
        *("-o", f"{root}/logs/submission_07_^array_index^.log"),
        *(
            "-v",
            f"RUN_DIR={root},REPOSITORY={REPOSITORY},SITE_BLOCK=umask:0022,TRUST=yes,WALLTIME_SECONDS=14400",
        ),
        f"{REPOSITORY}/jobs/train_array.pbs",
    )


def test_one_job_for_each_point_where_there_are_no_arrays(run):
    jobs = plan_jobs(with_site(run, job_arrays=False), [1, 2], submission=1, again=True)
    root = run.paths.root.resolve()
    assert [job.indices for job in jobs] == [(1,), (2,)]
    second = options(jobs[1].arguments)
    assert "-J" not in second
    assert second["-C"] == [""]
    assert second["-o"] == [f"{root}/logs/submission_01_2.log"]
    assert second["-v"] == [
        f"RUN_DIR={root},REPOSITORY={REPOSITORY},SITE_BLOCK=umask:0022,TRUST=yes,WALLTIME_SECONDS=14400,TRAIN_AGAIN=yes,POINT_INDEX=2"
    ]


def test_a_site_adds_its_queue_project_and_options(run):
    site = with_site(run, queue="gpu", project="ab12", extra_options="-l storage='a b' -m n")
    (job,) = plan_jobs(site, [1, 2], submission=1, max_running=1)
    found = options(job.arguments)
    assert found["-J"] == ["1-2%1"]
    assert found["-q"] == ["gpu"]
    assert found["-P"] == ["ab12"]
    assert found["-m"] == ["n"]
    assert found["-l"] == ["select=1:ncpus=8:ngpus=1:mem=32gb", "walltime=04:00:00", "storage=a b"]


@pytest.mark.parametrize(
    ("proposed", "walltime", "mem"),
    [
        # Each pair is ordered the other way as text.
        ({1: ("04:00:00", "9gb"), 2: ("04:00:00", "16gb")}, "04:00:00", "16gb"),
        ({1: ("04:00:00", "16gb"), 2: ("04:00:00", "9gb")}, "04:00:00", "16gb"),
        ({1: ("04:00:00", "900mb"), 2: ("04:00:00", "2gb")}, "04:00:00", "2gb"),
        ({1: ("04:00:00", "2GB"), 2: ("04:00:00", "1999mb")}, "04:00:00", "2GB"),
        ({1: ("100:00:00", "1gb"), 2: ("20:00:00", "1gb")}, "100:00:00", "1gb"),
        ({1: ("20:00:00", "1gb"), 2: ("100:00:00", "1gb")}, "100:00:00", "1gb"),
        ({1: ("9:00:00", "1gb"), 2: ("10:00:00", "1gb")}, "10:00:00", "1gb"),
        ({1: ("01:00:00", "64gb"), 2: ("02:00:00", "1gb")}, "02:00:00", "64gb"),  # from different points
        ({1: ("02:00:00", None), 2: ("01:00:00", "1gb")}, "02:00:00", "32gb"),  # unknown: the site's
        ({1: ("02:00:00", None), 2: ("01:00:00", None)}, "02:00:00", "32gb"),
        ({1: ("02:00:00", "1gb")}, "04:00:00", "32gb"),  # nothing is known of point 2
        ({}, "04:00:00", "32gb"),
    ],
)
def test_an_array_requests_the_largest_of_its_points(run, proposed, walltime, mem):
    (job,) = plan_jobs(run, [1, 2], submission=1, proposed=proposed)
    assert job.requested == Requested(walltime=walltime, mem=mem, ncpus=8, ngpus=1)
    found = options(job.arguments)
    assert found["-l"] == [f"select=1:ncpus=8:ngpus=1:mem={mem}", f"walltime={walltime}"]
    hours = int(walltime.split(":")[0])
    assert found["-v"][0].endswith(f",WALLTIME_SECONDS={hours * 3600}")


def test_longer_points_are_an_array_of_their_own_with_their_own_proposal(run):
    jobs = plan_jobs(
        run,
        [1, 2],
        submission=1,
        durations={1: 99.0, 2: 1000.0},
        proposed={1: ("01:00:00", "9gb"), 2: ("10:00:00", "16gb")},
    )
    assert [(job.indices, job.requested.walltime, job.requested.mem) for job in jobs] == [
        ((2,), "10:00:00", "16gb"),
        ((1,), "01:00:00", "9gb"),
    ]


def test_a_probe_requests_what_a_sub_job_does(run):
    root = run.paths.root.resolve()
    assert probe_arguments(with_site(run, queue="gpu"), "00:20:00") == [
        *("-N", "unet_probe", "-W", "umask=0022", "-r", "y", "-l", "select=1:ncpus=8:ngpus=1:mem=32gb"),
        *("-l", "walltime=00:20:00", "-q", "gpu", "-j", "oe", "-o", f"{root}/logs/probe_job.log"),
        *(
            "-v",
            f"RUN_DIR={root},REPOSITORY={REPOSITORY},SITE_BLOCK=umask:0022,TRUST=yes,WALLTIME_SECONDS=1200",
        ),
        f"{REPOSITORY}/jobs/probe.pbs",
    ]


def test_a_check_of_a_node_requests_what_a_sub_job_does_for_a_short_time(run):
    root = run.paths.root.resolve()
    assert verify_arguments(with_site(run, queue="gpu")) == [
        *("-N", "unet_verify", "-W", "umask=0022", "-r", "n", "-l", "select=1:ncpus=8:ngpus=1:mem=32gb"),
        *("-l", "walltime=00:10:00"),
        *("-q", "gpu", "-j", "oe", "-o", f"{root}/logs/verify_job.log"),
        *(
            "-v",
            f"RUN_DIR={root},REPOSITORY={REPOSITORY},SITE_BLOCK=umask:0022",
            str(REPOSITORY / "jobs" / "verify_setup.sh"),
        ),
    ]


@pytest.mark.parametrize(("own", "queue"), [(None, "gpu"), ("short", "short")])
def test_the_collect_job_waits_for_all_and_has_a_queue_of_its_own(run, own, queue):
    root = run.paths.root.resolve()
    site = with_site(run, queue="gpu", collect_queue=own)
    assert collect_arguments(site, ["9[].pbs", "10.pbs"], submission=3) == [
        *("-N", "unet_collect", "-W", "umask=0022", "-W", "depend=afterany:9[].pbs:10.pbs"),
        *("-l", "select=1:ncpus=1:mem=8gb", "-l", "walltime=01:00:00", "-q", queue, "-j", "oe"),
        *(
            "-o",
            f"{root}/logs/submission_03_collect.log",
            "-v",
            f"RUN_DIR={root},REPOSITORY={REPOSITORY},SITE_BLOCK=umask:0022",
        ),
        f"{REPOSITORY}/jobs/collect.pbs",
    ]


def test_a_dependency_keeps_the_brackets_and_the_order():
    assert dependency(["10[].pbs", "9[].pbs"]) == "afterany:10[].pbs:9[].pbs"


def test_paths_that_qsub_would_change_are_urls_and_the_log_is_relative(run):
    odd = dataclasses.replace(
        run, paths=dataclasses.replace(run.paths, root=run.paths.root / "l\u00e4uf, it's")
    )
    (job,) = plan_jobs(odd, [1], submission=1)
    url = f"file://{odd.paths.root.resolve().parent}/l%C3%A4uf%2C%20it%27s"
    for arguments in (
        job.arguments,
        probe_arguments(odd, "00:20:00"),
        collect_arguments(odd, ["9[].x"], submission=1),
    ):
        assert options(arguments)["-v"][0].startswith(
            f"RUN_DIR={url},REPOSITORY={REPOSITORY},SITE_BLOCK=umask:0022"
        )
        assert options(arguments)["-o"][0].startswith("logs/")
    first, collect = by_hand(odd)
    assert first.startswith(
        f"job=$(cd '{odd.paths.root.resolve().parent}/l\u00e4uf, it'\"'\"'s' && qsub -N unet_grid "
    )
    assert collect.startswith("cd ") and "&& qsub -N unet_collect" in collect


def test_a_path_whose_jobs_pbs_could_not_run_is_refused(run):
    odd = dataclasses.replace(run, paths=dataclasses.replace(run.paths, root=run.paths.root / "a\\b"))
    with pytest.raises(UserError, match=r"the path of the run, .* contains a backslash"):
        plan_jobs(odd, [1], submission=1)


def test_the_lines_to_paste_pass_the_ids_on(run):
    whole = plan_jobs(run, [1, 2], submission=1)
    one, collect = by_hand(run)
    assert one == f"job=$({shell_line('qsub', whole[0].arguments)})"
    assert shlex.split(collect)[:7] == [
        *("qsub", "-N", "unet_collect", "-W", "umask=0022", "-W", "depend=afterany:$job")
    ]
    planned = [*whole, *whole]
    first, second, collect = by_hand(run, submission=2, planned=planned)
    assert first.startswith("job1=$(qsub ")
    assert second.startswith("job2=$(qsub ")
    assert 'depend=afterany:"$job1:$job2"' in collect
    assert "submission_02_collect.log" in collect


def test_lines_by_hand_keep_to_the_site_s_limits(run):
    limited = with_site(run, max_running=1, max_array_size=2)
    assert "-J 1-2%1 " in by_hand(limited)[0]
