"""The findings as types: everything that ``analysis_summary.json`` contains.

The statistics return these records, :func:`analysis.findings.findings` puts them together, and the reports read
them. Every key is always present in the JSON; a number that could not be computed is ``None`` (null), and a record
with ``computed`` false has a ``reason`` that is never empty. ``docs/statistics.md`` explains the numbers.

Numbers are in the units of their metric unless the field says otherwise. An interval is a pair of a lower and an
upper limit at 95 %.

Longer than 400 lines, because the whole content of one file is easier to read in one place.
"""

from __future__ import annotations

from typing import Any, Literal

from msgspec import field

from jobs.common.records import without_nan
from jobs.common.schema import Record

SCHEMA = 3  # of analysis_summary.json; docs/statistics.md lists what each version changed

Level = int | float | str  # of a hyperparameter
Interval = tuple[float, float]
Verdict = Literal["supported", "not supported", "cannot be judged"]


class Outcome(Record, frozen=True, kw_only=True):
    """Base class of what may not be computable. Raises ``ValueError`` where that has no ``reason``."""

    computed: bool
    reason: str = ""

    def __post_init__(self) -> None:
        if not self.computed and not self.reason.strip():
            raise ValueError(f"{type(self).__name__} that is not computed needs a reason")


# -- linear models ---------------------------------------------------------------------------------------------


class Effect(Record, frozen=True, kw_only=True):
    """One term of an analysis of variance.

    ``term`` joins the factors with ``:``, ``label`` is for people. ``p_holm`` is corrected over the terms of the
    table. Effect sizes are shares from 0 to 1; omega squared is negative where F is below 1.
    """

    term: str
    label: str
    df: int
    sum_sq: float | None = None
    mean_sq: float | None = None
    f: float | None = field(default=None, name="F")
    p: float | None = None
    p_holm: float | None = None
    partial_eta_sq: float | None = None
    partial_eta_sq_ci: Interval | None = None
    partial_eta_sq_exact_ci: Interval | None = None
    omega_sq: float | None = None
    omega_sq_ci: Interval | None = None
    note: str = ""


class Block(Record, frozen=True, kw_only=True):
    """What all points of one seed have in common, as a row of the table."""

    term: str
    df: int
    sum_sq: float | None = None
    f: float | None = field(default=None, name="F")
    p: float | None = None


class Residual(Record, frozen=True, kw_only=True):
    """What the model leaves over."""

    df: int
    sum_sq: float | None
    mean_sq: float | None


class Anova(Outcome, frozen=True, kw_only=True):
    """A factorial analysis of variance. ``type`` is that of the sums of squares; ``draws`` are bootstrap samples."""

    metric: str
    n: int = 0
    cells: int = 0
    replicates: bool = False
    model: str = ""
    type: str = "II"
    balanced: bool = False
    terms: tuple[Effect, ...] = ()
    block: Block | None = None
    residual: Residual | None = None
    draws: int = 0
    notes: tuple[str, ...] = ()


class AdjustedMean(Record, frozen=True, kw_only=True):
    """The adjusted mean of one level; ``raw_mean`` of its ``n`` points."""

    level: Level
    n: int
    mean: float | None
    se: float | None
    ci: Interval | None
    raw_mean: float | None
    note: str = ""


class _OfModel(Outcome, frozen=True, kw_only=True):
    metric: str
    factor: str
    model: str = ""
    df: int | None = None
    mean_sq: float | None = None
    notes: tuple[str, ...] = ()


class AdjustedMeans(_OfModel, frozen=True, kw_only=True):
    """The adjusted means of a factor's levels."""

    means: tuple[AdjustedMean, ...] = ()


class Difference(Record, frozen=True, kw_only=True):
    """The adjusted mean of ``a`` minus that of ``b``; ``p`` and ``ci`` are Tukey's, for all pairs together."""

    a: Level
    b: Level
    estimable: bool
    difference: float | None = None
    se: float | None = None
    t: float | None = None
    p: float | None = None
    ci: Interval | None = None
    hedges_g: float | None = None
    hedges_g_ci: Interval | None = None
    note: str = ""


class Pairwise(_OfModel, frozen=True, kw_only=True):
    """The differences of every two levels of a factor."""

    pairs: tuple[Difference, ...] = ()


