"""``report.html`` is complete, safe and correct for any content of the summary."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import msgspec
import numpy as np
import pandas as pd
import pytest
from msgspec.structs import replace

from analysis.figures.catalogue import chart_tasks, sheet_tasks
from analysis.figures.drawn import Drawn, Material
from analysis.figures.heatmaps import detailed_heatmaps
from analysis.figures.run_files import read_histories
from analysis.findings import findings
from analysis.report.page import _LIMITS, html_page
from analysis.report.page_filters import TEMPLATES, environment
from analysis.report.page_points import MOST_LINKED
from analysis.schema import (
    ArchitectureAtBest,
    ArchitectureComparison,
    BestOfCurve,
    Findings,
    NextStep,
    Outperformance,
    Response,
)
from jobs.common.schema import ProvenanceRecord
from jobs.common.states import STATES
from tests.analysis.figures.samples import loaded, make_run, named, with_seeds
from tests.analysis.report.test_report import fail, frame

CHROMIUM = Path("/usr/bin/chromium")
HOSTILE = """<script>alert("x")</script><img src=x onerror=alert(1)> ' " $HOME ${x} &amp; </table> \u202e"""
VOID = {"meta", "link", "img", "wbr", "br", "input", "source"}


STEPS = (
    NextStep(
        kind="seeds",
        title="train two more seeds of every configuration",
        why="With one seed, the noise is not known.",
        command="python make_grid.py hyperparameter_optimization_20260131 --a-long-option\npython -m jobs.submit .",
    ),
    NextStep(
        kind="extend", title="extend the learning rate", why="It is at the border.", command="make_grid"
    ),
)


