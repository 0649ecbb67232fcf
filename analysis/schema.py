"""The findings as types: everything that ``analysis_summary.json`` contains.

The statistics return these records, :func:`analysis.findings.findings` puts them together, and the reports read
them. Every key is always present in the JSON. A number that could not be computed is ``None`` (null), and a record
with ``computed`` false has a non-empty ``reason``. ``docs/statistics.md`` explains the numbers.

Numbers are in the units of their metric unless the field says otherwise. An interval is a pair of a lower and an
upper limit at 95 %.

Longer than 400 lines, because the content of one JSON file is easier to read in one place.
"""

from __future__ import annotations

from typing import Any, Literal

from msgspec import field

from jobs.common.records import without_nan
from jobs.common.schema import Record

SCHEMA = 4  # of analysis_summary.json; docs/statistics.md lists what each version changed

Level = int | float | str  # of a hyperparameter
Interval = tuple[float, float]
Verdict = Literal["supported", "not supported", "cannot be judged"]


class Outcome(Record, frozen=True, kw_only=True):
    """Base class of results that may not be computable. Raises ``ValueError`` if one is not and has no ``reason``."""

    computed: bool
    reason: str = ""

    def __post_init__(self) -> None:
        if not self.computed and not self.reason.strip():
            raise ValueError(f"{type(self).__name__}: not computed and no reason; expected a reason")


CautionKind = Literal[
    "fictitious axis",
    "validation and test disagree",
    "random split",
    "failures",
    "near chance",
    "one seed",
    "unfinished",
    "not understood",
    "duplicates",
    "synthetic data",
    "accumulated gradients",
    "devices",
    "number of updates",
    "still rising",
    "border of the grid",
    "sensitive to a choice",
]


class Caution(Record, frozen=True, kw_only=True):
    """A warning to read before the numbers: ``text`` is one or two sentences, ``details`` are the cases it is about."""

    kind: CautionKind
    text: str
    details: tuple[str, ...] = ()


class FictitiousAxis(Record, frozen=True, kw_only=True):
    """An axis of the grid that the points did not follow: ``points`` of them trained with another value.

    ``column`` is the column of the summary with the effective values. ``constant``: all points trained with the same
    value, so that the points that differ only in this axis are repeats.
    """

    axis: str
    column: str
    asked: tuple[Level, ...]
    effective: tuple[Level, ...]
    points: int
    constant: bool


# -- linear models ---------------------------------------------------------------------------------------------


class Effect(Record, frozen=True, kw_only=True):
    """One term of an analysis of variance.

    ``term`` joins the factors with ``:``, ``label`` is for people. ``p_holm`` is corrected for the terms of the
    table. Effect sizes are shares from 0 to 1; omega squared is negative if F is below 1.
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
    """The effect of the seeds, as a row of the table."""

    term: str
    df: int
    sum_sq: float | None = None
    f: float | None = field(default=None, name="F")
    p: float | None = None


class Residual(Record, frozen=True, kw_only=True):
    """The residual, as a row of the table."""

    df: int
    sum_sq: float | None
    mean_sq: float | None


class Anova(Outcome, frozen=True, kw_only=True):
    """A factorial analysis of variance. ``type`` is the type of the sums of squares, ``draws`` the number of bootstrap samples."""

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
    """The adjusted mean of one level, and the ``raw_mean`` of its ``n`` points."""

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
    """The adjusted mean of ``a`` minus that of ``b``; ``p`` and ``ci`` are Tukey's, adjusted for all pairs."""

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
    """The differences between all pairs of levels of a factor."""

    pairs: tuple[Difference, ...] = ()


class Shapiro(Record, frozen=True, kw_only=True):
    """The Shapiro-Wilk test of ``n`` residuals."""

    w: float | None = field(name="W")
    p: float | None
    n: int


class BrownForsythe(Record, frozen=True, kw_only=True):
    """The Brown-Forsythe test of equal variances over the levels of one factor; ``reason`` is why ``F`` is missing."""

    factor: str
    label: str
    df: tuple[int, int]
    f: float | None = field(default=None, name="F")
    p: float | None = None
    reason: str = ""


