"""Resources in ``report.html``: what the points asked of the cluster, and what they used."""

from __future__ import annotations

import contextlib
from typing import Any

import msgspec

from analysis.report.page_parts import (
    NONE,
    as_dict,
    as_list,
    bullets,
    dicts,
    duration,
    esc,
    finite,
    number,
    pairs,
    paragraph,
    table,
)
from analysis.resources import advice
from analysis.schema import Resources

_HEADER = (
    *("architecture", "batch size", "points", "walltime asked", "used, median", "used, longest"),
    *("mem asked", "host memory, peak", "GPU memory, peak", "GPU busy", "next walltime", "next mem"),
)


def _gb(value: Any) -> str:
    found = finite(value)
    return NONE if found is None else number(found / 1024, "{:.1f} GB")


def resources_part(findings: dict[str, Any]) -> str:
    """The content of the section."""
    found = as_dict(findings.get("resources"))
    if not found.get("computed"):
        reason = esc(found.get("reason")) or "the findings have no such part"
        return paragraph(f"Not computed: {reason}.", "muted")
    rows = [
        (
            esc(row.get("architecture"), 100),
            number(row.get("batch_size"), "{:.0f}"),
            number(row.get("points"), "{:.0f}"),
            esc(row.get("walltime_asked"), 40) or NONE,
            duration(row.get("seconds_median")),
            duration(row.get("seconds_longest")),
            esc(row.get("mem_asked"), 40) or NONE,
            _gb(row.get("host_memory_mb")),
            _gb(row.get("gpu_memory_mb")),
            number(row.get("gpu_utilisation_percent"), "{:.0f} %"),
            esc(row.get("next_walltime"), 40) or NONE,
            esc(row.get("next_mem"), 40) or NONE,
        )
        for row in dicts(found.get("rows"))
    ]
    kind = "GPU hours" if found.get("gpu") else "hours (on CPU)"
    figures = pairs(
        (
            (f"{kind} used", number(found.get("hours_used"), "{:.2f}")),
            ("of these without a result", number(found.get("hours_lost"), "{:.2f}")),
        ),
        "figures",
    )
    notes = bullets(esc(note) for note in as_list(found.get("notes")))
    words = ""
    if rows:
        with contextlib.suppress(msgspec.ValidationError):
            words = paragraph(esc(advice(msgspec.convert(found, Resources))))
    return figures + words + (table("By architecture and batch size", _HEADER, rows) if rows else "") + notes
