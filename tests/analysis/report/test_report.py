"""The report is correct for complete, partial and odd summaries, and contains the warnings that apply."""

from __future__ import annotations

import io
import json

import matplotlib.image
import numpy as np
import pandas as pd
import pytest

from analysis.cautions import at_the_border
from analysis.configurations import ranking
from analysis.ranking import best_of_each_architecture, near_chance, ranked
from analysis.report.report import write_report
from analysis.report.text import WIDTH
from analysis.summary import extra_axes, load_summary
from jobs.common.errors import UserError
from tests.conftest import REPOSITORY

PREDECESSOR = REPOSITORY.parent / "shared" / "data" / "predecessor" / "results.csv"


def frame(architectures=("UNet", "Attention_UNet"), rates=(1e-4, 1e-3, 5e-3), batches=(8, 16)):
    rows = [
        {
            "architecture": architecture,
            "learning_rate": rate,
            "batch_size": batch,
            "training_successful": "True",
            "best_val_jaccard": round(min(0.98, max(0.02, 0.5 + 0.1 * a + 0.05 * r - 0.01 * b)), 6),
            "best_epoch": 5,
            "val_loss_stability": 0.01 * (1 + b),
            "overfitting_gap": -0.01,
            "epochs_to_best_censored": "no",
            "test_jaccard": 0.4,
            "chance_jaccard": 0.07,
            "seed": 1,
            "status": "done",
            "reason": "",
            "data_source": "synthetic sample data",
            "split": "contiguous",
        }
        for a, architecture in enumerate(architectures)
        for r, rate in enumerate(rates)
        for b, batch in enumerate(batches)
    ]
    found = pd.DataFrame(rows)
    found.insert(0, "index", range(1, len(rows) + 1))
    found["name"] = [f"exp_{n:02d}_{r.architecture}" for n, r in enumerate(found.itertuples(), start=1)]
    return found


def report(tmp_path, content):
    path = tmp_path / "hyperparameter_summary.csv"
    content.to_csv(path, index=False) if isinstance(content, pd.DataFrame) else path.write_text(content)
    result = write_report(path, tmp_path / "analysis")
    text = (tmp_path / "analysis" / "comprehensive_analysis_report.txt").read_text()
    summary = json.loads((tmp_path / "analysis" / "analysis_summary.json").read_text())
    assert max(map(len, text.splitlines())) <= WIDTH
    return result, " ".join(text.split()), summary


def fail(content, row, status, reason=""):
    content.loc[row, ["training_successful", "best_val_jaccard", "status", "reason"]] = [
        "False",
        None,
        status,
        reason,
    ]
    return content


def test_the_best_configurations_are_shown_with_the_chance_level(tmp_path):
    result, text, summary = report(tmp_path, frame())
    assert result.best.name == "exp_11_Attention_UNet" == summary["best_overall"]["name"]
    assert result.best.best_val_jaccard == pytest.approx(0.7) and result.best.chance_jaccard == 0.07
    assert set(summary["best_by_architecture"]) == {"UNet", "Attention_UNet"}
    assert (result.points, result.successful) == (12, 12)
    assert "exp_11_Attention_UNet 0.7000 0.070" in text
    picture = matplotlib.image.imread(
        io.BytesIO((tmp_path / "analysis" / "detailed_heatmaps.png").read_bytes())
    )
    assert picture.shape[0] > 300 and picture.shape[1] > 600 and picture[..., :3].std() > 0.1


@pytest.mark.usefixtures("no_figures")
def test_the_ranking_is_provisional_with_one_seed_only(tmp_path):
    _, text, _ = report(tmp_path, frame())
    assert "ranking is provisional" in text
    _, text, _ = report(tmp_path, pd.concat([frame(), frame().assign(seed=2)]))
    assert "provisional" not in text


@pytest.mark.usefixtures("no_figures")
def test_synthetic_data_leaks_and_borders_have_warnings(tmp_path):
    _, text, _ = report(tmp_path, frame())
    assert (
        "The data are synthetic" in text
        and "is the largest that was tried" in text
        and "neighbouring" not in text
    )
    _, text, _ = report(tmp_path, frame().assign(split="random", data_source="/data"))
    assert "neighbouring slices are nearly identical" in text and "data are synthetic" not in text


@pytest.mark.usefixtures("no_figures")
def test_a_point_near_chance_has_a_warning(tmp_path):
    content = frame()
    content.loc[0, "best_val_jaccard"] = 0.09
    _, text, summary = report(tmp_path, content)
    assert (
        summary["near_chance"] == ["exp_01_UNet"]
        and "1 of 12 successful points scored at most 0.05 above chance" in text
    )


