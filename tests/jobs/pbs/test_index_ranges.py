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


@pytest.mark.parametrize("text", ["5", "5-5", "5-4", "1-3:0", "1,3", "", "a-b"])
def test_what_pbs_refuses_is_refused(text):
    with pytest.raises(ValueError, match="expected X-Y"):
        indices_of(text)


def test_what_is_no_progression_is_refused():
    with pytest.raises(ValueError, match="arithmetic progression"):
        expression([1, 2, 4])
