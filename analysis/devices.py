"""Which devices the points were trained on: a warning where they differ, or where a job's GPU was not used."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from analysis.resources import submitted
from analysis.schema import Caution
from jobs.common.errors import UserError, one_line
from jobs.common.units import plural
from jobs.pbs.job_ids import job_number
from jobs.run.index import read_run
from unet_models.wording import first_of

CPU = "CPU"
_MOST = 6


def device_caution(frame: pd.DataFrame, root: Path | None) -> Caution | None:
    """The warning about the devices of ``frame`` (:func:`analysis.summary.load_summary`); ``None`` if there is none.

    ``root`` is the run directory (``None``: not in one), whose record tells how many GPUs each job asked for.
    """
    if "device" not in frame:
        return None
    recorded = frame["device"].map(lambda device: isinstance(device, str) and device != "")
    known = frame[recorded.astype(bool)]  # without a row, pandas would take the mask for names of columns
    counts = known["device"].value_counts()
    unused = _without_their_gpu(known[known["device"] == CPU], root)
    parts = []
    if unused:
        parts.append(
            f"{plural(len(unused), 'point')} trained on the CPU, although their jobs asked for a GPU (allow_cpu in the site "
            "block): their times are those of a CPU."
        )
    if len(counts) > 1:
        shown = [f"{count} on {one_line(device, 60)}" for device, count in counts.items()]
        parts.append(
            f"The points were trained on different devices ({first_of(shown, _MOST)}): their scores are comparable, their "
            "times are not."
        )
    if not parts:
        return None
    return Caution(
        kind="devices",
        text=" ".join(parts),
        details=(f"on the CPU: {first_of([one_line(name, 80) for name in unused], _MOST)}",)
        if unused and len(counts) > 1
        else (),
    )


def _without_their_gpu(on_cpu: pd.DataFrame, root: Path | None) -> list[str]:
    """The names of the points in ``on_cpu`` that ran in a job that asked for a GPU."""
    if root is None or on_cpu.empty or "job_id" not in on_cpu:
        return []
    jobs, _ = submitted(root)
    site: int | None = None
    names = []
    for job_id, index, name in zip(on_cpu["job_id"], on_cpu["index"], on_cpu["name"], strict=True):
        if not isinstance(job_id, str) or not job_id:
            continue  # a local run
        asked = [
            what.ngpus
            for indices, what in jobs.get(job_number(job_id) or 0, ())
            if not pd.isna(index) and int(index) in indices
        ]
        gpus = asked[-1] if asked else None
        if gpus is None:  # submitted by hand
            site = _gpus_of_site(root) if site is None else site
            gpus = site
        if gpus:
            names.append(str(name))
    return names


def _gpus_of_site(root: Path) -> int:
    try:
        return int(read_run(root).site["ngpus"])
    except UserError:
        return 0
