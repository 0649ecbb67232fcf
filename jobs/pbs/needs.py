"""What the jobs of a run request of PBS, in the units of :mod:`jobs.pbs.queues`, and who requests it."""

from __future__ import annotations

import getpass
import grp
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jobs.common.units import clock
from jobs.grid.sites import collect_resources, gpu_resources, seconds
from jobs.pbs.queues import AMOUNTS, Amounts, Asker, Host, size_in_mb
from jobs.run.index import Run


@dataclass(frozen=True)
class Chunk:
    """One part of a job, which must fit on one machine; ``named``: what it requests besides the known amounts."""

    amounts: Amounts
    named: Mapping[str, str]
    count: int = 1

    def __str__(self) -> str:
        return ", ".join(f"{key}={shown(key, self.amounts[key])}" for key in AMOUNTS if key in self.amounts)

    def fits(self, host: Host) -> int:
        """How many of these ``host`` can run at a time, if nothing else runs there."""
        if any(key in host.named and value not in host.named[key] for key, value in self.named.items()):
            return 0
        # Memory that a node does not report does not limit it; GPUs that it does not report are not there.
        shares = [
            host.amounts.get(key, math.inf if key == "mem" else 0.0) / amount
            for key, amount in self.amounts.items()
            if amount > 0
        ]
        smallest = min(shares, default=math.inf)
        return 1 if smallest == math.inf else int(smallest)


@dataclass(frozen=True)
class Need:
    """What jobs of one kind request.

    ``array``: how many of them one job array has at most, 0 for ordinary jobs. ``setting``: the prefix of their keys in
    the site block. ``queue_setting``: the key there that names their queue.
    """

    title: str
    queue: str | None
    chunks: tuple[Chunk, ...]
    walltime: float
    jobs: int
    array: int = 0
    setting: str = ""
    queue_setting: str = "queue"

    @property
    def total(self) -> Amounts:
        """What one job requests, all its parts together."""
        keys = {key for chunk in self.chunks for key in chunk.amounts}
        total = {key: sum(chunk.count * chunk.amounts.get(key, 0) for chunk in self.chunks) for key in keys}
        return {**total, "walltime": self.walltime}


def chunks(argument: str) -> tuple[Chunk, ...]:
    """The parts that a job requests by ``-l argument``: ``select=2:ncpus=8:mem=4gb+1:ncpus=1``, or ``ncpus=8,mem=4gb``."""
    if argument.startswith("select="):
        parts = [part.split(":") for part in argument.removeprefix("select=").split("+")]
    else:
        parts = [argument.split(",")]
    return tuple(_chunk(words) for words in parts)


def _chunk(words: Sequence[str]) -> Chunk:
    values = dict(word.split("=", 1) for word in words if "=" in word)
    amounts = {}
    for key in ("ncpus", "ngpus", "mem"):
        number = size_in_mb(values[key]) if key == "mem" and key in values else values.get(key)
        if number is not None and re.fullmatch(r"[\d.]+", str(number)):
            amounts[key] = float(number)
    others = {key: value for key, value in values.items() if key not in AMOUNTS}
    return Chunk(amounts, others, int(words[0]) if words[0].isdecimal() else 1)


def needs(run: Run) -> tuple[Need, Need]:
    """What a sub-job of ``run`` and its collect job request."""
    site = run.site
    train = Need(
        title="a sub-job",
        queue=site["queue"],
        chunks=chunks(gpu_resources(site)),
        walltime=seconds(site["walltime"]),
        jobs=len(run.entries),
        array=min(len(run.entries), site["max_array_size"] or len(run.entries)) if site["job_arrays"] else 0,
    )
    collect = Need(
        title="the collect job",
        queue=site["collect_queue"] or site["queue"],
        chunks=chunks(collect_resources(site)),
        walltime=seconds(site["collect_walltime"]),
        jobs=1,
        setting="collect_",
        queue_setting="collect_queue" if site["collect_queue"] else "queue",
    )
    return train, collect


def asker(run: Run | None) -> Asker:
    """The user of this process, as PBS compares him with its limits and lists."""
    names = []
    for number in (os.getgid(), *os.getgroups()):
        try:
            names.append(grp.getgrgid(number).gr_name)
        except KeyError:
            continue
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a container whose user has no name
        user = str(os.getuid())
    return Asker(user, tuple(dict.fromkeys(names)), None if run is None else run.site["project"])


def shown(key: str, amount: float) -> str:
    """An amount as it is written in a request to PBS."""
    if key == "walltime":
        return clock(amount)
    if key == "mem":
        return f"{amount / 1024:.4g}gb" if amount >= 1024 else f"{amount:.4g}mb"
    return f"{amount:g}"
