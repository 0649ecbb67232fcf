"""What to request: margins, and rounding from both sides."""

from __future__ import annotations

import pytest

from jobs.cost.requests import MARGINS, mem_for, walltime_for


@pytest.mark.parametrize(
    ("needed", "margin", "walltime"),
    [
        (840, 1.0, "00:15:00"),  # 60 s are added for stopping in order
        (841, 1.0, "00:30:00"),
        (560, 1.5, "00:15:00"),
        (561, 1.5, "00:30:00"),
        (35_940, 1.0, "10:00:00"),
        (35_941, 1.0, "10:15:00"),
        (100 * 3600, 1.5, "150:15:00"),
    ],
)
def test_walltimes_are_rounded_up_to_quarters_of_an_hour(needed, margin, walltime):
    assert walltime_for(needed, margin) == walltime


@pytest.mark.parametrize(
    ("peak", "mem"),
    [(0, "1gb"), (819.2, "2gb"), (819.3, "3gb"), (1638.4, "3gb"), (8000, "11gb"), (80_000, "99gb")],
)
def test_memory_is_a_quarter_and_a_gigabyte_more_rounded_up(peak, mem):
    assert mem_for(peak) == mem


def test_the_margins_are_those_of_the_documentation():
    assert MARGINS == {"points": 1.25, "probe": 1.5, "scaled": 2.0}
