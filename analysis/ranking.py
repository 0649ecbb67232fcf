"""The best configurations, and what forbids believing them blindly."""

from __future__ import annotations

from typing import Any

import pandas as pd

from analysis.summary import architectures

NEAR_CHANCE = 0.05  # Jaccard points above the score of predicting foreground everywhere


def ranked(frame: pd.DataFrame) -> pd.DataFrame:
    """Successful points, best validation Jaccard index first; ties in the order of the index."""
    good = frame[frame["successful"]]
    return good.sort_values("best_val_jaccard", ascending=False, kind="stable")


def best_of_each_architecture(frame: pd.DataFrame) -> pd.DataFrame:
    """The best point of every architecture that has one, in the order of :func:`ranked`."""
    return ranked(frame).drop_duplicates("architecture")


def near_chance(frame: pd.DataFrame) -> pd.Series:
    """True where a successful point scores no more than :data:`NEAR_CHANCE` above chance."""
    return frame["successful"] & (frame["best_val_jaccard"] <= frame["chance_jaccard"] + NEAR_CHANCE)


def pareto_front(rows: pd.DataFrame, against: str) -> pd.DataFrame:
    """The rows of which no other is at least as good in ``best_val_jaccard`` (higher) and ``against`` (lower) and
    better in one; best score first, equal ones all. Rows without either value are left out."""
    pair = ["best_val_jaccard", against]
    order = rows.dropna(subset=pair).sort_values(pair, ascending=[False, True], kind="stable")
    before = order[against].cummin().shift()
    first = before.isna() | (order[against] < before)
    return order[first.groupby([order[column] for column in pair]).transform("first")]


def by_value(frame: pd.DataFrame, column: str) -> pd.DataFrame:
    """Count, mean, least and largest ``best_val_jaccard`` of the successful points by values of ``column``."""
    good = frame[frame["successful"]]
    return good.groupby(column, sort=True)["best_val_jaccard"].agg(["count", "mean", "min", "max"])


def at_the_border(frame: pd.DataFrame) -> list[str]:
    """Sentences for hyperparameters whose best value is the smallest or the largest that was tried."""
    found = []
    for architecture in architectures(frame):
        rows = ranked(frame[frame["architecture"] == architecture])
        if rows.empty:
            continue
        for column, word in (("learning_rate", "learning rate"), ("batch_size", "batch size")):
            tried = sorted(frame[column].unique())
            best = rows.iloc[0][column]
            if len(tried) > 1 and best in (tried[0], tried[-1]):
                side = "smallest" if best == tried[0] else "largest"
                found.append(
                    f"{architecture}: its best {word}, {best:g}, is the {side} that was tried; the optimum may lie beyond"
                )
    return found


def record(row: pd.Series) -> dict[str, Any]:
    """A point of the frame as plain JSON types; NaN becomes ``None``."""

    def plain(column: str) -> Any:
        value = row[column]
        return None if pd.isna(value) else value.item() if hasattr(value, "item") else value

    columns = (
        "index",
        "name",
        "architecture",
        "learning_rate",
        "batch_size",
        "seed",
        "best_val_jaccard",
        "best_epoch",
        "val_loss_stability",
        "overfitting_gap",
        "test_jaccard",
        "chance_jaccard",
        "training_time_seconds",
    )
    found = {column: plain(column) for column in columns}
    for column in ("index", "batch_size", "seed", "best_epoch"):
        if found[column] is not None:
            found[column] = int(found[column])
    return found
