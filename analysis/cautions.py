"""Warnings to read before the numbers, worst first and grouped: one for each kind."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from analysis.configurations import Ranking
from analysis.ranking import NEAR_CHANCE, near_chance
from analysis.schema import Caution, FictitiousAxis, Sensitivity, ValidationAgainstTest
from analysis.summary import common_text, extra_axes, reading
from jobs.common.units import plural

EARLY = 5  # epochs: a divergence within these counts as early
MOST_DETAILS = 12


def cautions(
    frame: pd.DataFrame,
    ranking: Ranking,
    *,
    fictitious: Iterable[FictitiousAxis] = (),
    agreement: ValidationAgainstTest | None = None,
    sensitivity: Iterable[Sensitivity] = (),
    devices: Caution | None = None,
) -> tuple[Caution, ...]:
    """The warnings of a summary; empty if there are none.

    ``ranking``, ``fictitious``, ``agreement``, ``sensitivity`` and ``devices`` are the findings about the same ``frame``
    (:func:`analysis.summary.load_summary`).
    """
    found = (
        _fictitious(fictitious),
        _test_part(agreement),
        _split(frame),
        _failures(frame),
        _chance(frame),
        _seeds(frame, ranking),
        _unfinished(frame),
        _rows(frame),
        _synthetic(frame),
        _accumulated(frame),
        devices,
        _updates(frame),
        _rising(frame),
        _border(frame, ranking),
        _sensitive(sensitivity),
    )
    return tuple(one for one in found if one is not None)


def _label(column: str) -> str:
    return column.replace("_", " ")


def _fictitious(axes: Iterable[FictitiousAxis]) -> Caution | None:
    details = tuple(
        f"{_label(axis.axis)}: {plural(axis.points, 'point')} trained with another value than the grid asked for ({axis.column}: "
        f"{', '.join(str(value) for value in axis.effective[:4])}"
        f"{', ...' if len(axis.effective) > 4 else ''}; asked: {', '.join(str(value) for value in axis.asked[:6])})"
        for axis in axes
    )
    if not details:
        return None
    return Caution(
        kind="fictitious axis",
        text="An axis of the grid was not followed. There is no verdict about it, and points that differ only in it are repeats "
        "of each other.",
        details=details,
    )


def _test_part(found: ValidationAgainstTest | None) -> Caution | None:
    if found is None or not found.computed or not (found.gap_is_large or found.order_differs):
        return None
    return Caution(kind="validation and test disagree", text=found.text)


def _split(frame: pd.DataFrame) -> Caution | None:
    if common_text(frame, "split") != "random":
        return None
    return Caution(
        kind="random split",
        text="The patches were split at random: neighbouring slices are nearly identical and are in both parts, so every "
        "validation score here is too high. Use 'split: contiguous'.",
    )


def _failures(frame: pd.DataFrame) -> Caution | None:
    diverged = frame[frame["status"] == "diverged"]
    other = frame[~frame["successful"] & ~frame["status"].isin(["diverged", "waiting", "running"])]
    if diverged.empty and other.empty:
        return None
    parts = []
    details = []
    if len(diverged):
        known = (
            diverged["epochs_completed"].dropna()
            if "epochs_completed" in diverged
            else pd.Series(dtype=float)
        )
        when = f", {int((known <= EARLY).sum())} of {len(known)} within {EARLY} epochs" if len(known) else ""
        parts.append(
            f"{plural(len(diverged), 'point')} diverged{when}: each counts as one at chance level in the ranking, as the worst in "
            "rank tests, and is left out of F tests."
        )
        details += [
            f"learning rate {rate:g}: {len(rows)} diverged of {int((frame['learning_rate'] == rate).sum())}"
            for rate, rows in diverged.groupby("learning_rate")
        ]
    if len(other):
        counts = ", ".join(
            f"{count} {state}" for state, count in sorted(other["status"].value_counts().items())
        )
        parts.append(f"{plural(len(other), 'point')} failed ({counts}) and is missing from all statistics.")
        if len(other) > 1:
            parts[-1] = parts[-1].replace("and is missing", "and are missing")
    return Caution(kind="failures", text=" ".join(parts), details=tuple(details[:MOST_DETAILS]))


def _chance(frame: pd.DataFrame) -> Caution | None:
    close = near_chance(frame)
    if not close.any():
        return None
    return Caution(
        kind="near chance",
        text=f"{int(close.sum())} of {plural(int(frame['successful'].sum()), 'successful point')} scored at most {NEAR_CHANCE} "
        "above chance (the score for calling every pixel a mitochondrion), which means that nothing was learned.",
        details=tuple(
            f"learning rate {rate:g}: {len(rows)}" for rate, rows in frame[close].groupby("learning_rate")
        ),
    )


def _seeds(frame: pd.DataFrame, ranking: Ranking) -> Caution | None:
    if ranking.repeated or not frame["successful"].any():
        return None
    return Caution(
        kind="one seed",
        text="There is only one seed for most configurations, so the variation of a score by chance is not known: the ranking is "
        "provisional, and the first place may be luck. (Two repeats of a similar grid by the predecessor had a rank "
        "correlation of 0.12.)",
    )


def _unfinished(frame: pd.DataFrame) -> Caution | None:
    unfinished = frame["status"].isin(["waiting", "running"])
    if not unfinished.any():
        return None
    return Caution(
        kind="unfinished",
        text=f"Not all points are finished ({int(unfinished.sum())} of {len(frame)} are waiting or running): the results are "
        "those of the other points, and may change.",
    )


def _rows(frame: pd.DataFrame) -> Caution | None:
    found = reading(frame)
    parts = []
    if found.duplicates:
        parts.append(
            f"{plural(found.duplicates, 'row')} of the summary repeat the configuration and the seed of another row and were dropped"
            + (f", {found.contradicting} of them with another score" if found.contradicting else "")
            + "."
        )
    if found.dropped:
        parts.append(f"{plural(found.dropped, 'row')} without usable hyperparameters were left out.")
    if found.left_out:
        names = ", ".join(found.left_out[:6])
        parts.append(f"Columns of text, times or computed numbers were not used as hyperparameters: {names}.")
    if not parts:
        return None
    return Caution(kind="duplicates" if found.duplicates else "not understood", text=" ".join(parts))


def _synthetic(frame: pd.DataFrame) -> Caution | None:
    if "synthetic" not in common_text(frame, "data_source"):
        return None
    return Caution(
        kind="synthetic data",
        text="The data are synthetic: the results show that the search works, not which settings suit mitochondria.",
    )


def _accumulated(frame: pd.DataFrame) -> Caution | None:
    count = int(frame["accumulated"].sum())
    if not count:
        return None
    return Caution(
        kind="accumulated gradients",
        text=f"{plural(count, 'point')} accumulated gradients over parts of a batch, because the memory was too small: batch "
        "normalisation saw smaller batches there, so the scores are not strictly comparable.",
    )


def _updates(frame: pd.DataFrame) -> Caution | None:
    """Points with a larger batch make fewer updates in the same number of epochs."""
    good = frame[frame["successful"]]
    sizes = good["batch_size"].unique()
    budgets = good["epochs_requested"].dropna().unique() if "epochs_requested" in good else ()
    if len(sizes) < 2 or len(budgets) != 1:
        return None
    low, high = min(sizes), max(sizes)
    return Caution(
        kind="number of updates",
        text=f"All points had the same number of epochs, so batch size {high:g} made 1/{high / low:g} of the updates of batch size "
        f"{low:g}: an effect of the batch size may be one of the number of updates.",
    )


def _rising(frame: pd.DataFrame) -> Caution | None:
    if "epochs_to_best_censored" not in frame:
        return None
    rising = frame["successful"] & (frame["epochs_to_best_censored"] == "yes")
    if not rising.any():
        return None
    return Caution(
        kind="still rising",
        text=f"{int(rising.sum())} of {plural(int(frame['successful'].sum()), 'successful point')} had the best score in one of the "
        "last two epochs and may still have been improving: more epochs may change the order.",
    )


def at_the_border(frame: pd.DataFrame, ranking: Ranking) -> list[tuple[str, str, float]]:
    """Architecture, column and value where the best configuration has the smallest or the largest value tried."""
    found: list[tuple[str, str, float]] = []
    seen = set()
    numeric = ["learning_rate", "batch_size"]
    numeric += [
        axis for axis in extra_axes(frame) if pd.to_numeric(frame[axis], errors="coerce").notna().all()
    ]
    contradicted = (
        set() if ranking.means is None else {"learning_rate", "batch_size"} - set(ranking.means.data.codes)
    )
    for one in ranking.configurations:
        if one.architecture in seen or one.mean_with_failures is None:
            continue
        seen.add(one.architecture)
        for column in numeric:
            tried = sorted(pd.to_numeric(frame[column]).unique())
            best = {"learning_rate": one.learning_rate, "batch_size": float(one.batch_size)}.get(column)
            value = float(one.axes[column]) if best is None and column in one.axes else best
            # A batch cannot be smaller than one, and a share not smaller than zero.
            if (
                column in contradicted
                or value is None
                or len(tried) < 2
                or value not in (tried[0], tried[-1])
                or (value == tried[0] and value <= (1 if column == "batch_size" else 0))
            ):
                continue
            found.append((one.architecture, column, value))
    return found


def _border(frame: pd.DataFrame, ranking: Ranking) -> Caution | None:
    found = at_the_border(frame, ranking)
    if not found:
        return None
    details = []
    for name, column, value in found:
        side = "smallest" if value == pd.to_numeric(frame[column]).min() else "largest"
        details.append(f"{name}: {_label(column)} {value:g} is the {side} that was tried")
    return Caution(
        kind="border of the grid",
        text="The best configuration of an architecture is at the border of the grid; the optimum may be outside.",
        details=tuple(details),
    )


def _sensitive(found: Iterable[Sensitivity]) -> Caution | None:
    changing = tuple(one.text for one in found if one.computed and any(not term.agrees for term in one.terms))
    if not changing:
        return None
    return Caution(
        kind="sensitive to a choice",
        text="Some effects are significant only under one of two reasonable choices of the analysis.",
        details=changing,
    )
