"""Reads and checks ``grid.yaml``. Anything unknown in it is an error."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.common.errors import UserError, one_line, shown
from jobs.grid.qsub_options import problems
from jobs.grid.settings import DATA, HYPERPARAMETERS, POINT, SEED, SITE, TRAINING, Setting
from jobs.grid.sites import SITES
from jobs.grid.yaml_file import load_yaml

SECTIONS = ("hyperparameters", "seed", "exclude", "include", "training", "data", "site")
DATA_SOURCES = ("sample", "files")


@dataclass(frozen=True)
class GridConfig:
    """A checked ``grid.yaml``.

    ``axes`` maps each axis to its values in the order of the file. ``training`` has the value of every training
    setting, with defaults for those that the file does not mention. ``exclude`` and ``include`` are lists of
    ``{setting: value(s)}``.
    """

    path: Path
    axes: Mapping[str, tuple[Any, ...]]
    seeds: tuple[int, ...]
    exclude: tuple[Mapping[str, tuple[Any, ...]], ...]
    include: tuple[Mapping[str, Any], ...]
    training: Mapping[str, Any]
    data: Mapping[str, Any]
    site: Mapping[str, Any]


class _Reader:
    """Checks the parts of a ``grid.yaml``; the first error is reported with its line."""

    def __init__(self, path: Path, lines: dict[str, int]) -> None:
        self.path = path
        self.lines = lines

    def refuse(self, where: str, received: Any, expected: str) -> UserError:
        line = self.lines.get(where)
        place = f"{self.path} line {line}" if line else f"{self.path}"
        return UserError(f"{place}: {one_line(where)}: received {shown(received)}, expected {expected}")

    def unknown(self, where: str, key: Any, known: list[str]) -> UserError:
        near = difflib.get_close_matches(str(key), known, n=1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        return self.refuse(
            f"{where}.{key}" if where else str(key), key, f"one of the keys {', '.join(known)}{hint}"
        )

    def mapping(self, where: str, value: Any) -> dict[str, Any]:
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise self.refuse(where, value, "a block of 'key: value' lines")
        return value

    def listing(self, where: str, value: Any) -> list[Any]:
        if value is None:
            return []
        if not isinstance(value, list):
            raise self.refuse(where, value, "a list")
        return value

    def value(self, where: str, setting: Setting, value: Any) -> Any:
        try:
            return setting.parse(value)
        except ValueError as error:
            raise self.refuse(where, value, str(error)) from None

    def values(self, where: str, setting: Setting, value: Any) -> tuple[Any, ...]:
        """One or several values of an axis, without duplicates."""
        items = value if isinstance(value, list) else [value]
        if not items:
            raise self.refuse(where, value, "at least one value")
        parsed: dict[Any, None] = {}  # an ordered set
        for number, item in enumerate(items):
            name = f"{where}[{number}]" if isinstance(value, list) else where
            one = self.value(name, setting, item)
            if one in parsed:
                raise self.refuse(name, item, "each value once")
            parsed[one] = None
        return tuple(parsed)

    def block(
        self,
        where: str,
        content: Any,
        table: Mapping[str, Setting],
        defaults: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        content = self.mapping(where, content)
        defaults = defaults or {}
        for key in content:
            if key not in table:
                raise self.unknown(where, key, list(table))
        return {
            key: self.value(f"{where}.{key}", setting, content[key])
            if key in content
            else defaults.get(key, setting.default)
            for key, setting in table.items()
        }


def _read_axes(reader: _Reader, content: Any) -> dict[str, tuple[Any, ...]]:
    content = reader.mapping("hyperparameters", content)
    table = {**HYPERPARAMETERS, **TRAINING}
    axes: dict[str, tuple[Any, ...]] = {}
    for key, value in content.items():
        if key == "seed":
            raise reader.refuse("hyperparameters.seed", value, "the key 'seed' at the top level of the file")
        if key not in table:
            raise reader.unknown("hyperparameters", key, list(table))
        axes[key] = reader.values(f"hyperparameters.{key}", table[key], value)
    for key in HYPERPARAMETERS:
        if key not in axes:
            raise reader.refuse("hyperparameters", sorted(axes), f"the axis '{key}' (one value is enough)")
    return {**{key: axes[key] for key in HYPERPARAMETERS}, **axes}


def _read_selection(
    reader: _Reader, section: str, content: Any, *, one_value: bool
) -> tuple[dict[str, Any], ...]:
    result = []
    for number, item in enumerate(reader.listing(section, content)):
        where = f"{section}[{number}]"
        entry = reader.mapping(where, item)
        if not entry:
            raise reader.refuse(where, entry, "at least one 'key: value', for example 'batch_size: 32'")
        checked = {}
        for key, value in entry.items():
            if key not in POINT:
                raise reader.unknown(where, key, list(POINT))
            read = reader.value if one_value else reader.values
            checked[key] = read(f"{where}.{key}", POINT[key], value)
        result.append(checked)
    return tuple(result)


def _read_site(reader: _Reader, content: Any, *, made: bool) -> dict[str, Any]:
    """The ``site`` block: for each key the value in the file, else that of the preset, else the default."""
    content = reader.mapping("site", content)
    preset = SITE["preset"].default
    if "preset" in content:
        preset = reader.value("site.preset", SITE["preset"], content["preset"])
    site = reader.block("site", content, SITE, SITES[preset].values)
    for missing in (key for key in SITES[preset].needs if site[key] is None):
        raise reader.refuse(f"site.{missing}", None, f"a value, which {SITES[preset].title} requires")
    for key, received, expected in () if made else problems(site):
        raise reader.refuse(f"site.{key}", received, expected)
    return site


def load_config(path: Path, *, made: bool = False) -> GridConfig:
    """Read and check ``grid.yaml``.

    ``made``: it is the file of a run that was made. What :mod:`jobs.grid.qsub_options` refuses is not an error there, so that
    any run can be looked at; it is when a job is submitted.

    Raises :class:`UserError` with file, line, key, the value received and what is expected for an
    unknown key, a wrong type, an empty axis, a duplicate value or an impossible value.
    """
    content, lines = load_yaml(path)
    reader = _Reader(path, lines)
    for key in content:
        if key not in SECTIONS:
            raise reader.unknown("", key, list(SECTIONS))
    if "hyperparameters" not in content:
        raise reader.refuse("hyperparameters", "nothing", "the search space in the block 'hyperparameters:'")

    axes = _read_axes(reader, content["hyperparameters"])
    training = reader.block("training", content.get("training"), TRAINING)
    written = reader.mapping("training", content.get("training"))
    for key in axes:
        if key in written:
            raise reader.refuse(
                f"training.{key}",
                written[key],
                f"no '{key}' here, because it is an axis in hyperparameters",
            )

    data_block = dict(reader.mapping("data", content.get("data")))
    source = data_block.pop("source", "sample")
    if source not in DATA_SOURCES:
        raise reader.refuse(
            "data.source", source, "'sample' (generated) or 'files' (your own, with data.path)"
        )
    unknown = [key for key in data_block if key not in DATA]
    if unknown:
        raise reader.unknown("data", unknown[0], ["source", *DATA])
    data = {"source": source, **reader.block("data", data_block, DATA)}
    for check in (_check_places, _check_sampling, _check_split):
        check(reader, data)

    config = GridConfig(
        path=path,
        axes=axes,
        seeds=reader.values("seed", SEED, content.get("seed", SEED.default)),
        exclude=_read_selection(reader, "exclude", content.get("exclude"), one_value=False),
        include=_read_selection(reader, "include", content.get("include"), one_value=True),
        training=training,
        data=data,
        site=_read_site(reader, content.get("site"), made=made),
    )
    _check_together(reader, config)
    return config


def _check_places(reader: _Reader, data: Mapping[str, Any]) -> None:
    """Where the images and masks are."""
    if data["source"] == "files" and data["path"] is None and None in (data["images"], data["masks"]):
        raise reader.refuse(
            "data.path",
            None,
            "the folder of your images and masks, since source is 'files'; or both data.images and data.masks",
        )
    for key in ("path", "images", "masks", "test_images", "test_masks"):
        if data["source"] == "sample" and data[key] is not None:
            raise reader.refuse(
                f"data.{key}", data[key], "null, since source is 'sample'; or set 'source: files'"
            )
    for prefix in ("", "test_"):
        written = {key: data[key] for key in (f"{prefix}images", f"{prefix}masks")}
        for missing in (key for key, value in written.items() if value is None):
            if any(written.values()):
                raise reader.refuse(f"data.{missing}", None, "a value: images and masks belong together")


def _check_sampling(reader: _Reader, data: Mapping[str, Any]) -> None:
    """How patches are taken from the slices, and their values."""
    low, high = data["intensity_min"], data["intensity_max"]
    if isinstance(high, float) and isinstance(low, float) and high <= low:
        raise reader.refuse("data.intensity_max", high, f"a number above data.intensity_min, {low:g}")
    if data["overlap"] >= data["patch_size"]:
        raise reader.refuse(
            "data.overlap", data["overlap"], f"less than data.patch_size, {data['patch_size']}"
        )
    if data["sampling"] == "random" and data["crops_per_epoch"] is None:
        raise reader.refuse("data.crops_per_epoch", None, "a number, since data.sampling is 'random'")
    if data["sampling"] == "random" and data["empty_patches_kept"] < 1:
        raise reader.refuse(
            "data.empty_patches_kept",
            data["empty_patches_kept"],
            "1, since data.sampling is 'random': data.foreground_share says how many crops hold foreground",
        )


def _check_split(reader: _Reader, data: Mapping[str, Any]) -> None:
    """How slices are divided into parts."""
    both = sorted(set(data["validation_volumes"]) & set(data["test_volumes"]))
    if both:
        raise reader.refuse("data.test_volumes", both[0], "volumes that are not in data.validation_volumes")
    if data["split"] == "contiguous":
        return
    # With these, the same pixels would be trained and validated on.
    reasons = {
        "data.sampling is 'random', and crops of one slice overlap": data["sampling"] == "random",
        "patches overlap (data.overlap, data.border)": data["overlap"] > 0 or data["border"] == "shift",
        "data.validation_volumes names whole volumes": bool(data["validation_volumes"]),
    }
    for reason in (reason for reason, applies in reasons.items() if applies):
        raise reader.refuse("data.split", data["split"], f"contiguous, since {reason}")


def _check_together(reader: _Reader, config: GridConfig) -> None:
    """The checks that concern more than one key."""
    for number, entry in enumerate(config.include):
        missing = [key for key in HYPERPARAMETERS if key not in entry]
        if missing:
            raise reader.refuse(
                f"include[{number}]", dict(entry), f"all three hyperparameters: add {', '.join(missing)}"
            )

    def tried(key: str) -> set[Any]:
        values = set(config.axes.get(key, (config.training[key],)))
        return values | {entry[key] for entry in config.include if key in entry}

    patch = config.data["patch_size"]
    for levels in tried("levels"):
        if patch % 2 ** (levels - 1):
            raise reader.refuse(
                "data.patch_size",
                patch,
                f"a multiple of {2 ** (levels - 1)}: a network of {levels} levels halves it {levels - 1} times",
            )
    if tried("clipnorm") != {None} and tried("global_clipnorm") != {None}:
        raise reader.refuse(
            "training.global_clipnorm",
            min(tried("global_clipnorm"), key=str),
            "only one of clipnorm and global_clipnorm; set the other to null",
        )
