"""``report.html`` is whole, safe and right for whatever the summary and the findings hold."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pandas as pd
import pytest

from analysis.figures.heatmaps import detailed_heatmaps
from analysis.report.page import html_page
from analysis.report.page_points import MOST_CHECKED
from analysis.report.page_style import COLOURS, CONTRAST
from analysis.summary import load_summary
from tests.analysis.report.test_report import fail, frame

CHROMIUM = Path("/usr/bin/chromium")
HOSTILE = """<script>alert("x")</script><img src=x onerror=alert(1)> ' " $HOME ${x} &amp; </table> \u202e"""
VOID = {"meta", "link", "img", "wbr", "br"}


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
            assert name == "href" or value.startswith("data:image/png;base64,"), value
            if tag == "a":
                assert ":" not in value, value
            if value.startswith("#"):
                assert value[1:] in ids
    assert not re.search(r"@import|url\(|https?:", page)
    return parser.tags


def loaded(tmp_path, content):
    path = tmp_path / "hyperparameter_summary.csv"
    content.to_csv(path, index=False)
    return load_summary(path)


def render(tmp_path, content, findings=None, *, pictures=None, run=None, provenance=None):
    data = loaded(tmp_path, content)
    page = html_page(findings or {}, data, pictures or {}, run, tmp_path / "analysis", provenance)
    return page, tags_of(page)


