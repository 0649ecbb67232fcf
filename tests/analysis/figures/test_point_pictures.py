"""Learning curves that were not drawn when a point ended are drawn by the analysis."""

from __future__ import annotations

from analysis.figures.point_pictures import draw_missing_curves
from analysis.figures.run_files import read_histories
from analysis.summary import load_summary
from jobs.monitor.summary import collect
from jobs.point.attempt import run_point
from unet_models import pictures


def test_missing_curves_are_drawn_and_nothing_else_is_touched(tiny_run, monkeypatch):
    for entry in tiny_run.entries:
        run_point(tiny_run, entry, echo=False, tell=lambda text: None)
    lost, kept = (tiny_run.point_paths(entry).curves for entry in tiny_run.entries)
    drawn = lost.read_bytes()
    lost.unlink()
    before = kept.stat().st_mtime_ns
    collect(tiny_run)
    frame = load_summary(tiny_run.paths.summary)
    histories = read_histories(tiny_run.paths.root, frame)

    def fail(*arguments, **options):
        raise RuntimeError("no fonts")

    with monkeypatch.context() as broken:
        broken.setattr(pictures, "curves", fail)
        (said,) = draw_missing_curves(tiny_run.paths.root, frame, histories)
    assert said.startswith("learning curves of 1 points are missing") and "no fonts" in said
    (said,) = draw_missing_curves(tiny_run.paths.root, frame, histories)
    assert "learning curves drawn for 1 points" in said and tiny_run.entries[0].name in said
    assert lost.read_bytes()[:8] == drawn[:8] and abs(len(lost.read_bytes()) - len(drawn)) < 5000
    assert kept.stat().st_mtime_ns == before
    assert draw_missing_curves(tiny_run.paths.root, frame, histories) == []
