"""The statistics agree with textbooks and plain linear algebra, keep their error rates, and never fail on odd data."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from itertools import combinations, product

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestIndPower

from analysis.configurations import indistinguishable, ranking
from analysis.schema import Anova, Effect, Outcome
from analysis.statistics.anova import anova, effect_of_term, marginal_means, pairwise
from analysis.statistics.assumptions import assumptions, brown_forsythe_statistic
from analysis.statistics.design_matrix import MOST_DESIGNS, Design, terms_up_to
from analysis.statistics.factors import prepare
from analysis.statistics.hypotheses import hypotheses
from analysis.statistics.importance import importance
from analysis.statistics.intervals import holm, studentized_range_ppf, studentized_range_sf
from analysis.statistics.linear_model import fit, resampled
from analysis.statistics.noise import noise, seeds_to_settle
from analysis.statistics.ranks import correlations, rank_tests, signed_rank
from analysis.summary import load_summary
from tests.analysis.report.test_report import PREDECESSOR

RATES, BATCHES, ARCHITECTURES = (
    (1e-4, 5e-4, 1e-3, 5e-3),
    (8, 16, 32),
    ("UNet", "Attention_UNet", "Attention_ResUNet"),
)
FACTORS = ("learning_rate", "batch_size", "architecture")
JACCARD, STABILITY = "best_val_jaccard", "val_loss_stability"


def grid(seeds=(1,), rates=RATES, batches=BATCHES, architectures=ARCHITECTURES, **more) -> pd.DataFrame:
    """A frame as load_summary gives it, all points successful, every metric without a value."""
    rows = list(product(architectures, rates, batches, seeds))
    found = pd.DataFrame(rows, columns=["architecture", "learning_rate", "batch_size", "seed"])
    found["seed"] = found["seed"].astype(float)
    found["name"] = [f"exp_{n:02d}" for n in range(1, len(found) + 1)]
    return found.assign(successful=True, status="done", **{JACCARD: np.nan} | more)


def noisy(seeds=(1,), rng=None, effect=0.0, **shape) -> pd.DataFrame:
    """Metrics of noise (SD 0.01), and ``effect`` times the number of the architecture in the Jaccard index."""
    rng = rng or np.random.default_rng(0)
    found = grid(seeds, **shape)
    n = len(found)
    found[JACCARD] = 0.6 + rng.normal(0, 0.01, n) + effect * pd.factorize(found["architecture"])[0]
    for metric in (STABILITY, "overfitting_gap", "training_time_seconds", "test_jaccard"):
        found[metric] = rng.normal(0.1, 0.01, n)
    return found.assign(epochs_to_best=rng.integers(1, 30, n).astype(float))


def without(frame: pd.DataFrame, rows, status="error") -> pd.DataFrame:
    found = frame.copy()
    found.loc[rows, ["successful", "status", JACCARD]] = [False, status, np.nan]
    return found


def of_term(table: Anova, term: str) -> Effect:
    return next(row for row in table.terms if row.term == term)


def textbook(columns: dict, values) -> pd.DataFrame:
    """A textbook's factors under the names of ours, its response as the loss stability."""
    found = pd.DataFrame(
        {"learning_rate": 1.0, "batch_size": 1.0, "architecture": "x", "seed": np.nan} | columns
    )
    return found.assign(
        successful=True, status="done", name="p", **{JACCARD: 0.5, STABILITY: np.array(values, float)}
    )


# Crampton (1947), R's ToothGrowth: ten animals for each supplement and dose, VC then OJ.
TOOTH = [4.2, 11.5, 7.3, 5.8, 6.4, 10, 11.2, 11.2, 5.2, 7, 16.5, 16.5, 15.2, 17.3, 22.5, 17.3, 13.6, 14.5, 18.8, 15.5, 23.6, 18.5, 33.9, 25.5, 26.4, 32.5, 26.7, 21.5, 23.3, 29.5, 15.2, 21.5, 17.6, 9.7, 14.5, 10, 8.2, 9.4, 16.5, 9.7, 19.7, 23.3, 23.6, 26.4, 20, 25.2, 25.8, 21.2, 14.5, 27.3, 25.5, 26.4, 22.4, 24.5, 24.8, 30.9, 26.4, 27.3, 29.4, 23]  # fmt: skip
# Yates (1937), R's npk: six blocks of four plots.
NPK = [49.5, 62.8, 46.8, 57.0, 59.8, 58.5, 55.5, 56.0, 62.8, 55.8, 69.5, 55.0, 62.0, 48.8, 45.5, 44.2, 52.0, 51.5, 49.8, 48.8, 57.2, 59.0, 53.2, 56.0]  # fmt: skip
NPK_N, NPK_P, NPK_K = "010111000110110010101100", "110001011100010110010110", "100101100101011000111010"
# Dobson (1983), R's PlantGrowth: control and two treatments.
PLANTS = [4.17, 5.58, 5.18, 6.11, 4.50, 4.61, 5.17, 4.53, 5.33, 5.14, 4.81, 4.17, 4.41, 3.59, 5.87, 3.83, 6.03, 4.89, 4.32, 4.69, 6.31, 5.12, 5.54, 5.50, 5.37, 5.29, 4.92, 6.15, 5.80, 5.26]  # fmt: skip


