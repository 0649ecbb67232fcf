"""Publishing a trained point: model and pictures first, the result last, so that a result means all files are there."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.common.errors import one_line
from jobs.common.files import publish, write_bytes_atomically
from jobs.common.records import DamagedRecord, typed, write, write_once
from jobs.common.schema import (
    DataIdentity,
    Effective,
    Epoch,
    GpuUse,
    Metrics,
    PointRecord,
    Result,
    ResultHead,
    Resumed,
)
from jobs.point.memory import peak_memory_mb
from jobs.point.status import PointStatus, read_status
from jobs.run.index import Entry, Run
from jobs.run.paths import PointPaths
from jobs.run.provenance import git_state, now, package_versions

if TYPE_CHECKING:
    from unet_models.data.packed import PackedData
    from unet_models.training.state import Trained


def has_result(status: PointStatus, *, again: bool) -> bool:
    """Whether nothing is left to do for a point.

    ``again`` asks for a new result; but a sub-job that PBS starts a second time must not train it once more.
    """
    if status.result is None:
        return False
    job = os.environ.get("PBS_JOBID")
    return not again or (job is not None and status.result.job_id == job)


def build_result(
    entry: Entry,
    trained: Trained,
    data: PackedData,
    record: PointRecord,
    *,
    note: str,
    lineage: str,
    resumed: list[Resumed],
    startup: Mapping[str, float | None],
    hardware: Mapping[str, Any],
    gpu: GpuUse | None,
) -> Result:
    """The result of one training.

    ``record`` is the attempt's status record, ``note`` a remark for the reason, ``startup`` the seconds of the phases
    before the training, ``hardware`` what :func:`unet_models.training.process.hardware` returns, ``gpu`` what was sampled on the card.
    """
    gpu_peak = hardware["gpu_peak_memory_mb"]
    host_peak = peak_memory_mb()
    return Result(
        index=entry.index,
        name=entry.name,
        key=entry.key,
        status=trained.outcome,
        reason="; ".join(filter(None, [trained.reason, note])),
        settings=dict(entry.point.settings),
        effective=typed(trained.effective, Effective),
        metrics=typed(trained.metrics, Metrics),
        history=tuple(typed(row, Epoch) for row in trained.history),
        data=DataIdentity(
            fingerprint=data.fingerprint,
            source=data.source,
            split=data.split,
            intensity_min=data.intensity.low if data.intensity else None,
            intensity_max=data.intensity.high if data.intensity else None,
        ),
        attempts=record.attempts,
        resumed=tuple(resumed),
        lineage=lineage,
        started=record.started,
        ended=now(),
        host=record.host,
        job_id=record.job_id,
        peak_memory_mb=host_peak if gpu_peak is None else gpu_peak,
        peak_host_memory_mb=host_peak,
        startup={**startup, **trained.startup},
        packages=package_versions(),
        git=git_state(),
        device=hardware["device"],
        gpu=gpu,
    )


def publish_files(
    paths: PointPaths,
    trained: Trained,
    data: PackedData,
    model_file: Path,
    *,
    title: str,
    check: Callable[[], None],
) -> list[str]:
    """Publish the model and the pictures. ``check`` raises where another process has taken the point over.

    Returns:
        A sentence for each picture that is missing. A picture never withholds a result: ``analyze.py`` draws the curves
        again.
    """
    chance, best = trained.metrics["chance_jaccard"], trained.metrics["best_epoch"]
    lacking = []

    def picture(path: Path, draw: Callable[[], bytes]) -> None:
        """Draw and publish a picture, or say why not."""
        try:
            content = draw()
            check()
            write_bytes_atomically(path, content)
        except Exception as error:  # noqa: BLE001 - fonts, back ends and file systems raise anything
            words = one_line(f"{type(error).__name__}: {error}", 200)
            lacking.append(f"the picture {path.name} is missing ({words})")

    def predictions() -> bytes:
        from unet_models import pictures

        images, masks = data.patches("validation").read(trained.shown)
        if images.dtype != "uint8":
            images = (images // 257).astype("uint8")
        return pictures.predictions(images, masks, trained.probabilities, title=title)

    def curves() -> bytes:
        from unet_models import pictures

        return pictures.curves(trained.history, title=title, chance=chance, best_epoch=best)

    if trained.outcome == "done":
        check()
        publish(model_file, paths.model)
        picture(paths.predictions, predictions)
    picture(paths.curves, curves)
    return lacking


def publish_result(
    run: Run,
    entry: Entry,
    result: Result,
    *,
    replaced: ResultHead | None,
    check: Callable[[], None],
    say: Callable[[str], None],
) -> str:
    """Publish ``result``; returns the state of the point, which is another's where that one was published first.

    ``replaced`` is the result that this one is meant to replace.
    """
    path = run.point_paths(entry).results
    check()
    if replaced is not None:
        write(path, result)
    elif not write_once(path, result):
        status = read_status(run, entry, aside=True)
        say("another process has published a result for this point; it is kept")
        if status.result is None:
            raise DamagedRecord(f"{path} cannot be replaced: {status.reason}")
        return status.state
    return result.status
