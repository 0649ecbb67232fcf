"""The report says where points were trained on the CPU of a job with a GPU, or on different devices."""

from __future__ import annotations

import pytest

from analysis.devices import device_caution
from jobs.common.records import write_record
from tests.analysis.test_cautions import clean, found_in, load
from tests.conftest import TINY

ALL = "NVIDIA A40"


def content(**more):
    return clean().assign(device=ALL, job_id="7[1].pbs", **more)


def submitted(root, ngpus):
    root.mkdir(exist_ok=True)
    jobs = [{"id": "7[].pbs", "indices": "1-500", "asked": {"ngpus": ngpus}}]
    write_record(root / "submissions.json", {"submissions": [{"number": 1, "made": "then", "jobs": jobs}]})


def test_one_device_needs_no_word(tmp_path):
    submitted(tmp_path / "run", 1)
    frame = load(tmp_path, content().reset_index(drop=True))
    assert device_caution(frame, tmp_path / "run") is None
    assert "devices" not in found_in(tmp_path, content())
    assert device_caution(frame.drop(columns="device"), None) is None
    assert device_caution(frame[:0], tmp_path / "run") is None


def test_different_devices_are_counted_in_the_first_part_of_the_report(tmp_path):
    rows = content()
    rows.loc[rows.index[:3], "device"] = "NVIDIA A100"
    rows.loc[rows.index[3], "device"] = ""  # a point without a result
    text = found_in(tmp_path, rows)["devices"].text
    assert f"{len(rows) - 4} on {ALL}, 3 on NVIDIA A100" in text
    assert text.endswith("their scores are comparable, their times are not.")


@pytest.mark.parametrize(("ngpus", "jobs", "words"), [(1, 2, "2 points trained on the CPU"), (0, 2, None)])
def test_points_on_the_cpu_of_jobs_that_asked_for_a_gpu_are_named(tmp_path, ngpus, jobs, words):
    submitted(tmp_path / "run", ngpus)
    rows = content()
    rows["device"] = "CPU"
    rows["job_id"] = ""  # a local run
    rows.loc[rows.index[:jobs], "job_id"] = "7[1].pbs"
    found = device_caution(load(tmp_path, rows.reset_index(drop=True)), tmp_path / "run")
    assert (found is None) is (words is None)
    if words:
        assert found.text.startswith(words) and found.details == ()


def test_for_a_job_by_hand_the_site_block_decides_and_mixed_points_are_named(tmp_path, tiny_run):
    rows = content()
    rows.loc[rows.index[0], "device"] = "CPU"
    frame = load(tmp_path, rows.reset_index(drop=True))
    found = device_caution(frame, tiny_run.paths.root)
    assert found.text.startswith("1 point trained on the CPU") and "different devices" in found.text
    assert found.details == (f"on the CPU: {frame['name'].iloc[0]}",)
    tiny_run.paths.grid.write_text(TINY + "\nsite: {ngpus: 0}\n")
    found = device_caution(frame, tiny_run.paths.root)
    assert found.text.startswith("The points were trained on different devices")
    tiny_run.paths.grid.write_text("no grid")
    assert device_caution(frame, tiny_run.paths.root).text == found.text
