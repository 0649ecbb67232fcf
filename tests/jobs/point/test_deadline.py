"""A point knows when PBS will end it, and stops while another epoch does not fit."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time

import pytest

from jobs.point.deadline import Deadline, OutOfTime, deadline
from tests.conftest import REPOSITORY

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


def test_before_it_stops_it_asks_pbs_whether_the_walltime_was_changed(pbs, monkeypatch, capsys, tmp_path):
    script = tmp_path / "script"
    script.write_text("")
    subprocess.run(["qsub", "-J", "1-3", "-l", "walltime=00:01:40", str(script)], check=True)
    monkeypatch.setenv("PBS_JOBID", "1[2].pbshost")
    monkeypatch.setenv("JOB_STARTED", str(time.time() - 50))
    monkeypatch.setenv("WALLTIME_SECONDS", "100")
    one = deadline(SITE)
    one.check(30, "1 of 30 epochs are done")
    assert pbs.calls("qstat") == []  # there is time
    pbs.job(1, walltime="01:00:00")
    one.check(60, "1 of 30 epochs are done")
    assert one.walltime == 3600 and one.ends == pytest.approx(time.time() + 3550, abs=5)
    assert "the walltime was changed from 100 s to 3600 s" in capsys.readouterr().out
    assert pbs.calls("qstat") == [["-f", "1[2].pbshost"]]
    pbs.job(1, walltime="00:01:00")
    with pytest.raises(OutOfTime, match=r"of the walltime \(60 s\) are left and an epoch takes 4000 s"):
        one.check(4000, "1 of 30 epochs are done")


@pytest.mark.parametrize("answer", [{"code": 1}, {"code": 0, "stdout": "?"}, {"code": 0, "sleep": 30}])
def test_where_pbs_does_not_answer_what_was_known_counts(pbs, monkeypatch, answer):
    monkeypatch.setenv("PBS_JOBID", "1[2].pbshost")
    monkeypatch.setenv("JOB_STARTED", str(time.time() - 97))
    monkeypatch.setenv("WALLTIME_SECONDS", "100")
    pbs.trouble("qstat", answer)
    with pytest.raises(OutOfTime, match="of the walltime \\(100 s\\) are left"):
        deadline(SITE).check(60, "1 of 30 epochs are done")


_REACHED = "import jobs.point.deadline as d; raise SystemExit(d.Deadline(1e12, 1e12).reached())"
_CHILD = f"import subprocess, sys; sys.exit(subprocess.run([sys.executable, '-c', {_REACHED!r}], stdout=-1, stderr=-1).returncode)"


@pytest.mark.parametrize("code", [_REACHED, _CHILD], ids=["itself", "its child"])
@pytest.mark.parametrize("descriptor", ["stdout", "stderr"])
def test_pbss_message_in_the_output_of_the_job_says_that_the_walltime_was_reached(tmp_path, code, descriptor):
    """The walltime of a running job may be shortened: what is known from its start is wrong then."""
    others = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    for text, reached in (("", 0), ("=>> PBS: job killed: walltime 26 exceeded limit 10\n", 1)):
        captured = tmp_path / "job.OU"
        captured.write_text("epoch 1\n" * 1000 + text)
        with captured.open("a") as file:
            answer = subprocess.run(
                [sys.executable, "-c", code],
                cwd=REPOSITORY,
                env={**os.environ, "PBS_JOBID": "1.pbshost"},
                **{**others, descriptor: file},
            )
        assert answer.returncode == reached