class Assumptions(Outcome, frozen=True, kw_only=True):
    """Checks of the residuals. ``fails`` is ``None`` if nothing was checked; ``consequence`` is a sentence."""

    metric: str
    consequence: str
    model: str = ""
    shapiro: Shapiro | None = None
    brown_forsythe: tuple[BrownForsythe, ...] = ()
    fails: bool | None = None
    failed: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class Share(Record, frozen=True, kw_only=True):
    """The share of one term in the variance, from 0 to 1; ``share_unbiased`` is the share after removing the noise."""

    term: str
    label: str
    df: int
    share: float
    share_unbiased: float | None = None


class Replicates(Record, frozen=True, kw_only=True):
    """The share of the variation that is between repeats of a configuration."""

    share: float | None
    variance_share: float | None
    df: int


class Importance(Outcome, frozen=True, kw_only=True):
    """The shares of the hyperparameters in the variance of a metric."""

    metric: str
    method: str = ""
    shares: tuple[Share, ...] = ()
    replicates: Replicates | None = None
    biased: bool | None = None
    notes: tuple[str, ...] = ()


# -- ranks -----------------------------------------------------------------------------------------------------


class RankPair(Record, frozen=True, kw_only=True):
    """Wilcoxon's signed-rank test of two levels over the ``n`` blocks with both; ``p_holm`` is for the pairs of a factor."""

    a: Level
    b: Level
    n: int
    median_difference: float | None
    p: float | None
    p_holm: float | None
    method: str


class RankTest(Outcome, frozen=True, kw_only=True):
    """The rank test of one factor. ``mean_ranks`` are in the order of ``levels``; 1 is the lowest value.

    ``p_holm`` is corrected for the factors of the metric.
    """

    factor: str
    label: str
    test: Literal["Friedman", "Mack-Skillings", "Kruskal-Wallis"] | None = None
    levels: tuple[Level, ...] = ()
    levels_without_result: int | None = None
    blocks: int | None = None
    dropped_blocks: int | None = None
    statistic: float | None = None
    df: int | None = None
    p: float | None = None
    p_holm: float | None = None
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
    """Spearman's rank correlation of two metrics over ``n`` points; ``p_holm`` is for all of a ``kind``."""

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
    """The spread of the score between repeats of a configuration. Without repeats ``known`` is false, with a ``reason``."""

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
            raise ValueError("Noise: not known and no reason; expected a reason")


class Configuration(Record, frozen=True, kw_only=True):
    """All points that differ only in their seed. Scores are validation Jaccard indices unless the field says otherwise.

    ``names`` are those of its successful points. ``seeds``, ``diverged`` and ``failed`` (any other failure) are numbers
    of points. ``mean`` is the raw mean of the successful ones, ``adjusted_mean`` the mean at the average seed, ``se``
    its standard error, and ``shrunken_mean`` is corrected for the selection of the best. ``mean_with_failures`` counts
    a diverged point at chance level; the configurations are ranked by it. ``difference_to_best`` is the simultaneous
    95 % interval (Hsu 1996) of the difference to the best of the others. ``may_be_best``: not excluded from being best.
    """

    settings: str
    names: tuple[str, ...]
    architecture: str
    learning_rate: float
    batch_size: int | float
    axes: dict[str, str]
    seeds: int
    diverged: int
    failed: int
    mean: float | None = None
    adjusted_mean: float | None = None
    se: float | None = None
    shrunken_mean: float | None = None
    mean_with_failures: float | None = None
    test_mean: float | None = None
    chance: float | None = None
    stability: float | None = None
    training_time_seconds: float | None = None
    difference_to_best: Interval | None = None
    may_be_best: bool = False

    @property
    def estimate(self) -> float | None:
        """The adjusted mean, or the raw one where means could not be adjusted."""
        return self.mean if self.adjusted_mean is None else self.adjusted_mean


class Indistinguishable(Outcome, frozen=True, kw_only=True):
    """The configurations that are not excluded from being the best, at 95 % (multiple comparisons with the best, Hsu 1996).

    ``configurations`` is their number, ``of`` the number that was compared. ``settings`` describes them, best mean
    first, ``names`` are those of their successful points, and ``best`` is the name of a point of the first.
    ``unreliable`` are the settings that are as good in their successful points, but of which a seed diverged. ``sd`` is
    the standard deviation that the comparison used, ``df`` its degrees of freedom. ``critical_difference`` is the
    smallest difference to the best mean that excludes a configuration with the usual number of seeds.
    ``equal_variances``: whether one ``sd`` served for all configurations.
    """

    names: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    unreliable: tuple[str, ...] = ()
    best: str | None = None
    basis: str = ""
    critical_difference: float | None = None
    sd: float | None = None
    df: int | None = None
    equal_variances: bool | None = None
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
    """The best configuration. ``seeds_*`` are per configuration, for a two-sided t test at 0.05 with power 0.8.

    ``overall`` is the point of the best ``configuration`` whose score is nearest to its mean, as an example of it.
    ``sensitivity`` is a sentence on what the ranking would be without the diverged points, empty if it is the same.
    """

    text: str
    configuration: Configuration | None = None
    overall: Point | None = None
    provisional: bool | None = None
    indistinguishable: Indistinguishable | None = None
    difference_to_second: float | None = None
    seeds_needed: int | None = None
    seeds_for_relevant: int | None = None
    sensitivity: str = ""