def test_a_two_way_table_agrees_with_a_textbook():
    found = anova(
        textbook(
            {"architecture": ["VC"] * 30 + ["OJ"] * 30, "batch_size": ([0.5] * 10 + [1] * 10 + [2] * 10) * 2},
            TOOTH,
        ),
        STABILITY,
    )
    assert found.computed and found.balanced and found.replicates and found.cells == 6
    supplement, dose = of_term(found, "architecture"), of_term(found, "batch_size")
    both = of_term(found, "batch_size:architecture")
    assert [row.f for row in (supplement, dose, both)] == pytest.approx([15.572, 92.000, 4.107], abs=5e-4)
    assert [row.sum_sq for row in (supplement, dose, both)] == pytest.approx(
        [205.35, 2426.43, 108.32], abs=6e-3
    )
    assert [row.p for row in (supplement, both)] == pytest.approx([0.0002312, 0.0218603], abs=5e-8)
    assert found.residual.sum_sq == pytest.approx(712.106) and found.residual.df == 54
    assert (supplement.df, dose.df, both.df) == (1, 2, 2)


def test_a_confounded_block_design_agrees_with_a_textbook():
    columns = {
        "learning_rate": [float(c) for c in NPK_N],
        "batch_size": [float(c) for c in NPK_P],
        "architecture": list(NPK_K),
        "seed": np.repeat(np.arange(6.0), 4),
    }
    found = anova(textbook(columns, NPK), STABILITY)
    squares = [189.2817, 8.4017, 95.2017, 21.2817, 33.1350, 0.4817]
    assert [row.sum_sq for row in found.terms[:6]] == pytest.approx(squares, abs=5e-5)
    assert [row.f for row in found.terms[:6]] == pytest.approx(
        [12.259, 0.544, 6.166, 1.378, 2.146, 0.031], abs=5e-4
    )
    assert found.block.term == "seed" and found.block.df == 4  # the fifth is the aliased interaction's
    assert found.residual.df == 12 and found.residual.sum_sq == pytest.approx(185.2867, abs=5e-5)
    assert found.terms[6].df == 0 and "not estimable" in found.terms[6].note


def test_a_tukey_table_agrees_with_a_textbook():
    frame = textbook({"architecture": ["ctrl"] * 10 + ["trt1"] * 10 + ["trt2"] * 10}, PLANTS)
    table = anova(frame, STABILITY)
    assert of_term(table, "architecture").f == pytest.approx(4.846, abs=5e-4)
    assert of_term(table, "architecture").p == pytest.approx(0.01591, abs=5e-6)
    pairs = pairwise(frame, STABILITY, "architecture").pairs
    published = [
        (-0.371, -1.0622161, 0.3202161, 0.3908711),
        (0.494, -0.1972161, 1.1852161, 0.1979960),
        (0.865, 0.1737839, 1.5562161, 0.0120064),
    ]
    for pair, (difference, low, high, p) in zip(pairs, published, strict=True):
        # R takes the second level minus the first.
        assert -pair.difference == pytest.approx(difference, abs=1e-9)
        assert [-pair.ci[1], -pair.ci[0]] == pytest.approx([low, high], abs=5e-8)
        assert pair.p == pytest.approx(p, abs=5e-8)


def one_hot(frame: pd.DataFrame, term: tuple[str, ...]) -> np.ndarray:
    found = np.ones((len(frame), 1))
    for name in term:
        values = list(dict.fromkeys(frame[name]))
        dummies = np.array([[float(value == level) for level in values] for value in frame[name]])
        found = np.hstack(
            [found[:, [i]] * dummies[:, [j]] for i in range(found.shape[1]) for j in range(len(values))]
        )
    return found


def by_plain_algebra(frame: pd.DataFrame, metric: str, terms, block=()):
    """{term: (sum of squares, df)} and the residual's, by least squares on hand-made dummy matrices."""
    y = frame[metric].to_numpy() - frame[metric].mean()

    def left(chosen):
        matrix = np.hstack(
            [one_hot(frame, ()), *(one_hot(frame, (b,)) for b in block), *(one_hot(frame, t) for t in chosen)]
        )
        answer = np.linalg.lstsq(matrix, y, rcond=None)[0]
        return float(((y - matrix @ answer) ** 2).sum()), int(np.linalg.matrix_rank(matrix, tol=1e-8))

    found = {}
    for term in terms:
        without_it = [other for other in terms if not set(term) <= set(other)]
        (before, rank), (after, more) = left(without_it), left([*without_it, term])
        found[":".join(term)] = (before - after, more - rank)
    rest, rank = left(terms)
    return found, (rest, len(frame) - rank)


def random_failures(frame, count, seed):
    return without(frame, np.random.default_rng(seed).choice(len(frame), count, replace=False))


WHOLE_COMBINATION = [
    n
    for n, (a, _, b) in enumerate(product(ARCHITECTURES, RATES, BATCHES))
    if (a, b) == ("Attention_ResUNet", 32)
]


