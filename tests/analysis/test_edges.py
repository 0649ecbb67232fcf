"""Every grid gives a complete report that lists what could not be computed, and no traceback."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from analysis.report.report import JSON, PAGE, TEXT, write_report
from analysis.report.text import WIDTH
from tests.analysis.report.test_report import fail, frame

ARCHITECTURES = ("UNet", "Attention_UNet", "Attention_ResUNet")
STATES = ("diverged", "oom", "timeout", "error", "lost", "waiting")


def grid(seeds=(1,), noise=0.02):
    generator = np.random.default_rng(4)
    content = pd.concat(
        [frame(ARCHITECTURES, (1e-4, 5e-4, 1e-3, 5e-3), (8, 16, 32)).assign(seed=n) for n in seeds]
    )
    content = content.reset_index(drop=True)
    content["best_val_jaccard"] += generator.normal(0, noise, len(content))
    content["val_loss_stability"] *= np.exp(generator.normal(0, 0.3, len(content)))
    content["overfitting_gap"] = generator.normal(0, 0.01, len(content))
    content["epochs_to_best"] = generator.integers(5, 30, len(content))
    content["training_time_seconds"] = generator.uniform(100, 200, len(content))
    return content


def missing(count, seed):
    content = grid()
    for place, row in enumerate(np.random.default_rng(seed).permutation(36)[:count]):
        fail(content, int(row), STATES[place % len(STATES)], "reason")
    return content


def written(tmp_path, content):
    path = tmp_path / "hyperparameter_summary.csv"
    content.to_csv(path, index=False)
    report = write_report(path, tmp_path / "analysis")
    text = (tmp_path / "analysis" / TEXT).read_text()
    found = json.loads((tmp_path / "analysis" / JSON).read_text(), parse_constant=pytest.fail)
    page = (tmp_path / "analysis" / PAGE).read_text()
    assert max(map(len, text.splitlines())) <= WIDTH
    assert "nan" not in text.lower().replace("nanometre", "").split() and page.rstrip().endswith("</html>")
    return report, text, found, page


@pytest.mark.parametrize(
    "content",
    [
        grid().query("architecture == 'UNet'"),
        grid().query("learning_rate == 0.001"),
        grid().query("batch_size == 8"),
        pd.concat([grid().assign(base_filters=8), grid().assign(base_filters=16)]),
        pd.concat([grid().assign(dropout=0.0), grid().assign(dropout=0.5)]).query(
            "dropout == 0 or batch_size == 8"
        ),
        *(missing(count, count) for count in (1, 5, 12, 20, 30, 34, 35)),
        missing(36, 0),
        grid().head(1),
        grid().assign(best_val_jaccard=0.5, val_loss_stability=0.1, overfitting_gap=0, epochs_to_best=3),
        grid().assign(best_val_jaccard=lambda rows: rows["best_val_jaccard"].round(1)),
        grid(seeds=(1, 2, 3)),
        grid(seeds=(1, 2)).head(50),
    ],
    ids=[
        "one architecture",
        "one learning rate",
        "one batch size",
        "an extra axis",
        "an extra axis with holes",
        *(f"{count} missing" for count in (1, 5, 12, 20, 30, 34, 35)),
        "all failed",
        "a single point",
        "constant metrics",
        "ties",
        "three seeds",
        "a second seed under way",
    ],
)
def test_every_grid_gives_a_complete_report(tmp_path, content):
    report, text, found, page = written(tmp_path, content)
    assert report.points == len(content) and all(file.stat().st_size for file in report.files)
    assert {"hypotheses", "anova", "pairwise", "correlations", "importance", "not_computed"} <= set(found)
    for item in found["not_computed"]:
        assert item["why"] and item["why"] != "not said"
        assert item["why"][:40].split("\n")[0] in " ".join(text.split())
    if report.successful == 0:
        assert "No point was successful" in text and report.best is None
    for name in ("detailed_heatmaps.png", "comprehensive_analysis.png"):
        assert (tmp_path / "analysis" / name).read_bytes().startswith(b"\x89PNG")
    assert page.count("data:image/png;base64,") == 2


@pytest.mark.usefixtures("no_figures")
def test_a_failed_point_is_shown_everywhere_with_its_reason(tmp_path):
    content = fail(grid(), 3, "oom", "memory did not suffice for this one")
    _, text, found, page = written(tmp_path, content)
    assert found["failures"] == [
        {"name": "exp_04_UNet", "status": "oom", "reason": "memory did not suffice for this one"}
    ]
    assert "memory did not suffice for this one" in text and "memory did not suffice for this one" in page
    assert (
        found["anova"]["best_val_jaccard"]["n"] == 35 and not found["anova"]["best_val_jaccard"]["balanced"]
    )


@pytest.mark.usefixtures("no_figures")
def test_numbers_keep_their_full_precision(tmp_path):
    content = grid()
    _, _, found, _ = written(tmp_path, content)
    best = content["best_val_jaccard"].max()
    assert found["best_overall"]["best_val_jaccard"] == best


@pytest.mark.usefixtures("no_figures")
def test_the_same_summary_gives_the_same_report(tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    first, second = (written(tmp_path / name, grid()) for name in ("one", "two"))
    assert {**first[2], "summary": ""} == {**second[2], "summary": ""}


@pytest.mark.usefixtures("no_figures")
def test_effects_are_corrected_for_their_number(tmp_path):
    _, text, found, _ = written(tmp_path, grid())
    terms = found["anova"]["best_val_jaccard"]["terms"]
    assert len(terms) == 6 and all(term["p"] <= term["p_holm"] <= 1 for term in terms)
    least = min(terms, key=lambda term: term["p"])
    assert least["p_holm"] == pytest.approx(min(1.0, 6 * least["p"]))
    assert "p Holm" in text
