"""The first screen answers in one sentence, and never with the score of the luckiest seed."""

from __future__ import annotations

import pandas as pd
import pytest
from msgspec.structs import replace

from analysis.findings import findings
from analysis.report.page_answer import answer
from analysis.schema import ValidationAgainstTest
from tests.analysis.figures.samples import loaded, with_seeds
from tests.analysis.report.test_report import fail, frame


def answered(tmp_path, content):
    found = findings(loaded(tmp_path, content), summary="s.csv")
    return found, answer(found)


def test_the_mean_over_the_seeds_and_the_corrected_score_are_shown_not_the_luckiest_seed(tmp_path):
    content = with_seeds()
    found, shown = answered(tmp_path, content)
    first = found.best.configuration
    assert shown.best == first.settings
    assert shown.text.startswith(
        f"has the highest validation Jaccard index, {first.adjusted_mean:.3f} (mean of 3 seeds; "
        f"{first.shrunken_mean:.3f} corrected for being selected)"
    )
    luckiest = f"{content['best_val_jaccard'].max():.3f}"
    values = [fact.value for fact in shown.facts]
    assert luckiest not in shown.text and luckiest not in values
    assert f"{first.adjusted_mean:.3f}" in values and f"{found.noise.sd_within_seed:.3f}" in values


def test_the_rivals_are_counted_and_those_outside_the_picture_too(tmp_path):
    content = pd.concat([frame().assign(seed=seed) for seed in (1, 2, 3)], ignore_index=True)
    content["best_val_jaccard"] = [0.5 + 0.01 * (n * 7 % 5) for n in range(len(content))]
    found, shown = answered(tmp_path, content)
    near = found.best.indistinguishable
    assert near.configurations > 6
    assert shown.text.endswith(
        f", but {near.configurations - 1} of the other 11 configurations may be as good."
    )
    assert (shown.sure, shown.kind) == (f"undecided: {near.configurations} may be best", "warn")
    assert shown.more == near.configurations - sum(bar.marked for bar in shown.chart.bars)


def test_a_clear_winner_is_decided(tmp_path):
    content = with_seeds()
    best = (
        (content["architecture"] == "UNet")
        & (content["learning_rate"] == 1e-3)
        & (content["batch_size"] == 8)
    )
    content.loc[best, "best_val_jaccard"] += 0.3
    _, shown = answered(tmp_path, content)
    assert shown.best == "UNet lr 0.001 bs 8"
    assert shown.text.endswith(", and all 11 other configurations are worse.")
    assert (shown.sure, shown.kind) == ("decided at 95 %", "good")


def test_one_seed_is_provisional(tmp_path):
    _, shown = answered(tmp_path, frame())
    assert "(one seed" in shown.text and shown.sure.startswith("provisional: one seed")
    assert [fact.value for fact in shown.facts if fact.title == "seed-to-seed SD"] == ["unknown"]


@pytest.mark.parametrize(("status", "verb"), [("diverged", "diverged"), ("oom", "failed")])
def test_failures_of_the_best_are_in_the_sentence(tmp_path, status, verb):
    content = with_seeds()
    best = (
        (content["architecture"] == "UNet")
        & (content["learning_rate"] == 1e-3)
        & (content["batch_size"] == 8)
    )
    content.loc[best, "best_val_jaccard"] = 0.97
    content = fail(content, content.index[best][0], status)
    found, shown = answered(tmp_path, content)
    if status == "oom":
        assert shown.best == "UNet lr 0.001 bs 8" and f"although 1 of its 3 points {verb}" in shown.text
    else:  # a diverged seed counts as one at chance level
        assert shown.best != "UNet lr 0.001 bs 8"
        assert "UNet lr 0.001 bs 8" in found.best.indistinguishable.unreliable


def test_a_test_score_that_disagrees_is_marked(tmp_path):
    found, shown = answered(tmp_path, frame())
    apart = ValidationAgainstTest(computed=True, gap_is_large=True)
    marked = answer(replace(found, validation_against_test=apart))
    for screen, kind in ((marked, "warn"),):
        assert [fact.kind for fact in screen.facts if fact.title == "test score"] == [kind]
    assert shown.about == "Data: synthetic sample data; split: contiguous"


def test_a_single_configuration_has_no_picture(tmp_path):
    content = frame(rates=(1e-3,), batches=(8,), architectures=("UNet",))
    _, shown = answered(tmp_path, content)
    assert shown.chart is None and shown.best == "UNet lr 0.001 bs 8"


def test_without_success_the_classes_are_counted(tmp_path):
    content = frame()
    for row in range(len(content)):
        fail(content, row, "oom" if row % 3 else "diverged")
    _, shown = answered(tmp_path, content)
    assert shown.best == "" and shown.text.endswith("4 diverged, 8 oom.")
    assert [fact.value for fact in shown.facts] == ["0 of 12"]
