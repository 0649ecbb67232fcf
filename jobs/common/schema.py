"""The records of a run directory as types: one class for each kind of file, and one error for a wrong shape.

:mod:`jobs.common.records` reads and writes them. A record is a JSON object; every field that a program has ever
left out has a default, and fields that this version does not know are ignored, so that files of older and newer
versions can be read. What is not a number, not finite or unknown is ``None`` (JSON null). All types are in this one
module, although it is over 400 lines, so that nobody has to guess at the shape of a file.

The classes are msgspec structs: to read the 10,000 results of a large run and check their types takes 0.05 s, a
quarter of the time of ``json`` without any check.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

PointClass = Literal[
    "waiting", "running", "done", "diverged", "oom", "timeout", "cancelled", "error", "lost", "unreadable"
]
MeasurementStatus = Literal["measured", "oom", "timeout", "lost", "error"]
Count = Annotated[int, Meta(ge=0, le=10**6)]
Seconds = Annotated[float, Meta(ge=0, le=1e9)]
Megabytes = Annotated[float, Meta(ge=0, le=1e9)]


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """Base class of all records."""

    def fields(self) -> dict[str, Any]:
        """The fields as JSON types, as :func:`jobs.common.records.write_record` takes them."""
        fields: dict[str, Any] = msgspec.to_builtins(self)
        return fields


# -- a point ---------------------------------------------------------------------------------------------------


class Process(Record, frozen=True):
    """The process that wrote a record.

    ``boot`` identifies the start of its node; ``ticks`` is the start time of the process in clock ticks since
    then. ``job_id`` is the id that PBS gave its sub-job.
    """

    host: str | None = None
    boot: str | None = None
    pid: int | None = None
    ticks: int | None = None
    job_id: str | None = None


class ClaimRecord(Process, frozen=True):
    """``state/claims/NNNN.json``: one attempt at a point. ``token`` makes two claims of one process differ."""

    started: str | None = None
    token: str = ""


class PointRecord(Process, frozen=True):
    """``state/status.json``: the newest attempt, rewritten after each epoch and when it ends.

    Times are ISO 8601 in UTC. ``attempts`` is the number of this attempt, from 1. ``accumulation`` is the number
    of parts into which each batch is split. ``session`` names the array job or local run. ``not_started``: the
    circuit breaker kept it from starting. ``device``: what TensorFlow computes on, a GPU's name or ``CPU``.
    """

    name: str = ""
    key: str = ""
    state: str = "running"
    reason: str = ""
    attempts: Count = 0
    started: str | None = None
    updated: str | None = None
    session: str | None = None
    accumulation: Annotated[int, Meta(ge=1, le=10**6)] | None = None
    not_started: bool = False
    device: str = ""
    epoch: Count = 0
    epochs: Count = 0
    val_jaccard: float | None = None
    best_val_jaccard: float | None = None
    best_epoch: Count | None = None
    epoch_seconds: Seconds | None = None
    peak_memory_mb: Megabytes | None = None
    peak_host_memory_mb: Megabytes | None = None


class Epoch(Record, frozen=True):
    """One row of a history; see :mod:`unet_models.training.history`. ``epoch`` counts from 1."""

    epoch: int
    loss: float | None = None
    jaccard: float | None = None
    val_loss: float | None = None
    val_jaccard: float | None = None
    learning_rate: float | None = None
    val_true_positives: int | None = None
    val_false_positives: int | None = None
    val_false_negatives: int | None = None
    seconds: float | None = None


class Metrics(Record, frozen=True):
    """The scores of one training; defined in :func:`unet_models.training.history.summarise` and ``docs``."""

    epochs_requested: int | None = None
    epochs_completed: int | None = None
    best_val_jaccard: float | None = None
    best_epoch: int | None = None
    epochs_to_best: int | None = None
    epochs_to_best_censored: bool | None = None
    final_val_loss: float | None = None
    final_train_loss: float | None = None
    val_loss_stability: float | None = None
    overfitting_gap: float | None = None
    training_time_seconds: float | None = None
    steps_per_epoch: int | None = None
    chance_jaccard: float | None = None
    train_loss_at_best: float | None = None
    train_jaccard_at_best: float | None = None
    val_loss_at_best: float | None = None
    overfitting_gap_at_best: float | None = None
    jaccard_gap: float | None = None
    test_jaccard: float | None = None


class Effective(Record, frozen=True):
    """What the built network and optimizer were found to use, read back before the first step."""

    architecture: str | None = None
    parameters: int | None = None
    batch_shape: tuple[int | None, ...] | None = None
    learning_rate: float | None = None
    optimizer: str | None = None
    clipnorm: float | None = None
    global_clipnorm: float | None = None
    gradient_accumulation_steps: int | None = None
    precision: str | None = None
    jit_compile: bool | str | None = None
    tensor_float_32: bool | None = None
    resident: bool | None = None


class DataIdentity(Record, frozen=True):
    """The data that a point was trained on.

    ``intensity_min`` and ``intensity_max`` are the values of the images that were 0 and 1 for the network; ``None`` in
    results of the first version.
    """

    fingerprint: str = ""
    source: str = ""
    split: str = ""
    intensity_min: float | None = None
    intensity_max: float | None = None


class Git(Record, frozen=True):
    """The commit of the code, and whether files differed from it; ``None`` where there is no repository."""

    commit: str | None = None
    dirty: bool | None = None


class Resumed(Record, frozen=True):
    """One interruption of a training: where and with which packages it went on."""

    after_epoch: int
    host: str | None = None
    job_id: str | None = None
    packages: dict[str, str] = {}
    git: Git = Git()


class GpuUse(Record, frozen=True):
    """What ``nvidia-smi`` reported while the point trained: percent, and MB of all processes on the card."""

    utilisation_percent_mean: float | None = None
    utilisation_percent_max: float | None = None
    memory_used_mb_max: float | None = None
    samples: int | None = None


class ResultHead(Record, frozen=True):
    """The part of a result that a look at a run needs; the rest of the file is skipped while parsing.

    ``lineage`` is shared by the attempts that continued one training.
    """

    key: str
    status: str
    reason: str = ""
    attempts: Count = 0
    started: str | None = None
    ended: str | None = None
    job_id: str | None = None
    lineage: str | None = None
    metrics: Metrics = Metrics()


class Result(ResultHead, frozen=True):
    """``*_results.json``: what a finished point publishes, once.

    ``status`` is ``done`` or ``diverged``. ``settings`` are all settings of the point
    (:data:`jobs.grid.settings.POINT`). ``startup`` holds the seconds of each phase before the first step.
    """

    index: int = 0
    name: str = ""
    settings: dict[str, Any] = {}
    effective: Effective = Effective()
    history: tuple[Epoch, ...] = ()
    data: DataIdentity = DataIdentity()
    resumed: tuple[Resumed, ...] = ()
    host: str | None = None
    peak_memory_mb: Megabytes | None = None
    peak_host_memory_mb: Megabytes | None = None
    startup: dict[str, float | None] = {}
    packages: dict[str, str] = {}
    git: Git = Git()
    device: str | None = None
    gpu: GpuUse | None = None


class CheckpointFiles(Record, frozen=True):
    """The names of the array files of a checkpoint; ``best`` may be the same file as ``model``."""

    model: str
    optimizer: str
    best: str


class CheckpointArrays(Record, frozen=True):
    """The number of arrays in the files of a checkpoint."""

    model: Count
    optimizer: Count


class CheckpointRecord(Record, frozen=True):
    """``state/checkpoint.json``: the state of a training after ``epoch``, but for the arrays.

    ``rows`` are the epochs so far, ``schedules`` the counters of the callbacks by name, ``seconds`` the training time.
    """

    key: str
    lineage: str
    accumulation: Annotated[int, Meta(ge=1)]
    files: CheckpointFiles
    arrays: CheckpointArrays
    epoch: Annotated[int, Meta(ge=1)]
    best_epoch: Annotated[int, Meta(ge=1)]
    ended: bool
    rows: tuple[dict[str, int | float | None], ...]
    schedules: dict[str, dict[str, Any]]
    seconds: float
    resumed: tuple[Resumed, ...] = ()


class CheckpointHead(Record, frozen=True):
    """The part of a checkpoint record that identifies its training."""

    lineage: str


# -- a run -----------------------------------------------------------------------------------------------------


class Requested(Record, frozen=True):
    """The resources that one job requests, in PBS's notation; ``ngpus`` and ``ncpus`` are counts."""

    walltime: str | None = None
    mem: str | None = None
    ncpus: int | None = None
    ngpus: int | None = None


