"""A regular expression of the user's, looked for in names, for a limited time.

Python's engine tries all ways to match: ``(a+)+b`` takes longer than the age of the universe on forty times the letter a,
and nothing but the end of the process stops it.
"""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from collections.abc import Sequence

from unet_models.data.errors import DataError

LIMIT = 10.0  # seconds for all names of a folder; a usual pattern takes a millisecond for ten thousand
_PROGRAM = """
import json, re, sys
pattern, names = json.load(sys.stdin)
found = [re.search(pattern, name) for name in names]
json.dump([one and (one.group(1) or "") for one in found], sys.stdout)
"""


def first_groups(pattern: str, names: Sequence[str]) -> list[str | None]:
    """What the first group of ``pattern`` matches in each of ``names``; ``None`` where it is not found.

    Raises:
        DataError: it takes more than :data:`LIMIT` seconds, or more memory than there is.
    """
    return list(_first_groups(pattern, tuple(names)))


@functools.lru_cache(maxsize=32)
def _first_groups(pattern: str, names: tuple[str, ...]) -> tuple[str | None, ...]:
    try:
        answer = subprocess.run(
            [sys.executable, "-I", "-S", "-c", _PROGRAM],
            input=json.dumps([pattern, names]),
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=True,
        )
    except subprocess.TimeoutExpired:
        raise DataError(
            f"data.slice_pattern: received {pattern[:200]!r}, which takes more than {LIMIT:g} s for names such as "
            f"'{names[0]}'; expected a pattern without repetitions of repetitions, for example 'z(\\d+)'"
        ) from None
    except (subprocess.SubprocessError, OSError) as error:
        raise DataError(
            f"data.slice_pattern: {pattern[:200]!r} cannot be looked for in names such as '{names[0]}' ({error}); expected "
            "a simpler pattern, for example 'z(\\d+)'"
        ) from error
    return tuple(json.loads(answer.stdout))
