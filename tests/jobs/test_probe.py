"""The probe: every kind of point measured by itself, no fault spreads, and nothing but a record is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from filelock import FileLock
from msgspec.structs import replace

from jobs import probe as command
from jobs.common.errors import UserError
from jobs.common.records import read_record, write_record
from jobs.cost import probe_training
from jobs.cost.measurements import kinds, read_probe
from jobs.cost.probe_process import gpu_memory_mb, measure
from jobs.cost.probe_training import occupied_memory, short_training
from jobs.grid.config import load_config
from jobs.probe import probe
from jobs.run.create import make_run
from jobs.run.index import read_run
from tests.conftest import REPOSITORY, TINY, write_images
from tests.jobs.cost.builders import measurement, write_probe
from unet_models.data.packed import PackedData, read_packed


def contents(path):
    return {file.name: file.read_bytes() for file in path.iterdir() if file.is_file()}


def test_a_probe_measures_through_the_code_that_trains_and_leaves_only_its_record(tiny_run):
    before = contents(tiny_run.paths.root)
    answer = subprocess.run(
        [sys.executable, "-m", "jobs.probe", str(tiny_run.paths.root), "--steps", "4", "--threads", "1"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "UNet, batch 8" in answer.stdout and "1 of 1 combinations measured" in answer.stdout
    (measured,) = read_probe(tiny_run).values()
    assert measured.status == "measured" and measured.device == "CPU" and measured.reason == ""
    assert measured.step_seconds > 0 and measured.validation_seconds > 0 and measured.epoch_end_seconds > 0
    assert measured.finish_seconds > 0 and measured.finish_batches >= 2
    assert set(measured.startup) == {"import", "data", "build", "first_step"}
    assert measured.peak_host_memory_mb > 50 and measured.peak_memory_mb is None
    after = contents(tiny_run.paths.root)
    assert {name: after[name] for name in before} == before
    assert {p.name for p in tiny_run.paths.root.iterdir() if p.is_dir()} == {"logs"}
    (one,) = read_record(tiny_run.paths.probe)["combinations"]
    assert one["packages"]["keras"] and one["host"] and one["made"] and one["steps"] >= 1
    assert "read back: UNet" in tiny_run.paths.probe_log.read_text()


def test_points_that_differ_in_what_costs_nothing_are_one_kind(tmp_path, write_grid):
    write_images(tmp_path / "data")
    grid = TINY.replace(
        "batch_size: [8]", "batch_size: [4, 8]\n  base_filters: [2, 3]\n  clipnorm: [1.0, 2.0]"
    )
    run = make_run(
        load_config(write_grid(grid.replace("  base_filters: 2\n", ""))),
        tmp_path / "r",
        say=lambda text: None,
    ).run
    assert len(run.entries) == 16 and [len(entries) for entries in kinds(run.entries).values()] == [4] * 4


def packed(train, validation):
    count = train + validation
    part = np.array([0] * train + [1] * validation, np.int8)
    images = np.arange(count, dtype=np.uint8)[:, None, None] * np.ones((1, 8, 8), np.uint8)
    return PackedData(images, images > 2, part, np.arange(count, dtype=np.int32), "test", "contiguous")


@pytest.mark.parametrize(
    ("train", "batch", "steps", "epochs", "patches"),
    [
        (100, 4, 20, 2, 48),  # 12 steps in each of two epochs
        (8, 4, 20, 12, 8),  # few data: as many epochs as it takes
        (5, 4, 100, 20, 4),  # and no more than twenty; full batches only
    ],
)
def test_a_short_training_has_enough_steps_of_full_batches(train, batch, steps, epochs, patches):
    settings = {"batch_size": batch, "validation_batch_size": 2}
    part, found = short_training(packed(train, 30), settings, steps)
    assert (part.count("train"), part.count("validation"), found) == (patches, 8, epochs)


def _reporter(order, connection):
    return probe_training.Reporter(read_run(order.root).entry(order.index), connection)


def _stuck(order, connection):
    _reporter(order, connection).update(device="GPU of a test", startup={"import": 1.0})
    time.sleep(600)


def _killed(order, connection):
    _reporter(order, connection).update(peak_host_memory_mb=12.0)
    os.kill(os.getpid(), signal.SIGKILL)


def _no_memory(order, connection):
    def run_out(run, entry, order, reporter):
        reporter.update(startup={"import": 1.0})
        raise MemoryError("OOM when allocating tensor")

    probe_training.train_shortly = run_out
    probe_training.work(order, connection)


@pytest.mark.parametrize(
    ("target", "limit", "statuses", "words"),
    [
        (_stuck, 1.0, {"timeout"}, "took more than 1 s"),
        (_killed, 60.0, {"oom", "lost"}, "signal 9"),
        (_no_memory, 60.0, {"oom"}, "MemoryError"),
    ],
)
def test_what_becomes_of_one_combination_is_classed_and_harms_no_other(
    tiny_run, target, limit, statuses, words
):
    tiny_run.paths.logs.mkdir(exist_ok=True)
    found = measure(tiny_run, tiny_run.entries[0], limit=limit, target=target)
    assert found.status in statuses and words in found.reason
    assert not tiny_run.paths.probe_scratch.exists()
    write_probe(tiny_run, found)
    (measured,) = read_probe(tiny_run).values()
    assert measured.status == found.status and measured.step_seconds is None


def test_what_was_measured_before_stays_until_it_is_measured_again(tmp_path, write_grid, monkeypatch):
    write_images(tmp_path / "data")
    run = make_run(
        load_config(write_grid(TINY.replace("[8]", "[4, 8]"))), tmp_path / "r", say=lambda text: None
    ).run
    asked = []

    def fake(run, entry, **options):
        asked.append(entry.name)
        if len(asked) == 4:
            raise KeyboardInterrupt
        return measurement(run, entry.index - 1, step_seconds=float(len(asked)))

    monkeypatch.setattr(command, "measure", fake)
    assert list(probe(run, say=lambda text: None).values()) == ["measured", "measured"]
    with pytest.raises(KeyboardInterrupt):
        probe(run, say=lambda text: None)
    assert [one.step_seconds for one in read_probe(run).values()] == [3.0, 2.0]
    assert list(probe(run, missing=True, say=lambda text: None).values()) == ["measured", "measured"]
    assert len(asked) == 4


def test_in_a_job_nothing_is_begun_that_its_walltime_may_not_hold(tiny_run, monkeypatch, capsys):
    monkeypatch.setenv("JOB_STARTED", str(time.time() - 100))
    monkeypatch.setenv("WALLTIME_SECONDS", "150")
    assert command.main([str(tiny_run.paths.root)]) == 3
    said = capsys.readouterr().out
    assert "not started: it may not fit into the walltime" in said and "--missing" in said
    assert not tiny_run.paths.probe.exists()


def test_a_second_probe_of_a_run_leaves(tiny_run, capsys):
    with FileLock(tiny_run.paths.probe_lock):
        assert command.main([str(tiny_run.paths.root)]) == 6
    assert "being probed by another process" in capsys.readouterr().err


def test_a_probe_of_other_data_or_another_recipe_or_a_damaged_one_is_refused_with_words(tiny_run):
    write_probe(tiny_run, measurement(tiny_run), fingerprint="8x8x8-0")
    with pytest.raises(UserError, match=r"measured with the data '8x8x8-0', expected those of this run"):
        read_probe(tiny_run)
    write_probe(
        tiny_run, measurement(tiny_run, settings=replace(measurement(tiny_run).settings, base_filters=64))
    )
    with pytest.raises(UserError, match=r"another recipe.*base_filters: received 64, expected 2"):
        read_probe(tiny_run)
    write_probe(tiny_run, measurement(tiny_run))
    text = tiny_run.paths.probe.read_text()
    tiny_run.paths.probe.write_text(text.replace("0.25", "0.26"))
    with pytest.raises(UserError, match=r"checksum: it was edited or damaged; move it away"):
        read_probe(tiny_run)
    tiny_run.paths.probe.write_text(text[:40])
    with pytest.raises(UserError, match="not whole JSON"):
        read_probe(tiny_run)
    # nor does a probe write over what it cannot read
    with pytest.raises(UserError, match="not whole JSON"):
        probe(tiny_run, say=lambda text: None)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"step_seconds": -1}, r"Expected `float` >= 0.0 - at `\$.combinations\[0\].step_seconds`"),
        ({"step_seconds": None}, "step_seconds and validation_seconds must be above 0"),
        ({"validation_seconds": 0.0}, "step_seconds and validation_seconds must be above 0"),
        ({"validation_seconds": "fast"}, "Expected `float | null`, got `str`"),
        ({"peak_host_memory_mb": True}, "Expected `float | null`, got `bool`"),
        ({"status": ["done"]}, "Expected `str`, got `array`"),
        ({"status": "done"}, "Invalid enum value 'done'"),
        ({"settings": {"architecture": "UNet"}}, "missing required field `batch_size`"),
        ({"settings": None}, "Expected `object`, got `null`"),
        ({"startup": {"import": 1e12}}, "Expected `float` <= 1000000000.0"),
    ],
)
def test_impossible_values_in_a_record_that_is_whole_are_refused(tiny_run, change, words):
    content = {**measurement(tiny_run).fields(), **change}
    write_record(tiny_run.paths.probe, {"fingerprint": tiny_run.fingerprint, "combinations": [content]})
    with pytest.raises(UserError, match=words) as caught:
        read_probe(tiny_run)
    text = str(caught.value)
    assert text.startswith(f"{tiny_run.paths.probe} is not a valid Measurements record (")
    assert text.endswith(f"; move it away and measure again: python -m jobs.probe {tiny_run.paths.root}")


def test_a_setting_of_another_version_is_refused(tiny_run):
    content = measurement(tiny_run).fields()
    content["settings"]["width"] = 2
    write_record(tiny_run.paths.probe, {"fingerprint": tiny_run.fingerprint, "combinations": [content]})
    with pytest.raises(UserError, match="unknown field `width`"):
        read_probe(tiny_run)


def test_a_record_without_measurements_is_empty(tiny_run):
    assert read_probe(tiny_run) == {}
    write_probe(tiny_run)
    assert read_probe(tiny_run) == {}


@pytest.mark.parametrize(
    "arguments", [["--steps", "0"], ["--threads", "0"], ["--limit", "nan"], ["--limit", "0"]]
)
def test_bad_arguments_are_refused(tiny_run, arguments, capsys):
    assert command.main([str(tiny_run.paths.root), *arguments]) == 2
    assert f"{arguments[0]}: received" in capsys.readouterr().err


def test_the_memory_of_what_a_probe_leaves_out_is_held(tiny_run):
    data = read_packed(tiny_run.paths.data)
    part, _ = short_training(data, {"batch_size": 2, "validation_batch_size": 1}, 2)
    held = occupied_memory(data, part)
    left = data.count("train") + data.count("validation") - part.count("train") - part.count("validation")
    assert left > 0 and sum(len(one) for one in held) == 4 * left


def test_the_gpu_that_was_used_tells_its_memory(tmp_path, monkeypatch):
    smi = tmp_path / "nvidia-smi"
    smi.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\necho 46068\necho 81559\n')
    smi.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a")
    assert gpu_memory_mb("NVIDIA A40") == 46068.0
    assert "-i GPU-a --query-gpu=memory.total" in (tmp_path / "asked").read_text()
    assert gpu_memory_mb("CPU") is None
    smi.write_text("#!/bin/sh\necho '[N/A]'\n")
    assert gpu_memory_mb("NVIDIA A40") is None
