"""``retry:`` of the site block: what it accepts, what it means, and what it refuses."""

from __future__ import annotations

import pytest

from jobs.common.errors import UserError
from jobs.grid.config import load_config
from jobs.grid.retry import DEFAULT, RetryRule, parse_retry
from tests.conftest import TINY


def test_a_class_has_a_number_of_times_or_a_block(write_grid):
    text = TINY.rstrip() + "\n"
    path = write_grid(
        text + 'site: {retry: {timeout: {times: 2, walltime: x1.5, walltime_up_to: "09:00:00"}, lost: 3}}\n'
    )
    assert load_config(path).site["retry"] == {
        "timeout": RetryRule(2, walltime=1.5, walltime_up_to="09:00:00"),
        "lost": RetryRule(3),
    }


def test_without_the_key_failures_that_a_repetition_may_cure_are_repeated(write_grid):
    assert load_config(write_grid(TINY)).site["retry"] == DEFAULT
    assert set(DEFAULT) == {"timeout", "lost", "error"}
    assert parse_retry({}) == {} and parse_retry(None) == DEFAULT


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([], "classes"),
        ({"done": 1}, "classes"),
        ({"timeout": "often"}, "classes"),
        ({"timeout": {"times": 2, "wall": 2}}, "classes"),
        ({"timeout": {}}, "times: a whole number from 0 to 100"),
        ({"timeout": True}, "classes"),
        ({"timeout": {"times": True}}, "times: a whole number"),
        ({"timeout": 101}, "times: a whole number"),
        ({"timeout": {"times": 1, "walltime": "1.5h"}}, "walltime: a factor such as x1.5"),
        ({"timeout": {"times": 1, "walltime": 0.5}}, "walltime: a factor from x1 to x10"),
        ({"timeout": {"times": 1, "walltime_up_to": 86400}}, 'walltime_up_to such as "24:00:00" in quotes'),
        ({"oom": {"times": 1, "mem_up_to": "128"}}, "mem_up_to such as 128gb"),
    ],
)
def test_anything_else_is_refused_with_what_is_expected(value, words):
    with pytest.raises(ValueError, match=words.replace("(", r"\(")):
        parse_retry(value)


def test_a_mistake_in_the_file_is_an_error_with_its_line(write_grid):
    with pytest.raises(UserError, match=r"site\.retry: received .*sometimes"):
        load_config(write_grid(TINY.rstrip() + "\nsite: {retry: {timeout: sometimes}}\n"))


def test_each_attempt_requests_more_up_to_the_limit():
    rule = RetryRule(3, walltime=1.5, mem=2.0, walltime_up_to="08:00:00", mem_up_to="100gb")
    walltimes, mems = ["04:00:00"], ["32gb"]
    for _ in range(3):
        walltimes.append(rule.more_walltime(walltimes[-1]))
        mems.append(rule.more_mem(mems[-1]))
    assert walltimes == ["04:00:00", "06:00:00", "08:00:00", "08:00:00"]
    assert mems == ["32gb", "64gb", "100gb", "100gb"]


def test_a_limit_never_makes_a_request_smaller_than_it_was():
    rule = RetryRule(1, walltime=2.0, mem=2.0, walltime_up_to="01:00:00", mem_up_to="1gb")
    assert (rule.more_walltime("04:00:00"), rule.more_mem("32gb")) == ("04:00:00", "32gb")