@pytest.mark.parametrize(
    ("frame", "order", "block"),
    [
        (noisy(), 2, ()),
        (random_failures(noisy(), 3, 1), 2, ()),
        (random_failures(noisy(), 5, 2), 2, ()),
        (without(noisy(), WHOLE_COMBINATION), 2, ()),
        (random_failures(noisy(), 15, 3), 1, ()),
        (noisy((1, 2, 3)), 3, ("seed",)),
        (random_failures(noisy((1, 2, 3)), 20, 4), 3, ("seed",)),
        (noisy((1, 2, 3)).assign(seed=np.arange(108.0)), 3, ()),
        (noisy().assign(**{STABILITY: 1, JACCARD: lambda f: 1e80 * (1 + f[JACCARD])}), 2, ()),
    ],
    ids=["whole", "3 missing", "5 missing", "combination missing", "additive", "3 seeds", "3 seeds unbalanced", "own seeds", "huge"],
)  # fmt: skip
def test_sums_of_squares_and_ranks_are_those_of_plain_least_squares(frame, order, block):
    found = anova(frame, JACCARD, draws=0)
    good = frame[frame.successful]
    expected, (rest, rest_df) = by_plain_algebra(good, JACCARD, terms_up_to(list(FACTORS), order), block)
    assert found.computed and [row.term for row in found.terms] == list(expected)
    assert found.residual.df == rest_df
    assert found.residual.sum_sq == pytest.approx(rest, rel=1e-8)
    for row in found.terms:
        squares, df = expected[row.term]
        assert row.df == df and row.sum_sq == pytest.approx(squares, rel=1e-8)
        assert row.f == pytest.approx(squares / df / (rest / rest_df), rel=1e-8)
        assert row.p == pytest.approx(stats.f.sf(row.f, df, rest_df), rel=1e-8)
        assert row.partial_eta_sq == pytest.approx(squares / (squares + rest), rel=1e-8)
        assert row.omega_sq == pytest.approx(df * (row.f - 1) / (df * (row.f - 1) + len(good)), rel=1e-7)


@pytest.mark.parametrize("frame", [noisy(), random_failures(noisy(), 3, 1)], ids=["whole", "3 missing"])
def test_statsmodels_gives_the_same_if_every_combination_exists(frame):
    good = frame[frame.successful]
    formula = f"{JACCARD} ~ (C(learning_rate) + C(batch_size) + C(architecture)) ** 2"
    table = anova_lm(ols(formula, good).fit(), typ=2)
    found = anova(frame, JACCARD, draws=0)
    for row, (_, other) in zip(found.terms, table.iterrows(), strict=False):
        assert (row.sum_sq, row.df, row.f) == pytest.approx(
            (other["sum_sq"], other["df"], other["F"]), rel=1e-8
        )


def test_a_missing_combination_costs_a_degree_of_freedom_and_has_a_note():
    frame = without(noisy(), WHOLE_COMBINATION)
    found = anova(frame, JACCARD)
    row = of_term(found, "batch_size:architecture")
    assert row.df == 3 and "3 of 4" in row.note and not found.balanced
    pairs = pairwise(frame, JACCARD, "batch_size")
    assert [pair.estimable for pair in pairs.pairs] == [True, False, False]
    assert pairs.pairs[1].difference is None and "no point" in pairs.pairs[1].note
    means = marginal_means(frame, JACCARD, "batch_size").means
    assert [mean.mean is None for mean in means] == [False, False, True] and means[2].raw_mean is not None


@pytest.mark.parametrize("failed", [0, 4])
def test_adjusted_means_are_averages_of_the_fitted_table(failed):
    frame = random_failures(noisy(effect=0.01), failed, 5)
    good = frame[frame.successful]
    terms = terms_up_to(list(FACTORS), 2)
    matrix = np.hstack([one_hot(good, ()), *(one_hot(good, term) for term in terms)])
    table = good.groupby(list(FACTORS)).size().index  # the levels in an order of their own
    levels = {name: list(dict.fromkeys(good[name])) for name in FACTORS}
    everything = pd.DataFrame(list(product(*levels.values())), columns=list(FACTORS))
    whole = np.hstack([one_hot(everything, ()), *(one_hot(everything, term) for term in terms)])
    y = good[JACCARD].to_numpy()
    answer = np.linalg.lstsq(matrix, y, rcond=None)[0]
    rank = np.linalg.matrix_rank(matrix)
    error = ((y - matrix @ answer) ** 2).sum() / (len(y) - rank)
    inverse = np.linalg.pinv(matrix.T @ matrix)
    assert len(table) == 36 - failed
    for factor in FACTORS:
        found = marginal_means(frame, JACCARD, factor)
        rows = {mean.level: mean for mean in found.means}
        weights = {
            level: whole[(everything[factor] == level).to_numpy()].mean(axis=0) for level in levels[factor]
        }
        for level, row in rows.items():
            weight = weights[level]
            assert row.mean == pytest.approx(weight @ answer, rel=1e-8)
            assert row.se == pytest.approx(math.sqrt(error * (weight @ inverse @ weight)), rel=1e-7)
            reach = stats.t.ppf(0.975, len(y) - rank) * row.se
            assert row.ci == pytest.approx([row.mean - reach, row.mean + reach], rel=1e-8)
        for pair in pairwise(frame, JACCARD, factor).pairs:
            weight = weights[pair.a] - weights[pair.b]
            se = math.sqrt(error * (weight @ inverse @ weight))
            assert pair.difference == pytest.approx(weight @ answer, rel=1e-7)
            assert pair.se == pytest.approx(se, rel=1e-7)
            q = math.sqrt(2) * abs(pair.difference) / se
            assert pair.p == pytest.approx(stats.studentized_range.sf(q, len(rows), len(y) - rank), abs=1e-8)