class SubmittedJob(Record, frozen=True):
    """One ``qsub`` for points: its id, the indices as PBS's ``X-Y:STEP``, what it requested, the command."""

    id: str
    indices: str
    asked: Requested = Requested()
    command: tuple[str, ...] = ()


class CollectJob(Record, frozen=True):
    """The job that collects after the ids in ``waits_for`` have ended."""

    id: str
    command: tuple[str, ...] = ()
    waits_for: tuple[str, ...] = ()


class Submission(Record, frozen=True):
    """One call of ``jobs.submit`` or ``jobs.resubmit``, or one step of ``jobs.supervise``.

    ``number`` counts from 1 and is part of the names of its logs. ``retried`` is the class of the points that
    ``jobs.supervise`` submitted again, ``reasons`` why each of them had ended, by index.
    """

    number: int = 0
    kind: str = ""
    made: str | None = None
    host: str | None = None
    user: str | None = None
    jobs: tuple[SubmittedJob, ...] = ()
    collect: CollectJob | None = None
    retried: str = ""
    reasons: dict[str, str] = {}


class ProbeJob(Record, frozen=True):
    """A job that measures the run (``jobs.submit --probe``)."""

    id: str
    made: str | None = None
    user: str | None = None
    command: tuple[str, ...] = ()


