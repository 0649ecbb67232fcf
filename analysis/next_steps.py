"""What to do next, as commands to copy: finish, run failed points again, more seeds, more values of an axis."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from analysis.cautions import at_the_border
from analysis.configurations import Ranking
from analysis.schema import Configuration, Indistinguishable, NextStep
from jobs.common.errors import UserError
from jobs.common.hints import hint_lines
from jobs.common.reading import TEXT, read_bytes
from jobs.common.states import STATES
from jobs.common.units import plural
from jobs.grid.settings import POINT
from jobs.run.index import read_run
from jobs.run.paths import RunPaths

MOST_STEPS = 3
_ENOUGH_SEEDS = 3
_OURS = r"\ninclude:\n(  - \{.*\}\n)+\Z"  # entries that these steps have added
_MOST_REPEATED = 12  # configurations that more seeds are proposed for


def next_steps(
    frame: pd.DataFrame,
    ranking: Ranking,
    near: Indistinguishable | None,
    root: Path | None,
    output: Path | None = None,
) -> tuple[NextStep, ...]:
    """At most :data:`MOST_STEPS` steps, the most important first.

    ``near`` are the configurations that may be the best, ``root`` is the run directory; without one there is nothing
    that a command could continue. A step that adds points has a file, which the report writes into ``output`` (by
    default the run's own): the run's ``grid.yaml`` with further points. The known ones keep their index and results.
    """
    if root is None or frame.empty:
        return ()
    output = output or RunPaths(root).analysis
    steps = [
        _finish(frame, root),
        _rerun(frame, root),
        _seeds(frame, ranking, near, root, output),
        _extend(frame, ranking, root, output),
    ]
    return tuple(step for step in steps if step is not None)[:MOST_STEPS]


def _then(root: Path, *before: tuple[Path | str, ...]) -> str:
    return "\n".join(hint_lines(*before, ("jobs.local", root), on_a_PBS_cluster=("jobs.submit", root)))


def _grown(root: Path, output: Path, file: str) -> str:
    return _then(root, ("make_grid.py", output / file, "--run-dir", root))


def _finish(frame: pd.DataFrame, root: Path) -> NextStep | None:
    open_points = int(frame["status"].isin(["waiting", "running"]).sum())
    if not open_points:
        return None
    return NextStep(
        kind="finish",
        title="finish the run",
        why=f"{plural(open_points, 'point')} of {len(frame)} have no result yet, so the ranking may change.",
        command=_then(root, ("jobs.status", root)),
    )


def _rerun(frame: pd.DataFrame, root: Path) -> NextStep | None:
    failed = frame["status"].map(lambda status: not STATES[status].ended)
    failed &= ~frame["status"].isin(["waiting", "running"])
    if not failed.any():
        return None
    classes = frame.loc[failed, "status"].value_counts()
    counted = ", ".join(f"{classes[name]} {name}" for name in STATES if name in classes)
    memory = " For oom, request more with --mem." if "oom" in classes else ""
    return NextStep(
        kind="rerun",
        title="run the failed points again",
        why=f"{plural(int(failed.sum()), 'point')} failed for a reason that is no result ({counted}).{memory}",
        command="\n".join(
            hint_lines(("jobs.resubmit", root, "--all-failed"), without_PBS=("jobs.local", root))
        ),
    )


def _seeds(
    frame: pd.DataFrame, ranking: Ranking, near: Indistinguishable | None, root: Path, output: Path
) -> NextStep | None:
    names = set(near.settings) if near is not None and near.computed else set()
    chosen = [one for one in ranking.configurations if one.settings in names] or list(
        ranking.configurations[:1]
    )
    few = [one for one in chosen if one.seeds < _ENOUGH_SEEDS and one.mean is not None][:_MOST_REPEATED]
    if not few or frame["seed"].isna().all():
        return None
    used = {int(seed) for seed in frame["seed"].dropna()}
    entries = []
    for one in few:
        # Also the seeds of failed and unfinished points: make_grid refuses a point that is already in the grid.
        same = frame[["architecture", "learning_rate", "batch_size"]].eq(
            [one.architecture, one.learning_rate, one.batch_size]
        )
        tried = set(frame.loc[same.all(axis=1), "seed"].dropna().astype(int))
        free = [seed for seed in (*sorted(used), *range(max(used) + 1, max(used) + 4)) if seed not in tried]
        entries += [_settings(one, seed=seed) for seed in free[: _ENOUGH_SEEDS - one.seeds]]
    grid = _with(entries, root)
    if grid is None:
        return None
    what = plural(len(few), "configuration")
    return NextStep(
        kind="seeds",
        title="train the best configurations with more seeds",
        why=f"{what} may be the best and have fewer than {_ENOUGH_SEEDS} seeds: {plural(len(entries), 'new point')}.",
        command=_grown(root, output, "more_seeds.yaml"),
        file="more_seeds.yaml",
        content=grid,
    )


def _extend(frame: pd.DataFrame, ranking: Ranking, root: Path, output: Path) -> NextStep | None:
    entries, why = [], []
    for architecture, column, value in at_the_border(frame, ranking):
        if column != "learning_rate":
            continue
        tried = sorted(frame["learning_rate"].unique())
        step = tried[1] / tried[0] if value == tried[0] else tried[-1] / tried[-2]
        further = float(f"{value / step if value == tried[0] else value * step:.3g}")
        best = next(one for one in ranking.configurations if one.architecture == architecture)
        if POINT["learning_rate"].accepts(further):
            entries.append(_settings(best, learning_rate=further))
            why.append(
                f"{architecture} is best at {value:g}, the {'smallest' if value == tried[0] else 'largest'} rate"
            )
    grid = _with(entries, root)
    if grid is None:
        return None
    return NextStep(
        kind="extend",
        title="try learning rates beyond the border",
        why=f"{'; '.join(why)}.",
        command=_grown(root, output, "more_rates.yaml"),
        file="more_rates.yaml",
        content=grid,
    )


def _settings(one: Configuration, **changed: float) -> dict[str, str]:
    """The settings of a configuration as ``grid.yaml`` writes them, with some ``changed``."""
    found: dict[str, str] = {
        "architecture": one.architecture,
        "learning_rate": repr(float(one.learning_rate)),
        "batch_size": f"{one.batch_size:g}",
        **{name: "null" if text == "none" else text for name, text in one.axes.items()},
    }
    return found | {name: f"{value!r}" for name, value in changed.items()}


def _with(entries: Sequence[Mapping[str, str]], root: Path) -> str | None:
    """The run's ``grid.yaml`` with the points ``entries`` in addition; ``None`` if it cannot be continued."""
    if not entries or not all(_is_setting(name, text) for entry in entries for name, text in entry.items()):
        return None
    try:
        grid = _continued(read_bytes(RunPaths(root).grid, TEXT).decode("utf-8"), root)
    except (OSError, UnicodeDecodeError, UserError):
        return None
    if grid is None:
        return None
    lines = [f"  - {{{', '.join(f'{name}: {text}' for name, text in entry.items())}}}" for entry in entries]
    return grid + "\n".join([*lines, ""])


def _is_setting(name: str, text: str) -> bool:
    """Whether ``grid.yaml`` accepts the value: a summary may contain any text."""
    try:
        POINT[name].from_text("none" if text == "null" else text)
    except (KeyError, ValueError):
        return False
    return True


def _continued(grid: str, root: Path) -> str | None:
    """``grid``, changed so that entries of ``include`` can follow at its end.

    ``None`` if it has such entries in a form that cannot be continued. A relative folder of the data is relative to the
    file that the user wrote, which may be gone, so it becomes the folder that was read. Raises :class:`UserError` if the
    run cannot be read.
    """
    if not re.search(_OURS, grid):
        if re.search(r"^include:", grid, re.MULTILINE):
            grid, count = re.subn(
                r"^include:[ \t]*(\[\s*\])?[ \t]*(#.*)?(\n|\Z)(?!\s*-)", "", grid, flags=re.MULTILINE
            )
            if not count:
                return None
        grid = f"{grid}{'' if grid.endswith(chr(10)) else chr(10)}include:\n"
    data = re.search(r"^([ \t]+path:[ \t]*)(['\"]?)([^\s'\"#][^'\"#\n]*?)\2[ \t]*(#.*)?$", grid, re.MULTILINE)
    if data is not None and data[3] not in ("null", "~") and not data[3].startswith(("/", "~", "$")):
        source = read_run(root).source
        if not Path(source).is_absolute():
            return None
        grid = f"{grid[: data.start()]}{data[1]}{json.dumps(source)}{grid[data.end() :]}"
    return grid
