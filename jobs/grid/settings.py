"""Every setting of ``grid.yaml``: its type, its range and its default.

The loader, the axes of the grid, the columns of ``index.csv`` and the error messages use these tables, so that a
setting means the same everywhere. To add a setting, add it to :data:`TRAINING`, :data:`DATA` or :data:`SITE`.
"""

from __future__ import annotations

import math
import re
import shlex
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from jobs.grid.retry import DEFAULT as DEFAULT_RETRY
from jobs.grid.retry import EXPECTED as RETRY_EXPECTED
from jobs.grid.retry import parse_retry
from unet_models.networks.parameters import ARCHITECTURES


def _any_value(_value: object) -> bool:
    return True


@dataclass(frozen=True)
class Setting:
    """One key of ``grid.yaml``.

    ``kind`` is the Python type of a value, ``expected`` describes the values in an error message, ``accepts`` checks
    the range, and ``nullable`` allows ``null`` (which means: off, or decided by the program).
    """

    kind: type
    default: Any
    expected: str
    accepts: Callable[[Any], bool] = _any_value
    nullable: bool = False

    def parse(self, value: Any) -> Any:
        """``value`` in the type of this setting; ``ValueError`` with :attr:`expected` if it is not a valid value."""
        if value is None and self.nullable:
            return None
        if self.kind is float and isinstance(value, int) and not isinstance(value, bool):
            try:
                value = float(value)
            except OverflowError:  # an integer of more than 308 digits
                raise ValueError(self.expected) from None
        # Not isinstance: in Python a bool is an int, but a user who writes `epochs: true` does not mean 1.
        valid = type(value) is self.kind and not (isinstance(value, float) and not math.isfinite(value))
        if not valid or not self.accepts(value):
            raise ValueError(self.expected)
        return value

    def to_text(self, value: Any) -> str:
        """``value`` as it is written in CSV cells and in names of points; :meth:`from_text` is the inverse.

        Booleans are written in lower case, because ``grep False`` on the summary must find failed points only.
        """
        if value is None:
            return "none"
        if isinstance(value, bool):
            return "true" if value else "false"
        return repr(value) if isinstance(value, float) else str(value)

    def from_text(self, text: str) -> Any:
        """The value that :meth:`to_text` wrote; ``ValueError`` with :attr:`expected` for any other text."""
        text = text.strip()
        if self.nullable and text == "none":
            return None
        if self.kind is bool:
            if text not in ("true", "false"):
                raise ValueError(self.expected)
            return text == "true"
        try:
            value = self.kind(text)
        except ValueError:
            raise ValueError(self.expected) from None
        return self.parse(value)


class NumberOrAuto(Setting):
    """A number, or the word ``auto``."""

    def parse(self, value: Any) -> Any:
        """As :meth:`Setting.parse`, or ``auto``."""
        return value if value == "auto" else super().parse(value)


class Names(Setting):
    """A list of different names; a whole number in it is a name, too. Its value is a tuple."""

    def parse(self, value: Any) -> Any:
        """As :meth:`Setting.parse`."""
        if value is None:
            return ()
        written = value if isinstance(value, list | tuple) else [None]
        names = tuple(str(name) if type(name) in (str, int) else "" for name in written)
        if not all(names) or len(set(names)) < len(names):
            raise ValueError(self.expected)
        return names


class Retry(Setting):
    """What to do with points that fail, by class; see :mod:`jobs.grid.retry`."""

    def parse(self, value: Any) -> Any:
        """A mapping from a class to its :class:`jobs.grid.retry.RetryRule`."""
        return value if value is DEFAULT_RETRY else parse_retry(value)


def _whole(default: int | None, low: int, high: int | None = None, *, nullable: bool = False) -> Setting:
    words = f"a whole number of at least {low}" if high is None else f"a whole number from {low} to {high}"
    return Setting(
        int,
        default,
        words + (" or null" if nullable else ""),
        lambda value: value >= low and (high is None or value <= high),
        nullable,
    )


def _number(
    default: float | None, words: str, accepts: Callable[[float], bool], *, nullable: bool = False
) -> Setting:
    return Setting(float, default, words + (" or null" if nullable else ""), accepts, nullable)


def _one_of(default: str, *choices: str) -> Setting:
    return Setting(str, default, "one of " + ", ".join(choices), lambda value: value in choices)


def _switch(*, default: bool) -> Setting:
    return Setting(bool, default, "true or false")


def _text(default: str | None, words: str, accepts: Callable[[str], bool] = bool) -> Setting:
    return Setting(str, default, words + " or null", accepts, nullable=True)