class Shapiro(Record, frozen=True, kw_only=True):
    """The test of Shapiro and Wilk on ``n`` residuals."""

    w: float | None = field(name="W")
    p: float | None
    n: int


class BrownForsythe(Record, frozen=True, kw_only=True):
    """The test of equal variances over the levels of one factor; ``reason`` says why ``F`` is missing."""

    factor: str
    label: str
    df: tuple[int, int]
    f: float | None = field(default=None, name="F")
    p: float | None = None
    reason: str = ""


class Assumptions(Outcome, frozen=True, kw_only=True):
    """Checks of the residuals. ``fails`` is ``None`` where nothing was checked; ``consequence`` is for people."""

    metric: str
    consequence: str
    model: str = ""
    shapiro: Shapiro | None = None
    brown_forsythe: tuple[BrownForsythe, ...] = ()
    fails: bool | None = None
    failed: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class Share(Record, frozen=True, kw_only=True):
    """The share of one term in the variance, from 0 to 1; ``share_unbiased`` is what is left without noise."""

    term: str
    label: str
    df: int
    share: float
    share_unbiased: float | None = None


class Replicates(Record, frozen=True, kw_only=True):
    """The share of all variation that lies between repeats of a configuration."""

    share: float | None
    variance_share: float | None
    df: int


class Importance(Outcome, frozen=True, kw_only=True):
    """How the variance of a metric divides among the hyperparameters."""

    metric: str
    method: str = ""
    shares: tuple[Share, ...] = ()
    replicates: Replicates | None = None
    biased: bool | None = None
    notes: tuple[str, ...] = ()


# -- ranks -----------------------------------------------------------------------------------------------------


class RankPair(Record, frozen=True, kw_only=True):
    """Wilcoxon's signed-rank test of two levels over the ``n`` blocks that have both; ``p_holm`` within the factor."""

    a: Level
    b: Level
    n: int
    median_difference: float | None
    p: float | None
    p_holm: float | None
    method: str


class RankTest(Outcome, frozen=True, kw_only=True):
    """The rank test of one factor. ``mean_ranks`` are in the order of ``levels``; 1 is the lowest value."""

    factor: str
    label: str
    test: Literal["Friedman", "Kruskal-Wallis"] | None = None
    levels: tuple[Level, ...] = ()
    levels_without_result: int | None = None
    blocks: int | None = None
    dropped_blocks: int | None = None
    statistic: float | None = None
    df: int | None = None
    p: float | None = None
    p_f: float | None = field(default=None, name="p_F")
    kendall_w: float | None = None
    mean_ranks: tuple[float, ...] = ()
    pairs: tuple[RankPair, ...] = ()


class RankTests(Outcome, frozen=True, kw_only=True):
    """The rank tests of a metric. ``primary``: which tests to read first, and ``why``."""

    metric: str
    primary: Literal["F", "rank"]
    why: str
    diverged: int = 0
    factors: tuple[RankTest, ...] = ()
    notes: tuple[str, ...] = ()


class Correlation(Outcome, frozen=True, kw_only=True):
    """Spearman's rank correlation of two metrics over ``n`` points; ``p_holm`` within the ``kind``."""

    a: str
    b: str
    kind: Literal["plain", "partial"]
    n: int = 0
    rho: float | None = None
    ci: Interval | None = None
    p: float | None = None
    p_holm: float | None = None


# -- noise and the best configurations -------------------------------------------------------------------------


class Noise(Record, frozen=True, kw_only=True):
    """The spread of the score between repeats of a configuration. Not ``known`` without repeats: ``reason``."""

    known: bool
    reason: str = ""
    text: str = ""
    sd: float | None = None
    sd_ci: Interval | None = None
    df: int | None = None
    cells: int | None = None
    sd_within_seed: float | None = None
    df_within_seed: int | None = None
    icc: float | None = None

    def __post_init__(self) -> None:
        if not self.known and not self.reason.strip():
            raise ValueError("noise that is not known needs a reason")


class Indistinguishable(Outcome, frozen=True, kw_only=True):
    """The points whose configuration is not distinguishable from the ``best`` one.

    ``configurations`` of ``of``; ``settings`` describe them, best mean first. ``sd`` is the standard deviation that
    the comparison used.
    """

    names: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    best: str | None = None
    basis: str = ""
    critical_difference: float | None = None
    sd: float | None = None
    df: int | None = None
    configurations: int = 0
    of: int = 0


