"""A point knows when PBS will end it, and stops while another epoch does not fit."""

from __future__ import annotations

import contextlib
import time

import pytest

from jobs.point.deadline import Deadline, OutOfTime, deadline

SITE = {"walltime": "04:00:00"}


@pytest.fixture(autouse=True)
def _outside_a_job(monkeypatch):
    for name in ("PBS_JOBID", "JOB_STARTED", "WALLTIME_SECONDS"):
        monkeypatch.delenv(name, raising=False)


def test_outside_a_job_nothing_limits_the_time():
    assert deadline(SITE) == Deadline()
    Deadline().check(1e9, "nothing")
    assert not Deadline().reached()


def test_the_walltime_asked_for_counts_from_the_start_of_the_job(monkeypatch):
    monkeypatch.setenv("JOB_STARTED", "1000")
    monkeypatch.setenv("WALLTIME_SECONDS", "3600")
    assert deadline(SITE) == Deadline(4600.0, 3600.0)


@pytest.mark.parametrize("odd", ["", "x", "nan", "-1", "1e99"])
def test_without_a_usable_walltime_the_site_block_counts(monkeypatch, odd):
    monkeypatch.setenv("JOB_STARTED", "1000")
    monkeypatch.setenv("WALLTIME_SECONDS", odd)
    assert deadline(SITE).walltime == 14400
    monkeypatch.setenv("JOB_STARTED", odd)
    assert deadline(SITE) == Deadline()
    monkeypatch.setenv("PBS_JOBID", "1[2].pbs")
    assert deadline(SITE).ends == pytest.approx(time.time() + 14400, abs=5)


@pytest.mark.parametrize(
    ("left", "walltime", "epoch", "stops"),
    [(100, 1000, 60, False), (100, 1000, 80, True), (61, 100_000, 0.1, False), (59, 100_000, 0.1, True)],
)
def test_it_stops_where_the_longest_epoch_and_a_reserve_do_not_fit(left, walltime, epoch, stops):
    one = Deadline(time.time() + left, walltime)
    stop = pytest.raises(OutOfTime, match="7 of 30 epochs are done; .* s of the walltime")
    with stop if stops else contextlib.nullcontext():
        one.check(epoch, "7 of 30 epochs are done")


def test_a_signal_at_the_end_of_the_walltime_is_the_schedulers():
    assert Deadline(time.time() + 0.5, 10).reached() and not Deadline(time.time() + 30, 100).reached()
