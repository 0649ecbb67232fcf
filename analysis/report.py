"""The summary -> ``detailed_heatmaps.png``, ``comprehensive_analysis_report.txt``, ``analysis_summary.json``."""

from __future__ import annotations

import json
import textwrap
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.figures import detailed_heatmaps
from analysis.ranking import (
    NEAR_CHANCE,
    at_the_border,
    best_of_each_architecture,
    marginal_means,
    near_chance,
    ranked,
    record,
)
from analysis.summary import common_text, extra_axes, load_summary
from jobs.errors import UserError, one_line
from jobs.records import without_nan, write_bytes_atomically, write_text_atomically
from jobs.states import STATES

WIDTH = 100
SHOWN = 10


@dataclass(frozen=True)
class Report:
    """What was written, of how many points, and the best one (``None``: no point was successful)."""

    files: tuple[Path, ...]
    points: int
    successful: int
    best: dict[str, Any] | None


def _paragraph(text: str, indent: str = "") -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)


def _heading(text: str) -> list[str]:
    return ["", text.upper(), "-" * len(text)]


def _number(value: float, pattern: str = "{:.4f}") -> str:
    if pd.isna(value):
        return "-"
    text = pattern.format(value)
    return text if len(text) <= 9 else f"{value:.2e}"  # a column is not wider


def _table(rows: pd.DataFrame) -> list[str]:
    lines = [
        f"  {'configuration':<40}{'val':>8}{'chance':>8}{'test':>8}{'epoch':>7}{'stability':>11}{'gap':>10}"
    ]
    close = near_chance(rows)
    for place, row in rows.iterrows():
        name = row["name"] if len(row["name"]) <= 39 else row["name"][:36] + "..."
        lines.append(
            f"  {name:<40}{_number(row['best_val_jaccard']):>8}{_number(row['chance_jaccard'], '{:.3f}'):>8}"
            f"{_number(row['test_jaccard']):>8}{_number(row['best_epoch'], '{:.0f}'):>7}"
            f"{_number(row['val_loss_stability'], '{:.2e}'):>11}{_number(row['overfitting_gap'], '{:+.4f}'):>10}"
        )
        if close[place]:
            lines.append("      ^ near chance: it learned nothing")
    return lines


def _cautions(frame: pd.DataFrame) -> list[str]:
    found = []
    cell = ["architecture", "learning_rate", "batch_size", *extra_axes(frame)]
    good = frame[frame["successful"]]
    if len(good) and good.groupby(cell).size().max() == 1:
        found.append(
            "One seed for each configuration: how much a score moves by chance alone is not known, so the ranking is "
            "provisional and the first place is not a finding. (Two repeats of one such grid by the predecessor had a "
            "rank correlation of 0.12.) Give grid.yaml 'seed: [1, 2, 3]' and run make_grid.py on this run again."
        )
    if common_text(frame, "split") == "random":
        found.append(
            "Random split of patches: neighbouring slices are near copies and stand on both sides, so every validation "
            "score here is too high. Use 'split: contiguous'."
        )
    if "synthetic" in common_text(frame, "data_source"):
        found.append("The data are synthetic: this shows that the search works, not what mitochondria need.")
    close = near_chance(frame)
    if close.any():
        found.append(
            f"{int(close.sum())} of {len(good)} successful points end within {NEAR_CHANCE} of chance (the score of calling "
            "every pixel a mitochondrion): they learned nothing in the epochs they had."
        )
    censored = frame.get("epochs_to_best_censored")
    if censored is not None and (censored[frame["successful"]] == "yes").any():
        count = int((censored[frame["successful"]] == "yes").sum())
        found.append(
            f"{count} of {len(good)} successful points were best in their last or last but one epoch: they were still "
            "rising, and more epochs may change the order."
        )
    return found + at_the_border(frame)


