"""The curves and the end of the log of one point."""

from __future__ import annotations

import math

import pytest

from analysis.report.page_details import HEIGHT, LOG_LINES, WIDTH, curves, point_details
from tests.analysis.figures.samples import epochs, make_run, named
from tests.analysis.report.test_report import frame

NAME = "exp_01_UNet_lr0.0001_bs8"


def places(line):
    return [tuple(map(float, pair.split(","))) for pair in line.points.split()]


def test_curves_go_from_the_first_to_the_last_epoch_and_say_what_is_seen():
    score, loss = curves(epochs(6, top=0.6))
    assert (score.title, score.low, score.high, score.last_epoch) == ("Jaccard index", 0.0, 1.0, 6)
    training, validation = map(places, score.lines)
    assert [line.kind for line in score.lines] == ["training", "validation"]
    assert [place[0] for place in validation] == [0, 60, 120, 180, 240, 300]
    assert validation[-1] == (WIDTH, pytest.approx(0.4 * HEIGHT)) and len(training) == 6
    assert score.alt == (
        "Validation Jaccard index by epoch: 0.100 in epoch 1, highest 0.600 in epoch 6, 0.600 in epoch 6"
    )
    assert loss.title == "loss" and "lowest 0.167 in epoch 6" in loss.alt


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e300])
def test_impossible_values_are_gaps(value):
    rows = epochs(4)
    rows[1]["val_loss"] = value
    loss = curves(rows)[1]
    assert [len(places(line)) for line in loss.lines] == [4, 3]
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for line in loss.lines for x, y in places(line))


def test_one_epoch_is_a_line_and_no_epoch_no_curve():
    assert curves([]) == ()
    assert all(len(places(line)) == 2 for curve in curves(epochs(1)) for line in curve.lines)


def test_a_long_history_is_thinned_and_keeps_its_end():
    (score, _) = curves(epochs(5000))
    line = places(score.lines[1])
    assert len(line) <= 151 and line[-1][0] == WIDTH


def test_the_end_of_the_log_is_read(tmp_path):
    run = make_run(tmp_path, named(frame()))
    log = run / NAME / "training_log.txt"
    log.write_bytes(b"x" * 50_000 + b"\n" + b"".join(b"line %d\x1b[0m\xff\n" % n for n in range(100)))
    found = point_details(NAME, run)
    assert len(found.curves) == 2 and len(found.log) == LOG_LINES
    assert found.log[-1].startswith("line 99") and "\x1b" not in "".join(found.log)
    log.write_bytes(b"y" * 100_000)
    assert [len(line) <= 300 for line in point_details(NAME, run).log] == [True]


def test_files_that_are_missing_damaged_or_outside_the_run_give_nothing(tmp_path):
    run = make_run(tmp_path, named(frame()))
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    (run / NAME / "training_log.txt").symlink_to(secret)
    (run / NAME / "UNet_lr0.0001_bs8_history.csv").write_text("damaged")
    assert not point_details(NAME, run)
    for name in ("../secret", "", "exp_99_none", "exp_01_../../x"):
        assert not point_details(name, run)
