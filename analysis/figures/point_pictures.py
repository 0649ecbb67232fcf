"""Pictures of points that could not be drawn when the points ended: drawn again from their histories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.figures.run_files import point_paths
from jobs.common.errors import one_line
from jobs.common.files import write_bytes_atomically
from unet_models import pictures


def draw_missing_curves(
    run_root: Path, frame: pd.DataFrame, histories: Mapping[str, Sequence[dict[str, Any]]]
) -> list[str]:
    """Draw the learning curves of points that have a history and no picture of it, into their folders.

    Args:
        run_root: the run directory.
        frame: the summary.
        histories: the epochs of each point by its name.

    Returns:
        A sentence on the pictures that were drawn, and one on those that could not be; both only where there are any.
    """
    drawn, failed = [], []
    for _, row in frame.iterrows():
        name = str(row["name"])
        paths = point_paths(run_root, name)
        if paths is None or name not in histories or paths.curves.exists() or not paths.results.exists():
            continue
        best, chance = row.get("best_epoch"), row.get("chance_jaccard")
        title = name if pd.isna(row.get("data_source")) else f"{name}\n{row.get('data_source')}"
        try:
            content = pictures.curves(
                histories[name],
                title=title,
                chance=0.0 if pd.isna(chance) else float(chance),
                best_epoch=None if pd.isna(best) else int(best),
            )
            write_bytes_atomically(paths.curves, content)
            drawn.append(name)
        except Exception as error:  # noqa: BLE001 - a picture never withholds a report
            failed.append(f"{name} ({one_line(error, 120)})")
    said = []
    if drawn:
        said.append(
            f"learning curves drawn for {len(drawn)} points whose pictures were missing, such as {drawn[0]}"
        )
    if failed:
        said.append(
            f"learning curves of {len(failed)} points are missing and could not be drawn, such as {failed[0]}"
        )
    return said
