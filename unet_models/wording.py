"""How lists stand in messages."""

from __future__ import annotations

from collections.abc import Sequence


def first_of(names: Sequence[str], most: int = 3, *, joined: str = ", ") -> str:
    """At most ``most`` of ``names``, and how many more there are: ``a, b, c and 4 more``."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return joined.join(names[:most]) + more
