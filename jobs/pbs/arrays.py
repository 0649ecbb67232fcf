"""Which points form one job array, in which order the arrays are submitted, and how many sub-jobs of each run at a time.

PBS starts jobs in the order in which they were submitted, and the sub-jobs of an array in the order of their indices.
A sub-job has the index of its point, so the longest points start first only if they are an array of their own.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence

from jobs.pbs.index_ranges import progressions

GROUP_RATIO = 1.25  # durations that differ by a smaller factor count as similar
MOST_ARRAYS = (
    12  # the most arrays that are made for the sake of the order; a set of indices may need more by itself
)
WORSE = (
    1.02  # the order is dropped if the run would take longer by more than this factor: less may be rounding
)


def makespan(durations: Iterable[float], places: int) -> float:
    """The time at which the last job ends if each one, in this order, starts in the place that is free first.

    With the longest first this is Graham's LPT rule, at most a third longer than the best order (SIAM Journal on
    Applied Mathematics 17, 1969). ``durations`` and the result are in the same unit; 0 without any job.

    >>> makespan([3, 2, 2, 1], 2)
    4.0
    """
    ends = [0.0] * max(1, places)
    for duration in durations:
        heapq.heappush(ends, heapq.heappop(ends) + duration)
    return float(max(ends))


def groups(durations: Mapping[int, float], indices: Iterable[int]) -> list[list[int]]:
    """The indices in groups of similar duration, the longest group first; each group in ascending order.

    Within a group no duration is more than :data:`GROUP_RATIO` times another. Indices without a duration are the last
    group.

    >>> groups({1: 10, 2: 5, 3: 9, 4: 4.5}, [1, 2, 3, 4])
    [[1, 3], [2, 4]]
    """
    wanted = set(indices)
    found: list[list[int]] = []
    longest = 0.0
    for index in sorted(wanted & set(durations), key=lambda one: (-durations[one], one)):
        if not found or durations[index] * GROUP_RATIO < longest:
            found.append([])
            longest = durations[index]
        found[-1].append(index)
    rest = sorted(wanted - set(durations))
    return [*(sorted(group) for group in found), *([rest] if rest else [])]


def shares(
    parts: Sequence[Sequence[int]], durations: Mapping[int, float], max_running: int | None
) -> list[int | None]:
    """How many sub-jobs of each array may run at a time, so that all arrays end at about the same time.

    The shares add up to at most ``max_running``, except that every array has a share of at least 1. ``None``: all
    sub-jobs of that array may run at once. ``durations`` are seconds by index; an unknown one counts as the mean.

    >>> shares([[1, 2, 3, 4], [5, 6, 7, 8]], {1: 3, 2: 3, 3: 3, 4: 3, 5: 1, 6: 1, 7: 1, 8: 1}, 4)
    [3, 1]
    """
    if max_running is None:
        return [None] * len(parts)
    middle = sum(durations.values()) / len(durations) if durations else 1.0
    work = [sum(durations.get(index, middle) for index in part) for part in parts]
    given = [1] * len(parts)
    for _ in range(max_running - len(parts)):
        open_parts = [place for place, part in enumerate(parts) if given[place] < len(part)]
        if not open_parts:
            break
        given[max(open_parts, key=lambda place: work[place] / given[place])] += 1
    return [share if share < len(part) else None for share, part in zip(given, parts, strict=True)]


def _all_end(parts: Sequence[Sequence[int]], durations: Mapping[int, float], max_running: int) -> float:
    given = shares(parts, durations, max_running)
    return max(
        makespan((durations.get(index, 0.0) for index in part), share or len(part))
        for part, share in zip(parts, given, strict=True)
    )


def arrays(
    indices: Iterable[int],
    *,
    limit: int | None = None,
    max_running: int | None = None,
    durations: Mapping[int, float] | None = None,
    apart: bool = False,
) -> list[list[int]]:
    """The arrays that run exactly ``indices``, each an arithmetic progression of at most ``limit`` indices.

    Without ``durations`` (seconds by index) there are as few arrays as possible. With them, points of clearly different
    duration become arrays of their own, the longest first. The most similar groups are merged until there are at most
    :data:`MOST_ARRAYS` arrays, and at most ``max_running``. Because each array has a fixed share of the running
    sub-jobs, the order can make the whole run longer. In that case it is dropped, unless the arrays must be ``apart``
    because they request different resources.
    """
    wanted = sorted(set(indices))
    together = progressions(wanted, limit)
    if not durations:
        return together
    found = groups(durations, wanted)
    most = max(len(together), min(MOST_ARRAYS, max_running or MOST_ARRAYS))
    while True:
        parts = [part for group in found for part in progressions(group, limit)]
        if len(parts) <= most or len(found) == 1:
            break
        longest = [max(durations.get(index, 0.0) for index in group) for group in found]
        place = min(range(len(found) - 1), key=lambda one: longest[one] / max(longest[one + 1], 1e-9))
        found[place : place + 2] = [sorted(found[place] + found[place + 1])]
    if len(found) == 1:
        return together
    limited = max_running is not None and max_running < len(wanted)
    if limited and not apart:
        kept, single = (_all_end(one, durations, max_running or 1) for one in (parts, together))
        if kept > WORSE * single:
            return together
    return parts
