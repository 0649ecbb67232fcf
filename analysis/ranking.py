"""The order of the points, and checks of the best ones: chance level, Pareto front, borders of the grid."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.schema import Point

NEAR_CHANCE = 0.05  # of the Jaccard index, above the score for predicting foreground everywhere


def ranked(frame: pd.DataFrame) -> pd.DataFrame:
    """Successful points, best validation Jaccard index first; ties in the order of the index."""
    good = frame[frame["successful"]]
    return good.sort_values("best_val_jaccard", ascending=False, kind="stable")


def best_of_each_architecture(frame: pd.DataFrame) -> pd.DataFrame:
    """The best point of each architecture with a successful point, in the order of :func:`ranked`."""
    return ranked(frame).drop_duplicates("architecture")


def near_chance(frame: pd.DataFrame) -> pd.Series:
    """True where a successful point scores no more than :data:`NEAR_CHANCE` above chance."""
    if "chance_jaccard" not in frame:
        return pd.Series(data=False, index=frame.index)
    return frame["successful"] & (frame["best_val_jaccard"] <= frame["chance_jaccard"] + NEAR_CHANCE)


def chance_levels(frame: pd.DataFrame) -> pd.Series:
    """The chance level of each point; where it is not recorded the median of the others, and 0 if none is."""
    if "chance_jaccard" not in frame:
        return pd.Series(0.0, index=frame.index)
    known = frame["chance_jaccard"].dropna().to_numpy(float)
    return frame["chance_jaccard"].fillna(float(np.median(known)) if len(known) else 0.0)


def pareto_front(rows: pd.DataFrame, against: str) -> pd.DataFrame:
    """The Pareto front of ``best_val_jaccard`` (higher is better) and ``against`` (lower is better), best score first.

    A row is on the front if no other row is at least as good in both and better in one; equal rows are all included.
    Rows that lack one of the values are left out.
    """
    pair = ["best_val_jaccard", against]
    order = rows.dropna(subset=pair).sort_values(pair, ascending=[False, True], kind="stable")
    before = order[against].cummin().shift()
    first = before.isna() | (order[against] < before)
    return order[first.groupby([order[column] for column in pair]).transform("first")]


def by_value(frame: pd.DataFrame, column: str) -> pd.DataFrame:
    """Count, mean, minimum and maximum of ``best_val_jaccard`` of the successful points, by values of ``column``."""
    good = frame[frame["successful"]]
    return good.groupby(column, sort=True)["best_val_jaccard"].agg(["count", "mean", "min", "max"])


def _number(row: pd.Series, column: str) -> float | None:
    return None if pd.isna(row[column]) else float(row[column])


def _whole(row: pd.Series, column: str) -> int | None:
    return None if pd.isna(row[column]) else int(row[column])


def point(row: pd.Series) -> Point:
    """A row of the frame as a record; NaN becomes ``None``."""
    return Point(
        name=row["name"],
        architecture=row["architecture"],
        learning_rate=float(row["learning_rate"]),
        batch_size=int(row["batch_size"]),
        index=_whole(row, "index"),
        seed=_whole(row, "seed"),
        best_val_jaccard=_number(row, "best_val_jaccard"),
        best_epoch=_whole(row, "best_epoch"),
        val_loss_stability=_number(row, "val_loss_stability"),
        overfitting_gap=_number(row, "overfitting_gap"),
        test_jaccard=_number(row, "test_jaccard"),
        chance_jaccard=_number(row, "chance_jaccard"),
        training_time_seconds=_number(row, "training_time_seconds"),
    )
