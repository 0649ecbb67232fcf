"""What PBS prints about queues, server and nodes: ``qstat -Qf``, ``qstat -Bf`` and ``pbsnodes -av``, with ``-F json``.

PBS versions and sites differ, so that only what is needed is read: what is not understood is left out. Amounts are in
seconds (``walltime``), MB (``mem``) and numbers (``ncpus``, ``ngpus``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

Amounts = Mapping[str, float]
AMOUNTS = ("walltime", "ncpus", "ngpus", "mem")
_UNITS = {"": 1 / 1024**2, "k": 1 / 1024, "m": 1.0, "g": 1024.0, "t": 1024.0**2, "p": 1024.0**3}
# A node in one of these states runs nothing; one that is busy or reserved will run jobs again.
_OUT_OF_USE = {"down", "offline", "unknown", "state-unknown", "stale", "unresolvable", "maintenance"}
_LIMIT = re.compile(r"([ugpo]):\"?([^\"=\]\s]+)\"?\s*=\s*(\d+)")
_GENERIC = {"u": "PBS_GENERIC", "g": "PBS_GENERIC", "p": "PBS_GENERIC", "o": "PBS_ALL"}


@dataclass(frozen=True)
class Asker:
    """For whom a limit is looked up: user, groups (the primary one first) and PBS project."""

    user: str
    groups: tuple[str, ...] = ()
    project: str | None = None

    def names(self, kind: str) -> tuple[str, ...]:
        """The names that a limit of this kind (``u``, ``g``, ``p``) may have for this user."""
        if kind == "u":
            return (self.user,)
        if kind == "g":
            return self.groups[:1]
        return () if self.project is None else (self.project,)


@dataclass(frozen=True)
class Limit:
    """One limit, such as ``[u:PBS_GENERIC=10]``: ``kind`` ``u`` (user), ``g`` (group), ``p`` (project) or ``o`` (all)."""

    kind: str
    name: str
    number: int


@dataclass(frozen=True)
class Rules:
    """What a queue, or the server, takes.

    ``most``, ``least``: what one job may request (more or less is refused). ``available``: what all jobs in it can have
    at a time. ``queued``, ``running``: how many jobs, where each sub-job counts. ``queued_amounts``,
    ``running_amounts``: how much of a resource all these jobs may request. ``users``, ``groups``: who may use it;
    ``None``: everybody.
    """

    most: Amounts = field(default_factory=dict)
    least: Amounts = field(default_factory=dict)
    available: Amounts = field(default_factory=dict)
    max_array_size: int | None = None
    queued: tuple[Limit, ...] = ()
    running: tuple[Limit, ...] = ()
    queued_amounts: Mapping[str, tuple[Limit, ...]] = field(default_factory=dict)
    running_amounts: Mapping[str, tuple[Limit, ...]] = field(default_factory=dict)
    users: tuple[str, ...] | None = None
    groups: tuple[str, ...] | None = None

    def admits(self, asker: Asker) -> bool:
        """Whether its lists of users and groups admit ``asker``."""
        return _listed(self.users, (asker.user,)) and _listed(self.groups, asker.groups)


@dataclass(frozen=True)
class Queue:
    """One queue.

    A routing queue passes jobs on to ``destinations`` and runs none. ``chunk``: other resources that the queue gives to
    each part of a job, such as ``Qlist``.
    """

    name: str
    rules: Rules
    enabled: bool = True
    started: bool = True
    routes: bool = False
    destinations: tuple[str, ...] = ()
    from_route_only: bool = False
    chunk: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Server:
    """The server: ``history`` is whether it remembers jobs that have ended, ``scheduling`` whether it starts any."""

    rules: Rules
    default_queue: str | None = None
    scheduling: bool = True
    history: bool = False


@dataclass(frozen=True)
class Host:
    """One machine, all its vnodes together. ``queue``: the only one whose jobs it runs. ``named``: resources with words."""

    name: str
    amounts: Amounts
    usable: bool = True
    queue: str | None = None
    named: Mapping[str, frozenset[str]] = field(default_factory=dict)


def applying(limits: Collection[Limit], asker: Asker) -> int | None:
    """The smallest of the limits that apply to ``asker``; a limit with a name replaces the generic one of its kind."""
    found = []
    for kind, generic in _GENERIC.items():
        own = {limit.name: limit.number for limit in limits if limit.kind == kind}
        numbers = [own[name] for name in asker.names(kind) if name in own] if kind != "o" else []
        if numbers:
            found.append(min(numbers))
        elif generic in own:
            found.append(own[generic])
    return min(found, default=None)


def parse_queues(text: str | None) -> dict[str, Queue] | None:
    """The queues by name in what ``qstat -Qf -F json`` printed; ``None`` where it is not understood."""
    content = _content(text, "Queue")
    if not content:
        return None
    return {name: _queue(name, values) for name, values in content.items()}


def parse_server(text: str | None) -> Server | None:
    """The server in what ``qstat -Bf -F json`` printed; ``None`` where it is not understood."""
    content = _content(text, "Server")
    if not content:
        return None
    values = next(iter(content.values()))
    default = values.get("default_queue")
    return Server(
        rules=_rules(values),
        default_queue=default if isinstance(default, str) else None,
        scheduling=_true(values.get("scheduling"), default=True),
        history=_true(values.get("job_history_enable"), default=False),
    )


def parse_nodes(text: str | None) -> list[Host] | None:
    """The machines in what ``pbsnodes -av -F json`` printed; ``None`` where it is not understood.

    A machine may be several vnodes, and a job may use more than one of them. Vnodes that are out of use do not count.
    """
    content = _content(text, "nodes")
    if not content:
        return None
    found: dict[str, Host] = {}
    for name, values in content.items():
        available = _mapping(values.get("resources_available"))
        amounts = _amounts(available)
        if "ncpus" not in amounts:
            continue
        words = re.split(r"[,\s]+", str(values.get("state", "")).lower())
        queue = values.get("queue")
        host = Host(
            name=str(available.get("host", name)),
            amounts=amounts,
            usable=not _OUT_OF_USE & set(words),
            queue=queue if isinstance(queue, str) else None,
            named={
                key: frozenset(value.split(","))
                for key, value in available.items()
                if key not in AMOUNTS and isinstance(value, str)
            },
        )
        before = found.get(host.name)
        found[host.name] = host if before is None else _together(before, host)
    return list(found.values()) or None


def _together(one: Host, other: Host) -> Host:
    """Two vnodes of a machine as one. Of a vnode that is out of use, and one that is not, the second counts."""
    if one.usable != other.usable:
        return one if one.usable else other
    return Host(
        name=one.name,
        amounts={
            key: one.amounts.get(key, 0) + other.amounts.get(key, 0) for key in {*one.amounts, *other.amounts}
        },
        usable=one.usable,
        queue=one.queue if one.queue == other.queue else None,
        named={
            key: one.named.get(key, frozenset()) | other.named.get(key, frozenset())
            for key in {*one.named, *other.named}
        },
    )


def _content(text: str | None, key: str) -> dict[str, dict[str, Any]] | None:
    """The objects by name below ``key``; a message of the day may come before the JSON."""
    if text is None:
        return None
    try:
        content = json.loads(text[max(0, text.find("{")) :], strict=False, object_pairs_hook=_joined)
    except (ValueError, RecursionError):
        return None
    found = content.get(key) if isinstance(content, dict) else None
    if not isinstance(found, dict):
        return None
    return {name: values for name, values in found.items() if isinstance(values, dict)}


def _joined(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of ``pairs``. PBS prints an attribute with several values, such as ``max_queued``, as several keys."""
    result: dict[str, Any] = {}
    for key, value in pairs:
        before = result.get(key)
        if isinstance(before, dict) and isinstance(value, dict):
            result[key] = _joined([*before.items(), *value.items()])
        elif isinstance(before, str) and isinstance(value, str):
            result[key] = f"{before},{value}"
        else:
            result[key] = value
    return result


