"""Points in arrays: as few arrays as possible, the longest points first, and never more at a time than allowed."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.pbs.arrays import GROUP_RATIO, MOST_ARRAYS, arrays, groups, makespan, shares


def test_points_of_about_the_same_duration_are_one_array():
    assert arrays(range(1, 13), durations={index: 100 + index for index in range(1, 13)}) == [
        list(range(1, 13))
    ]
    assert arrays(range(1, 13)) == [list(range(1, 13))]


def test_clearly_longer_points_are_arrays_of_their_own_and_come_first():
    durations = {index: 100.0 if index <= 4 else 300.0 if index % 2 else 200.0 for index in range(1, 13)}
    found = arrays(range(1, 13), durations=durations)
    assert found == [[5, 7, 9, 11], [6, 8, 10, 12], [1, 2, 3, 4]]
    assert arrays(range(1, 13), durations=durations, limit=3)[:2] == [[5, 7, 9], [11]]


def test_an_order_that_makes_the_run_longer_is_dropped():
    durations = {1: 100.0, 2: 100.0, 3: 60.0, 4: 60.0}
    # With two arrays, one at a time of each: the longer two take 200 s. All four in one array take 160 s.
    assert arrays(durations, durations=durations, max_running=2) == [[1, 2, 3, 4]]
    assert arrays(durations, durations=durations, max_running=2, apart=True) == [[1, 2], [3, 4]]
    assert arrays(durations, durations=durations, max_running=4) == [[1, 2], [3, 4]]


def test_there_are_no_more_arrays_than_sub_jobs_at_a_time():
    durations = {index: 2.0**index for index in range(1, 9)}
    assert len(arrays(durations, durations=durations, max_running=3, apart=True)) <= 3
    assert arrays(durations, durations=durations, max_running=1, apart=True) == [list(range(1, 9))]
    many = {index: 1.3**index for index in range(1, 40)}
    assert len(arrays(many, durations=many)) <= MOST_ARRAYS


def test_shares_are_proportional_to_the_work_and_add_up_to_the_limit():
    durations = {index: 4.0 if index <= 10 else 1.0 for index in range(1, 21)}
    parts = [list(range(1, 11)), list(range(11, 21))]
    assert shares(parts, durations, 10) == [8, 2]
    assert shares(parts, durations, None) == [None, None]
    assert shares(parts, durations, 20) == [None, None]
    assert shares(parts, durations, 1) == [1, 1]  # no array can have less
    assert shares([[1], [2, 3]], {}, 2) == [None, 1]


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(st.integers(1, 40), st.floats(1, 1e6), min_size=1, max_size=30),
    st.one_of(st.none(), st.integers(1, 12)),
    st.booleans(),
)
def test_every_point_is_in_exactly_one_array_and_shares_are_kept(durations, max_running, apart):
    found = arrays(durations, durations=durations, max_running=max_running, apart=apart)
    assert sorted(itertools.chain(*found)) == sorted(durations)
    given_shares = shares(found, durations, max_running)
    if max_running is not None and len(found) <= max_running:
        running = sum(
            len(part) if share is None else share for part, share in zip(found, given_shares, strict=True)
        )
        assert running <= max_running


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.integers(1, 50), st.floats(1, 1e6), min_size=1))
def test_groups_are_in_falling_order_and_each_is_narrow(durations):
    found = groups(durations, durations)
    assert sorted(itertools.chain(*found)) == sorted(durations)
    for group in found:
        times = [durations[index] for index in group]
        assert max(times) <= GROUP_RATIO * min(times) * (1 + 1e-9)
    longest = [max(durations[index] for index in group) for group in found]
    assert longest == sorted(longest, reverse=True)


@pytest.mark.parametrize(
    ("durations", "places", "end"), [([], 3, 0), ([5], 3, 5), ([5, 5, 4, 4, 3, 3, 3], 3, 11), ([1, 1], 1, 2)]
)
def test_the_end_of_a_list_of_jobs(durations, places, end):
    """The third is an example by Graham: with the longest first it takes 11, with the best order 9."""
    assert makespan(durations, places) == end
