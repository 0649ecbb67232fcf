"""Approximations for large values have exactly the value of their formula."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests

from analysis.statistics.intervals import hedges_factor, holm, noncentral_t_interval, t_test_power


@pytest.mark.parametrize(("t", "df"), [(40.0, 20), (-55.0, 7)])
def test_a_large_t_has_the_interval_of_the_normal_approximation(t, df):
    half = stats.norm.ppf(0.975) * math.sqrt(1 + t * t / (2 * df))
    assert noncentral_t_interval(t, df) == pytest.approx((t - half, t + half), rel=1e-12)


@pytest.mark.parametrize(("t", "df"), [(0.0, 5), (2.5, 12), (-6.0, 30), (29.0, 40)])
def test_the_interval_of_a_t_value_inverts_the_noncentral_t(t, df):
    low, high = noncentral_t_interval(t, df)
    assert stats.nct.sf(t, df, low) == pytest.approx(0.025, abs=1e-7)
    assert stats.nct.cdf(t, df, high) == pytest.approx(0.025, abs=1e-7)


def test_the_power_for_a_large_effect_is_that_of_the_normal_approximation():
    effect, n = 31.0, 2
    critical = stats.t.ppf(0.9995, 2)
    spread = math.sqrt(1 + critical**2 / 4)
    expected = stats.norm.cdf((effect * math.sqrt(n / 2) - critical) / spread)
    assert 0.1 < expected < 0.999
    assert t_test_power(effect, n, 0.001) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("df", [2, 7, 30])
def test_the_hedges_factor_is_the_exact_one(df):
    expected = math.gamma(df / 2) / math.gamma((df - 1) / 2) / math.sqrt(df / 2)
    assert hedges_factor(df) == pytest.approx(expected, rel=1e-12)


@given(st.lists(st.none() | st.floats(0, 1), max_size=12))
@settings(deadline=None, max_examples=25)  # statsmodels collects garbage in every call
def test_holms_correction_is_that_of_statsmodels_over_the_values_there_are(p):
    given_values = [value for value in p if value is not None]
    expected = list(multipletests(given_values, method="holm")[1]) if given_values else []
    adjusted = holm(p)
    assert [value for value in adjusted if value is not None] == pytest.approx(expected)
    assert [value is None for value in adjusted] == [value is None for value in p]


def test_holms_correction_never_reverses_an_order():
    # 3 x 0.02 is more than 2 x 0.025: the second is raised to the first.
    assert holm([0.025, None, 0.02, 0.5]) == [pytest.approx(0.06), None, pytest.approx(0.06), 0.5]