def _queue(name: str, values: Mapping[str, Any]) -> Queue:
    return Queue(
        name=name,
        rules=_rules(values),
        enabled=_true(values.get("enabled"), default=True),
        started=_true(values.get("started"), default=True),
        routes=str(values.get("queue_type", "")).lower().startswith("r"),
        destinations=tuple(_words(values.get("route_destinations")) or ()),
        from_route_only=_true(values.get("from_route_only"), default=False),
        chunk={
            key: value
            for key, value in _mapping(values.get("default_chunk")).items()
            if key not in AMOUNTS and isinstance(value, str)
        },
    )


def _rules(values: Mapping[str, Any]) -> Rules:
    size = values.get("max_array_size")
    return Rules(
        most=_amounts(_mapping(values.get("resources_max"))),
        least=_amounts(_mapping(values.get("resources_min"))),
        available=_amounts(_mapping(values.get("resources_available"))),
        max_array_size=int(str(size)) if str(size).isdecimal() else None,
        queued=(
            *_limits(values.get("max_queued")),
            *_limits(values.get("queued_jobs_threshold")),
            *_former(values, max_queuable="o"),
        ),
        running=(
            *_limits(values.get("max_run")),
            *_former(values, max_running="o", max_user_run="u", max_group_run="g"),
        ),
        queued_amounts=_limits_of_amounts(values.get("max_queued_res")),
        running_amounts=_limits_of_amounts(values.get("max_run_res")),
        users=_words(values.get("acl_users"))
        if _true(values.get("acl_user_enable"), default=False)
        else None,
        groups=_words(values.get("acl_groups"))
        if _true(values.get("acl_group_enable"), default=False)
        else None,
    )


