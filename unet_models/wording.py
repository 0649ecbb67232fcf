"""Lists and a command in messages."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

# Makes the Python environment; works from any folder.
MAKE_ENVIRONMENT = (
    f"bash {shlex.quote(str(Path(__file__).resolve().parents[1] / 'jobs' / 'make_environment.sh'))}"
)


def first_of(names: Sequence[str], most: int = 3, *, joined: str = ", ") -> str:
    """At most ``most`` of ``names``, and how many more there are: ``a, b, c and 4 more``."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return joined.join(names[:most]) + more