def test_one_factor_pairs_are_those_of_scipy_even_unbalanced():
    rng = np.random.default_rng(6)
    sizes = (4, 7, 5)
    groups = [rng.normal(0.1 * place, 0.1, size) for place, size in enumerate(sizes)]
    frame = textbook(
        {"architecture": list("aaaabbbbbbbccccc")},
        np.concatenate(groups),
    )
    expected = stats.tukey_hsd(*groups)
    limits = expected.confidence_interval(0.95)
    for pair, (a, b) in zip(
        pairwise(frame, STABILITY, "architecture").pairs, combinations(range(3), 2), strict=True
    ):
        assert pair.difference == pytest.approx(expected.statistic[a, b], rel=1e-8)
        assert pair.p == pytest.approx(expected.pvalue[a, b], abs=1e-8)
        assert pair.ci == pytest.approx([limits.low[a, b], limits.high[a, b]], rel=1e-6)
        d = pair.difference / math.sqrt(sum(((g - g.mean()) ** 2).sum() for g in groups) / 13)
        assert pair.hedges_g == pytest.approx(d * math.gamma(6.5) / math.gamma(6) / math.sqrt(6.5), rel=1e-8)
        low, high = (at / pair.hedges_g * d for at in pair.hedges_g_ci)
        scale = math.sqrt(1 / sizes[a] + 1 / sizes[b])
        t = d / scale
        assert [
            stats.nct.sf(t, 13, min(low, high) / scale),
            stats.nct.cdf(t, 13, max(low, high) / scale),
        ] == pytest.approx([0.025] * 2, abs=1e-6)


@pytest.mark.parametrize(("k", "df"), [(2, 5), (3, 2), (3, 12), (10, 8), (36, 72)])
def test_the_studentized_range_is_scipys(k, df):
    q = np.array([0.3, 2.0, 4.0, 9.0])
    assert studentized_range_sf(q, k, df) == pytest.approx(stats.studentized_range.sf(q, k, df), abs=1e-9)
    assert studentized_range_ppf(0.95, k, df) == pytest.approx(
        stats.studentized_range.ppf(0.95, k, df), rel=1e-8
    )


def test_metrics_on_the_same_rows_share_a_design_but_not_their_values(monkeypatch):
    frame = noisy((1, 2))
    shared = fit(frame, JACCARD)
    other = fit(frame, STABILITY)
    assert other.design is shared.design and not np.array_equal(other.data.y, shared.data.y)
    assert fit(frame.assign(seed=frame["seed"] + 10), JACCARD).design is shared.design
    for changed in (
        without(frame, [5]),
        frame.assign(learning_rate=frame["learning_rate"].to_numpy()[::-1]),
        frame.assign(seed=1.0),
        noisy((1, 2), batches=(8, 16)),
    ):
        assert fit(changed, JACCARD).design is not shared.design
    found = [anova(frame, metric, draws=50) for metric in (JACCARD, STABILITY)]
    monkeypatch.setattr(Design, "of", Design)
    assert found == [anova(frame, metric, draws=50) for metric in (JACCARD, STABILITY)]


def test_only_the_newest_designs_are_cached():
    frame = noisy((1, 2))
    first = fit(frame, JACCARD).design
    for row in range(MOST_DESIGNS):
        fit(without(frame, [row]), JACCARD)
    assert len(Design._kept) == MOST_DESIGNS and fit(frame, JACCARD).design is not first


def design_of(seeds) -> Design:
    frame = noisy(seeds)
    model = fit(frame, JACCARD)
    assert model.order == (3 if len(seeds) > 1 else 2)
    return model.design


@pytest.mark.parametrize("seeds", [(1,), (1, 2, 3)])
def test_without_any_effect_five_in_a_hundred_are_significant(seeds):
    design = design_of(seeds)
    y = np.random.default_rng(7).normal(size=(design.n, 1000))
    significant = {}
    for term, df, _, f in design.tests(y):
        significant[term] = float(np.mean(stats.f.sf(f, df, design.residual_df) < 0.05))
    mains = [significant[(name,)] for name in FACTORS]
    assert (
        all(0.03 <= share <= 0.07 for share in mains) and 0.04 <= np.mean(list(significant.values())) <= 0.06
    )