def words(page):
    """What a reader sees, without the style and the script."""
    body = re.sub(r"<(style|script)>.*?</\1>", " ", page, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", body.replace("<wbr>", ""))).split())


def best_of(content, row):
    return {key: None if pd.isna(value) else value for key, value in content.loc[row].items()}


def findings(content):
    """Findings with every key, small ones."""
    names = list(content["name"])
    top = json.loads(json.dumps(best_of(content, len(content) - 1), default=float))
    anova = {
        "computed": True,
        "type": "II",
        "n": 12,
        "terms": [{"label": "architecture", "df": 1, "F": 8.25, "p": 1e-5, "partial_eta_sq_ci": [0.1, 0.6]}],
        "residual": {"df": 5, "mean_sq": 0.01},
        "notes": ["Missing cells."],
    }
    return {
        "title": "run_a",
        "points": len(content),
        "successful": len(content),
        "status": {"done": len(content)},
        "cautions": ["One seed only."],
        "noise": {"known": False, "text": "Noise is not known."},
        "best": {
            "overall": top,
            "text": "The text of the answer.",
            "indistinguishable": {"names": names, "basis": "Dunnett", "critical_difference": 0.08},
            "seeds_needed": 24,
        },
        "best_by_architecture": {"UNet": {"record": top, "indistinguishable": {"names": names[:2]}}},
        "pareto": {"stability": names[:2], "time": []},
        "hypotheses": [
            {
                "id": "H1",
                "title": "Rates",
                "rule": "Wilcoxon",
                "verdict": "supported",
                "evidence": "p = 0.01",
            },
            {
                "id": "H2",
                "title": "Batches",
                "verdict": "cannot be judged",
                "parts": [{"claim": "falls", "verdict": "not supported", "evidence": "Page"}],
            },
        ],
        "anova": {
            "best_val_jaccard": anova,
            "val_loss_stability": {"computed": False, "reason": "too few points"},
        },
        "pairwise": {
            "best_val_jaccard": {
                "architecture": {
                    "computed": True,
                    "pairs": [{"a": "UNet", "b": "Attention_UNet", "difference": -0.02, "ci": [-0.05, 0.01]}],
                },
                "batch_size": {"computed": False, "reason": "one level"},
            }
        },
        "assumptions": {"best_val_jaccard": {"normality": {"test": "Shapiro-Wilk", "p": 0.43}}},
        "rank_tests": {"best_val_jaccard": {"tests": [{"factor": "architecture", "p": 0.0001}]}},
        "correlations": [
            {"a": "best_val_jaccard", "b": "test_jaccard", "n": 12, "rho": 0.8, "ci": [0.6, 0.9]}
        ],
        "importance": {"best_val_jaccard": {"shares": [{"label": "learning rate", "share": 0.6}]}},
        "not_computed": [{"what": "seed variance", "why": "one seed"}],
        "failures": [],
    }


def test_the_parts_stand_in_the_order_of_a_reader(tmp_path):
    content = frame()
    picture = {"detailed_heatmaps.png": detailed_heatmaps(loaded(tmp_path, content))}
    page, tags = render(tmp_path, content, findings(content), pictures=picture)
    text = words(page)
    order = [attributes["id"] for tag, attributes in tags if tag == "section"]
    assert order == [
        *("read-this-first", "hypotheses", "pictures", "best", "statistics", "points", "failures"),
        *("resources", "provenance", "not-computed"),
    ]
    assert text.index("The text of the answer.") < text.index("One seed only.")
    for found in (
        "ranking provisional",
        "scores 0.070 there",
        "and 7 more",
        "critical difference 0.0800",
        "H2: Batches cannot be judged falls: not supported Page",
        "0.100 to 0.600",
        "< 0.001",
        "Not computed: too few points.",
        "seed variance : one seed",
        "Shapiro-Wilk",
        "learning rate 0.600",
    ):
        assert found in text, found
    images = [attributes for tag, attributes in tags if tag == "img"]
    assert [int(image["width"]) > 500 and bool(image["alt"]) for image in images] == [True]
    assert ("a", {"href": "detailed_heatmaps.png", "title": "Open detailed_heatmaps.png alone"}) in tags


def test_nothing_from_data_becomes_markup(tmp_path):
    content = fail(frame(), 0, "oom", HOSTILE).assign(host=HOSTILE, width_axis=HOSTILE).astype(object)
    content.loc[1, ["name", "architecture"]] = HOSTILE
    said = {key: HOSTILE for key in ("title", "summary", "data_source", "split")} | {
        "cautions": [HOSTILE],
        "status": {HOSTILE: 3},
        "best": {"overall": {"name": HOSTILE}, "indistinguishable": {"names": [HOSTILE], "basis": HOSTILE}},
        "best_by_architecture": {HOSTILE: {"record": {"name": HOSTILE}}},
        "pareto": {HOSTILE: [HOSTILE]},
        "hypotheses": [{key: HOSTILE for key in ("id", "title", "rule", "verdict", "evidence")}],
        "anova": {
            HOSTILE: {"terms": [{"label": HOSTILE, "note": HOSTILE}], "notes": [HOSTILE], "model": HOSTILE}
        },
        "pairwise": {HOSTILE: {HOSTILE: {"pairs": [{"a": HOSTILE, "b": HOSTILE}]}}},
        "assumptions": {HOSTILE: {HOSTILE: {HOSTILE: [{HOSTILE: HOSTILE}]}}},
        "correlations": [{"a": HOSTILE, "b": HOSTILE, "kind": HOSTILE}],
        "importance": {HOSTILE: {"shares": [{"label": HOSTILE, "share": HOSTILE}]}},
        "not_computed": [{"what": HOSTILE, "why": HOSTILE}],
        "failures": [{"name": HOSTILE, "status": HOSTILE, "reason": HOSTILE}],
    }
    made = {
        "made": [{"host": HOSTILE, "command": [HOSTILE], "packages": {HOSTILE: HOSTILE}}],
        "data": {HOSTILE: HOSTILE},
    }
    page, tags = render(
        tmp_path,
        content,
        said,
        pictures={HOSTILE: b"", HOSTILE + ".png": b"\x89PNG\r\n\x1a\n" + bytes(30)},
        provenance=made,
    )
    assert [tag for tag, _ in tags].count("script") == 1
    assert [tag for tag, _ in tags].count("img") == 1 and "onerror=alert(1)&gt;" in page
    assert "\u202e" not in page and "$HOME ${x}" in words(page)


@pytest.mark.parametrize("key", [*findings(frame()), "everything"])
@pytest.mark.parametrize("value", [None, [], {}, "text", 3, [None], {"a": None}, [{"a": [1, {}]}]])
def test_findings_of_any_shape_give_a_whole_page(tmp_path, key, value):
    content = frame()
    said = findings(content)
    said = {name: value for name in said} if key == "everything" else said | {key: value}
    data = content.assign(successful=True)
    tags_of(html_page(said, data, {}, None, tmp_path, {"made": value, "data": value}))


def test_failures_that_the_findings_leave_out_are_shown(tmp_path):
    content = fail(fail(frame(), 0, "oom", "first"), 1, "oom", "second")
    said = {"failures": [{"name": "exp_01_UNet", "status": "oom", "reason": "first"}], "failures_total": 2}
    assert "exp_02_UNet oom second" in words(render(tmp_path, content, said)[0])


def test_what_the_findings_lack_is_called_not_computed(tmp_path):
    said = findings(frame()) | {"not_computed": None}
    assert "pairwise, best validation Jaccard index, batch size : one level" in words(
        render(tmp_path, frame(), said)[0]
    )
    text = words(render(tmp_path, frame())[0])
    assert "analysis of variance" in text.split("What was not computed, and why")[-1]
    assert "the analysis left no result for them" in text and "No provenance is known" in text


@pytest.mark.parametrize("data", [pd.DataFrame(), frame().head(0)])
def test_no_point_at_all_gives_a_page_that_says_so(tmp_path, data):
    page = html_page({}, data, {}, tmp_path, tmp_path, None)
    tags_of(page)
    text = words(page)
    assert "The summary has no usable point, so there is no answer." in text
    assert "every point was successful" not in text


def test_all_failed_and_a_partial_run_say_why(tmp_path):
    content = frame()
    for row in range(len(content)):
        fail(content, row, "diverged", f"loss became nan in epoch {row}")
    fail(content, 3, "waiting")
    text = words(render(tmp_path, content)[0])
    assert "No point was successful, so there is none." in text
    assert (
        "exp_06_UNet diverged loss became nan in epoch 5" in text
        and "exp_04_UNet waiting not begun yet" in text
    )
    assert "1 of 12 points have not ended yet" in text and "partial run" in text


@pytest.mark.parametrize(
    "content",
    [
        frame(architectures=("UNet",)),
        frame(rates=(1e-3,), batches=(8,), architectures=("UNet",)),
        frame().drop(columns=["chance_jaccard", "test_jaccard", "seed", "status", "name"]),
    ],
)
def test_odd_grids_give_a_whole_page(tmp_path, content):
    page, _ = render(tmp_path, content)
    assert page.count('<td class="t name">') == len(content)


def test_further_axes_have_a_column(tmp_path):
    content = frame().assign(base_filters=[8, 16] * 6, attempts=2)
    page, _ = render(tmp_path, content)
    head = page.split('<table class="points sortable">')[1].split("</thead>")[0]
    titles = re.findall(r"<th[^>]*>(.*?)</th>", head)
    assert titles[4:7] == ["batch size", "base_filters", "seed"] and titles[-1] == "attempts"
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
    links = [a["href"] for tag, a in tags if tag == "a" and not a["href"].startswith("#")]
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
    made = {
        "made": [entry, entry | {"made": "2026-02-01", "git": {}}],
        "data": {"patches": {"train": 4}, "notes": []},
    }
    text = words(render(tmp_path, frame().assign(host="node7"), provenance=made)[0])
    for found in (
        *(
            "2026-01-31T12:00:00+00:00",
            "python make_grid.py",
            "abc123 (with uncommitted changes)",
            "numpy 2.0",
        ),
        *("login1", "f00d", "grown 2026-02-01", "train 4", "node7 (12)"),
    ):
        assert found in text, found
    assert "login1" in words(render(tmp_path, frame(), provenance=entry)[0])


def test_ten_thousand_points_stay_small_and_quick(tmp_path):
    data = pd.concat([loaded(tmp_path, frame())] * 834, ignore_index=True).head(10_000)
    data["index"] = range(1, 10_001)
    data["name"] = [f"exp_{n}_Attention_ResUNet_lr0.0001_bs8_seed{n}" for n in range(1, 10_001)]
    (tmp_path / data["name"][MOST_CHECKED - 1]).mkdir()
    (tmp_path / data["name"][MOST_CHECKED - 1] / "training_log.txt").touch()
    (tmp_path / data["name"][MOST_CHECKED]).mkdir()
    (tmp_path / data["name"][MOST_CHECKED] / "training_log.txt").touch()
    page = html_page({}, data, {}, tmp_path, tmp_path / "analysis", None)
    assert len(page.encode()) < 15e6 and page.count('<td class="t name">') == 10_000
    assert page.count("training_log.txt") == 1 and "for the first 2,000 of 10,000 points only" in page


def luminance(colour):
    parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", [0, 1])
@pytest.mark.parametrize(("ink", "ground"), CONTRAST)
def test_every_text_can_be_read_in_light_and_dark(ink, ground, scheme):
    light, dark = sorted((luminance(COLOURS[name][scheme]) for name in (ink, ground)), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 4.5


PROBE = """<!DOCTYPE html><meta charset="utf-8"><body>{frames}<pre id="found"></pre><script>
addEventListener("load", () => {{
  const found = [...document.querySelectorAll("iframe")].map((frame) => {{
    const inner = frame.contentDocument, root = inner.documentElement;
    return {{
      scripted: root.classList.contains("scripted"),
      wide: root.scrollWidth, room: frame.contentWindow.innerWidth,
      images: [...inner.images].map((image) => image.naturalWidth),
      fetched: frame.contentWindow.performance.getEntriesByType("resource").map((entry) => entry.name)
        .filter((name) => !name.startsWith("data:")),
      sorted: (() => {{
        const buttons = [...inner.querySelectorAll(".points th button")];
        const button = buttons.find((one) => one.textContent === "val Jaccard");
        button.click(); button.click();
        return inner.querySelector(".points tbody th").textContent;
      }})(),
    }};
  }});
  document.getElementById("found").textContent = JSON.stringify(found);
}});
</script>"""


def test_a_browser_shows_it_without_network_or_overflow(tmp_path):
    """Frames, because a window of Chromium is never as narrow as a phone; ``srcdoc``, so that the probe may look in."""
    if not CHROMIUM.is_file():
        pytest.skip(f"{CHROMIUM} is not installed, so the page is not looked at in a browser")
    content = frame().assign(base_filters=32)
    content["name"] = [f"exp_{n:02d}_Attention_ResUNet_lr0.0001_bs8_base_filters32" for n in range(1, 13)]
    content = fail(content, 0, "oom", "x" * 400)
    data = loaded(tmp_path, content)
    page, _ = render(
        tmp_path,
        content,
        findings(content) | {"title": "t" * 150},
        pictures={"detailed_heatmaps.png": detailed_heatmaps(data)},
    )
    frames = "".join(
        f'<iframe width="{width}" height="800" style="border:0" srcdoc="{html.escape(page)}"></iframe>'
        for width in (390, 1280)
    )
    probe = tmp_path / "probe.html"
    probe.write_text(PROBE.format(frames=frames), encoding="utf-8")
    answer = subprocess.run(
        [
            *(
                str(CHROMIUM),
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--no-first-run",
            ),
            *(
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--hide-scrollbars",
            ),
            *(f"--user-data-dir={tmp_path / 'profile'}", "--host-resolver-rules=MAP * ~NOTFOUND"),
            *("--virtual-time-budget=5000", "--dump-dom", probe.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    shutil.rmtree(tmp_path / "profile", ignore_errors=True)
    found = json.loads(html.unescape(re.search(r'<pre id="found">(.*?)</pre>', answer.stdout, re.DOTALL)[1]))
    assert [one["room"] for one in found] == [390, 1280]
    for one in found:
        assert one["wide"] <= one["room"] and one["scripted"]
        assert len(one["images"]) == 1 and all(one["images"]) and one["fetched"] == []
        assert one["sorted"] == "11"
