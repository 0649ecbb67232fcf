"""What an unattended run does next: which points to submit, again or for the first time, and which to give up.

Everything is decided from the files of the points, the record of submissions and one answer of the scheduler, so that a
supervisor that was killed goes on where it was.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from jobs.common.errors import one_line
from jobs.common.hints import hint
from jobs.common.schema import Change, Submission
from jobs.common.states import STATES, UNREADABLE
from jobs.common.units import plural
from jobs.grid.retry import RetryRule
from jobs.monitor.scheduler_view import QUEUED, Picture, View
from jobs.pbs.submissions import indices_of_job, requested
from jobs.run.index import parse_indices

KIND = "supervise"  # the kind of a submission that was made without a person
SAME_ERROR = 3  # so many points with one error, and no point with a result: the error is in what they share


@dataclass(frozen=True)
class Again:
    """Points that ended in the class ``state`` and are submitted again, with what each requests and why it ended.

    ``walltimes`` are those that they requested before.
    """

    state: str
    proposed: Mapping[int, tuple[str, str | None]]
    reasons: Mapping[int, str]
    walltimes: Mapping[int, str] = field(default_factory=dict)

    def as_before(self, without: Collection[int] = ()) -> Again | None:
        """The points but ``without``, with the walltime that they had; ``None`` where that is no less.

        For a queue that does not allow more: training continues where it stopped.
        """
        left = {index: asked for index, asked in self.proposed.items() if index not in without}
        less = {index: (self.walltimes.get(index, asked[0]), asked[1]) for index, asked in left.items()}
        if less == left:
            return None
        return replace(self, proposed=less, reasons={index: self.reasons[index] for index in left})


@dataclass(frozen=True)
class Decision:
    """The next step of an unattended run.

    ``again`` and ``fresh`` (indices of points that were never submitted) fit into the queue now; ``later`` counts the
    points that do not. ``given_up`` says why, by index. ``stopped``: why nothing is submitted any more, empty where
    something may be.
    """

    again: tuple[Again, ...] = ()
    fresh: tuple[int, ...] = ()
    later: int = 0
    given_up: Mapping[int, str] | None = None
    stopped: str = ""

    @property
    def submits(self) -> bool:
        """Whether there is anything to submit now."""
        return bool(self.again or self.fresh)


def normalised(reason: str) -> str:
    """A reason without its numbers and paths: the same error has others in each attempt.

    >>> normalised("OSError: /run/exp_01/x.csv: 12 bytes missing") == normalised("OSError: /run/exp_02/y.csv: 9 bytes missing")
    True
    """
    return re.sub(r"0x[0-9a-f]+|\d+", "#", re.sub(r"\S*/\S*", "PATH", one_line(reason)))


class _History:
    """What was submitted for each point, from the record."""

    def __init__(self, submissions: Sequence[Submission], changes: Sequence[Change]) -> None:
        self.newest: dict[int, int] = {}  # the number of the newest submission, by index
        # By index, how often for each class, since a person submitted it.
        self.retries: defaultdict[int, Counter[str]] = defaultdict(Counter)
        self.reasons: dict[int, str] = {}
        self.asked: dict[int, tuple[str | None, str | None]] = {}
        for submission in submissions:
            for job in submission.jobs:
                asked = requested(job)
                for index in indices_of_job(job):
                    self._add(index, submission)
                    self.asked[index] = asked.walltime, asked.mem
        # A submission without jobs was stopped before qsub, or only collects.
        count = max((one.number for one in submissions if one.jobs), default=0)
        # Where PBS refused everything, for example to another user, nothing was cancelled.
        changes = [one for one in changes if one.kind == "cancel" and (one.ids or not one.refused)]
        whole = [change for change in changes if not change.indices]
        self.stopped_by = whole[-1] if whole and whole[-1].after >= count else None
        self.cancelled = {
            index: whole[-1] for index, number in self.newest.items() if whole and number <= whole[-1].after
        }
        self.cancelled |= {
            index: change
            for change in changes
            if change.indices
            for index in parse_indices(change.indices)
            if self.newest.get(index, 0) <= change.after
        }

    def _add(self, index: int, submission: Submission) -> None:
        self.newest[index] = submission.number
        if submission.kind != KIND:
            self.retries.pop(index, None)
            self.reasons.pop(index, None)
        elif submission.retried:
            self.retries[index][submission.retried] += 1
            if str(index) in submission.reasons:
                self.reasons[index] = submission.reasons[str(index)]


def decide(
    picture: Picture,
    changes: Sequence[Change],
    rules: Mapping[str, RetryRule],
    *,
    room: int | None = None,
    order: Sequence[int] = (),
    at_once: int | None = None,
) -> Decision:
    """What to do now. ``rules`` are those of the site block, by class.

    ``room``: how many more sub-jobs the queue takes, ``None`` for any number. ``order``: the indices of fresh points,
    the first to be submitted first; any other order is theirs. Points that failed go before fresh ones. ``at_once``:
    how many sub-jobs may run at a time. PBS limits those of each array by itself, so that only one group is submitted
    where all groups together are more.
    """
    history = _History(picture.submissions, changes)
    if history.stopped_by is not None and not all(view.ended for view in picture.views):
        return Decision(
            stopped=f"the run was cancelled by {history.stopped_by.user} at {history.stopped_by.made}, and nothing was "
            "submitted since. To go on, start this again after: "
            + hint("jobs.resubmit", picture.run.paths.root, anywhere=True)
        )
    stopped = _same_error(picture)
    if stopped:
        return Decision(stopped=stopped)
    failed, fresh, given_up = _groups(picture, rules, history)
    place = {index: number for number, index in enumerate(order)}
    fresh.sort(key=lambda index: place.get(index, len(place)))
    later = 0
    sizes = [*map(len, failed.values()), len(fresh)]
    if at_once is not None and sum(sizes) > at_once and max(sizes) < sum(sizes):
        # The largest first, because it is the one that keeps the places filled.
        largest = max([*failed, ""], key=lambda state: len(failed.get(state, fresh)))
        later = sum(sizes) - max(sizes)
        failed = {largest: failed[largest]} if largest else {}
        fresh = [] if largest else fresh
    again = []
    left = room
    for state, views in sorted(failed.items()):
        now = views if left is None else views[: max(0, left)]
        later += len(views) - len(now)
        left = None if left is None else left - len(now)
        if now:
            again.append(_again(picture, state, now, rules[state], history))
    now_fresh = fresh if left is None else fresh[: max(0, left)]
    return Decision(tuple(again), tuple(now_fresh), later + len(fresh) - len(now_fresh), given_up)


def _groups(
    picture: Picture, rules: Mapping[str, RetryRule], history: _History
) -> tuple[dict[str, list[View]], list[int], dict[int, str]]:
    """The points to submit again by class, the indices of those to submit first, and why others are given up."""
    given_up: dict[int, str] = {}
    failed: dict[str, list[View]] = {}
    fresh = []
    for view in picture.views:
        if view.ended or view.active:
            continue
        index, state = view.entry.index, _class(view, history)
        if index in history.cancelled:
            given_up[index] = f"cancelled by {history.cancelled[index].user}"
        elif state == "waiting":
            fresh.append(index)
        else:
            why = _why_not(view, state, rules.get(state), history)
            if why:
                given_up[index] = why
            else:
                failed.setdefault(state, []).append(view)
    return failed, fresh, given_up


def _class(view: View, history: _History) -> str:
    """The class of a point without a result. One that was submitted, never started and is in no queue is lost."""
    if view.state in ("waiting", QUEUED):
        return "lost" if view.entry.index in history.newest else "waiting"
    return view.state


def _why_not(view: View, state: str, rule: RetryRule | None, history: _History) -> str:
    """Why a point is not submitted again; empty where it is."""
    index = view.entry.index
    done = history.retries[index][state]
    if state == "running":
        return "running, and not by a job of this run"
    if state == UNREADABLE:
        return one_line(view.reason, 300)
    if rule is None or rule.times == 0:
        return f"{state}: the site block does not retry this class"
    if state == "error" and done and normalised(view.reason) == normalised(history.reasons.get(index, "")):
        return f"error: the same again: {one_line(view.reason, 200)}"
    if done >= rule.times:
        return f"{state}: submitted again {plural(done, 'time')} already ({one_line(view.reason, 200)})"
    return ""


def _same_error(picture: Picture) -> str:
    """Why nothing more is submitted, where the same error ends every point; empty otherwise."""
    views, root = picture.views, picture.run.paths.root
    if any(STATES[view.status.state].ended for view in views):
        return ""
    reasons = Counter(normalised(view.reason) for view in views if view.state == "error" and not view.active)
    for reason, count in reasons.most_common(1):
        if count >= SAME_ERROR:
            first = next(
                view for view in views if view.state == "error" and normalised(view.reason) == reason
            )
            queued = sum(view.active for view in views)
            rest = f". To delete the {plural(queued, 'point')} in the queue: {hint('jobs.cancel', root, anywhere=True)}"
            return (
                f"the same error ends every point ({count} so far): {one_line(first.reason, 300)}{rest if queued else ''}. "
                "When it is mended, start this again after: "
                + hint("jobs.resubmit", root, "--all-failed", anywhere=True)
            )
    return ""


def _again(picture: Picture, state: str, views: Sequence[View], rule: RetryRule, history: _History) -> Again:
    site = picture.run.site
    proposed: dict[int, tuple[str, str | None]] = {}
    walltimes = {}
    for view in views:
        walltime, mem = history.asked.get(view.entry.index, (None, None))
        walltimes[view.entry.index] = walltime or site["walltime"]
        proposed[view.entry.index] = (
            rule.more_walltime(walltime or site["walltime"]),
            rule.more_mem(mem or site["mem"]),
        )
    return Again(state, proposed, {view.entry.index: one_line(view.reason, 500) for view in views}, walltimes)