@pytest.mark.parametrize("seeds", [(1,), (1, 2, 3)])
@pytest.mark.parametrize("failed", [0, 4])
def test_intervals_of_differences_of_adjusted_means_cover(seeds, failed):
    frame = random_failures(noisy(seeds), failed, 9)
    design = fit(frame, JACCARD).design
    rows, estimable = design.contrasts("architecture")
    assert estimable.all()
    effect = np.array([0.0, 0.5, 1.5])
    y = (
        np.random.default_rng(9).normal(size=(design.n, 2000))
        + effect[design.data.codes["architecture"]][:, None]
    )
    pairs = list(combinations(range(3), 2))
    weights = np.array([rows[a] - rows[b] for a, b in pairs])
    centre, variance = design.estimates(weights, y)
    error = (design.residuals(y) ** 2).sum(axis=0) / design.residual_df
    away = np.abs(centre - np.array([effect[a] - effect[b] for a, b in pairs])[:, None])
    single = away <= stats.t.ppf(0.975, design.residual_df) * np.sqrt(variance[:, None] * error)
    reach = studentized_range_ppf(0.95, 3, design.residual_df) / math.sqrt(2)
    together = (away <= reach * np.sqrt(variance[:, None] * error)).all(axis=0)
    assert np.all(np.abs(single.mean(axis=1) - 0.95) < 0.02)
    assert 0.93 < together.mean() < 0.975


@pytest.mark.parametrize(("seeds", "effect"), [((1,), 0.4), ((1,), 1.0), ((1, 2, 3), 0.4), ((1, 2, 3), 1.0)])
def test_the_bootstrap_interval_of_the_effect_size_covers(seeds, effect):
    rng = np.random.default_rng(10)
    frame = noisy(seeds)
    means = effect * (pd.factorize(frame["architecture"])[0] - 1)
    noncentrality = float((means**2).sum())
    truth = noncentrality / (noncentrality + len(frame))
    inside, exact, below = [], [], []
    model = fit(frame, JACCARD)
    basis = model.design.term_bases["architecture",]
    for number in range(400):
        y = means + rng.normal(size=len(frame))
        again = replace(model, data=replace(model.data, y=y), residuals=model.design.residuals(y))
        errors = resampled(again, 500, number)
        squares = (model.design.residuals(errors) ** 2).sum(axis=0)
        row = effect_of_term(again, ("architecture",), basis, errors, squares)
        low, high = row.partial_eta_sq_ci
        inside.append(low <= truth <= high)
        exact.append(row.partial_eta_sq_exact_ci[0] <= truth <= row.partial_eta_sq_exact_ci[1])
        below.append(row.omega_sq - truth)
    assert 0.92 <= np.mean(inside) <= 0.98
    assert 0.92 <= np.mean(exact) <= 0.98
    assert abs(np.mean(below)) < 0.02


def test_without_an_effect_the_interval_of_its_size_reaches_zero():
    rng = np.random.default_rng(11)
    frame = grid()
    reaches = []
    for number in range(150):
        frame[JACCARD] = rng.normal(size=36)
        rows = anova(frame, JACCARD, seed=number, draws=300).terms
        reaches += [row.partial_eta_sq_ci[0] == 0 for row in rows]
    assert np.mean(reaches) > 0.94


def test_the_same_seed_gives_the_same_interval_and_more_rows_fewer_draws():
    frame = noisy()
    assert anova(frame, JACCARD, seed=3) == anova(frame, JACCARD, seed=3)
    found = anova(noisy(range(60)), JACCARD)
    assert found.draws == 200 and "only 200 bootstrap draws" in " ".join(found.notes)


def test_too_few_points_fall_back_to_the_additive_model_with_a_note():
    found = anova(random_failures(noisy(), 9, 12), JACCARD)
    assert (
        found.computed
        and "additive" in found.model
        and "interactions of 2 factors left out" in found.notes[0]
    )
    found = anova(random_failures(noisy(), 28, 12), JACCARD)
    assert not found.computed and "additive model cannot be tested" in found.reason


def test_a_further_axis_is_a_factor_and_a_remark_is_not():
    rng = np.random.default_rng(13)
    frame = pd.concat(
        [noisy(rng=rng).assign(base_filters="8"), noisy(rng=rng, seeds=(1,)).assign(base_filters="16")],
        ignore_index=True,
    )
    found = anova(frame, JACCARD)
    assert of_term(found, "base_filters").df == 1 and of_term(found, "learning_rate:base_filters").df == 3
    assert pairwise(frame, JACCARD, "base_filters").pairs[0].a == "8"
    found = anova(noisy().assign(remark=[f"run {n}" for n in range(36)]), JACCARD)
    assert len(found.terms) == 6
    numbered = anova(noisy().assign(started=[str(1700000000 + n) for n in range(36)]), JACCARD)
    assert len(numbered.terms) == 6 and "started was left out" in numbered.notes[0]


def test_residual_checks_keep_their_level_and_detect_violations():
    rng = np.random.default_rng(14)
    frame = grid((1, 2, 3))
    found = {"equal": [], "unequal": [], "skewed": []}
    for _ in range(40):
        errors = rng.normal(size=108)
        scale = np.where(frame["learning_rate"] == 5e-3, 4, 1)
        for name, values in (
            ("equal", errors),
            ("unequal", errors * scale),
            ("skewed", np.exp(1.5 * errors)),
        ):
            checks = assumptions(frame.assign(**{JACCARD: values}), JACCARD)
            rows = {row.factor: row.p for row in checks.brown_forsythe}
            found[name].append((rows["learning_rate"] < 0.05, checks.shapiro.p < 0.05))
    equal, unequal, skewed = (np.mean(found[name], axis=0) for name in ("equal", "unequal", "skewed"))
    assert equal[0] <= 0.12 and equal[1] <= 0.12 and unequal[0] > 0.9 and skewed[1] > 0.9