@pytest.mark.usefixtures("no_figures")
def test_points_that_were_still_improving_are_counted(tmp_path):
    content = frame()
    content.loc[:2, "epochs_to_best_censored"] = "yes"
    assert (
        "3 of 12 successful points had the best score in one of the last two epochs"
        in report(tmp_path, content)[1]
    )


@pytest.mark.usefixtures("no_figures")
def test_failed_points_are_listed_with_class_and_reason(tmp_path):
    content = fail(fail(frame(), 0, "oom", "OOM when allocating"), 5, "diverged", "loss became nan")
    result, text, summary = report(tmp_path, content)
    assert result.successful == 10 and summary["status"] == {"done": 10, "oom": 1, "diverged": 1}
    assert (
        "exp_01_UNet: oom: OOM when allocating" in text and "exp_06_UNet: diverged: loss became nan" in text
    )


@pytest.mark.parametrize("failed", [11, 12])
def test_few_or_no_points_give_a_report(tmp_path, failed):
    content = frame()
    for row in range(failed):
        fail(content, row, "diverged")
    result, text, _ = report(tmp_path, content)
    assert result.successful == 12 - failed
    assert (result.best is None) == ("No point was successful" in text) == (failed == 12)


@pytest.mark.parametrize(
    "content",
    [
        frame(architectures=("UNet",)),
        frame(rates=(1e-3,)),
        frame(rates=(1e-3,), batches=(8,), architectures=("UNet",)),
        frame().assign(best_val_jaccard=0.5, val_loss_stability=0.1),
        frame().drop(
            columns=["chance_jaccard", "test_jaccard", "val_loss_stability", "seed", "status", "name"]
        ),
        pd.concat([frame().assign(base_filters=8), frame().assign(base_filters=16)]),
        frame().head(5),
    ],
)
def test_odd_grids_give_a_complete_report(tmp_path, content):
    result, _, _ = report(tmp_path, content)
    assert len(result.files) == 7 and all(path.stat().st_size for path in result.files)


@pytest.mark.usefixtures("no_figures")
def test_ties_are_ordered_by_the_index(tmp_path):
    assert report(tmp_path, frame().assign(best_val_jaccard=0.5))[0].best.index == 1


@pytest.mark.usefixtures("no_figures")
def test_cells_that_were_emptied_by_hand_are_missing_values(tmp_path):
    content = frame().astype(object)
    content.loc[0, "best_val_jaccard"] = ""
    content.loc[1, "learning_rate"] = ""
    content.loc[4, "status"] = ""
    content.loc[5, "val_loss_stability"] = "?"
    result, text, _ = report(tmp_path, content)
    assert "Left out: 1 row of the summary without usable hyperparameters." in text
    assert (result.points, result.successful) == (11, 10)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "cannot be read"),
        ("a,b\n1,2\n", "has no column architecture"),
        ("a\n1,2,3\n4,5\n", "cannot be read|has no column"),
    ],
)
def test_a_file_that_is_not_a_summary_is_rejected(tmp_path, content, words):
    with pytest.raises(UserError, match=words):
        report(tmp_path, content)


def test_a_header_without_rows_gives_an_empty_report(tmp_path):
    result, text, _ = report(tmp_path, frame().head(0))
    assert result.points == 0 and "No point was successful" in text


def test_the_error_for_a_missing_summary_contains_the_command_that_writes_it(tmp_path):
    with pytest.raises(UserError, match=r"does not exist.*python collect\.py"):
        write_report(tmp_path / "none.csv", tmp_path)


def test_ranking_helpers(tmp_path):
    frame().to_csv(tmp_path / "s.csv", index=False)
    loaded = load_summary(tmp_path / "s.csv")
    scores = ranked(loaded)["best_val_jaccard"]
    assert (np.diff(scores) <= 0).all()
    assert list(best_of_each_architecture(loaded)["architecture"]) == ["Attention_UNet", "UNet"]
    assert not near_chance(loaded).any() and extra_axes(loaded) == []
    assert ("UNet", "batch_size", 8.0) in at_the_border(loaded, ranking(loaded))


def test_the_predecessors_results_are_read(tmp_path):
    if not PREDECESSOR.is_file():
        pytest.skip(f"the predecessor's results are not at {PREDECESSOR}")
    result = write_report(PREDECESSOR, tmp_path)
    assert (result.points, result.successful) == (108, 108)
