"""A job that asked for a GPU trains on one, or says why it cannot."""

from __future__ import annotations

import textwrap
from dataclasses import replace
from pathlib import Path

import pytest

from jobs.common.records import read_record, write_record
from jobs.grid.config import load_config
from jobs.monitor.summary import collect
from jobs.point import circuit_breaker, gpu_check
from jobs.point.attempt import run_point
from jobs.point.circuit_breaker import LOCAL_SESSION
from jobs.point.gpu_check import NoGpuError, check_device, gpus_asked_for, likely_causes, no_gpu
from jobs.point.status import read_status
from jobs.run.create import make_run
from tests.conftest import TINY, write_images


@pytest.fixture(autouse=True)
def sub_job(monkeypatch):
    """A sub-job of PBS on a node without anything that explains a missing GPU."""
    for name in (LOCAL_SESSION, "CUDA_VISIBLE_DEVICES", *gpu_check._CONTAINER):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PBS_JOBID", "7[2].pbs")


@pytest.fixture
def card(monkeypatch):
    """A card in /dev."""
    monkeypatch.setattr(Path, "glob", lambda self, pattern: iter([self / "nvidia0"]))


def site(run, **values):
    return replace(run, site={**run.site, **values})


def quiet(run, index=1):
    return run_point(run, run.entry(index), echo=False, tell=lambda text: None)


def test_a_point_whose_gpu_is_missing_ends_before_it_trains_and_names_the_causes(tiny_run):
    assert quiet(tiny_run) == "error"
    status = read_status(tiny_run, tiny_run.entry(1))
    assert status.reason.startswith("TensorFlow sees no GPU, although the job asked for 1 GPU. Found here: ")
    assert "allow_cpu: true in the site block" in status.reason and "tensorflow-cpu" in status.reason
    assert status.record.epoch == 0
    log = tiny_run.point_paths(tiny_run.entry(1)).log.read_text()
    assert "epoch 1" not in log and "Traceback" not in log and status.reason in log


def test_after_three_points_the_others_are_not_started(tmp_path, write_grid, monkeypatch):
    write_images(tmp_path / "data")
    grid = write_grid(textwrap.dedent(TINY).replace("[1e-3, 5e-3]", "[1e-4, 5e-4, 1e-3, 5e-3, 1e-2]"))
    run = make_run(load_config(grid), tmp_path / "run", say=lambda text: None).run
    calls = []
    monkeypatch.setattr(gpu_check, "no_gpu", lambda *a, **k: calls.append(1) or "TensorFlow sees no GPU")
    assert [quiet(run, index) for index in range(1, 6)] == ["error"] * 5
    assert len(calls) == circuit_breaker.FAILURES
    last = read_status(run, run.entry(5)).reason
    assert last.startswith("not started") and "TensorFlow sees no GPU" in last


def test_with_allow_cpu_the_point_trains_and_its_result_and_the_summary_say_so(tmp_path, write_grid):
    write_images(tmp_path / "data")
    plain = make_run(load_config(write_grid()), tmp_path / "plain", say=lambda text: None).run
    grid = write_grid(textwrap.dedent(TINY) + "site: {allow_cpu: true}\n")
    run = make_run(load_config(grid), tmp_path / "run", say=lambda text: None).run
    assert [one.key for one in run.entries] == [one.key for one in plain.entries]
    assert quiet(run) == "done"
    words = "trained on the CPU, although the job asked for 1 GPU (allow_cpu)"
    result = read_record(run.point_paths(run.entry(1)).results)
    assert result["device"] == "CPU" and words in result["reason"]
    assert words in run.point_paths(run.entry(1)).log.read_text()
    assert read_status(run, run.entry(1)).record.device == "CPU"
    collect(run)
    assert words in run.paths.summary.read_text()


@pytest.mark.parametrize(
    ("environment", "values", "submitted", "expected"),
    [
        ({"PBS_JOBID": None}, {}, None, 0),  # a login node
        ({LOCAL_SESSION: "x"}, {}, None, 0),  # jobs.local inside a job
        ({}, {"ngpus": 0}, None, 0),
        ({}, {"ngpus": 2}, None, 2),  # submitted by hand
        ({}, {"ngpus": 0}, 4, 4),  # the site block was edited after the submission
        ({}, {"ngpus": 1}, 0, 0),
        ({"PBS_JOBID": "8[2].pbs"}, {"ngpus": 3}, 0, 3),  # another job than the one on record
    ],
)
def test_only_a_job_that_asked_for_a_gpu_needs_one(
    tiny_run, monkeypatch, environment, values, submitted, expected
):
    for name, value in environment.items():
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name)
    if submitted is not None:
        jobs = [{"id": "7[].pbs", "indices": "1-2", "asked": {"ngpus": submitted}}]
        write_record(
            tiny_run.paths.submissions, {"submissions": [{"number": 1, "made": "then", "jobs": jobs}]}
        )
    run = site(tiny_run, **values)
    assert gpus_asked_for(run) == expected
    assert check_device(run, "NVIDIA A40", built_for_gpus=True) == ""
    if not expected:
        assert check_device(run, "CPU", built_for_gpus=True) == ""
        return
    with pytest.raises(NoGpuError, match=f"asked for {expected} GPU"):
        check_device(run, "CPU", built_for_gpus=True)


def test_a_damaged_record_of_submissions_leaves_the_site_block(tiny_run):
    tiny_run.paths.submissions.write_text("{")
    assert gpus_asked_for(tiny_run) == 1


@pytest.mark.parametrize("value", ["", "-1", "0"])
def test_hidden_gpus_are_named_first(monkeypatch, card, value):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    text = likely_causes(built_for_gpus=True)
    hidden = value != "0"
    assert text.startswith("Found here: CUDA_VISIBLE_DEVICES is set and names no GPU") is hidden
    assert "driver is too old" in text and "container" not in text


def test_a_build_for_the_cpu_comes_with_the_command_that_replaces_it(card, tiny_run):
    text = likely_causes(built_for_gpus=False, run=tiny_run)
    assert text.startswith("Found here: this TensorFlow is a build for the CPU")
    assert f"jobs/make_environment.sh {tiny_run.paths.root}" in text
    assert "tensorflow-cpu" not in likely_causes(built_for_gpus=True)
    assert likely_causes().startswith("Likely causes: this TensorFlow is a build for the CPU")


@pytest.mark.parametrize("name", gpu_check._CONTAINER)
def test_in_a_container_without_a_card_nv_is_named(monkeypatch, name):
    monkeypatch.setattr(Path, "glob", lambda self, pattern: iter(()))
    assert "Found here: this node shows no card" in likely_causes(built_for_gpus=True)
    monkeypatch.setenv(name, "/images/tf.sif")
    text = likely_causes(built_for_gpus=True)
    assert text.startswith("Found here: the container sees no card: it was started without --nv")
    assert "Other causes: the wrong container" in text and "this node shows" not in text


def test_the_whole_sentence_fits_into_a_summary(monkeypatch, tiny_run):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("SINGULARITY_NAME", "tf.sif")
    assert len(no_gpu(1, built_for_gpus=False, run=tiny_run)) < 900
