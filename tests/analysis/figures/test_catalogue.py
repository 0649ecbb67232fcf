"""The catalogue draws every figure of a report, and those that need a run only if there is one."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import matplotlib as mpl
import pandas as pd
import pytest

from analysis.figures import catalogue
from analysis.figures.catalogue import CHARTS, FIGURES, chart_tasks, paper_tasks, sheet_tasks
from analysis.figures.drawn import Drawn, Material, NotDrawn
from analysis.figures.run_files import read_histories
from analysis.findings import findings
from tests.analysis.figures.samples import ODD, loaded, make_run, named, opened
from tests.analysis.report.test_report import fail, frame


def material(tmp_path, content, run=None):
    data = loaded(tmp_path, content)
    histories = read_histories(run, data) if run else {}
    return Material(data, findings(data, summary="s", root=run), histories)


def rich():
    """Two seeds, times, epochs, and points that diverged."""
    rows = pd.concat([frame().assign(seed=seed) for seed in (1, 2)], ignore_index=True)
    rows["best_val_jaccard"] += [0.004 * (n % 5) for n in range(len(rows))]
    rows["epochs_completed"], rows["training_time_seconds"] = 20, [60.0 + n for n in range(len(rows))]
    rows["index"] = range(1, len(rows) + 1)
    return fail(fail(named(rows), 4, "diverged"), 17, "oom")


def test_every_sheet_is_drawn_for_a_run(tmp_path):
    content = named(frame())
    tasks = sheet_tasks(loaded(tmp_path, content), make_run(tmp_path, content))
    assert list(tasks) == [
        "detailed_heatmaps.png",
        "comprehensive_analysis.png",
        "learning_curves.png",
        "best_predictions.png",
    ]
    for draw in tasks.values():
        opened(draw().light)
    assert all(figure.title and figure.caption.endswith(".") for figure in FIGURES)


def test_without_a_run_no_sheet_reads_its_files(tmp_path):
    tasks = sheet_tasks(loaded(tmp_path, frame()), None)
    assert list(tasks) == ["detailed_heatmaps.png", "comprehensive_analysis.png"]


def test_without_points_nothing_is_drawn(tmp_path):
    assert sheet_tasks(loaded(tmp_path, frame().head(0)), tmp_path) == {}
    empty = material(tmp_path, frame().head(0))
    assert chart_tasks(empty) == {} and paper_tasks(empty, ("svg",)) == {}


def test_every_chart_is_drawn_in_both_themes_with_what_is_seen(tmp_path):
    content = rich()
    data = material(tmp_path, content, make_run(tmp_path, content))
    drawn = {name: draw() for name, draw in chart_tasks(data).items()}
    assert not [one for one in drawn.values() if isinstance(one, NotDrawn)]
    assert {name for name, one in drawn.items() if one is None} <= {"best_of.svg", "response.svg"}
    for one in filter(None, drawn.values()):
        light, dark = (ET.fromstring(content) for content in (one.light, one.dark))  # noqa: S314 - our own
        assert [element.tag for element in light.iter()] == [element.tag for element in dark.iter()]
        assert one.light != one.dark and not re.search(rb"#1f2328|#57606a", one.dark)
        assert light.find(".//{http://www.w3.org/2000/svg}text") is not None  # text, not shapes of letters
        assert len(one.alt) > 40 and re.search(r"\d", one.alt) and one.alt.endswith((".", ")"))
        assert len(one.light) < 150_000


def test_the_same_findings_give_the_same_bytes_whatever_the_users_settings_are(tmp_path):
    data = material(tmp_path, frame())
    before = {name: draw() for name, draw in chart_tasks(data).items()}
    with mpl.rc_context(
        {"text.usetex": True, "font.size": 40, "svg.fonttype": "path", "axes.facecolor": "red"}
    ):
        assert {name: draw() for name, draw in chart_tasks(data).items()} == before
        opened(sheet_tasks(data.frame, None)["detailed_heatmaps.png"]().light)


FEW = (
    "several classes of failure",
    "one point",
    "one finished point",
    "all diverged",
    "ties, several chance levels",
    "all metrics constant",
    "enormous stability",
    "no further columns",
    "further axes",
    "many learning rates",
    "extreme values",
    "names that are formulas",
)


@pytest.mark.parametrize("content", [ODD[name] for name in FEW], ids=FEW)
def test_odd_summaries_give_charts_or_none(tmp_path, content):
    for name, draw in chart_tasks(material(tmp_path, content)).items():
        one = draw()
        assert one is None or isinstance(one, Drawn), (name, one)


def test_a_chart_that_cannot_be_drawn_is_named_and_the_others_are_drawn(tmp_path, monkeypatch):
    def broken(*_arguments):
        raise ZeroDivisionError("no\nreason")

    charts = (catalogue.Chart("bad", "t", "c.", broken), *CHARTS[:1])
    monkeypatch.setattr(catalogue, "CHARTS", charts)
    data = material(tmp_path, frame())
    bad, good = (draw() for draw in chart_tasks(data).values())
    assert bad == NotDrawn("bad.svg", "ZeroDivisionError: no reason") and isinstance(good, Drawn)
    assert isinstance(paper_tasks(data, ("svg",))["bad"](), NotDrawn)


def test_charts_for_a_paper_have_the_widths_of_its_columns_and_text_that_can_be_edited(tmp_path):
    tasks = paper_tasks(material(tmp_path, frame()), ("svg", "pdf", "png"))
    for name, millimetres in (("adjusted_means", 89), ("score_heatmap", 183)):
        files = tasks[name]()
        assert list(files) == [f"{name}.{kind}" for kind in ("svg", "pdf", "png")]
        width = re.search(rb'width="([\d.]+)pt"', files[f"{name}.svg"])[1]
        assert float(width) == pytest.approx(millimetres / 25.4 * 72, abs=0.01)
        assert b"<text" in files[f"{name}.svg"] and b"/FontFile2" in files[f"{name}.pdf"]
        assert b"CreationDate" not in files[f"{name}.pdf"]
        opened(files[f"{name}.png"])