class Change(Record, frozen=True):
    """A change of jobs that were submitted: ``kind`` is ``alter`` or ``cancel``, ``commands`` is what PBS was told.

    ``after`` is the number of the newest submission then. ``indices`` are the points that it was meant for (as in
    ``--indices``), empty for the whole run. ``refused`` lists what PBS answered where it refused.
    """

    kind: str
    made: str | None = None
    host: str | None = None
    user: str | None = None
    after: int = 0
    indices: str = ""
    ids: tuple[str, ...] = ()
    commands: tuple[tuple[str, ...], ...] = ()
    refused: tuple[str, ...] = ()


class Intent(Record, frozen=True):
    """A ``qsub`` that was about to be called: its job, if PBS has accepted it, has ``token`` as SUBMISSION_TOKEN.

    ``kind`` is ``points``, ``collect`` or ``probe``; ``submission`` the number of the submission that it belongs to.
    The rest is what :class:`SubmittedJob`, :class:`CollectJob` or :class:`ProbeJob` will say about the job.
    """

    token: str
    kind: str = "points"
    submission: int = 0
    indices: str = ""
    asked: Requested = Requested()
    command: tuple[str, ...] = ()
    waits_for: tuple[str, ...] = ()
    made: str | None = None
    host: str | None = None
    user: str | None = None


class Submissions(Record, frozen=True):
    """``submissions.json``, oldest first.

    ``intents`` are the calls of ``qsub`` of which it is not known yet whether PBS has accepted the job. ``probes``,
    ``changes`` and ``intents`` are empty in files of older versions.
    """

    submissions: tuple[Submission, ...] = ()
    probes: tuple[ProbeJob, ...] = ()
    changes: tuple[Change, ...] = ()
    intents: tuple[Intent, ...] = ()