def _former(values: Mapping[str, Any], **names: str) -> list[Limit]:
    """Limits that are one number, as PBS had them before version 10 and still takes them."""
    found = {name: str(values.get(name)) for name in names}
    return [
        Limit(names[name], _GENERIC[names[name]], int(text))
        for name, text in found.items()
        if text.isdecimal()
    ]


def _limits(value: object) -> tuple[Limit, ...]:
    return tuple(Limit(kind, name, int(number)) for kind, name, number in _LIMIT.findall(str(value or "")))


def _limits_of_amounts(value: object) -> dict[str, tuple[Limit, ...]]:
    """Limits of numbers by resource; those of sizes and times are left out."""
    return {key: _limits(limit) for key, limit in _mapping(value).items() if key in ("ncpus", "ngpus")}


def _listed(entries: tuple[str, ...] | None, names: Collection[str]) -> bool:
    """Whether an access list admits one of ``names``. The first entry that fits decides; hosts are not compared."""
    if entries is None or not names:
        return True
    for entry in entries:
        name = entry.lstrip("+-").partition("@")[0]
        if name == "*" or name in names:
            return not entry.startswith("-")
    return False


def _amounts(values: Mapping[str, Any]) -> dict[str, float]:
    found = {key: _amount(key, values[key]) for key in AMOUNTS if key in values}
    return {key: amount for key, amount in found.items() if amount is not None}


def size_in_mb(text: str) -> float | None:
    """A size such as ``32gb`` or ``131072000kb`` in MB; ``None`` if it is none."""
    match = re.fullmatch(r"(\d+)([kmgtp]?)([bw]?)", text.strip().lower())
    if match is None:
        return None
    return int(match[1]) * _UNITS[match[2]] * (8 if match[3] == "w" else 1)


def _amount(key: str, value: object) -> float | None:
    text = str(value).strip().lower()
    if key == "walltime":
        parts = text.split(":")
        if len(parts) > 3 or not all(re.fullmatch(r"\d+", part) for part in parts):
            return None
        return float(sum(int(part) * 60**place for place, part in enumerate(reversed(parts))))
    if key == "mem":
        return size_in_mb(text)
    return float(text) if re.fullmatch(r"\d+", text) else None


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _words(value: object) -> tuple[str, ...]:
    return tuple(word for word in re.split(r"[,\s]+", str(value or "")) if word)


def _true(value: object, *, default: bool) -> bool:
    return default if value is None else str(value).lower() in ("true", "t", "1", "yes", "y")
