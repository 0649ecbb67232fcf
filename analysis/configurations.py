"""The configurations, ranked by the mean of their runs, and those that may be the best."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from msgspec.structs import replace

from analysis.axes import fictitious_axes
from analysis.schema import Configuration, Indistinguishable
from analysis.statistics.configuration_means import Means, configuration_means, predicted_means
from analysis.statistics.factors import NotComputed, design_columns, plain
from analysis.statistics.multiple_comparisons import WithBest, compared_with_best

METRIC = "best_val_jaccard"
_AVERAGED = {
    "mean": METRIC,
    "test_mean": "test_jaccard",
    "chance": "chance_jaccard",
    "stability": "val_loss_stability",
    "training_time_seconds": "training_time_seconds",
}


@dataclass(frozen=True)
class Ranking:
    """All configurations of a summary, best first.

    ``rows`` are the positions of the successful points of each in the frame, ``places`` its places in ``means`` (-1 if
    no point has a score). ``means`` is ``None`` if there is no error to compare with, for the ``reason``.
    """

    configurations: tuple[Configuration, ...]
    rows: tuple[np.ndarray, ...]
    places: np.ndarray
    means: Means | None
    reason: str = ""

    @property
    def repeated(self) -> bool:
        """Whether the noise comes from repeats."""
        if self.means is None:  # without any error, such as repeats that agree to the last digit
            return 2 * sum(one.seeds > 1 for one in self.configurations) > len(self.configurations)
        return self.means.repeated

    def of(self, architecture: str) -> Ranking:
        """The configurations of one architecture, with the error of all."""
        kept = [n for n, one in enumerate(self.configurations) if one.architecture == architecture]
        return Ranking(
            tuple(self.configurations[n] for n in kept),
            tuple(self.rows[n] for n in kept),
            self.places[kept],
            self.means,
            self.reason,
        )


def configuration_columns(frame: pd.DataFrame) -> list[str]:
    """The columns that define a configuration: all hyperparameters except the seed.

    An axis that the points did not follow, because all trained with one value, is not among them.
    """
    return list(design_columns(frame)[0])


def settings_text(values: dict[str, Any]) -> str:
    """The settings of a configuration, such as ``UNet lr 0.001 bs 8``."""
    short = {"learning_rate": "lr ", "batch_size": "bs "}
    parts = [str(values["architecture"])] if "architecture" in values else []
    parts += [f"{word}{values[name]:g}" for name, word in short.items() if name in values]
    more = [f"{name} {value}" for name, value in values.items() if name not in (*short, "architecture")]
    return ", ".join([" ".join(parts), *more]).removeprefix(", ")


def ranking(frame: pd.DataFrame) -> Ranking:
    """The configurations of ``frame`` (:func:`analysis.summary.load_summary`), best first.

    They are ranked by the mean of their runs, adjusted for shared seeds. A diverged run counts as one at chance level:
    diverging is a result of the configuration. Other failures are counted, but may have any cause. Configurations
    without a score come last.
    """
    if frame.empty:
        return Ranking((), (), np.zeros(0, int), None, "the summary has no point")
    try:
        means: Means | None = configuration_means(frame, METRIC)
        reason = ""
    except NotComputed as error:
        means, reason = None, str(error)
    table = _table(frame)
    places = np.full(len(table), -1)
    if means is not None:
        places[table.number[means.data.places]] = means.data.cell
        predicted, errors = predicted_means(means), means.errors
        for n, place in enumerate(places.tolist()):
            if place >= 0:
                table.configurations[n] = replace(
                    table.configurations[n],
                    adjusted_mean=plain(means.adjusted[place]),
                    se=plain(errors[place]),
                    shrunken_mean=plain(predicted[place]),
                )
    found = [
        replace(one, mean_with_failures=_with_failures(one, table.usual_chance))
        for one in table.configurations
    ]
    order = sorted(
        range(len(found)), key=lambda n: (-_score(found[n]), table.first_index[n], found[n].settings)
    )
    result = Ranking(
        tuple(found[n] for n in order), tuple(table.good_rows[n] for n in order), places[order], means, reason
    )
    compared = _compared(result)
    if compared is None:
        return result
    marked = list(result.configurations)
    for which, lower, upper, near in zip(
        compared[0], compared[1].lower, compared[1].upper, compared[1].may_be_best, strict=True
    ):
        marked[which] = replace(
            marked[which], difference_to_best=(float(lower), float(upper)), may_be_best=bool(near)
        )
    return dataclasses.replace(result, configurations=tuple(marked))


@dataclass(frozen=True)
class _Table:
    """The configurations in the order of their settings; ``number`` is that of each row of the frame.

    ``first_index`` is the smallest index of the points of each, which decides ties.
    """

    configurations: list[Configuration]
    number: np.ndarray
    good_rows: list[np.ndarray]
    first_index: list[float]
    usual_chance: float

    def __len__(self) -> int:
        return len(self.configurations)


def _table(frame: pd.DataFrame) -> _Table:
    # By arrays instead of by groups: a grid may have ten thousand configurations, and pandas takes a millisecond for
    # each group.
    columns = configuration_columns(frame)
    number = frame.groupby(columns, dropna=False, sort=True).ngroup().to_numpy()
    count = int(number.max()) + 1
    good = frame["successful"].to_numpy(bool)
    status = frame["status"].to_numpy()
    diverged = np.bincount(number[status == "diverged"], minlength=count)
    waiting = np.bincount(number[np.isin(status, ["waiting", "running"])], minlength=count)
    seeds = np.bincount(number[good], minlength=count)
    rows = np.bincount(number, minlength=count)
    averages = {
        key: _means(frame[column].where(frame["successful"]), number, count)
        if column in frame
        else [None] * count
        for key, column in _AVERAGED.items()
    }
    good_rows = np.split(np.flatnonzero(good)[np.argsort(number[good], kind="stable")], np.cumsum(seeds)[:-1])
    names = frame["name"].to_numpy()
    first = np.unique(number, return_index=True)[1]
    settings = frame.iloc[first][columns].to_dict("records")
    shown: list[dict[Any, Any]] = frame.iloc[first][["architecture", "learning_rate", "batch_size"]].to_dict(
        "records"
    )
    effective = {axis.axis: axis.effective[0] for axis in fictitious_axes(frame) if axis.constant}
    known = [value for value in averages["chance"] if value is not None]
    found = []
    for n in range(count):
        values = {str(name): value for name, value in settings[n].items()}
        asked: dict[Any, Any] = {**shown[n], **effective}
        found.append(
            Configuration(
                settings=settings_text(values),
                names=tuple(sorted(map(str, names[good_rows[n]]))),
                architecture=str(asked["architecture"]),
                learning_rate=float(asked["learning_rate"]),
                batch_size=int(asked["batch_size"]),
                axes={
                    name: str(value)
                    for name, value in values.items()
                    if name not in ("architecture", "learning_rate", "batch_size")
                },
                seeds=int(seeds[n]),
                diverged=int(diverged[n]),
                failed=int(rows[n] - seeds[n] - diverged[n] - waiting[n]),
                mean=averages["mean"][n],
                test_mean=averages["test_mean"][n],
                chance=averages["chance"][n],
                stability=averages["stability"][n],
                training_time_seconds=averages["training_time_seconds"][n],
            )
        )
    first_index = np.full(count, np.inf)
    if "index" in frame:
        np.minimum.at(first_index, number, frame["index"].fillna(np.inf).to_numpy(float))
    return _Table(found, number, good_rows, first_index.tolist(), float(np.median(known)) if known else 0.0)


def _means(values: pd.Series, number: np.ndarray, count: int) -> list[float | None]:
    known = values.notna().to_numpy()
    sums = np.bincount(number[known], values.to_numpy(float)[known], minlength=count)
    sizes = np.bincount(number[known], minlength=count)
    return [float(total / size) if size else None for total, size in zip(sums, sizes, strict=True)]


def _score(one: Configuration) -> float:
    return -math.inf if one.mean_with_failures is None else one.mean_with_failures


def _with_failures(one: Configuration, usual_chance: float) -> float | None:
    mean = one.estimate
    if mean is None:
        return None
    chance = usual_chance if one.chance is None else one.chance
    return (one.seeds * mean + one.diverged * chance) / (one.seeds + one.diverged)


def _compared(found: Ranking) -> tuple[list[int], WithBest] | None:
    """The configurations that are compared, as places in the ranking, and their comparison with the best.

    One of which a seed diverged is not as good as its other seeds, so it takes part only if it is first in spite of
    that, with the mean that counts its failures.
    """
    if found.means is None or not len(found.places) or found.places[0] < 0:
        return None
    used = [
        n
        for n, one in enumerate(found.configurations)
        if found.places[n] >= 0 and (not one.diverged or n == 0)
    ]
    estimates = found.means.estimates.chosen(found.places[used])
    values = np.array([_score(found.configurations[n]) for n in used])
    return used, compared_with_best(dataclasses.replace(estimates, means=values))


def indistinguishable(found: Ranking) -> Indistinguishable:
    """The configurations that may be the best (:func:`analysis.statistics.multiple_comparisons.compared_with_best`)."""
    compared = _compared(found)
    if compared is None or found.means is None:
        reason = found.reason or "no point was successful"
        return Indistinguishable(computed=False, reason=reason)
    used, comparison = compared
    means = found.means
    members = [n for n, near in zip(used, comparison.may_be_best, strict=True) if near]
    one = found.configurations
    return Indistinguishable(
        computed=True,
        names=tuple(name for n in members for name in one[n].names),
        settings=tuple(one[n].settings for n in members),
        unreliable=_unreliable(found, used),
        best=one[0].names[0],
        basis=means.basis,
        critical_difference=plain(
            comparison.critical
            * math.sqrt(2 * means.pooled / float(np.median(means.counts[found.places[used]])))
        ),
        sd=plain(math.sqrt(means.pooled)),
        df=means.pooled_df,
        equal_variances=means.equal,
        configurations=len(members),
        of=len(used),
    )


def _unreliable(found: Ranking, used: list[int]) -> tuple[str, ...]:
    """The settings that would be among the best if their diverged seeds did not count."""
    left = [
        n
        for n, one in enumerate(found.configurations)
        if one.diverged and found.places[n] >= 0 and n not in used
    ]
    if not left or found.means is None:
        return ()
    places = found.places[[*used, *left]]
    comparison = compared_with_best(found.means.estimates.chosen(places))
    near = comparison.may_be_best[len(used) :]
    return tuple(found.configurations[n].settings for n, is_near in zip(left, near, strict=True) if is_near)