def test_the_variance_check_is_levenes_on_medians():
    rng = np.random.default_rng(15)
    values, codes = rng.normal(size=30), np.repeat([0, 1, 2], [8, 10, 12])
    expected = stats.levene(*(values[codes == code] for code in range(3)), center="median").statistic
    assert brown_forsythe_statistic(values[:, None], codes)[0] == pytest.approx(expected, rel=1e-10)


def test_rank_tests_are_scipys_on_complete_blocks():
    frame = noisy(effect=0.004)
    found = {row.factor: row for row in rank_tests(frame, JACCARD).factors}
    table = frame.pivot_table(
        index=["learning_rate", "batch_size"], columns="architecture", values=JACCARD, sort=False
    )
    expected = stats.friedmanchisquare(*(table[name] for name in ARCHITECTURES))
    row = found["architecture"]
    assert (row.blocks, row.dropped_blocks, row.test) == (12, 0, "Friedman")
    assert row.statistic == pytest.approx(expected.statistic) and row.p == pytest.approx(expected.pvalue)
    assert row.kendall_w == pytest.approx(expected.statistic / 24)
    pairs = [
        stats.wilcoxon(table[a], table[b], mode="exact").pvalue for a, b in combinations(ARCHITECTURES, 2)
    ]
    assert [pair.p for pair in row.pairs] == pytest.approx(pairs)
    assert [pair.p_holm for pair in row.pairs] == pytest.approx(multipletests(pairs, method="holm")[1])
    assert (found["learning_rate"].blocks, found["batch_size"].blocks) == (9, 12)


def test_signed_ranks_with_ties_follow_the_enumeration():
    differences = np.array([1.0, 1.0, -1.0, 2.0, 3.0, 3.0, -2.0, 0.0])
    ranks = stats.rankdata(np.abs(differences[:-1]))
    sums = np.array([np.dot(signs, ranks) for signs in product([-1, 1], repeat=7)])
    observed = np.dot(np.sign(differences[:-1]), ranks)
    assert signed_rank(differences)[0] == pytest.approx(np.mean(np.abs(sums) >= abs(observed) - 1e-9))
    many = np.random.default_rng(16).normal(0.2, 1, 80)
    expected = stats.wilcoxon(many, mode="approx", correction=False).pvalue
    assert signed_rank(many)[0] == pytest.approx(expected)


def test_diverged_points_are_the_worst_of_their_block_and_tie():
    frame = noisy(effect=0.0)
    bad = frame.index[(frame["learning_rate"] == 5e-3) & (frame["architecture"] != "UNet")]
    found = rank_tests(without(frame, bad, "diverged"), JACCARD)
    assert found.primary == "rank" and found.diverged == 6 and "6 points diverged" in found.why
    rates = next(row for row in found.factors if row.factor == "learning_rate")
    assert rates.blocks == 9 and rates.mean_ranks[3] < 2
    architectures = next(row for row in found.factors if row.factor == "architecture")
    assert architectures.blocks == 12 and architectures.mean_ranks[0] > architectures.mean_ranks[1]
    tied = next(pair for pair in architectures.pairs if pair.a == "Attention_UNet")
    assert tied.n == 12
    missing = rank_tests(without(frame, bad, "oom"), JACCARD).factors
    assert next(row for row in missing if row.factor == "learning_rate").dropped_blocks == 6


def test_divergence_at_one_learning_rate_is_found_by_ranks():
    hits = 0
    for number in range(40):
        frame = noisy(rng=np.random.default_rng(number))
        high = frame.index[frame["learning_rate"] == 5e-3]
        frame = without(frame, np.random.default_rng(number).choice(high, 7, replace=False), "diverged")
        hits += (
            next(row for row in rank_tests(frame, JACCARD).factors if row.factor == "learning_rate").p < 0.05
        )
    assert hits > 25


