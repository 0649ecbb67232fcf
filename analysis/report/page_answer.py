"""The first screen: which configuration, how sure, and how good, in one sentence and a few numbers."""

from __future__ import annotations

from dataclasses import dataclass

from analysis.report.page_charts import Chart, leading
from analysis.report.page_filters import number
from analysis.schema import Configuration, Findings
from jobs.common.units import plural

LEADING = 6  # configurations in the picture of the first screen


@dataclass(frozen=True)
class Fact:
    """A number of the first screen: ``kind`` is that of a badge, ``note`` is a word or two below the number."""

    title: str
    value: str
    note: str = ""
    kind: str = "plain"


@dataclass(frozen=True)
class Answer:
    """``best`` (settings, may be empty) begins the sentence that ``text`` goes on with; ``sure`` is how certain it is.

    ``kind`` is the kind of badge of ``sure``. ``chart`` is the picture of the leading configurations. ``more`` is the
    number of configurations that may be the best and are not in it. ``details`` are sentences to fold away.
    """

    best: str
    text: str
    sure: str
    kind: str
    facts: tuple[Fact, ...]
    chart: Chart | None
    more: int
    details: tuple[str, ...]
    about: str
    unfinished: int


def answer(found: Findings) -> Answer:
    """The first screen of ``found``."""
    first = found.best.configuration
    shown = found.configurations[:LEADING]
    near = found.best.indistinguishable
    more = 0
    if near is not None and near.computed:
        more = near.configurations - sum(one.may_be_best for one in shown)
    sure, kind = _sure(found)
    return Answer(
        best="" if first is None else first.settings,
        text=_text(found, first),
        sure=sure,
        kind=kind,
        facts=_facts(found, first),
        chart=leading(found.configurations, LEADING),
        more=more,
        details=(found.best.text, found.noise.text),
        about=_about(found),
        unfinished=found.status.get("waiting", 0) + found.status.get("running", 0),
    )


def _text(found: Findings, first: Configuration | None) -> str:
    if not found.points:
        return "The summary has no usable point, so there is no answer."
    if first is None:
        counts = ", ".join(f"{count:,} {state}" for state, count in found.status.items())
        return f"No point was successful, so there is no best configuration: {counts}."
    mean = first.estimate
    runs = f"mean of {plural(first.seeds, 'seed')}" if first.seeds > 1 else "one seed"
    corrected = (
        f"; {number(first.shrunken_mean, '{:.3f}')} corrected for being selected"
        if first.shrunken_mean is not None
        else ""
    )
    score = f"has the highest validation Jaccard index, {number(mean, '{:.3f}')} ({runs}{corrected})"
    return f"{score}{_failures(first)}{_rivals(found)}"


def _failures(first: Configuration) -> str:
    lost = first.diverged + first.failed
    if not lost:
        return ""
    how = "diverged" if first.diverged else "failed"
    return f", although {lost} of its {plural(first.seeds + lost, 'point')} {how}"


def _rivals(found: Findings) -> str:
    near = found.best.indistinguishable
    if near is None or not near.computed:
        return "; which others may be as good could not be computed." if found.successful > 1 else "."
    others, of = near.configurations - 1, near.of - 1
    if not of:
        return "; it is the only configuration with a result."
    if not others:
        return f", and {'all ' if of > 1 else ''}{of} other {'configurations are' if of > 1 else 'configuration is'} worse."
    return f", but {others} of the other {of} configurations may be as good."


def _sure(found: Findings) -> tuple[str, str]:
    near = found.best.indistinguishable
    if found.best.configuration is None:
        return "no result", "bad"
    if found.best.provisional:
        return "provisional: one seed, noise unknown", "warn"
    if near is None or not near.computed:
        return "not compared", "warn"
    if near.configurations > 1:
        return f"undecided: {near.configurations} may be best", "warn"
    if near.of > 1:
        return "decided at 95 %", "good"
    return "nothing to compare with", "warn"


def _facts(found: Findings, first: Configuration | None) -> tuple[Fact, ...]:
    good = Fact(
        "points successful",
        f"{found.successful:,} of {found.points:,}",
        ", ".join(f"{count:,} {state}" for state, count in found.status.items() if state != "done"),
    )
    if first is None:
        return (good,)
    mean = first.estimate
    check = found.validation_against_test
    apart = bool(check.computed and check.gap_is_large)
    noise = found.noise
    return (
        Fact(
            "validation score",
            number(mean, "{:.3f}"),
            f"mean of {plural(first.seeds, 'seed')}" if first.seeds > 1 else "one seed",
        ),
        Fact("corrected score", number(first.shrunken_mean, "{:.3f}"), "for being selected"),
        Fact(
            "test score",
            number(first.test_mean, "{:.3f}"),
            "disagrees with validation" if apart else _recorded(first.test_mean, "never used to choose"),
            "warn" if apart else "plain",
        ),
        Fact(
            "chance level",
            number(first.chance, "{:.3f}"),
            _recorded(first.chance, "all pixels mitochondrion"),
        ),
        Fact(
            "seed-to-seed SD",
            number(noise.sd if noise.sd_within_seed is None else noise.sd_within_seed, "{:.3f}")
            if noise.known
            else "unknown",
            "of one configuration" if noise.known else "needs repeats",
        ),
        good,
    )


def _recorded(value: float | None, note: str) -> str:
    return "not recorded" if value is None else note


def _about(found: Findings) -> str:
    facts = [
        f"{title}: {text}" for title, text in (("Data", found.data_source), ("split", found.split)) if text
    ]
    if found.dropped:
        facts.append(f"{plural(found.dropped, 'row')} of the summary left out")
    return "; ".join(facts)
