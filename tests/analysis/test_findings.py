"""The findings of real summaries have the types of the schema, reasons, and every number in the text report."""

from __future__ import annotations

import json

import msgspec
import numpy as np
import pytest

from analysis.findings import findings
from analysis.report.text import report_text
from analysis.schema import SCHEMA, Anova, Findings, Noise
from analysis.summary import load_summary
from tests.analysis.test_edges import fail, grid, missing


@pytest.fixture
def found(tmp_path):
    def make(content):
        path = tmp_path / "summary.csv"
        content.to_csv(path, index=False)
        frame = load_summary(path)
        return findings(frame, summary="summary.csv"), frame

    return make


def text_of(result):
    return " ".join(report_text(*result).split())


@pytest.mark.parametrize(
    "content",
    [grid(), grid(seeds=(1, 2, 3)), missing(20, 1), missing(36, 0), grid().head(0), grid().head(1)],
    ids=["whole", "three seeds", "20 missing", "all failed", "nothing", "one point"],
)
def test_the_json_has_the_types_of_the_schema(found, content):
    result, _ = found(content)
    text = json.dumps(result.fields(), sort_keys=True, allow_nan=False)
    again = msgspec.json.decode(text, type=Findings)
    assert again == result and again.schema == SCHEMA
    keys = {field.encode_name for field in msgspec.structs.fields(Findings)}
    assert set(json.loads(text)) == keys


def test_a_result_that_is_not_computed_needs_a_reason():
    with pytest.raises(ValueError, match="Anova: not computed and no reason; expected a reason"):
        Anova(metric="best_val_jaccard", computed=False, reason=" ")
    with pytest.raises(ValueError, match="Noise: not known and no reason; expected a reason"):
        Noise(known=False)


def test_a_best_configuration_that_cannot_be_compared_has_a_reason(found):
    result, _ = found(grid().assign(best_val_jaccard=0.5))
    assert "could not be computed (best_val_jaccard is constant: all 36 values are 0.5)." in result.best.text
    assert ": ." not in result.best.text


def test_the_text_shows_the_adjusted_p_of_each_correlation(found):
    result = found(grid())
    one = min((row for row in result[0].correlations if row.p_holm), key=lambda row: row.p)
    assert one.p < one.p_holm < 1
    assert f"p = {one.p_holm:.4f}, n = {one.n}" in text_of(result)


def test_the_text_shows_the_corrected_pairs_of_the_rank_tests(found):
    content = grid()
    content["best_val_jaccard"] += content["architecture"].map({"UNet": 0.0}).fillna(0.02)
    result = found(content)
    tests = result[0].rank_tests["best_val_jaccard"].factors
    pair = next(row for row in tests if row.factor == "learning_rate").pairs[0]
    assert pair.p < pair.p_holm
    row = f"{pair.a} - {pair.b} {pair.n} {pair.median_difference:+.4f} {pair.p:.4f} {pair.p_holm:.4f} exact"
    assert row in text_of(result)


def test_the_p_of_each_effect_is_corrected_over_the_effects_that_have_one(found):
    content = grid()
    for row in content.index[(content["architecture"] == "UNet") & (content["batch_size"] == 8)]:
        fail(content, row, "error")
    terms = found(content)[0].anova["best_val_jaccard"].terms
    p = sorted(term.p for term in terms)
    assert min(term.p_holm for term in terms) == pytest.approx(min(1.0, len(p) * p[0]))
    assert max(term.p_holm for term in terms) == pytest.approx(
        max(min(1.0, (len(p) - place) * value) for place, value in enumerate(p))
    )


def test_a_seed_that_is_missing_is_null(found):
    assert found(grid().assign(seed=np.nan))[0].best_overall.seed is None
