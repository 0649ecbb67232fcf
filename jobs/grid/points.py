"""The points of a grid: which ones there are, their names, and the keys by which equal points are recognised.

:func:`point_name` is the only place where a point's name is made. The predecessor made it twice, in two
languages, and lost all 36 results to the difference.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from jobs.common.errors import UserError, shown
from jobs.common.records import canonical_json
from jobs.grid.config import GridConfig
from jobs.grid.settings import HYPERPARAMETERS, POINT, SEED

MOST_POINTS = 100_000  # of one grid: more than any cluster trains, few enough to list
LONGEST_STEM = (
    150  # characters: a file name has at most 255, and a temporary one contains the host name as well
)
# No path separator and nothing special to a shell or a terminal: a name never leads out of the run directory.
_NAME = re.compile(rf"exp_[0-9]+_([A-Za-z0-9_.+-]{{1,{LONGEST_STEM}}})")
_SHORT = {"architecture": "", "learning_rate": "lr", "batch_size": "bs"}


class Point(msgspec.Struct, frozen=True, gc=False):
    """One configuration of the grid.

    ``settings`` holds a value for every key of :data:`jobs.grid.settings.POINT`. ``named`` lists the settings
    that are part of the name in addition to the three hyperparameters.
    """

    settings: Mapping[str, Any]
    named: tuple[str, ...] = ()

    @property
    def stem(self) -> str:
        """The beginning of the names of the point's files: ``UNet_lr0.0001_bs8``, or ``UNet_lr0.0001_bs8_seed2``."""
        return join_stem(name_part(key, self.text(key)) for key in (*HYPERPARAMETERS, *self.named))

    def text(self, key: str) -> str:
        """The setting ``key`` as it is written in names and CSV cells."""
        return POINT[key].to_text(self.settings[key])

    def key(self, fingerprint: str) -> str:
        """16 hexadecimal digits: equal for equal settings on equal data, whatever the name of the point."""
        return _digest(canonical_json({"data": fingerprint, "settings": dict(self.settings)}))


def name_part(key: str, text: str) -> str:
    """The part of a point's name for one setting, for example ``lr0.0001``."""
    return f"{_SHORT.get(key, key)}{text}"


def join_stem(parts: Iterable[str]) -> str:
    """The stem made of the parts of :func:`name_part`."""
    return "_".join(parts)


def point_name(index: int, stem: str) -> str:
    """The name of a point's directory, ``exp_01_UNet_lr0.0001_bs8``; ``index`` counts from 1."""
    return f"exp_{index:02d}_{stem}"


def stem_of_name(name: object) -> str | None:
    """The stem in ``name``, as :func:`point_name` made it; ``None`` if ``name`` is not the name of a point.

    >>> stem_of_name("exp_01_UNet_lr0.0001_bs8"), stem_of_name("../exp_01_UNet")
    ('UNet_lr0.0001_bs8', None)
    """
    match = _NAME.fullmatch(name) if isinstance(name, str) else None
    return match[1] if match else None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def key_part(key: str, value: Any) -> str:
    """The part of the text of a key for one setting, for example ``"batch_size":8``."""
    return f"{canonical_json(key)}:{canonical_json(value)}"


class KeyTemplate:
    """Makes the keys of many points that differ in a few settings; the same keys as :meth:`Point.key`.

    The text that the points have in common is made once: a key takes a tenth of the time of :meth:`Point.key`.
    """

    def __init__(self, settings: Mapping[str, Any], axes: Sequence[str], fingerprint: str) -> None:
        names = sorted({*settings, *axes})
        parts = ["%s" if name in axes else _literal(key_part(name, settings[name])) for name in names]
        data = _literal(canonical_json(fingerprint))
        self._text = f'{{"data":{data},"settings":{{{",".join(parts)}}}}}'
        self._order = [axes.index(name) for name in names if name in axes]

    def key(self, parts: Sequence[str]) -> str:
        """The key of the point whose axes have these :func:`key_part`, in the order of ``axes``."""
        return _digest(self._text % tuple([parts[place] for place in self._order]))


def _literal(text: str) -> str:
    return text.replace("%", "%%")


def extra_axes(config: GridConfig) -> tuple[str, ...]:
    """The settings that vary besides the three hyperparameters and the seed, in a fixed order."""
    varied = {key for key in config.axes if key not in HYPERPARAMETERS}
    varied |= {
        key for entry in config.include for key in entry if key not in HYPERPARAMETERS and key != "seed"
    }
    return tuple(key for key in POINT if key in varied)


