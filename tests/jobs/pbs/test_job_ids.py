from __future__ import annotations

import pytest

from jobs.pbs.job_ids import array_id, job_number, sub_job_index


@pytest.mark.parametrize(
    ("text", "number", "index"),
    [
        ("12", 12, None),
        ("12.pbshost", 12, None),
        ("12[]", 12, None),
        ("12[].pbs-101.nscc.sg", 12, None),
        ("12[7].pbshost", 12, 7),
        ("12[10].pbshost", 12, 10),
        (" 12[7].pbshost\n", 12, 7),
        ("0012.pbshost", 12, None),
        ("9" * 18, int("9" * 18), None),
        ("9" * 19, None, None),
        ("1[" + "9" * 19 + "].pbs", None, None),
        ("\u0661", None, None),  # a digit, but not one of PBS
        ("", None, None),
        (None, None, None),
        ("qsub: hello", None, None),
        ("12[x]", None, None),
        ("12 13", None, None),
    ],
)
def test_ids_are_understood_with_and_without_brackets_and_server(text, number, index):
    assert job_number(text) == number
    assert sub_job_index(text) == index


def test_numbers_are_compared_as_numbers():
    """As text ``"9"`` is larger than ``"10"``."""
    assert job_number("10[].pbs") > job_number("9[].pbs")
    assert job_number("1000000.pbs") > job_number("999999.pbs")


@pytest.mark.parametrize(
    ("job_id", "expected"),
    [
        ("12[7].pbshost", "12[].pbshost"),
        ("12[].pbshost", "12[].pbshost"),
        ("12[10]", "12[]"),
        ("12.pbshost", "12.pbshost"),
    ],
)
def test_a_sub_job_belongs_to_its_array(job_id, expected):
    assert array_id(job_id) == expected
