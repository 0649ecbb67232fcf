"""The ids of PBS jobs: ``12.server`` is a job, ``12[].server`` a job array, ``12[7].server`` its sub-job 7.

Numbers are integers: PBS counts upwards, so the larger of two numbers is the newer job.
"""

from __future__ import annotations

import re

_JOB = re.compile(r"\s*([0-9]{1,18})(?:\[([0-9]{0,18})\])?(?:\.[\w.-]+)?\s*")


def job_number(job_id: str | None) -> int | None:
    """The number of the job; ``None`` if ``job_id`` is not the id of a job.

    >>> job_number("12.server"), job_number("12[].server"), job_number("12[7].server"), job_number("hello")
    (12, 12, 12, None)
    """
    match = _JOB.fullmatch(job_id) if job_id is not None else None
    return int(match[1]) if match else None


def sub_job_index(job_id: str | None) -> int | None:
    """The index of a sub-job; ``None`` for a whole array, an ordinary job and anything else.

    >>> sub_job_index("12[7].server"), sub_job_index("12[].server")
    (7, None)
    """
    match = _JOB.fullmatch(job_id) if job_id is not None else None
    return int(match[2]) if match and match[2] else None


def array_id(job_id: str) -> str:
    """The id of the array that a sub-job belongs to; any other id is returned unchanged.

    >>> array_id("12[7].server"), array_id("12.server")
    ('12[].server', '12.server')
    """
    return re.sub(r"\[[0-9]*\]", "[]", job_id, count=1)


def sub_job_id(job_id: str, index: int) -> str:
    """The id of the sub-job ``index`` of an array; the id of an ordinary job is returned unchanged.

    >>> sub_job_id("12[].server", 7), sub_job_id("12.server", 7)
    ('12[7].server', '12.server')
    """
    return re.sub(r"\[[0-9]*\]", f"[{index}]", job_id, count=1)


def is_array(job_id: str) -> bool:
    """Whether ``job_id`` is that of a whole array.

    >>> is_array("12[].server"), is_array("12[7].server"), is_array("12.server")
    (True, False, False)
    """
    match = _JOB.fullmatch(job_id)
    return match is not None and match[2] == ""
