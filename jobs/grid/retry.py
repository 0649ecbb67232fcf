"""``retry:`` of the site block: which failed points ``jobs.supervise`` submits again, how often, and with how much more.

The class of a failure decides, as in Nextflow's ``errorStrategy``, and each attempt may request more, as with
Snakemake's ``attempt``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from jobs.common.states import FAILED
from jobs.common.units import clock
from jobs.grid.sites import seconds, size_mb

MOST_TIMES, LARGEST_FACTOR = 100, 10.0
CLASSES = FAILED
EXPECTED = (
    f"classes ({', '.join(CLASSES)}), each with a number of times or a block such as "
    '{times: 2, walltime: x1.5, walltime_up_to: "24:00:00"}, where mem and mem_up_to work like walltime'
)
_WALLTIME = re.compile(r"\d{1,4}:[0-5]\d:[0-5]\d")
_MEM = re.compile(r"[1-9]\d*(?:kb|mb|gb|tb)", re.IGNORECASE)


class RetryRule(msgspec.Struct, frozen=True):
    """What happens to a point that ended in one class.

    It is submitted again at most ``times`` times. Each time it requests ``walltime`` and ``mem`` times as much as
    before, at most ``walltime_up_to`` (HH:MM:SS) and ``mem_up_to`` (such as 128gb).
    """

    times: int
    walltime: float = 1.0
    mem: float = 1.0
    walltime_up_to: str | None = None
    mem_up_to: str | None = None

    def more_walltime(self, before: str) -> str:
        """The walltime to request after ``before``.

        >>> RetryRule(2, walltime=1.5, walltime_up_to="05:00:00").more_walltime("04:00:00")
        '05:00:00'
        """
        wanted = seconds(before) * self.walltime
        if self.walltime_up_to is not None:
            # Somebody may have requested more than the limit by hand: that is never made less.
            wanted = max(seconds(before), min(wanted, seconds(self.walltime_up_to)))
        return clock(wanted)

    def more_mem(self, before: str) -> str:
        """The memory to request after ``before``.

        >>> RetryRule(2, mem=2.0).more_mem("32gb"), RetryRule(2).more_mem("32gb")
        ('64gb', '32gb')
        """
        wanted = size_mb(before) * self.mem
        if self.mem_up_to is not None:
            wanted = max(size_mb(before), min(wanted, size_mb(self.mem_up_to)))
        if wanted == size_mb(before):
            return before
        return f"{wanted / 1024:.0f}gb" if wanted % 1024 == 0 else f"{wanted:.0f}mb"


# A failure that a second attempt may cure. A point that was cancelled was stopped by somebody, and one that ran out of
# memory does so again unless it requests more.
DEFAULT: Mapping[str, RetryRule] = {
    "timeout": RetryRule(3, walltime=1.5),
    "lost": RetryRule(3),
    "error": RetryRule(1),
}


def parse_retry(value: Any) -> Mapping[str, RetryRule]:
    """The rules by class; ``ValueError`` with what is expected. ``None`` stands for :data:`DEFAULT`, ``{}`` for none."""
    if value is None:
        return DEFAULT
    if not isinstance(value, dict) or not set(value) <= set(CLASSES):
        raise ValueError(EXPECTED)
    return {name: _rule(content) for name, content in value.items()}


def _rule(content: Any) -> RetryRule:
    if type(content) is int:
        content = {"times": content}
    if not isinstance(content, dict) or not set(content) <= set(RetryRule.__struct_fields__):
        raise ValueError(EXPECTED)
    times = content.get("times")
    if type(times) is not int or not 0 <= times <= MOST_TIMES:
        raise ValueError(f"times: a whole number from 0 to {MOST_TIMES}, in {EXPECTED}")
    return RetryRule(
        times,
        walltime=_factor(content.get("walltime", 1), "walltime"),
        mem=_factor(content.get("mem", 1), "mem"),
        walltime_up_to=_limit(content.get("walltime_up_to"), "walltime_up_to", _WALLTIME),
        mem_up_to=_limit(content.get("mem_up_to"), "mem_up_to", _MEM),
    )


def _limit(value: Any, key: str, pattern: re.Pattern[str]) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not pattern.fullmatch(value):
        example = '"24:00:00" in quotes' if key == "walltime_up_to" else "128gb"
        raise ValueError(f"{key} such as {example}, in {EXPECTED}")
    return value


def _factor(value: Any, key: str) -> float:
    text = str(value).removeprefix("x") if isinstance(value, str | int | float) else ""
    if isinstance(value, bool) or not re.fullmatch(r"\d{1,3}(\.\d{1,6})?", text):
        raise ValueError(f"{key}: a factor such as x1.5, in {EXPECTED}")
    if not 1 <= float(text) <= LARGEST_FACTOR:
        raise ValueError(f"{key}: a factor from x1 to x{LARGEST_FACTOR:g}, in {EXPECTED}")
    return float(text)