class Point(Record, frozen=True, kw_only=True):
    """A row of the summary."""

    name: str
    architecture: str
    learning_rate: float
    batch_size: int
    index: int | None = None
    seed: int | None = None
    best_val_jaccard: float | None = None
    best_epoch: int | None = None
    val_loss_stability: float | None = None
    overfitting_gap: float | None = None
    test_jaccard: float | None = None
    chance_jaccard: float | None = None
    training_time_seconds: float | None = None


class Best(Record, frozen=True, kw_only=True):
    """The best configuration. ``seeds_*``: seeds per configuration for a two-sided t test at 0.05 with power 0.8."""

    text: str
    overall: Point | None = None
    provisional: bool | None = None
    indistinguishable: Indistinguishable | None = None
    difference_to_second: float | None = None
    seeds_needed: int | None = None
    seeds_for_relevant: int | None = None


class BestOfArchitecture(Record, frozen=True, kw_only=True):
    """The best point of one architecture."""

    record: Point
    text: str
    indistinguishable: Indistinguishable


class Pareto(Record, frozen=True, kw_only=True):
    """Names on the fronts of score against stability and against training time."""

    stability: tuple[str, ...]
    time: tuple[str, ...]


# -- hypotheses, resources, and what is missing ----------------------------------------------------------------


class Claim(Record, frozen=True, kw_only=True):
    """One claim of a hypothesis."""

    claim: str
    verdict: Verdict
    evidence: str


class Hypothesis(Record, frozen=True, kw_only=True):
    """A hypothesis of the guide; ``rule`` was fixed before any result was seen."""

    id: str
    title: str
    rule: str
    verdict: Verdict
    evidence: str
    parts: tuple[Claim, ...]


class ResourceRow(Record, frozen=True, kw_only=True):
    """What the points of one architecture and batch size requested and used.

    ``walltime_asked`` and ``mem_asked`` are the largest requested, in PBS's notation; ``seconds_all_epochs`` is the
    longest time, had the point had all its epochs. ``next_*`` is what to request next.
    """

    architecture: str
    batch_size: int | float
    points: int
    walltime_asked: str | None
    seconds_median: float
    seconds_longest: float
    seconds_all_epochs: float | None
    mem_asked: str | None
    host_memory_mb: float | None
    gpu_memory_mb: float | None
    gpu_utilisation_percent: float | None
    next_walltime: str
    next_mem: str | None


class Resources(Outcome, frozen=True, kw_only=True):
    """Requested and used. Hours are GPU hours where ``gpu``; ``hours_lost`` are those of attempts without a result."""

    rows: tuple[ResourceRow, ...] = ()
    gpu: bool | None = None
    devices: tuple[str, ...] = ()
    hours_used: float | None = None
    hours_lost: float | None = None
    notes: tuple[str, ...] = ()


class Failure(Record, frozen=True, kw_only=True):
    """A point without success."""

    name: str
    status: str
    reason: str


class NotComputed(Record, frozen=True, kw_only=True):
    """What could not be computed, and why."""

    what: str
    why: str


class Findings(Record, frozen=True, kw_only=True):
    """All findings of one summary; ``schema`` is :data:`SCHEMA`. ``failures`` are the first of ``failures_total``."""

    schema: int
    summary: str
    points: int
    successful: int
    status: dict[str, int]
    dropped: int
    data_source: str
    split: str
    seeds: int
    cautions: tuple[str, ...]
    near_chance: tuple[str, ...]
    noise: Noise
    best: Best
    best_overall: Point | None
    best_by_architecture: dict[str, BestOfArchitecture]
    pareto: Pareto
    hypotheses: tuple[Hypothesis, ...]
    anova: dict[str, Anova]
    pairwise: dict[str, dict[str, Pairwise]]
    assumptions: dict[str, Assumptions]
    rank_tests: dict[str, RankTests]
    correlations: tuple[Correlation, ...]
    importance: dict[str, Importance]
    resources: Resources
    failures: tuple[Failure, ...]
    failures_total: int
    not_computed: tuple[NotComputed, ...]

    def fields(self) -> dict[str, Any]:
        """The findings as JSON types, without NaN."""
        found: dict[str, Any] = without_nan(super().fields())
        return found