class Balance(HTMLParser):
    """Collects the tags that were opened, and refuses one that is closed in the wrong place."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        assert len(attrs) == len(dict(attrs)), f"an attribute twice: {attrs}"
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, tag


def tags_of(page):
    """The tags of a page that is whole, has every id once, and refers to nothing outside."""
    parser = Balance()
    parser.feed(page)
    parser.close()
    assert parser.open == []
    ids = [attributes["id"] for _, attributes in parser.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for tag, attributes in parser.tags:
        assert not any(name.startswith("on") for name in attributes)
        for name in {"src", "href", "srcset", "action", "data", "poster"} & set(attributes):
            value = attributes[name]
            assert "://" not in value and not value.startswith("//"), value
            assert name == "href" or re.match(r"data:image/(png|svg\+xml);base64,", value), value
            if tag == "a":
                assert ":" not in value, value
            if value.startswith("#"):
                assert value[1:] in ids
    assert not re.search(r"@import|url\(|https?:", page)
    return parser.tags


def heatmaps(data):
    file = "detailed_heatmaps.png"
    return [Drawn(file, "Heatmaps", "Of all points.", "What is seen.", detailed_heatmaps(data))]


_FOUND: dict[tuple[str, Path | None], Findings] = {}


def found_in(tmp_path, content, run=None):
    """The findings of a summary; computed once, because many tests look at the same ones."""
    key = content.to_csv(), run
    if key not in _FOUND:
        _FOUND[key] = findings(loaded(tmp_path, content), summary="s.csv", root=run)
    return replace(_FOUND[key], summary=str(tmp_path / "hyperparameter_summary.csv"))


def render(tmp_path, content, *, pictures=None, run=None, provenance=None):
    """The page of a summary with the real findings, and its tags."""
    data = loaded(tmp_path, content)
    found = found_in(tmp_path, content, run)
    page = html_page(found, data, pictures or (), run, tmp_path / "analysis", provenance)
    return page, tags_of(page)


def words(page):
    """What a reader sees, without the style and the script."""
    body = re.sub(r"<(style|script)>.*?</\1>", " ", page, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", body.replace("<wbr>", ""))).split())


def noisy():
    """Three seeds, noise in every metric."""
    content, random = with_seeds(), np.random.default_rng(1)
    for column in ("val_loss_stability", "overfitting_gap", "test_jaccard"):
        content[column] = content[column] * random.uniform(0.5, 1.0, len(content))
    return content.assign(epochs_to_best=random.integers(1, 9, len(content)))


def rows_of(page, caption):
    """The cells of each row of the table with ``caption``."""
    table = page.split(f"<caption><span>{caption}")[1].split("</tbody>")[0].split("<tbody>")[1]
    cells = [
        re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row, re.DOTALL) for row in re.split(r"<tr[^>]*>", table)[1:]
    ]
    return [[html.unescape(cell) for cell in row] for row in cells]


def p_text(value):
    return "\N{EN DASH}" if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"


def test_the_parts_are_in_reading_order(tmp_path):
    content = frame()
    picture = heatmaps(loaded(tmp_path, content))
    page, tags = render(tmp_path, content, pictures=picture)
    text = words(page)
    order = [attributes["id"] for tag, attributes in tags if tag == "section"]
    assert order == [
        *("cautions", "best", "figures", "effects", "failures"),
        *("hypotheses", "points", "statistics", "more", "glossary"),
    ]
    for found in (
        "Attention_UNet lr 0.005 bs 8 has the highest validation Jaccard index, 0.700 (one seed",
        "provisional: one seed, noise unknown",
        "chance level 0.070 all pixels mitochondrion",
        "test score 0.400",
        "Data: synthetic sample data; split: contiguous.",
        "The data are synthetic",
    ):
        assert found in text, found
    images = [attributes for tag, attributes in tags if tag == "img"]
    assert [(int(image["width"]) > 500, image["alt"]) for image in images] == [(True, "What is seen.")]
    assert base64.b64decode(images[0]["src"].split(",")[1]) == picture[0].light
    assert ("a", {"href": "detailed_heatmaps.png"}) in tags


def test_repeats_are_called_repeats(tmp_path):
    text = words(render(tmp_path, noisy())[0])
    assert "Shapiro-Wilk test of normality: W = " in text
    assert "mean of 3 seeds" in text and "provisional: one seed" not in text


def test_correlations_show_their_corrected_p(tmp_path):
    content = noisy()
    found = found_in(tmp_path, content).correlations
    assert any(one.p_holm is not None for one in found)
    shown = rows_of(render(tmp_path, content)[0], "Rank correlations")
    assert [row[-1] for row in shown] == [p_text(one.p_holm) for one in found]
    assert [row[-2] for row in shown] == [p_text(one.p) for one in found]


def test_the_pairs_of_the_rank_tests_show_their_corrected_p(tmp_path):
    content = noisy()
    page, _ = render(tmp_path, content)
    for metric, result in found_in(tmp_path, content).rank_tests.items():
        title = environment().filters["words"](metric)
        for test in result.factors:
            assert test.pairs
            shown = rows_of(page, html.escape(f"Signed-rank tests of {test.label}: {title}"))
            assert [row[:2] for row in shown] == [[str(pair.a), str(pair.b)] for pair in test.pairs]
            assert [row[5] for row in shown] == [p_text(pair.p_holm) for pair in test.pairs]


def test_the_next_step_is_a_command_that_can_be_copied(tmp_path):
    data = loaded(tmp_path, frame())
    found = replace(found_in(tmp_path, frame()), next_steps=STEPS)
    page = html_page(found, data, (), None, tmp_path, None)
    tags_of(page)
    first, second = re.findall(r"<pre[^>]*><code>(.*?)</code></pre>", page, re.DOTALL)
    assert (first, second) == (STEPS[0].command, STEPS[1].command)
    assert f"Next: {STEPS[0].title}" in page and "1 other step" in page
    assert page.index(first) < page.index('id="cautions"')


def test_the_pairs_of_the_rank_tests_are_shown_where_these_come_first(tmp_path):
    effects = r'<section id="effects">(.*?)<section id="failures"'
    for content, comes_first in ((noisy(), False), (fail(noisy(), 3, "diverged"), True)):
        ranks = found_in(tmp_path, content).rank_tests["best_val_jaccard"]
        shown = re.search(effects, render(tmp_path, content)[0], re.DOTALL)[1]
        assert (ranks.primary == "rank") == comes_first
        assert ("<details open><summary>Pairs of the rank test" in shown) == comes_first
        test = ranks.factors[0]
        first = f"{test.test} rank test: p (Holm) " if comes_first else "F test: p (Holm) "
        assert f'<p class="small">{first}' in shown


def test_effect_sizes_are_omega_squared_with_its_interval(tmp_path):
    content = noisy()
    table = found_in(tmp_path, content).anova["best_val_jaccard"]
    page, _ = render(tmp_path, content)
    assert "eta squared" not in page and "&eta;" not in page
    shown = rows_of(page, "Omega squared: the share of the variance, apart from the other terms")
    assert len(shown) == len(table.terms) > 2
    for row, term in zip(shown, table.terms, strict=True):
        low, high = term.omega_sq_ci
        assert row[-1] == f"{term.omega_sq:.3f}<small>{low:.3f} to {high:.3f}</small>"


def test_no_key_of_the_json_is_printed(tmp_path):
    text = words(fail(noisy(), 3, "diverged").pipe(lambda content: render(tmp_path, content)[0]))
    for key in (
        "p_F",
        "p F ",
        "draws",
        "df_within",
        "best_val_jaccard",
        "val_loss",
        "sum_sq",
        "None",
        " nan ",
    ):
        assert key not in text, key


def test_a_figure_follows_dark_mode_and_tables_replace_some(tmp_path):
    small, dark = (
        b'<svg width="300pt" height="150pt" xmlns="http://www.w3.org/2000/svg"></svg>',
        b'<svg id="dark"></svg>',
    )
    pictures = [
        Drawn("one.svg", "One", "A caption.", "Seen: 0.5.", small, dark),
        Drawn("differences.svg", "Two", "Shown as a table.", "Seen.", small, dark),
    ]
    page, tags = render(tmp_path, frame(), pictures=pictures)
    images = [attributes for tag, attributes in tags if tag == "img"]
    assert [(one["alt"], one["width"], one["height"]) for one in images] == [("Seen: 0.5.", "400", "200")]
    sources = [attributes for tag, attributes in tags if tag == "source"]
    assert base64.b64decode(sources[0]["srcset"].split(",")[1]) == dark and len(sources) == 1
    assert sources[0]["media"] == "screen and (prefers-color-scheme: dark)"
    assert "Shown as a table." not in page


def test_wide_figures_are_embedded_up_to_a_limit_and_linked_beyond(tmp_path, monkeypatch):
    pictures = heatmaps(loaded(tmp_path, frame()))
    monkeypatch.setattr("analysis.report.page_figures.MOST_SHEETS", len(pictures[0].light) - 1)
    _, tags = render(tmp_path, frame(), pictures=pictures)
    assert "img" not in [tag for tag, _ in tags] and ("a", {"href": "detailed_heatmaps.png"}) in tags


def test_only_a_run_of_some_hundred_points_has_details(tmp_path, monkeypatch):
    content = named(frame())
    run = make_run(tmp_path, content)
    assert render(tmp_path, content, run=run)[0].count("Settings, curves and log of") == 12
    monkeypatch.setattr("analysis.report.page_points.MOST_DETAILED", 11)
    page, _ = render(tmp_path, content, run=run)
    assert "Settings, curves and log of" not in page and "can be opened here only if" not in page
    monkeypatch.setitem(_LIMITS, "most_detailed", 11)
    assert "Points can be opened here only if there are at most 11" in render(tmp_path, content, run=run)[0]


def test_architectures_optima_and_expected_scores_are_tables(tmp_path):
    best = [
        ArchitectureAtBest(
            architecture=name,
            settings=f"{name} lr 0.001 bs 8",
            seeds=3,
            mean=mean,
            shrunken_mean=mean - 0.01,
            difference_to_best=(mean - 0.9, mean - 0.7),
            may_be_best=mean > 0.7,
        )
        for name, mean in (("A", 0.8), ("B", 0.6))
    ]
    won = Outperformance(a="A", b="B", probability=0.875, ci=(0.5, 1.0), pairs=9, verdict="likely")
    curve = Response(computed=True, architecture="A", optimum=8e-4, ci=(None, 2e-3), tried=(1e-4, 5e-3), n=12)
    data = loaded(tmp_path, frame())
    found = replace(
        found_in(tmp_path, frame()),
        architectures=ArchitectureComparison(computed=True, architectures=tuple(best), pairs=(won,)),
        best_of=(BestOfCurve(architecture="A", expected=(0.5, 0.6, 0.65)),),
        response=(curve, Response(computed=False, reason="too few", architecture="B")),
    )
    page = html_page(found, data, (), None, tmp_path, None)
    tags_of(page)
    assert [
        [words(cell) for cell in row] for row in rows_of(page, "Each architecture at its own best settings")
    ] == [
        ["A", "A lr 0.001 bs 8", "3", "0.8000", "0.7900", "-0.100 to +0.100", "yes"],
        ["B", "B lr 0.001 bs 8", "3", "0.6000", "0.5900", "-0.300 to -0.100", "no"],
    ]
    assert rows_of(page, "Probability that a run of a scores higher than one of b") == [
        ["A", "B", "0.88", "0.50 to 1.00", "9", "likely"]
    ]
    assert rows_of(page, "Learning rate with the highest score, from a curve through all of them") == [
        ["A", "0.0008", "no limit to 0.002", "0.0001 to 0.005", "\N{EN DASH}", "12"]
    ]
    assert rows_of(page, "Expected best score of a random search of n points")[0][:5] == [
        *("A", "0.500", "0.600", "0.650", "\N{EN DASH}"),
    ]


@pytest.mark.parametrize(
    "content",
    [
        frame(rates=(1e-3,), batches=(8,)),
        frame(rates=(1e-3,), batches=(8,), architectures=("UNet",)),
        frame().head(2),
    ],
)
def test_what_was_not_computed_has_a_reason(tmp_path, content):
    text = words(render(tmp_path, content)[0])
    assert "Not computed: " in text and "Not computed: ." not in text
    assert "computed: ." not in text and "not computed ()" not in text
    assert (
        "analysis of variance of best validation Jaccard index"
        in text.split("What was not computed, and why")[-1].split("What the numbers mean")[0]
    )


def test_nothing_from_data_becomes_markup(tmp_path):
    content = fail(frame(), 0, "oom", HOSTILE).assign(host=HOSTILE, attempts=HOSTILE).astype(object)
    content.loc[1:2, ["name", "architecture", "data_source", "split"]] = HOSTILE
    content[HOSTILE] = HOSTILE
    made = {
        "made": [
            {
                "host": HOSTILE,
                "command": [HOSTILE],
                "packages": {HOSTILE: HOSTILE},
                "git": {"commit": HOSTILE},
            }
        ]
        * 2,
        "data": {
            "fingerprint": HOSTILE,
            "source": HOSTILE,
            "split": HOSTILE,
            "notes": [HOSTILE],
            "patches": {HOSTILE: 3},
        },
    }
    page, tags = render(tmp_path, content, provenance=msgspec.convert(made, ProvenanceRecord))
    assert [tag for tag, _ in tags].count("script") == 1
    assert [tag for tag, _ in tags].count("img") == 0 and "onerror=alert(1)&gt;" in page
    assert "\u202e" not in page and "$HOME ${x}" in words(page)
    assert page.count("<th") > 80 and "</table> </table>" not in page


def test_a_browser_runs_the_script_of_the_page_only(tmp_path):
    page, _ = render(tmp_path, noisy())
    (policy,) = re.findall(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">', page)
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["script-src"] == f"'sha256-{digest}'" and rules["default-src"] == "'none'"
    assert rules["base-uri"] == rules["form-action"] == "'none'"


def test_a_text_is_one_line_of_limited_length(tmp_path):
    content = fail(frame(), 0, "oom", "a\x1b[31mb\nc" + "y" * 5000)
    page, _ = render(tmp_path, content)
    reason = re.search(r'<td class="t why">(.*?)</td>', page)[1]
    assert reason.startswith("a\N{REPLACEMENT CHARACTER}[31mb c") and len(reason) == 300
    template = environment().from_string("{{ text }}|{{ missing }}")
    shown = template.render(text="<" * 9000, missing=None)
    assert shown == "&lt;" * 3997 + "...|"


def test_no_template_disables_escaping():
    sources = {path.name: path.read_text(encoding="utf-8") for path in TEMPLATES.iterdir()}
    assert len(sources) == 19
    for name, source in sources.items():
        assert "safe" not in re.findall(r"\|\s*(\w+)", source) and "autoescape" not in source, name
    assert "</style" not in sources["report.css"] and "</script" not in sources["report.js"]


def test_no_point_at_all_gives_a_page_that_explains_it(tmp_path):
    text = words(render(tmp_path, frame().head(0))[0])
    assert "The summary has no usable point, so there is no answer." in text
    assert "every point was successful" not in text


def test_all_failed_and_a_partial_run_show_the_reasons(tmp_path):
    content = frame()
    for row in range(len(content)):
        fail(content, row, "diverged", f"loss became nan in epoch {row}")
    fail(content, 3, "waiting")
    text = words(render(tmp_path, content)[0])
    assert "No point was successful, so there is no best configuration: 1 waiting, 11 diverged." in text
    assert "The reasons are listed under failures" in text
    assert "diverged loss became nan in epoch 5 1" in text
    assert f"waiting {STATES['waiting'].meaning} 1" in text
    assert "partial run: 1 unfinished" in text


def test_the_reason_of_every_failure_is_in_the_table_and_the_most_frequent_ones_are_counted(tmp_path):
    content = pd.concat([frame().assign(seed=seed) for seed in range(20)], ignore_index=True)
    content["index"] = range(1, len(content) + 1)
    for row in range(len(content)):
        fail(content, row, "oom", f"reason number {row if row < 200 else 7}")
    page, _ = render(tmp_path, content)
    assert page.count('<p class="why">') == 240 and "reason number 199" in page
    shown = rows_of(page, "Points without success by reason: 240")
    assert [row[1:] for row in shown[:2]] == [["reason number 7", "41"], ["reason number 0", "1"]]
    assert len(shown) == 10 and "And 190 other reasons" in words(page)


@pytest.mark.parametrize(
    "content",
    [
        frame(architectures=("UNet",)),
        frame(rates=(1e-3,), batches=(8,), architectures=("UNet",)),
        frame().drop(columns=["chance_jaccard", "test_jaccard", "seed", "status", "name"]),
    ],
)
def test_odd_grids_give_a_complete_page(tmp_path, content):
    page, _ = render(tmp_path, content)
    assert page.count('<td class="t name">') == len(content)


def test_further_axes_have_a_column(tmp_path):
    content = frame().assign(base_filters=[8, 16] * 6, attempts=2)
    page, _ = render(tmp_path, content)
    head = page.split('<table class="points sortable">')[1].split("</thead>")[0]
    titles = re.findall(r"<th[^>]*>(.*?)</th>", head)
    assert titles[3:6] == ["batch size", "base_filters", "seed"] and titles[-1] == "attempts"
    row = page.split('<table class="points sortable">')[1].split("<tr>")[2]
    assert len(re.findall(r"<t[dh]", row)) == len(titles)


def test_the_table_is_in_the_order_of_the_index(tmp_path):
    content = frame().sample(frac=1, random_state=1)
    page, _ = render(tmp_path, content)
    numbers = re.findall(r'<tr><th scope="row">(\d+)</th><td class="t name">', page)
    assert numbers == [str(n) for n in range(1, 13)]


def test_only_files_that_exist_inside_the_run_are_linked(tmp_path):
    run = tmp_path / "a run: 100% #1"
    secret = tmp_path / "outside"
    for folder in (run / "exp_01_UNet_lr1e-3", run / "exp_02_UNet+x", secret, run / "strange name"):
        folder.mkdir(parents=True)
    for file in (
        run / "exp_01_UNet_lr1e-3" / "training_log.txt",
        run / "exp_01_UNet_lr1e-3" / "UNet_lr1e-3_curves.png",
        run / "exp_02_UNet+x" / "UNet+x_history.csv",
        run / "strange name" / "training_log.txt",
        secret / "training_log.txt",
    ):
        file.write_text("x")
    (run / "exp_02_UNet+x" / "training_log.txt").symlink_to(secret / "training_log.txt")
    (run / "exp_03_link").symlink_to(secret)
    content = frame()
    content["name"] = [
        *(
            "exp_01_UNet_lr1e-3",
            "exp_02_UNet+x",
            "exp_03_link",
            "../outside",
            "strange name",
            "exp_06_../../outside",
        ),
        *("exp_07_" + "x" * 400, "exp_08_\n", ".", "/etc", "", "exp_12_none"),
    ]
    _, tags = render(tmp_path, content, run=run)
    links = [a["href"] for tag, a in tags if tag == "a" and "exp_" in a["href"]]
    base = "../a run: 100% #1"
    assert [unquote(link) for link in links] == [
        f"{base}/exp_01_UNet_lr1e-3/training_log.txt",
        f"{base}/exp_01_UNet_lr1e-3/UNet_lr1e-3_curves.png",
        f"{base}/exp_02_UNet+x/UNet+x_history.csv",
    ]
    (tmp_path / "analysis").mkdir()
    assert all((tmp_path / "analysis" / unquote(link)).is_file() for link in links)
    assert "no files are linked" in words(render(tmp_path, content)[0])


def test_the_provenance_is_shown(tmp_path):
    entry = {
        "made": "2026-01-31T12:00:00+00:00",
        "command": ["python", "make_grid.py"],
        "git": {"commit": "abc123", "dirty": True},
        "packages": {"numpy": "2.0"},
        "host": "login1",
        "data_fingerprint": "f00d",
    }
    data = {"fingerprint": "f00d", "source": "s", "split": "random", "patches": {"train": 4}, "notes": []}
    made = {"made": [entry, entry | {"made": "2026-02-01", "git": {}}], "data": data}
    record = msgspec.convert(made, ProvenanceRecord)
    text = words(render(tmp_path, frame().assign(host="node7"), provenance=record)[0])
    for found in (
        *(
            "2026-01-31T12:00:00+00:00",
            "python make_grid.py",
            "abc123 (with uncommitted changes)",
            "numpy 2.0",
        ),
        *("login1", "f00d", "extended 2026-02-01", "train 4", "node7 (12)"),
    ):
        assert found in text, found
    assert "No provenance is known" in words(render(tmp_path, frame())[0])


def test_ten_thousand_points_stay_small(tmp_path):
    found = found_in(tmp_path, frame())
    data = pd.concat([loaded(tmp_path, frame())] * 834, ignore_index=True).head(10_000)
    data["index"] = range(1, 10_001)
    data["name"] = [f"exp_{n}_Attention_ResUNet_lr0.0001_bs8_seed{n}" for n in range(1, 10_001)]
    for place in (MOST_LINKED - 1, MOST_LINKED):
        (tmp_path / data["name"][place]).mkdir()
        (tmp_path / data["name"][place] / "training_log.txt").touch()
    page = html_page(found, data, (), tmp_path, tmp_path / "analysis", None)
    assert len(page.encode()) < 15e6 and page.count('<td class="t name">') == 10_000
    assert (
        page.count("training_log.txt") == 1 and "Only the files of the first 2,000 of 10,000 points" in page
    )


CONTRAST = (
    *((ink, ground) for ink in ("text", "muted", "link") for ground in ("ground", "panel", "plain-ground")),
    *((kind, f"{kind}-ground") for kind in ("good", "warn", "bad", "plain")),
    ("text", "warn-ground"),
    *(("warn", ground) for ground in ("ground", "panel")),  # the name of the training curve
)


def colours():
    """The light and the dark colours of the style by name."""
    blocks = re.findall(r":root \{(.*?)\}", (TEMPLATES / "report.css").read_text(encoding="utf-8"), re.DOTALL)
    return [dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", block)) for block in blocks]


def luminance(colour):
    parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", [0, 1])
@pytest.mark.parametrize(("ink", "ground"), CONTRAST)
def test_every_text_can_be_read_in_light_and_dark(ink, ground, scheme):
    light, dark = sorted((luminance(colours()[scheme][name]) for name in (ink, ground)), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 4.5


PROBE = """<!DOCTYPE html><meta charset="utf-8"><body>{frames}<pre id="found"></pre><script>
const wait = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));
addEventListener("load", async () => {{
  const found = [];
  for (const frame of document.querySelectorAll("iframe")) {{
    const inner = frame.contentDocument, root = inner.documentElement, view = frame.contentWindow;
    const bottom = (name) => inner.querySelector(name).getBoundingClientRect().bottom;
    const visible = () => [...inner.querySelectorAll(".points tbody")].filter((body) => body.offsetHeight > 0).length;
    const measured = {{
      scripted: root.classList.contains("scripted"),
      wide: root.scrollWidth, room: view.innerWidth, tall: root.scrollHeight,
      words: [inner.body, inner.querySelector(".points")].map((one) => one.innerText.split(/\\s+/).length),
      bottoms: [".answer", ".first .command", ".first .chart"].map(bottom),
      small: [...inner.querySelectorAll("body *")].filter((one) => one.childNodes.length && one.offsetHeight
        && parseFloat(view.getComputedStyle(one).fontSize) < 11).map((one) => one.className || one.tagName),
      images: [...inner.images].map((image) => image.naturalWidth),
      fetched: view.performance.getEntriesByType("resource").map((entry) => entry.name)
        .filter((name) => !name.startsWith("data:")),
      copy: inner.querySelector(".command button").textContent,
    }};
    const heads = [...inner.querySelectorAll(".points th button")];
    const head = heads.find((one) => one.textContent === "val Jaccard");
    head.click(); head.click();
    measured.sorted = inner.querySelector(".points tbody th").textContent;
    const name = inner.querySelector(".points tbody .name button");
    const before = inner.querySelector(".points .log").offsetHeight;
    name.click();
    measured.opened = [before, name.getAttribute("aria-expanded"),
      name.closest("tbody").querySelector(".log").offsetHeight > 0, name.closest("tbody").querySelectorAll("polyline").length];
    const {{ text, status }} = inner.querySelector(".filters").elements;
    text.value = "Attention lr0.005";
    text.dispatchEvent(new view.Event("input", {{ bubbles: true }}));
    measured.filtered = [visible(), inner.querySelector("output").textContent];
    text.value = ""; status.value = "oom";
    status.dispatchEvent(new view.Event("input", {{ bubbles: true }}));
    measured.failed = visible();
    found.push(measured);
  }}
  document.getElementById("found").textContent = JSON.stringify(found);
}});
</script>"""


def chromium(tmp_path, *arguments):
    """What Chromium prints."""
    if not CHROMIUM.is_file():
        pytest.skip(f"{CHROMIUM} is not installed, so the page is not looked at in a browser")
    answer = subprocess.run(
        [
            *(str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
            *("--no-first-run", "--disable-background-networking", "--disable-component-update"),
            *("--disable-sync", "--hide-scrollbars", "--host-resolver-rules=MAP * ~NOTFOUND"),
            *(f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=5000", *arguments),
        ],
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    shutil.rmtree(tmp_path / "profile", ignore_errors=True)
    return answer.stdout


@pytest.fixture(scope="module")
def full_page(tmp_path_factory):
    """The page of a run of three seeds with failures, long names, a further axis, files of every point and figures."""
    tmp_path = tmp_path_factory.mktemp("full")
    content = noisy().assign(base_filters=32)
    content["architecture"] = content["architecture"].replace("Attention_UNet", "Attention_ResUNet")
    content["index"] = range(1, len(content) + 1)
    content["name"] = [
        f"exp_{n:02d}_{row.architecture}_lr{row.learning_rate:g}_bs{row.batch_size}_base_filters32_seed{row.seed}"
        for n, row in enumerate(content.itertuples(), start=1)
    ]
    content = fail(fail(content, 0, "oom", "x" * 400), 17, "diverged", "loss became nan in epoch 3")
    run = make_run(tmp_path, content)
    for name in content["name"]:
        (run / name / "training_log.txt").write_text("".join(f"epoch {n}/30 <done>\n" for n in range(1, 31)))
    data = loaded(tmp_path, content)
    found = replace(findings(data, summary=str(tmp_path / "s.csv"), root=run), next_steps=STEPS)
    material = Material(data, found, read_histories(run, data))
    tasks = {**chart_tasks(material), **sheet_tasks(data, run)}
    pictures = [drawn for draw in tasks.values() if (drawn := draw())]
    return html_page(found, data, pictures, run, run / "analysis", None)


def test_a_browser_shows_the_answer_first_without_network_or_overflow(tmp_path, full_page):
    """Frames, because a window of Chromium is never as narrow as a phone; ``srcdoc``, so that the probe may look in."""
    assert len(tags_of(full_page)) > 1000 and len(full_page) < 5e6
    frames = "".join(
        f'<iframe width="{width}" height="800" style="border:0" srcdoc="{html.escape(full_page)}"></iframe>'
        for width in (390, 1280)
    )
    probe = tmp_path / "probe.html"
    probe.write_text(PROBE.format(frames=frames), encoding="utf-8")
    shown = chromium(tmp_path, "--dump-dom", probe.as_uri())
    phone, desktop = json.loads(html.unescape(re.search(r'<pre id="found">(.*?)</pre>', shown, re.DOTALL)[1]))
    assert (phone["room"], desktop["room"]) == (390, 1280)
    for one in (phone, desktop):
        assert one["wide"] <= one["room"] and one["scripted"] and one["copy"] == "Copy"
        assert all(one["images"]) and one["fetched"] == [] and one["small"] == []
        assert one["sorted"] == "35" and one["opened"] == [0, "true", True, 4]
        assert one["filtered"] == [6, "6 of 36 points"] and one["failed"] == 1
        everything, points = one["words"]
        assert everything - points < 1950  # 7,400 before the page was rebuilt
    assert max(desktop["bottoms"]) < 700 and max(phone["bottoms"][:2]) < 800
    assert desktop["tall"] < 10_000 and phone["tall"] < 20_000


def test_the_print_has_at_most_eight_pages(tmp_path, full_page):
    page = tmp_path / "page.html"
    page.write_text(full_page, encoding="utf-8")
    printed = tmp_path / "page.pdf"
    chromium(tmp_path, f"--print-to-pdf={printed}", page.as_uri())
    assert 2 <= len(re.findall(rb"/Type\s*/Page\b", printed.read_bytes())) <= 8