def expand(config: GridConfig) -> list[Point]:
    """All points of the grid in order.

    The seed is the outermost loop, so that the whole grid is trained once before it is repeated; then come
    architecture, learning rate, batch size (the guide's order) and further axes. Points that an ``exclude`` rule
    matches are left out, and the ``include`` points come last.

    Raises :class:`UserError` for an ``exclude`` rule that matches nothing, an ``include`` point that is already in
    the grid, a name that is too long for a file, a grid without any point, and, before anything is
    expanded, for more than :data:`MOST_POINTS` combinations.
    """
    _check_size(config)
    points = _combinations(config)
    points += _included(config, points)
    if not points:
        raise UserError(
            f"{config.path}: every point is excluded; expected at least one point: "
            "remove or narrow an entry of 'exclude'"
        )
    longest = max((point.stem for point in points), key=len)
    if len(longest) > LONGEST_STEM:
        raise UserError(
            f"{config.path}: the name {longest} is too long; expected at most {LONGEST_STEM} characters: "
            "move settings with one value from 'hyperparameters' to 'training', or change fewer settings in 'include'"
        )
    return points


def _always_named(config: GridConfig) -> tuple[str, ...]:
    return tuple(key for key in config.axes if key not in HYPERPARAMETERS)


def _combinations(config: GridConfig) -> list[Point]:
    """The points of the axes and seeds without those that ``exclude`` removes."""
    points = []
    named = _always_named(config) + (("seed",) if len(config.seeds) > 1 else ())
    rules = [{key: frozenset(values) for key, values in rule.items()} for rule in config.exclude]
    hits = [0] * len(rules)
    for seed, *values in itertools.product(config.seeds, *config.axes.values()):
        settings = {**config.training, **dict(zip(config.axes, values, strict=True)), "seed": seed}
        excluded = [number for number, rule in enumerate(rules) if _matches(settings, rule)]
        for number in excluded:
            hits[number] += 1
        if not excluded:
            points.append(_point(settings, named))
    for number, count in enumerate(hits):
        if count == 0:
            rule = {
                key: list(values) if len(values) > 1 else values[0]
                for key, values in config.exclude[number].items()
            }
            raise UserError(
                f"{config.path}: exclude[{number}]: received {shown(rule)}, which matches no point of the grid; "
                "expected values of the axes: correct or remove the entry"
            )
    return points


def _matches(settings: Mapping[str, Any], rule: Mapping[str, frozenset[Any]]) -> bool:
    return all(settings[key] in values for key, values in rule.items())


def _included(config: GridConfig, points: Sequence[Point]) -> list[Point]:
    """The points of ``include``; ``points`` are those that the grid has without them.

    A setting that an entry does not mention has its value in ``training``, or the first value of its axis; an
    entry without a seed has the first seed of the grid.
    """
    included = []
    always_named = _always_named(config)
    default = {**config.training, "seed": SEED.default}
    known = {canonical_json(dict(point.settings)) for point in points} if config.include else set()
    for number, entry in enumerate(config.include):
        first = {key: config.axes[key][0] for key in always_named}
        settings = {**config.training, **first, "seed": config.seeds[0], **entry}
        text = canonical_json(settings)
        if text in known:
            raise UserError(
                f"{config.path}: include[{number}]: received {shown(dict(entry))}, a point that is already in the grid; "
                "remove the entry"
            )
        known.add(text)
        special = tuple(
            key
            for key in POINT
            if key in entry
            and key not in HYPERPARAMETERS
            and key not in always_named
            and (entry[key] != default[key] or (key == "seed" and len(config.seeds) > 1))
        )
        included.append(_point(settings, always_named + special))
    return included


def _check_size(config: GridConfig) -> None:
    axes = {**config.axes, "seed": config.seeds}
    count = math.prod(len(values) for values in axes.values()) + len(config.include)
    if count > MOST_POINTS:
        sizes = " x ".join(f"{len(values)} {axis}" for axis, values in axes.items())
        raise UserError(
            f"{config.path}: received {sizes} and {len(config.include)} included, {count:,} combinations in total; "
            f"expected at most {MOST_POINTS:,}: shorten an axis, or make several runs"
        )


def _point(settings: Mapping[str, Any], named: Iterable[str]) -> Point:
    return Point({key: settings[key] for key in POINT}, tuple(named))