class BestOfArchitecture(Record, frozen=True, kw_only=True):
    """The best configuration of one architecture; ``record`` is one of its points, as in :class:`Best`."""

    configuration: Configuration
    record: Point
    text: str
    indistinguishable: Indistinguishable


class Pareto(Record, frozen=True, kw_only=True):
    """Names of the points on the fronts of score and stability, and of score and training time."""

    stability: tuple[str, ...]
    time: tuple[str, ...]


# -- checks of the answer, and more of it ------------------------------------------------------------------------


class ValidationAgainstTest(Outcome, frozen=True, kw_only=True):
    """Whether the test part agrees with the validation part. Scores are Jaccard indices.

    ``validation`` and ``test`` are the means of the best configuration, and ``gap`` their difference; ``gap_is_large``:
    larger than ``noise``, the limit that follows from the variation between runs. ``best_on_test`` are the settings with
    the highest ``best_test`` mean; ``order_differs``: it exceeds the test mean of the best configuration by more than
    the noise. ``rank_correlation`` is Spearman's, over ``n`` configurations.
    """

    settings: str = ""
    validation: float | None = None
    test: float | None = None
    gap: float | None = None
    noise: float | None = None
    gap_is_large: bool | None = None
    best_on_test: str = ""
    best_test: float | None = None
    order_differs: bool | None = None
    rank_correlation: float | None = None
    n: int = 0
    text: str = ""


class FailureLevel(Record, frozen=True, kw_only=True):
    """The failures at one level of a hyperparameter; ``failed`` are those other than diverged points."""

    level: Level
    points: int
    diverged: int
    failed: int


class FailureTest(Outcome, frozen=True, kw_only=True):
    """The exact test of whether points diverge more often at some levels of a hyperparameter.

    ``strata`` is the number of groups of points that agree in all other hyperparameters and contain a diverged point
    and one that did not diverge. ``alternative`` is what the test looks for, in words. ``p_holm`` is corrected for the
    hyperparameters.
    """

    factor: str
    label: str
    levels: tuple[FailureLevel, ...] = ()
    strata: int = 0
    test: str = ""
    alternative: str = ""
    p: float | None = None
    p_holm: float | None = None


class SurvivalLevel(Record, frozen=True, kw_only=True):
    """The epochs to the best score at one level: Kaplan-Meier's median (``None``: not reached) and its 95 % interval."""

    level: Level
    n: int
    censored: int
    median: float | None
    ci: tuple[float | None, float | None] | None


class SurvivalTest(Outcome, frozen=True, kw_only=True):
    """The log-rank test of one hyperparameter, stratified by the others; ``p_holm`` is for the hyperparameters."""

    factor: str
    label: str
    levels: tuple[SurvivalLevel, ...] = ()
    strata: int = 0
    statistic: float | None = None
    df: int | None = None
    p: float | None = None
    p_holm: float | None = None


class Survival(Outcome, frozen=True, kw_only=True):
    """The epochs to the best score, with points that were still rising as censored."""

    points: int = 0
    censored: int = 0
    factors: tuple[SurvivalTest, ...] = ()


class SensitivityTerm(Record, frozen=True, kw_only=True):
    """One term of an analysis of variance, as reported and under another choice; ``agrees``: both on one side of 0.05."""

    term: str
    label: str
    p_holm: float | None
    p_holm_other: float | None
    agrees: bool


class Sensitivity(Outcome, frozen=True, kw_only=True):
    """What another choice of the analysis would change. ``choice`` describes it, ``text`` is the result in a sentence."""

    choice: str
    n: int = 0
    terms: tuple[SensitivityTerm, ...] = ()
    text: str = ""


