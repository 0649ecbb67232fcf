"""Axes of the grid that the points did not follow.

The predecessor's learning rates were ignored: a column of its summary shows that every point trained at 0.001. The points
that differ only in such an axis are repeats of each other, and a verdict about it would be about noise.
"""

from __future__ import annotations

import re

import pandas as pd

from analysis.schema import FictitiousAxis, Level

# Names of a column with the effective values of an axis. A logged value has been rounded, to four decimals by the
# predecessor's log, so it may differ from the asked one by half of the last digit.
_NAMES = (
    "{}_logged_epoch1",
    "{}_logged",
    "{}_effective",
    "effective_{}",
    "{}_actual",
    "actual_{}",
    "{}_used",
)
_ROUNDED = 0.00005
_RELATIVE = 0.01


def effective_column(axis: str, columns: list[str]) -> str | None:
    """The column with the effective values of ``axis``, if the summary has one."""
    return next((name for name in (pattern.format(axis) for pattern in _NAMES) if name in columns), None)


def is_effective(column: str) -> bool:
    """Whether ``column`` is named like the effective values of an axis, so that it is not an axis itself."""
    return any(re.fullmatch(pattern.format(".+"), column) for pattern in _NAMES)


def fictitious_axes(frame: pd.DataFrame) -> tuple[FictitiousAxis, ...]:
    """The axes whose effective values contradict the asked ones, in the order of the columns.

    ``frame`` is that of :func:`analysis.summary.load_summary`. Rows without an effective value are not compared.
    """
    found = []
    columns = [str(column) for column in frame.columns]
    for axis in columns:
        column = effective_column(axis, columns)
        if column is None:
            continue
        asked, effective = frame[axis], frame[column]
        if pd.to_numeric(asked, errors="coerce").notna().any():
            asked, effective = (pd.to_numeric(values, errors="coerce") for values in (asked, effective))
            apart = (asked - effective).abs()
            both = asked.notna() & effective.notna()
            wrong = both & (apart > _RELATIVE * asked.abs()) & (apart > _ROUNDED)
        else:
            both = (asked.fillna("") != "") & (effective.fillna("") != "")
            wrong = both & (asked != effective)
        if wrong.any():
            found.append(
                FictitiousAxis(
                    axis=axis,
                    column=column,
                    asked=_levels(asked[both]),
                    effective=_levels(effective[both]),
                    points=int(wrong.sum()),
                    constant=bool(len(effective[both].unique()) == 1 and both[frame["successful"]].all()),
                )
            )
    return tuple(found)


def _levels(values: pd.Series) -> tuple[Level, ...]:
    return tuple(sorted(values.unique().tolist()))
