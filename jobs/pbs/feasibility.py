"""What of a run the queue and the nodes can never run, and what is only slow; found before anything is submitted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Literal

from jobs.common.hints import hint
from jobs.common.units import clock, plural
from jobs.pbs.needs import Chunk, Need, asker, needs, shown
from jobs.pbs.queues import (
    AMOUNTS,
    Asker,
    Host,
    Limit,
    Queue,
    Rules,
    Server,
    applying,
    parse_nodes,
    parse_queues,
    parse_server,
)
from jobs.run.index import Run

Check = tuple[Literal["ok", "warning", "FAILURE"], str]
QUESTIONS = {
    "server": ("qstat", "-Bf", "-F", "json"),
    "queues": ("qstat", "-Qf", "-F", "json"),
    "nodes": ("pbsnodes", "-av", "-F", "json"),
}
_SHOWN = 8  # names of queues in one message


def check_cluster(run: Run | None, printed: Callable[..., str | None]) -> Iterator[Check]:
    """Compare what ``run`` requests with the server, its queues and its nodes.

    ``printed`` returns what a PBS command printed (:meth:`jobs.pbs.commands.Scheduler.printed`); it is called for each of
    :data:`QUESTIONS`.
    """
    server = parse_server(printed(*QUESTIONS["server"]))
    if server is None:
        yield "warning", _unknown("server", "qstat -Bf")
    else:
        yield from _check_server(server)
    queues = parse_queues(printed(*QUESTIONS["queues"]))
    if queues is None:
        yield "warning", _unknown("queue", "qstat -Qf")
    if run is None:
        return
    train, collect = needs(run)
    who = asker(run)
    if queues is not None:
        found = [check for need in (train, collect) for check in check_queue(need, queues, server, who)]
        yield from dict.fromkeys(found)  # a queue that is disabled is so for both
        yield from check_numbers(run, queues, server, who)
    hosts = parse_nodes(printed(*QUESTIONS["nodes"]))
    if hosts is None:
        yield "warning", _unknown("nodes", "pbsnodes -av")
        return
    for need in (train, collect):
        yield from check_nodes(need, hosts, _found(need, queues or {}, server), run)


def _unknown(what: str, command: str) -> str:
    return f"{what}: not known, because {command} -F json printed nothing that is understood; see it with: {command}"


def _check_server(server: Server) -> Iterator[Check]:
    if server.history:
        yield "ok", "PBS: the server remembers jobs that have ended"
    else:
        text = "PBS: the server keeps no history (job_history_enable is off), so that how a job ended is known only from the"
        yield "warning", f"{text} files of its point: one that was killed is called lost"
    if not server.scheduling:
        yield (
            "warning",
            "PBS: scheduling is switched off now: jobs are accepted, and none starts until it is on",
        )


def _found(need: Need, queues: Mapping[str, Queue], server: Server | None) -> Queue | None:
    return queues.get(need.queue or (server.default_queue if server is not None else None) or "")


def check_queue(
    need: Need, queues: Mapping[str, Queue], server: Server | None, who: Asker
) -> Iterator[Check]:
    """Whether the queue of ``need`` takes such a job and will start it; a routing queue by its destinations."""
    key = need.queue_setting
    name = need.queue or (server.default_queue if server is not None else None)
    others = f"; the queues are {_some(queues)}: write one as {key}: in the site block"
    if name is None:
        if server is not None:
            yield "FAILURE", f"queue: the server has no default queue{others}"
        return
    if name not in queues:
        yield "FAILURE", f"queue: {name} does not exist{others}"
        return
    queue = queues[name]
    title = f"{name} (the server's default)" if need.queue is None else name
    problems = list(_problems(need, queue, who)) + list(
        _requests(need, server.rules if server else None, "the server")
    )
    suitable = [
        one.name
        for one in queues.values()
        if not one.routes and one.name != name and not list(_problems(need, one, who))
    ]
    advice = f"; {_some(suitable)} would take it ({key}: in the site block)" if suitable else ""
    if queue.routes and not problems:
        known = [queues[one] for one in queue.destinations if one in queues]
        refusals = [next(_problems(need, one, who, routed=True), None) for one in known]
        takes = [one.name for one, refusal in zip(known, refusals, strict=True) if refusal is None]
        if known and not takes and len(known) == len(queue.destinations):
            reasons = "; ".join(filter(None, refusals))
            yield (
                "FAILURE",
                f"queue: {title} passes jobs on to {_some(queue.destinations)}, and none of them runs {need.title}: {reasons}",
            )
        elif not need.setting:
            yield "ok", f"queue: {title} passes jobs on to {_some(takes or queue.destinations)}"
        return
    for problem in problems:
        yield "FAILURE", f"queue: {problem}{advice}"
    if not problems and (not need.setting or need.queue != name):
        most = queue.rules.most.get("walltime")
        yield "ok", f"queue: {title}" + (f", walltime up to {clock(most)}" if most is not None else "")


def _problems(need: Need, queue: Queue, who: Asker, *, routed: bool = False) -> Iterator[str]:
    """Why ``queue`` will not run a job of ``need``."""
    name = queue.name
    if not queue.enabled:
        yield f"{name} is disabled, so that PBS refuses jobs; wait until your administrators enable it, or use another queue"
    if not queue.started:
        yield f"{name} is not started, so that jobs wait in it and none runs; wait until your administrators start it, or use another queue"
    if queue.from_route_only and not routed:
        yield f"{name} takes jobs from a routing queue only; use that one"
    if not queue.rules.admits(who):
        yield f"{name} does not admit {who.user} (its access list); ask your administrators, or use another queue"
    yield from _requests(need, queue.rules, name)
    limit = queue.rules.max_array_size
    if routed and limit is not None and need.array > limit:
        yield f"{name} takes arrays of at most {plural(limit, 'sub-job')}, and the largest of this run has {need.array}"


def _requests(need: Need, rules: Rules | None, name: str) -> Iterator[str]:
    """Which of the requested amounts ``rules`` never allow."""
    if rules is None:
        return
    total = need.total
    for key in AMOUNTS:
        if key not in total:
            continue
        asked, setting = total[key], f"{need.setting}{key}"
        limits = [amounts[key] for amounts in (rules.most, rules.available) if key in amounts]
        request = f"{need.title} requests {key}={shown(key, asked)}"
        if limits and asked > min(limits):
            more = ", or another queue"
            if key == "walltime" and not need.setting:
                more += ". Points that do not finish in it can be resumed by jobs.resubmit"
            yield f"{request}, and {name} allows at most {shown(key, min(limits))}; request less ({setting}: in the site block){more}"
        if key in rules.least and asked < rules.least[key]:
            yield f"{request}, and {name} requires at least {shown(key, rules.least[key])}; request more ({setting}: in the site block), or another queue"


def check_numbers(
    run: Run, queues: Mapping[str, Queue], server: Server | None, who: Asker
) -> Iterator[Check]:
    """Whether the queue and the server take as many jobs as ``run`` has points, and run them at the same time."""
    train, collect = needs(run)
    queue = _found(train, queues, server)
    split = server.rules.max_array_size if server is not None else None
    if split is not None and split < train.array:
        yield (
            "ok",
            f"arrays: jobs.submit makes arrays of at most {split} sub-jobs, because the server takes no larger ones",
        )
        train = replace(train, array=split)
    same = _found(collect, queues, server) is queue  # the collect job waits in it, too
    own = None if queue is None else queue.rules
    places = [(f"the queue {queue.name}", queue.rules)] if queue is not None else []
    if server is not None:
        places.append(("the server", server.rules))
    points = plural(train.jobs, "point")
    for name, rules in places:
        if rules is own:
            yield from _check_array(train, name, rules)
        most = _jobs_allowed(train, rules.queued, rules.queued_amounts, who)
        if most is not None and most < train.jobs + (rules is not own or same):
            yield _too_many(run, name, most)
        running = _jobs_allowed(train, rules.running, rules.running_amounts, who)
        if running == 0:
            yield (
                "FAILURE",
                f"jobs: {name} never runs {train.title} of yours (its limits on running jobs); use another queue, or request less",
            )
        elif running is not None and running < min(train.jobs, run.site["max_running"] or train.jobs):
            yield (
                "warning",
                f"jobs: {name} runs at most {running} of your {points} at a time, so that the run takes longer",
            )


def _too_many(run: Run, name: str, most: int) -> Check:
    points = plural(len(run.entries), "point")
    text = f"jobs: {name} takes at most {plural(most, 'job')} of yours at a time, queued and running, and the run has {points} and a collect job"
    if most < 2:
        return "FAILURE", f"{text}; use another queue (queue: in the site block)"
    own = run.site["max_queued"]
    options = () if own is not None and own <= most else ("--max-queued", str(most))
    text += f"; submit them part by part with: {hint('jobs.supervise', run.paths.root, *options)}"
    return ("FAILURE" if options else "warning"), text


def _jobs_allowed(
    need: Need, limits: tuple[Limit, ...], amounts: Mapping[str, tuple[Limit, ...]], who: Asker
) -> int | None:
    """How many jobs of ``need`` these limits allow ``who``; ``None``: any number."""
    found = [applying(limits, who)]
    for key, limits_of_amount in amounts.items():
        most = applying(limits_of_amount, who)
        if most is not None and need.total.get(key):
            found.append(int(most / need.total[key]))
    return min((number for number in found if number is not None), default=None)


def _check_array(need: Need, name: str, rules: Rules) -> Iterator[Check]:
    limit = rules.max_array_size
    if limit is not None and need.array > limit:
        text = f"arrays: {name} takes arrays of at most {plural(limit, 'sub-job')}, and the largest of this run has {need.array}"
        other = "" if limit > 1 else ", or job_arrays: false"
        yield "FAILURE", f"{text}; write max_array_size: {max(2, limit)} in the site block{other}"


def check_nodes(need: Need, hosts: Sequence[Host], queue: Queue | None, run: Run) -> Iterator[Check]:
    """Whether one machine that is in use can run each part of a job of ``need``, and how many jobs fit at a time."""
    name = None if queue is None or queue.routes else queue.name
    given = {} if queue is None else queue.chunk
    mine = [host for host in hosts if host.queue in (None, name) or name is None]
    usable = [host for host in mine if host.usable]
    for chunk in need.chunks:
        wanted = Chunk(chunk.amounts, {**given, **chunk.named}, chunk.count)
        fitting = {host.name: wanted.fits(host) for host in usable if wanted.fits(host)}
        if not fitting:
            yield "FAILURE", f"nodes: {_too_small(need, wanted, usable, mine)}"
            continue
        if need.setting:
            continue
        together = sum(fitting.values()) // max(1, chunk.count)
        text = f"nodes: {len(fitting)} of {plural(len(hosts), 'node')} can run {need.title} ({wanted}), {together} at a time when nothing else runs"
        if together < min(need.jobs, run.site["max_running"] or need.jobs):
            yield "warning", f"{text}; the run has {plural(need.jobs, 'point')}, so that it takes longer"
        else:
            yield "ok", text


def _too_small(need: Need, chunk: Chunk, usable: Sequence[Host], all_of_them: Sequence[Host]) -> str:
    exceeded = list(chunk.amounts)
    text = f"no node can ever run {need.title} ({chunk})"
    if not usable:
        text += ": all nodes are down or offline"
    else:
        most = {key: max(host.amounts.get(key, 0.0) for host in usable) for key in chunk.amounts}
        text += f"; the most that one node has is {Chunk(most, {})}"
        exceeded = [key for key in most if most[key] < chunk.amounts[key]] or exceeded
        if all(most[key] >= chunk.amounts[key] for key in most):
            text += ", but no node has all of it together" + (
                f" with {', '.join(f'{key}={value}' for key, value in chunk.named.items())}"
                if chunk.named
                else ""
            )
    resting = [host.name for host in all_of_them if not host.usable and chunk.fits(host)]
    if resting:
        text += f". {_some(resting)} could, but not now: down or offline"
    text += f". Request less: {', '.join(need.setting + key for key in exceeded)} in the site block"
    if chunk.amounts.get("ngpus") and not any(host.amounts.get("ngpus") for host in all_of_them):
        text += " (no node reports GPUs as ngpus: ask how this site calls them, and write it in select:)"
    return text


def _some(names: Sequence[str] | Mapping[str, object]) -> str:
    shown = sorted(names)
    more = f" and {len(shown) - _SHOWN} more" if len(shown) > _SHOWN else ""
    return ", ".join(shown[:_SHOWN]) + more if shown else "none"