class Outperformance(Record, frozen=True, kw_only=True):
    """The probability that a run of ``a`` scores higher than one of ``b``, with its 95 % interval (Bouthillier et al. 2021).

    ``pairs`` is the number of compared pairs of runs. ``verdict`` is a word or two for people.
    """

    a: str
    b: str
    probability: float
    ci: Interval | None
    pairs: int
    verdict: str


class ArchitectureAtBest(Record, frozen=True, kw_only=True):
    """One architecture at its own best settings. ``difference_to_best`` and ``may_be_best`` as in :class:`Configuration`."""

    architecture: str
    settings: str
    seeds: int
    mean: float | None
    shrunken_mean: float | None
    difference_to_best: Interval | None
    may_be_best: bool


class ArchitectureComparison(Outcome, frozen=True, kw_only=True):
    """The architectures, each at its own best settings, best mean first."""

    architectures: tuple[ArchitectureAtBest, ...] = ()
    pairs: tuple[Outperformance, ...] = ()


class BestOfCurve(Record, frozen=True, kw_only=True):
    """The expected best score of a random search of 1, 2, ... points of one architecture (Dodge et al. 2019)."""

    architecture: str
    expected: tuple[float, ...]


class Response(Outcome, frozen=True, kw_only=True):
    """The quadratic of the score in log10 of the learning rate, for one architecture.

    ``optimum`` is the learning rate of its maximum and ``ci`` the 95 % interval (Fieller 1954); a limit outside
    ``tried``, the range of the grid, is extrapolated. ``curvature_p`` tests whether there is a maximum at all.
    """

    architecture: str
    optimum: float | None = None
    ci: tuple[float | None, float | None] | None = None
    tried: Interval | None = None
    curvature_p: float | None = None
    coefficients: tuple[float, float, float] | None = None
    n: int = 0


class NextStep(Record, frozen=True, kw_only=True):
    """What to do next: ``title`` in a few words, ``why`` in a sentence, and ``command``, the lines to copy.

    ``file`` is the name of a file next to the report that the command reads, and ``content`` is its text.
    """

    kind: Literal["finish", "rerun", "seeds", "extend", "epochs", "confirm"]
    title: str
    why: str
    command: str
    file: str = ""
    content: str = ""


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

    ``walltime_asked`` and ``mem_asked`` are the largest requests, in PBS's notation. ``seconds_all_epochs`` is the
    longest time, extended to all epochs if early stopping shortened it. ``next_*`` is what to request next time.
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
    """Resources requested and used. Hours are GPU hours if ``gpu``; ``hours_lost`` is that of attempts without a result."""

    rows: tuple[ResourceRow, ...] = ()
    gpu: bool | None = None
    devices: tuple[str, ...] = ()
    hours_used: float | None = None
    hours_lost: float | None = None
    notes: tuple[str, ...] = ()


class Failure(Record, frozen=True, kw_only=True):
    """An unsuccessful point."""

    name: str
    status: str
    reason: str


class NotComputed(Record, frozen=True, kw_only=True):
    """A finding that could not be computed, and why."""

    what: str
    why: str


class Findings(Record, frozen=True, kw_only=True):
    """All findings of one summary; ``schema`` is :data:`SCHEMA`.

    ``failures`` lists the first of ``failures_total``, ``configurations`` the best of ``configurations_total``.
    """

    schema: int
    summary: str
    points: int
    successful: int
    status: dict[str, int]
    dropped: int
    data_source: str
    split: str
    seeds: int
    fictitious: tuple[FictitiousAxis, ...]
    cautions: tuple[Caution, ...]
    next_steps: tuple[NextStep, ...]
    near_chance: tuple[str, ...]
    noise: Noise
    best: Best
    best_overall: Point | None
    best_by_architecture: dict[str, BestOfArchitecture]
    configurations: tuple[Configuration, ...]
    configurations_total: int
    validation_against_test: ValidationAgainstTest
    architectures: ArchitectureComparison
    best_of: tuple[BestOfCurve, ...]
    response: tuple[Response, ...]
    pareto: Pareto
    hypotheses: tuple[Hypothesis, ...]
    anova: dict[str, Anova]
    adjusted_means: dict[str, dict[str, AdjustedMeans]]
    sensitivity: tuple[Sensitivity, ...]
    survival: Survival
    failure_tests: tuple[FailureTest, ...]
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
