"""Sets of indices in the notation of ``qsub -J``: arithmetic progressions ``X-Y:STEP``.

``qsub -J`` accepts neither a list nor a single index. But ``7-8:2`` runs exactly index 7, and ``3-7:4`` exactly 3
and 7, so any set can be run as a few arrays in which each sub-job keeps its index.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence

EXACT = 10  # up to this many indices, the smallest possible number of arrays is found
LARGEST = 1_000_000  # the largest index that is accepted: above that of any run, and small enough to list
THOROUGH = 400  # up to this many indices, the longest progression is taken first; above, only neighbours are compared


def expression(indices: Sequence[int]) -> str:
    """The ``-J`` argument for one arithmetic progression in ascending order; ``ValueError`` if it is not one.

    >>> expression([7]), expression([3, 7]), expression([1, 2, 3])
    ('7-8:2', '3-7:4', '1-3')
    """
    first = indices[0]
    if len(indices) == 1:
        return f"{first}-{first + 1}:2"
    step = indices[1] - first
    if any(b - a != step for a, b in itertools.pairwise(indices)) or step < 1:
        raise ValueError(f"received {list(indices)}, expected an arithmetic progression")
    return f"{first}-{indices[-1]}" + (f":{step}" if step > 1 else "")


def indices_of(text: str) -> range:
    """The indices that ``X-Y``, ``X-Y:STEP``, ``X-Y%MAX`` or ``X-Y:STEP%MAX`` runs; ``ValueError`` for anything else.

    >>> list(indices_of("3-7:4"))
    [3, 7]
    """
    match = re.fullmatch(r"(\d+)-(\d+)(?::(\d+))?(?:%\d+)?", text)
    if match is None or int(match[1]) >= int(match[2]) or int(match[3] or 1) < 1 or int(match[2]) > LARGEST:
        raise ValueError(f"received {text!r}, expected X-Y or X-Y:STEP with indices up to {LARGEST:,}")
    return range(int(match[1]), int(match[2]) + 1, int(match[3] or 1))


def progressions(indices: Iterable[int], limit: int | None = None) -> list[list[int]]:
    """A set of indices, divided into few arithmetic progressions of at most ``limit`` indices each.

    As few as possible for up to :data:`EXACT` indices. Sorted by their first index.

    >>> progressions([3, 7, 22])
    [[3, 7], [22]]
    """
    left = sorted(set(indices))
    if len(left) <= EXACT:
        found = _fewest(left)
    elif len(left) <= THOROUGH:
        found = _longest_first(left)
    else:
        found = _neighbours(left)
    cut = [
        part[start : start + (limit or len(part))]
        for part in found
        for start in range(0, len(part), limit or len(part))
    ]
    return sorted(cut)


def _extend(first: int, step: int, members: set[int]) -> list[int]:
    found = [first]
    while found[-1] + step in members:
        found.append(found[-1] + step)
    return found


def _longest(left: Sequence[int]) -> list[int]:
    members = set(left)
    best = [left[0]]
    for first, second in itertools.combinations(left, 2):
        step = second - first
        if first - step in members or first + step * len(best) > left[-1]:
            continue  # part of a longer progression, or too near the end to be longer than the best
        candidate = _extend(first, step, members)
        if len(candidate) > len(best):
            best = candidate
    return best


def _longest_first(left: list[int]) -> list[list[int]]:
    found = []
    while left:
        best = _longest(left)
        found.append(best)
        taken = set(best)
        left = [index for index in left if index not in taken]
    return found


def _neighbours(left: list[int]) -> list[list[int]]:
    """Divides in one pass: an index belongs to the last progression if its step is the same."""
    found: list[list[int]] = [[left[0]]]
    for position, index in enumerate(left[1:], start=1):
        last = found[-1]
        if len(last) == 1:
            # A single index just before a run of consecutive ones must not take the first of them.
            following = left[position + 1] - index if position + 1 < len(left) else None
            if index - last[0] != 1 and following == 1:
                found.append([index])
            else:
                last.append(index)
        elif index - last[-1] == last[-1] - last[-2]:
            last.append(index)
        else:
            found.append([index])
    return found


def _fewest(left: list[int]) -> list[list[int]]:
    """The smallest number of progressions, by iterative deepening up to the number that the greedy search needs.

    Each step chooses the progression that contains the smallest index left.
    """
    best = _longest_first(left)

    def search(rest: tuple[int, ...], depth: int) -> list[list[int]] | None:
        if not rest:
            return []
        if depth == 0:
            return None
        members = set(rest)
        longest = [_extend(rest[0], second - rest[0], members) for second in rest[1:]] or [[rest[0]]]
        for candidate in sorted(longest, key=len, reverse=True):
            for length in range(len(candidate), 0, -1):
                part = candidate[:length]
                remaining = search(tuple(i for i in rest if i not in set(part)), depth - 1)
                if remaining is not None:
                    return [part, *remaining]
        return None

    for depth in range(1, len(best)):
        found = search(tuple(left), depth)
        if found is not None:
            return found
    return best