def _is_regex_with_number(pattern: str) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # for patterns that a future Python will read differently
            return re.compile(pattern).groups == 1
    except (re.error, OverflowError, RecursionError, MemoryError, Warning):
        return False


def _is_path(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return bool(value) and "\0" not in value


def _intensity() -> Setting:
    return NumberOrAuto(float, None, "a number, auto or null", nullable=True)


def _volumes() -> Setting:
    return Names(tuple, (), "a list of names of folders in data.path, each once, or null", nullable=True)


HYPERPARAMETERS: dict[str, Setting] = {
    "architecture": _one_of("UNet", *ARCHITECTURES),
    "learning_rate": _number(1e-3, "a positive number up to 10", lambda value: 0 < value <= 10),
    "batch_size": _whole(8, 1, 4096),
}

SEED = _whole(1, 0, 2**31 - 1)

TRAINING: dict[str, Setting] = {
    "epochs": _whole(30, 1, 100_000),
    "base_filters": _whole(64, 1, 512),
    "levels": _whole(5, 2, 7),
    "dropout": _number(0.0, "a number of at least 0 and below 1", lambda value: 0 <= value < 1),
    "batch_norm_momentum": _number(0.9, "a number above 0 and below 1", lambda value: 0 < value < 1),
    "optimizer": _one_of("adam", "adam", "adamw", "sgd", "rmsprop"),
    "clipnorm": _number(1.0, "a positive number", lambda value: value > 0, nullable=True),
    "global_clipnorm": _number(None, "a positive number", lambda value: value > 0, nullable=True),
    "loss": _one_of("binary_focal_crossentropy", "binary_focal_crossentropy", "binary_crossentropy"),
    "focal_gamma": _number(2.0, "a number of at least 0", lambda value: value >= 0),
    "reduce_lr_patience": _whole(5, 1, nullable=True),
    "reduce_lr_factor": _number(0.5, "a number above 0 and below 1", lambda value: 0 < value < 1),
    "reduce_lr_min_lr": _number(1e-6, "a number of at least 0", lambda value: value >= 0),
    "reduce_lr_min_delta": _number(1e-4, "a number of at least 0", lambda value: value >= 0),
    "early_stopping_patience": _whole(10, 1, nullable=True),
    "early_stopping_min_delta": _number(0.0, "a number of at least 0", lambda value: value >= 0),
    "augment": _switch(default=True),
    "validation_batch_size": _whole(16, 1, 4096),
    "precision": _one_of("float32", "float32", "mixed_bfloat16", "mixed_float16"),
    "tensor_float_32": _switch(default=True),
    "jit_compile": _one_of("auto", "off", "on", "auto"),
    "deterministic": _switch(default=False),
    "model_format": _one_of("hdf5", "hdf5", "keras"),
}

DATA: dict[str, Setting] = {
    "path": _text(None, "a folder", _is_path),
    "images": _text(None, "a folder, a file, or FILE:/NAME", _is_path),
    "masks": _text(None, "a folder, a file, or FILE:/NAME", _is_path),
    "test_images": _text(None, "a folder, a file, or FILE:/NAME", _is_path),
    "test_masks": _text(None, "a folder, a file, or FILE:/NAME", _is_path),
    "pair_by": _one_of("name", "name", "number"),
    "patch_size": _whole(256, 4, 8192),
    "sampling": _one_of("grid", "grid", "random"),
    "overlap": _whole(0, 0),
    "border": _one_of("drop", "drop", "shift"),
    "empty_patches_kept": _number(1.0, "a number from 0 to 1", lambda value: 0 <= value <= 1),
    "crops_per_epoch": _whole(None, 1, nullable=True),
    "foreground_share": _number(0.5, "a number from 0 to 1", lambda value: 0 <= value <= 1),
    "test_scoring": _one_of("patches", "patches", "slices"),
    "split": _one_of("contiguous", "contiguous", "random"),
    "validation_fraction": _number(0.15, "a number above 0 and below 0.9", lambda value: 0 < value < 0.9),
    "validation_block": _one_of("end", "end", "start", "middle"),
    "gap_slices": _whole(20, 0),
    "validation_volumes": _volumes(),
    "test_volumes": _volumes(),
    "split_seed": _whole(0, 0, 2**31 - 1),
    "slice_pattern": _text(
        None, "a regular expression with one group that matches the slice number", _is_regex_with_number
    ),
    "mask_threshold": _number(None, "a number of at least 0", lambda value: value >= 0, nullable=True),
    "intensity_min": _intensity(),
    "intensity_max": _intensity(),
    "expected_patches": _whole(None, 1, nullable=True),
    "expected_fingerprint": _text(None, "the fingerprint that make_grid.py prints"),
    "sample_slices": _whole(48, 8, 4096),
    "sample_size": _whole(512, 32, 8192),
    "sample_seed": _whole(0, 0, 2**31 - 1),
}


# Site values become arguments of qsub and lines of a shell script, so they must not contain a line break.
def _is_one_line(value: str) -> bool:
    return bool(value.strip()) and value.isprintable()


def _is_shell_words(value: str) -> bool:
    try:
        return _is_one_line(value) and bool(shlex.split(value))
    except ValueError:
        return False


def _is_template(*fields: str) -> Callable[[str], bool]:
    def accepts(value: str) -> bool:
        return (
            re.fullmatch(r"[\w.:=,+{}-]+", value) is not None
            and set(re.findall(r"\{(.*?)\}", value)) <= set(fields)
            and re.search(r"[{}]", re.sub(r"\{.*?\}", "", value)) is None
        )

    return accepts


def _size(default: str) -> Setting:
    return Setting(
        str,
        default,
        "a size such as 32gb",
        lambda value: re.fullmatch(r"[1-9][0-9]*(kb|mb|gb|tb)", value, re.IGNORECASE) is not None,
    )


def _duration(default: str) -> Setting:
    return Setting(
        str,
        default,
        'hours:minutes:seconds above zero, such as "04:00:00"',
        lambda value: (
            re.fullmatch(r"[0-9]{1,4}:[0-5][0-9]:[0-5][0-9]", value) is not None
            and re.search("[1-9]", value) is not None
        ),
    )


def _name(words: str) -> Setting:
    return _text(None, words, lambda value: re.fullmatch(r"[\w.@-]+", value) is not None)


PRESETS = ("openpbs", "nus_vanda", "nscc_aspire2a", "nci_gadi", "imperial")

# The defaults are for a generic OpenPBS; jobs.grid.sites has the values that the other presets change.
SITE: dict[str, Setting] = {
    "preset": _one_of("openpbs", *PRESETS),
    "ncpus": _whole(8, 1),
    "ngpus": _whole(1, 0),
    "allow_cpu": _switch(default=False),
    "mem": _size("32gb"),
    "walltime": _duration("04:00:00"),
    "on_oom": _one_of("skip", "skip", "accumulate"),
    "heartbeat_seconds": _number(10.0, "a number from 0.1 to 600", lambda value: 0.1 <= value <= 600),
    "queue": _name("a queue's name"),
    "project": _name("a project's name"),
    "select": Setting(
        str,
        "select=1:ncpus={ncpus}:ngpus={ngpus}:mem={mem}",
        "the argument of qsub's -l, with {ncpus}, {ngpus} and {mem} in place of the numbers",
        _is_template("ncpus", "ngpus", "mem"),
    ),
    "log_options": Setting(str, "-j oe", "qsub options for output, such as -j oe -k oed", _is_shell_words),
    "extra_options": _text(None, "more options for every qsub", _is_shell_words),
    "array_options": _text(None, "more options for the qsub of jobs that train points", _is_shell_words),
    "collect_options": _text(
        None, "more options for the qsub of the job that collects, such as -m e -M me@x.org", _is_shell_words
    ),
    "max_running": _whole(None, 1, nullable=True),
    "max_queued": _whole(None, 2, nullable=True),
    "retry": Retry(dict, DEFAULT_RETRY, RETRY_EXPECTED),
    "max_array_size": _whole(None, 2, nullable=True),
    "job_arrays": _switch(default=True),
    "umask": _text(
        None,
        'an umask in quotes that takes nothing from the owner, such as "0007"',
        lambda value: re.fullmatch(r"0?0[0-7]{2}", value) is not None,
    ),
    "modules": _text(
        None,
        "modules to load, separated by spaces",
        lambda value: re.fullmatch(r"[\w./+-]+( +[\w./+-]+)*", value) is not None,
    ),
    "container": _text(None, "the container image's path", _is_one_line),
    "container_command": _one_of("singularity", "singularity", "apptainer"),
    "container_binds": _text(None, "folders to bind, separated by commas", _is_one_line),
    "environment": _text(None, "the folder of a virtual or conda environment", _is_one_line),
    "collect_ncpus": _whole(1, 1),
    "collect_mem": _size("8gb"),
    "collect_walltime": _duration("01:00:00"),
    "collect_queue": _name("a queue's name"),
    "collect_select": Setting(
        str,
        "select=1:ncpus={ncpus}:mem={mem}",
        "the argument of qsub's -l, with {ncpus} and {mem} in place of the numbers",
        _is_template("ncpus", "mem"),
    ),
}

# The settings of a point, in the order of their columns.
POINT: dict[str, Setting] = {**HYPERPARAMETERS, "seed": SEED, **TRAINING}
