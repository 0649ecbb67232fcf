from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.pbs.index_ranges import expression, indices_of, progressions


@pytest.mark.parametrize(
    ("indices", "expected"),
    [
        ([7], ["7-8:2"]),
        ([3, 7], ["3-7:4"]),
        ([3, 7, 22], ["3-7:4", "22-23:2"]),
        (range(1, 37), ["1-36"]),
        ([1, 3, 5, 7, 2], ["1-7:2", "2-3:2"]),
        ([5, 10, 15, 6, 11, 16], ["5-15:5", "6-16:5"]),
    ],
)
def test_a_set_becomes_the_fewest_arrays(indices, expected):
    assert [expression(part) for part in progressions(indices)] == expected


@given(st.sets(st.integers(1, 60), min_size=1, max_size=40))
def test_every_index_runs_exactly_once_and_keeps_its_number(indices):
    run = [index for part in progressions(indices) for index in indices_of(expression(part))]
    assert sorted(run) == sorted(indices)


@given(st.sets(st.integers(1, 20_000), min_size=401, max_size=900), st.integers(2, 50))
def test_large_sets_and_limits_lose_nothing(indices, limit):
    parts = progressions(indices, limit)
    assert max(map(len, parts)) <= limit
    assert sorted(index for part in parts for index in indices_of(expression(part))) == sorted(indices)


def test_ten_thousand_indices_with_two_missing_are_three_arrays():
    assert len(progressions(set(range(1, 10_001)) - {50, 5000})) == 3


@pytest.mark.parametrize(
    ("text", "indices"),
    [
        ("1-3", [1, 2, 3]),
        ("0-1", [0, 1]),
        ("9-10", [9, 10]),  # as text, 9 is the larger
        ("99-101:2", [99, 101]),
        ("7-8:2", [7]),
        ("7-9:5", [7]),
        ("3-7%2", [3, 4, 5, 6, 7]),
        ("1-9:2%1", [1, 3, 5, 7, 9]),
        ("2-12:10", [2, 12]),
        ("999999-1000000", [999999, 1000000]),
    ],
)
def test_the_indices_that_an_expression_runs(text, indices):
    assert list(indices_of(text)) == indices


@pytest.mark.parametrize(
    "text", ["5", "5-", "5-5", "7-7:1", "5-4", "10-9", "1-3:0", "1,3", "1-2,5", "", "a-b", "1-1000001"]
)
def test_expressions_that_pbs_refuses_are_refused(text):
    with pytest.raises(ValueError, match=r"expected X-Y or X-Y:STEP with indices up to 1,000,000"):
        indices_of(text)


@pytest.mark.parametrize("indices", [[1, 2, 4], [3, 2], [2, 2]])
def test_indices_without_a_common_step_are_refused(indices):
    with pytest.raises(ValueError, match="expected an arithmetic progression"):
        expression(indices)


def test_a_limit_cuts_a_progression_into_pieces():
    assert progressions(range(1, 12), 5) == [[1, 2, 3, 4, 5], [6, 7, 8, 9, 10], [11]]
    assert progressions(range(8, 12)) == [[8, 9, 10, 11]]  # sorted as numbers