def report_text(frame: pd.DataFrame, title: str) -> str:
    """The plain report, at most 100 columns wide."""
    counts = Counter(frame["status"])
    good = frame[frame["successful"]]
    lines = ["U-NET HYPERPARAMETER SEARCH", "=" * 27]
    lines += _paragraph(one_line(title))
    lines += _paragraph(f"data: {common_text(frame, 'data_source') or 'source not recorded'}")
    lines += _paragraph(f"split: {common_text(frame, 'split') or 'not recorded'}")
    lines.append(
        f"points: {len(frame)}: " + ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state])
    )
    if frame.attrs.get("dropped"):
        lines += _paragraph(
            f"{frame.attrs['dropped']} rows of the summary have no usable hyperparameters; left out."
        )

    lines += _heading("Read this first")
    cautions = _cautions(frame)
    for caution in cautions or ["Nothing to warn of."]:
        lines += textwrap.wrap(
            caution, WIDTH, initial_indent="* ", subsequent_indent="  ", break_on_hyphens=False
        )

    lines += _heading("Best configurations")
    if good.empty:
        lines += _paragraph("No point was successful, so there is none. The reasons stand below.")
    else:
        lines += _paragraph(
            "val, chance, test: Jaccard index of the validation part at the best epoch, of calling every pixel "
            "foreground, and of the test part (never used to choose). stability: standard deviation of the "
            "validation loss over the last 10 epochs, lower is better. gap: final validation loss minus training loss."
        )
        lines += [
            "",
            f"overall (first {min(SHOWN, len(good))} of {len(good)})",
            *_table(ranked(frame).head(SHOWN)),
        ]
        lines += ["", "of each architecture", *_table(best_of_each_architecture(frame))]
        lines += _heading("Means by hyperparameter")
        lines += _paragraph(
            "Means of the best validation Jaccard index over all other hyperparameters. They describe; no test was made."
        )
        for column in ("architecture", "learning_rate", "batch_size"):
            lines += ["", f"  {column:<24}{'points':>8}{'mean':>9}{'least':>9}{'largest':>9}"]
            for value, row in marginal_means(frame, column).iterrows():
                text = value if isinstance(value, str) else f"{value:g}"
                lines.append(
                    f"  {text:<24}{row['count']:>8.0f}{row['mean']:>9.4f}{row['min']:>9.4f}{row['max']:>9.4f}"
                )
    bad = frame[~frame["successful"]]
    if len(bad):
        lines += _heading("Points without success")
        for _, row in bad.iterrows():
            meaning = row["reason"] or STATES[row["status"]].meaning
            lines += _paragraph(f"{row['name']}: {row['status']}: {meaning[:300]}", "  ")
    return "\n".join(lines) + "\n"


def summary_json(frame: pd.DataFrame) -> dict[str, Any]:
    """``analysis_summary.json``, schema 1: counts, the best configurations and the cautions; no NaN."""
    order = ranked(frame)
    return without_nan(
        {
            "schema": 1,
            "points": len(frame),
            "successful": int(frame["successful"].sum()),
            "status": dict(Counter(frame["status"])),
            "data_source": common_text(frame, "data_source"),
            "split": common_text(frame, "split"),
            "best_overall": record(order.iloc[0]) if len(order) else None,
            "best_by_architecture": {
                row["architecture"]: record(row) for _, row in best_of_each_architecture(frame).iterrows()
            },
            "near_chance": list(frame.loc[near_chance(frame), "name"]),
            "cautions": _cautions(frame),
        }
    )


def write_report(summary_file: Path, output_dir: Path) -> Report:
    """Read the summary and write heatmaps, text report and JSON into ``output_dir``, each atomically.

    Raises :class:`UserError` where the summary cannot be used or the folder cannot be written.
    """
    frame = load_summary(summary_file)
    names = ("detailed_heatmaps.png", "comprehensive_analysis_report.txt", "analysis_summary.json")
    figure, text, summary = (output_dir / name for name in names)
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
        if len(frame):
            write_bytes_atomically(figure, detailed_heatmaps(frame))
        write_text_atomically(text, report_text(frame, f"summary: {summary_file}"))
        content = json.dumps(summary_json(frame), indent=1, sort_keys=True, allow_nan=False)
        write_text_atomically(summary, content + "\n")
    except OSError as error:
        raise UserError(
            f"{output_dir} cannot be written ({error}); choose another with --output_dir"
        ) from error
    order = ranked(frame)
    files = (figure, text, summary) if len(frame) else (text, summary)
    return Report(files, len(frame), len(order), record(order.iloc[0]) if len(order) else None)
