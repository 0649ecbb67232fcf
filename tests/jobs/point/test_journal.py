"""What a point writes after each epoch, exactly."""

from __future__ import annotations

import csv
from types import SimpleNamespace

import pytest

from jobs.common.records import read
from jobs.common.schema import PointRecord
from jobs.point.claim import TakenOver
from jobs.point.journal import Journal
from jobs.run.paths import PointPaths
from unet_models.training.history import COLUMNS


def row(epoch, score):
    return {**dict.fromkeys(COLUMNS, 0.5), "epoch": epoch, "val_jaccard": score, "seconds": 10.0 + epoch}


@pytest.fixture
def parts(tmp_path):
    paths = PointPaths(tmp_path / "exp_01_point", "point")
    paths.state.mkdir(parents=True)
    claim = SimpleNamespace(check=lambda: None)
    lines = []
    log = SimpleNamespace(line=lines.append)
    return paths, claim, lines, Journal(paths, claim, log, PointRecord(name="n", attempts=3, epochs=9, pid=7))


def test_of_equal_scores_the_first_epoch_is_the_best_and_the_last_one_is_the_newest(parts):
    paths, _, lines, journal = parts
    journal.begin([row(1, 0.2)])
    for epoch, score in ((2, 0.4), (3, 0.4), (4, 0.3)):
        journal.epoch(row(epoch, score))
    record = read(paths.status, PointRecord)
    assert (record.epoch, record.epochs, record.val_jaccard, record.epoch_seconds) == (4, 9, 0.3, 14.0)
    assert (record.best_epoch, record.best_val_jaccard, record.state) == (2, 0.4, "running")
    assert (record.name, record.attempts, record.pid) == ("n", 3, 7)
    with paths.history.open() as file:
        assert [line["epoch"] for line in csv.DictReader(file)] == ["1", "2", "3", "4"]
    assert lines[-1].startswith("epoch 4/9 loss 0.5000 jaccard 0.5000 val_loss 0.5000 val_jaccard 0.3000 ")


def test_the_end_keeps_the_progress(parts):
    paths, _, _, journal = parts
    journal.begin([])
    journal.epoch(row(1, 0.2))
    journal.write("timeout", "no time", peak_memory_mb=5.0)
    record = read(paths.status, PointRecord)
    assert (record.state, record.reason, record.epoch, record.peak_memory_mb) == (
        "timeout",
        "no time",
        1,
        5.0,
    )
    assert record.updated is not None


def test_nothing_is_written_after_a_take_over(parts):
    paths, claim, _, journal = parts

    def taken():
        raise TakenOver

    claim.check = taken
    for write in (lambda: journal.begin([]), lambda: journal.write("error")):
        with pytest.raises(TakenOver):
            write()
    assert not paths.history.exists() and not paths.status.exists()
