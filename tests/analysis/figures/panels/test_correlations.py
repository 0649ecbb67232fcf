"""The correlations are Spearman's, and a missing one has a reason."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.figures.panels.correlations import correlations
from tests.analysis.figures.samples import loaded
from tests.analysis.report.test_report import frame


def test_correlations_are_spearmans_and_missing_ones_have_a_reason(tmp_path):
    rows = loaded(tmp_path, frame())
    rows["training_time_seconds"] = [np.nan] * 9 + [1.0, 2.0, 3.0]
    rows["epochs_to_best"] = rows["best_val_jaccard"] ** 3
    values, words = correlations(rows)
    assert values.loc["epochs_to_best", "best_val_jaccard"] == pytest.approx(1.0)
    expected = rows["learning_rate"].rank().corr(rows["best_val_jaccard"].rank())
    assert values.loc["learning_rate", "best_val_jaccard"] == pytest.approx(expected)
    assert words.loc["test_jaccard", "best_val_jaccard"] == "const."
    assert words.loc["training_time_seconds", "best_val_jaccard"] == "n=3"
