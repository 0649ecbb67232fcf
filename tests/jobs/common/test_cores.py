"""The cores of a process: its affinity mask, and what a PBS job requested."""

from __future__ import annotations

import os

import pytest

from jobs.common.cores import usable_cores


@pytest.mark.parametrize(
    ("requested", "expected"),
    [("1", 1), ("2", 2), ("3", 3), ("4", 3), ("64", 3), ("", 3), ("many", 3), ("0", 3), ("-1", 3), ("٢", 3)],
)
def test_a_job_takes_no_more_cores_than_it_requested(requested, expected, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1, 5})
    monkeypatch.setenv("NCPUS", requested)
    assert usable_cores() == expected


def test_outside_a_job_the_affinity_mask_counts(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(128)))
    monkeypatch.delenv("NCPUS", raising=False)
    assert usable_cores() == 128


@pytest.mark.parametrize(("counted", "expected"), [(10, 10), (None, 1)])
def test_without_affinity_masks_all_cores_count(counted, expected, monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: counted)
    monkeypatch.delenv("NCPUS", raising=False)
    assert usable_cores() == expected
