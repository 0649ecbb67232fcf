"""Each reason not to trust a result is said once, with its cases, and not where it does not apply."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis.agreement import validation_against_test
from analysis.axes import fictitious_axes
from analysis.cautions import cautions
from analysis.configurations import ranking
from analysis.findings import findings
from analysis.summary import load_summary
from tests.analysis.report.test_report import PREDECESSOR, fail, frame
from tests.analysis.test_edges import grid


def load(tmp_path, content):
    path = tmp_path / "summary.csv"
    content.to_csv(path, index=False)
    return load_summary(path)


def found_in(tmp_path, content):
    loaded = load(tmp_path, content.reset_index(drop=True))
    return {one.kind: one for one in findings(loaded, summary="s").cautions}


def clean(seeds=(1, 2, 3)):
    """Three seeds, real data, the best inside the grid, nothing failed: no warning but that of the updates."""
    content = grid(seeds, noise=0.005).assign(data_source="FIB-SEM", test_jaccard=np.nan)
    away = np.log10(content["learning_rate"] / 7e-4).abs() + (content["batch_size"] != 16) * 0.3
    content["best_val_jaccard"] = 0.8 - 0.1 * away + np.random.default_rng(1).normal(0, 0.004, len(content))
    content["test_jaccard"] = content["best_val_jaccard"] + np.random.default_rng(2).normal(
        0, 0.004, len(content)
    )
    return content


def test_a_clean_run_has_no_cautions(tmp_path):
    assert found_in(tmp_path, clean()) == {}


def test_an_axis_that_was_not_followed_comes_first(tmp_path):
    found = found_in(tmp_path, clean().assign(learning_rate_logged_epoch1=0.001))
    assert next(iter(found)) == "fictitious axis"
    assert "learning rate: 81 points trained with another value" in found["fictitious axis"].details[0]
    assert "learning_rate_logged_epoch1: 0.001" in found["fictitious axis"].details[0]


def test_a_gap_between_validation_and_test_names_both(tmp_path):
    content = clean()
    content["test_jaccard"] -= 0.5
    text = found_in(tmp_path, content)["validation and test disagree"].text
    assert "in validation" in text and "on the test part, a gap larger than" in text
    content = clean()
    other = (
        (content["learning_rate"] == 5e-3)
        & (content["batch_size"] == 8)
        & (content["architecture"] == "UNet")
    )
    content.loc[other, "test_jaccard"] = 0.95
    text = found_in(tmp_path, content)["validation and test disagree"].text
    assert "UNet lr 0.005 bs 8 is better on the test part, with 0.95" in text


def test_divergence_and_other_failures_are_one_caution(tmp_path):
    content = clean()
    for row in (3, 10):
        fail(content, row, "diverged", "nan")
    fail(content, 20, "oom", "memory")
    content["epochs_completed"] = 20
    content.loc[3, "epochs_completed"] = 2
    found = found_in(tmp_path, content)["failures"]
    assert (
        "2 points diverged, 1 of 2 within 5 epochs" in found.text
        and "1 point failed (1 oom) and is missing" in found.text
    )
    assert all(detail.startswith("learning rate") for detail in found.details)


def test_an_unknown_number_of_epochs_is_not_within_five(tmp_path):
    content = fail(clean(), 3, "diverged", "nan")
    assert "within" not in found_in(tmp_path, content)["failures"].text


def test_points_near_chance_are_counted_by_their_learning_rate(tmp_path):
    content = clean()
    content.loc[content["learning_rate"] == 5e-3, "best_val_jaccard"] = 0.08
    found = found_in(tmp_path, content)["near chance"]
    assert "27 of 108 successful points" in found.text and found.details == ("learning rate 0.005: 27",)


@pytest.mark.parametrize("content", [clean((1,)), pd.concat([clean((1,)), clean((2,)).head(1)])])
def test_one_seed_or_a_second_seed_of_one_point_is_provisional(tmp_path, content):
    assert "provisional" in found_in(tmp_path, content)["one seed"].text


def test_six_borders_are_one_caution(tmp_path):
    content = clean()
    content["best_val_jaccard"] = (
        0.5 + 0.1 * np.log10(content["learning_rate"] / 1e-4) + 0.001 * content["batch_size"]
    )
    found = found_in(tmp_path, content)["border of the grid"]
    assert len(found.details) == 6
    assert "UNet: learning rate 0.005 is the largest that was tried" in found.details


def test_a_batch_of_one_is_no_border(tmp_path):
    content = clean().assign(batch_size=lambda f: f["batch_size"].map({8: 16, 16: 1, 32: 32}))
    assert "border of the grid" not in found_in(tmp_path, content)


def test_at_fixed_epochs_the_number_of_updates_is_named(tmp_path):
    text = found_in(tmp_path, clean().assign(epochs_requested=30))["number of updates"].text
    assert "batch size 32 made 1/4 of the updates of batch size 8" in text
    assert "number of updates" not in found_in(
        tmp_path, clean().assign(epochs_requested=30).query("batch_size == 8")
    )


def test_rows_that_were_dropped_are_counted(tmp_path):
    content = clean().assign(comment="tried on Monday")
    found = found_in(tmp_path, pd.concat([content, content.head(4)]))
    assert "4 rows of the summary repeat the configuration and the seed" in found["duplicates"].text
    assert "were not used as hyperparameters: comment" in found["duplicates"].text
    assert "were not used as hyperparameters: comment" in found_in(tmp_path, content)["not understood"].text


def test_the_other_kinds_have_their_sentence(tmp_path):
    content = clean().assign(
        split="random", data_source="synthetic sample data", gradient_accumulation_steps="1"
    )
    content.loc[:2, "gradient_accumulation_steps"] = "4"
    content.loc[:1, "epochs_to_best_censored"] = "yes"
    fail(content, 5, "waiting", "")
    found = found_in(tmp_path, content)
    assert "split at random" in found["random split"].text and "synthetic" in found["synthetic data"].text
    assert "3 points accumulated" in found["accumulated gradients"].text
    assert "2 of 107 successful points" in found["still rising"].text
    assert "1 of 108 are waiting or running" in found["unfinished"].text


def test_an_effect_that_depends_on_a_choice_is_named(tmp_path):
    content = clean()
    rng = np.random.default_rng(3)
    content["best_val_jaccard"] = 0.7 + rng.normal(0, 0.01, len(content))
    content.loc[content["learning_rate"] == 5e-3, "best_val_jaccard"] = 0.08
    assert "learning rate" in found_in(tmp_path, content)["sensitive to a choice"].details[0]


@pytest.mark.parametrize(("steps", "counted"), [(["1", "2", "4", ""], 2), (["1", "1", "1", ""], 0)])
def test_accumulation_is_read_from_its_column_whatever_the_reason_says(tmp_path, steps, counted):
    content = frame().assign(gradient_accumulation_steps="1")
    content.loc[:3, "gradient_accumulation_steps"] = steps
    content.loc[5, "reason"] = "batch normalisation sees batches of 4"
    rows = load(tmp_path, content)
    assert int(rows["accumulated"].sum()) == counted
    kinds = {one.kind for one in cautions(rows, ranking(rows))}
    assert ("accumulated gradients" in kinds) == bool(counted)


def test_agreement_is_rarely_denied_and_a_gap_is_found(tmp_path):
    alarms = []
    for gap in (0.0, 0.1):
        count = 0
        for seed in range(40):
            rng = np.random.default_rng(seed)
            content = clean()
            truth = content["best_val_jaccard"].groupby(
                [content[c] for c in ("architecture", "learning_rate", "batch_size")]
            )
            truth = truth.transform("mean")
            for column in ("best_val_jaccard", "test_jaccard"):
                content[column] = truth + rng.normal(0, 0.01, len(content))
            content["test_jaccard"] -= gap
            found = validation_against_test(ranking(load(tmp_path, content)))
            count += bool(found.gap_is_large or found.order_differs)
        alarms.append(count)
    assert alarms[0] <= 8 and alarms[1] == 40


def test_without_test_scores_there_is_nothing_to_compare(tmp_path):
    rows = load(tmp_path, clean().assign(test_jaccard=np.nan))
    assert validation_against_test(ranking(rows)).reason == "the best configuration has no test score"


def test_the_predecessors_axis_is_found():
    if not PREDECESSOR.is_file():
        pytest.skip(f"the predecessor's results are not at {PREDECESSOR}")
    (axis,) = fictitious_axes(load_summary(PREDECESSOR))
    assert (axis.axis, axis.effective, axis.points, axis.constant) == ("learning_rate", (0.001,), 81, True)


@pytest.mark.parametrize(
    "column",
    ["learning_rate_effective", "effective_learning_rate", "learning_rate_used", "actual_learning_rate"],
)
def test_effective_values_under_other_names_are_compared(tmp_path, column):
    rows = load(tmp_path, clean().assign(**{column: 0.001}))
    assert [axis.column for axis in fictitious_axes(rows)] == [column]
    same = load(tmp_path, clean().assign(**{column: lambda f: f["learning_rate"].round(4)}))
    assert fictitious_axes(same) == ()


def test_effective_architectures_are_compared_as_words(tmp_path):
    rows = load(tmp_path, clean().assign(architecture_effective="UNet"))
    (axis,) = fictitious_axes(rows)
    assert axis.axis == "architecture" and axis.points == 72 and axis.effective == ("UNet",)