class Made(Record, frozen=True):
    """When and by what a run was made or grown."""

    made: str | None = None
    command: tuple[str, ...] = ()
    git: Git = Git()
    packages: dict[str, str] = {}
    python: str | None = None
    host: str | None = None
    user: str | None = None
    data_fingerprint: str | None = None


class DataRecord(Record, frozen=True):
    """The packed data of a run: number of patches by part; ``chance_jaccard`` is the foreground share of validation.

    ``read`` says what was read: images, masks and intensity range; it is empty in runs of the first version.
    """

    fingerprint: str
    source: str
    split: str
    notes: tuple[str, ...] = ()
    patches: dict[str, int] = {}
    chance_jaccard: float | None = None
    read: tuple[str, ...] = ()


class ProvenanceRecord(Record, frozen=True):
    """``provenance.json``."""

    data: DataRecord
    made: tuple[Made, ...] = ()


class CostSettings(Record, frozen=True, forbid_unknown_fields=True):
    """The settings that change what a training step costs: points with equal ones are of one kind.

    The other settings (rates, seeds, thresholds, number of epochs) do not. ``dropout`` is whether there is any: its
    rate does not matter.
    """

    architecture: str
    batch_size: Annotated[int, Meta(ge=1)]
    base_filters: Annotated[int, Meta(ge=1)]
    levels: Annotated[int, Meta(ge=1)]
    dropout: bool
    optimizer: str
    loss: str
    augment: bool
    validation_batch_size: Annotated[int, Meta(ge=1)]
    precision: str
    tensor_float_32: bool
    jit_compile: str
    deterministic: bool


class Measurement(Record, frozen=True):
    """One kind of point in ``probe.json``. ``None``: not measured, because the process ended before.

    ``status`` is ``measured`` or how it failed, ``reason`` why. ``point`` is the name of the point that was trained.
    ``step_seconds`` is the median of ``steps`` training steps after the first ones, ``step_seconds_range`` the fastest
    and the slowest of them. ``validation_seconds`` is the time of one validation batch (including the copy of the best
    weights), ``epoch_end_seconds`` that of what follows an epoch: its checkpoint in the run directory.
    ``finish_seconds`` is the time from the last epoch to the end: the model is written, read, and scored on
    ``finish_batches`` batches. ``startup`` contains the seconds of ``import``, ``data``, ``build`` and ``first_step``
    (which traces and compiles). ``peak_memory_mb`` is the most GPU memory allocated (``None`` on a CPU),
    ``gpu_memory_mb`` what the GPU has, ``peak_host_memory_mb`` the most resident host memory of the process.
    ``threads`` is the limit on cores; ``made`` is when.
    """

    settings: CostSettings
    status: MeasurementStatus
    reason: str = ""
    point: str = ""
    step_seconds: Seconds | None = None
    step_seconds_range: tuple[Seconds, Seconds] | None = None
    steps: int | None = None
    validation_seconds: Seconds | None = None
    epoch_end_seconds: Seconds | None = None
    finish_seconds: Seconds | None = None
    finish_batches: float | None = None
    startup: dict[str, Seconds | None] = {}
    peak_memory_mb: Megabytes | None = None
    gpu_memory_mb: Megabytes | None = None
    peak_host_memory_mb: Megabytes | None = None
    device: str = ""
    host: str | None = None
    job_id: str | None = None
    made: str = ""
    packages: dict[str, str] = {}
    threads: int | None = None

    def __post_init__(self) -> None:
        if self.status == "measured" and not (self.step_seconds and self.validation_seconds):
            raise ValueError("step_seconds and validation_seconds must be above 0 where status is measured")


class Measurements(Record, frozen=True):
    """``probe.json``; ``fingerprint`` and ``source`` are those of the run's data."""

    fingerprint: str = ""
    source: str = ""
    updated: str | None = None
    combinations: tuple[Measurement, ...] = ()
