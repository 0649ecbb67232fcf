"""Other choices of the analysis are compared with the reported one."""

from __future__ import annotations

import numpy as np

from analysis.statistics.anova import anova
from analysis.statistics.sensitivity import sensitivity
from tests.analysis.statistics.samples import JACCARD, results


def compared(frame, scores=None):
    return sensitivity(frame, anova(frame, JACCARD, draws=0), scores)


def test_a_rate_at_which_nothing_was_learned_makes_an_effect_that_the_other_points_do_not_have():
    frame = results((1, 2, 3)).assign(chance_jaccard=0.07)
    frame.loc[frame["learning_rate"] == 5e-3, JACCARD] = 0.08
    chance, diverged, last = compared(frame)
    term = next(term for term in chance.terms if term.term == "learning_rate")
    assert term.p_holm < 0.001 and term.p_holm_other > 0.05 and not term.agrees
    assert "learning rate" in chance.text and chance.n == 81
    assert not diverged.computed and diverged.reason == "no point diverged"
    assert not last.computed and "histories" in last.reason


def test_diverged_points_at_chance_level_show_what_the_f_test_leaves_out():
    frame = results((1, 2, 3)).assign(chance_jaccard=0.07)
    bad = (frame["learning_rate"] == 5e-3) & (frame["seed"] < 3)
    frame.loc[bad, ["successful", "status", JACCARD]] = [False, "diverged", np.nan]
    found = compared(frame)[1]
    assert found.computed and found.n == 108 and not found.terms[0].agrees


def test_the_last_epoch_is_compared_if_all_histories_are_known():
    frame = results((1, 2, 3))
    scores = dict(zip(frame["name"], frame[JACCARD] - 0.01, strict=True))
    found = compared(frame, scores)[2]
    assert found.computed and all(term.agrees for term in found.terms) and "Nothing changes" in found.text
    assert not compared(frame, dict(list(scores.items())[1:]))[2].computed