def test_without_complete_blocks_kruskal_wallis_is_used():
    frame = noisy()
    keep = [(n + n // 3) % 3 == 0 for n in range(36)]
    frame = without(frame, np.flatnonzero(~np.array(keep)))
    row = next(row for row in rank_tests(frame, JACCARD).factors if row.factor == "batch_size")
    groups = [group[JACCARD].dropna() for _, group in frame.groupby("batch_size")]
    assert row.test == "Kruskal-Wallis" and row.statistic == pytest.approx(stats.kruskal(*groups).statistic)
    assert row.p == pytest.approx(stats.kruskal(*groups).pvalue)


def test_correlations_are_spearmans_and_partial_ones_remove_the_grid():
    rng = np.random.default_rng(17)
    frame = noisy(rng=rng)
    rate = pd.factorize(frame["learning_rate"])[0]
    frame[JACCARD], frame[STABILITY] = (
        0.1 * rate + rng.normal(0, 0.01, 36),
        0.1 * rate + rng.normal(0, 0.01, 36),
    )
    rows = {(row.kind, row.a, row.b): row for row in correlations(frame)}
    raw, partial = rows["plain", JACCARD, STABILITY], rows["partial", JACCARD, STABILITY]
    expected = stats.spearmanr(frame[JACCARD], frame[STABILITY])
    assert raw.rho == pytest.approx(expected.statistic) and raw.p == pytest.approx(expected.pvalue)
    assert raw.rho > 0.8 and abs(partial.rho) < 0.5 and partial.p > 0.01
    plain = [row.p for row in rows.values() if row.kind == "plain"]
    assert [row.p_holm for row in rows.values() if row.kind == "plain"] == pytest.approx(
        multipletests(plain, method="holm")[1]
    )
    assert len(plain) == 15 and all(-1 <= row.ci[0] < row.rho < row.ci[1] <= 1 for row in rows.values())
    constant = correlations(frame.assign(**{STABILITY: 0.1}))
    assert all(
        row.rho is None and "val_loss_stability is constant" in row.reason
        for row in constant
        if STABILITY in (row.a, row.b)
    )
    assert all("at least 5" in row.reason for row in correlations(frame.head(4)))


def test_holm_leaves_out_what_was_not_tested():
    assert holm([0.01, None, 0.04, 0.03]) == [
        pytest.approx(0.03),
        None,
        pytest.approx(0.06),
        pytest.approx(0.06),
    ]


def test_shares_of_variance_sum_to_one_and_follow_the_sums_of_squares():
    frame = noisy(effect=0.01)
    found = importance(frame, JACCARD)
    total = float(((frame[JACCARD] - frame[JACCARD].mean()) ** 2).sum())
    assert "functional" in found.method and found.biased and "biased upward" in " ".join(found.notes)
    assert sum(row.share for row in found.shares) == pytest.approx(1, rel=1e-10) and len(found.shares) == 7
    for row, term in zip(found.shares, anova(frame, JACCARD, draws=0).terms, strict=False):
        assert row.share * total == pytest.approx(term.sum_sq, rel=1e-8)
    partial = importance(random_failures(frame, 3, 1), JACCARD)
    assert "Type II" in partial.method and sum(row.share for row in partial.shares) == pytest.approx(1)
    assert partial.shares[-1].term == "residual"


def test_repeats_take_the_noise_out_of_the_shares():
    frame = noisy((1, 2, 3), effect=0.02)
    found = importance(frame, JACCARD)
    shares = {row.term: row for row in found.shares}
    assert not found.biased and shares["architecture"].share_unbiased > shares["architecture"].share > 0.8
    assert sum(row.share_unbiased for row in found.shares) == pytest.approx(1)
    within = frame.groupby(list(FACTORS))[JACCARD].transform("mean")
    share = ((frame[JACCARD] - within) ** 2).sum() / ((frame[JACCARD] - frame[JACCARD].mean()) ** 2).sum()
    assert found.replicates.share == pytest.approx(share, rel=1e-8)


def test_noise_is_the_pooled_standard_deviation_of_repeats():
    frame = random_failures(noisy((1, 2, 3), effect=0.02), 10, 18)
    found = noise(frame)
    groups = frame[frame.successful].groupby(list(FACTORS))[JACCARD]
    squares, df = ((groups.count() - 1) * groups.var().fillna(0)).sum(), (groups.count() - 1).sum()
    assert found.known and found.df == df and found.sd == pytest.approx(math.sqrt(squares / df), rel=1e-9)
    assert found.sd_ci[0] < 0.01 < found.sd_ci[1] and found.icc > 0.5
    unknown = noise(noisy())
    assert not unknown.known and unknown.sd is None
    assert unknown.reason == "no configuration has more than one successful point: run several seeds"
    shared = noisy((1, 2, 3))
    shared[JACCARD] += 0.1 * shared["seed"]
    assert noise(shared).sd > 0.05 and noise(shared).sd_within_seed == pytest.approx(0.01, rel=0.3)


@pytest.mark.parametrize("effect", [0.3, 0.5, 1.0, 1.5, 2.0, 3.0])
def test_seeds_to_settle_is_the_smallest_number_that_reaches_the_power(effect):
    found = seeds_to_settle(effect * 0.01, 0.01)
    power = [TTestIndPower().power(effect, n, 0.05) for n in (found, found - 1)]
    assert power[0] >= 0.8 > power[1]


def test_seeds_to_settle_is_bounded():
    assert [seeds_to_settle(d, 0.01) for d in (0.0, 1e-6, math.nan, 1e9)] == [1000, 1000, 1000, 2]
    assert (
        seeds_to_settle(0.1, 0.0) == 2
        and seeds_to_settle(-0.01, 0.01) == 17
        and isinstance(seeds_to_settle(1, 1), int)
    )
    with pytest.raises(ValueError, match="expected both between 0 and 1"):
        seeds_to_settle(0.1, 0.1, power=1.0)


@pytest.mark.skipif(not PREDECESSOR.exists(), reason="the predecessor's results are not on this machine")
def test_the_predecessors_repeats_are_recognised_as_noise():
    frame = load_summary(PREDECESSOR)
    pair = frame[frame["repeat"].astype(float) <= 2].reset_index(drop=True)
    # All points trained at one learning rate, so each of nine configurations has four repeats in each grid.
    assert noise(pair).known and noise(pair).cells == 9
    for rows in (pair, frame):
        table = anova(rows, JACCARD)
        assert table.block.term == "seed"  # load_summary uses the repeats as seeds
        assert [term.term for term in table.terms] == [
            "batch_size",
            "architecture",
            "batch_size:architecture",
        ]
        assert "learning rate was left out: all points trained at 0.001" in " ".join(table.notes)


def everything(frame: pd.DataFrame, metrics=(JACCARD, STABILITY)) -> dict:
    found = {
        "correlations": correlations(frame),
        "noise": noise(frame),
        "indistinguishable": indistinguishable(ranking(frame)),
        "hypotheses": hypotheses(frame),
    }
    for metric in metrics:
        for function in (anova, assumptions, rank_tests, importance):
            found[function.__name__, metric] = function(frame, metric)
        for factor in FACTORS:
            found["pairwise", metric, factor] = pairwise(frame, metric, factor)
            found["marginal_means", metric, factor] = marginal_means(frame, metric, factor)
    for result in found.values():
        for record in result if isinstance(result, tuple) else (result,):
            json.dumps(record.fields(), allow_nan=False)
            if isinstance(record, Outcome):
                assert record.computed or record.reason
    return found


ODD = {
    "empty": noisy().head(0),
    "one point": noisy().head(1),
    "two points": noisy().head(2),
    "one architecture": noisy(architectures=("UNet",)),
    "one rate": noisy(rates=(1e-3,)),
    "one cell, three seeds": noisy((1, 2, 3), rates=(1e-3,), batches=(8,), architectures=("UNet",)),
    "ties": noisy().round(2),
    "all tie but one": noisy().assign(**{JACCARD: [0.5] * 35 + [0.6], STABILITY: 0.0}),
    "constant": noisy().assign(**{JACCARD: 0.5, STABILITY: 1e-3}),
    "additive to the last digit": noisy().assign(**{JACCARD: lambda f: 0.3 + 0.01 * f["batch_size"] / 8}),
    "all diverged": without(noisy(), range(36), "diverged"),
    "all failed": without(noisy(), range(36), "oom"),
    "huge": noisy().assign(**{STABILITY: lambda f: f[STABILITY] * 1e100}),
    "huge and tiny": noisy().assign(**{STABILITY: lambda f: 10.0 ** np.linspace(-300, 300, 36)}),
    "infinite": noisy().assign(**{STABILITY: math.inf}),
    "metric missing": noisy().drop(columns=[STABILITY, "overfitting_gap"]),
    "repeated rows": pd.concat([noisy(), noisy()], ignore_index=True),
    "an axis that copies another": noisy().assign(copy=lambda f: f["architecture"]),
    "an axis with holes": noisy().assign(axis=[None, "1", "2"] * 12),
    "own row labels": noisy().set_index(pd.Index(range(100, 136))),
}  # fmt: skip


@pytest.mark.parametrize("frame", ODD.values(), ids=ODD)
def test_odd_data_give_reasons_and_no_error(frame):
    before = frame.copy()
    everything(frame)
    pd.testing.assert_frame_equal(frame, before)


@pytest.mark.parametrize("seeds", [(1,), (1, 2, 3)])
def test_any_number_of_points_may_be_missing(seeds):
    rng = np.random.default_rng(19)
    frame = noisy(seeds)
    for missing in range(1, 36, 2 if len(seeds) == 1 else 6):
        rows = rng.choice(len(frame), missing * len(seeds), replace=False)
        everything(without(frame, rows, rng.choice(["oom", "diverged"])))


def test_a_metric_without_values_has_a_reason():
    assert "no column" in anova(noisy(), "nonsense").reason
    assert "is constant" in anova(ODD["constant"], JACCARD).reason
    assert "reproduces every value" in anova(ODD["additive to the last digit"], JACCARD).reason
    assert "0 successful points" in anova(ODD["all diverged"], JACCARD).reason
    assert rank_tests(ODD["all diverged"], JACCARD).primary == "rank"
    assert "it has only one value" in " ".join(anova(ODD["one architecture"], JACCARD).notes)
    assert "fewer than two values" in pairwise(ODD["one architecture"], JACCARD, "architecture").reason


def test_ten_thousand_rows_are_analysed():
    large = noisy(
        range(10),
        None,
        0.0,
        rates=tuple(range(1, 11)),
        batches=tuple(range(1, 11)),
        architectures=tuple("abcdefghij"),
    )
    everything(large, (JACCARD,))


def test_the_units_do_not_change_the_results():
    frame = noisy(effect=0.005)
    one, other = (
        anova(frame.assign(**{STABILITY: frame[JACCARD] * factor}), STABILITY) for factor in (1, 1e50)
    )
    for a, b in zip(one.terms, other.terms, strict=True):
        assert a.f == pytest.approx(b.f, rel=1e-9) and a.partial_eta_sq_ci == pytest.approx(
            b.partial_eta_sq_ci, abs=1e-6
        )
    assert prepare(frame, JACCARD).balanced()
