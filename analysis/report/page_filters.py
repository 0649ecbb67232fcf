"""The jinja2 environment of the page: where its templates are, and the filters that format values.

Every value is escaped: autoescape is on for all templates. Every text is one line of at most :data:`LONGEST_TEXT`
characters, without characters that cannot be printed.
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from analysis.metrics import WORDS
from jobs.common.errors import one_line
from jobs.common.states import STATES
from jobs.common.units import gigabytes, whole_duration

NONE = "\N{EN DASH}"  # shown if there is no value
LONGEST_TEXT = 4000  # characters: an explanation is shorter, a file pasted into a cell is not
TEMPLATES = Path(__file__).parent / "templates"
_STATE_KINDS = {
    "done": "good",
    "waiting": "plain",
    "running": "plain",
    "cancelled": "warn",
    "diverged": "warn",
}
_VERDICT_KINDS = {"supported": "good", "not supported": "bad"}


def environment() -> Environment:
    """The environment with all filters; an unknown name in a template is an error."""
    found = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        finalize=_one_line,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters = (breakable, cell, clause, cut, duration, interval, level_text, lines, memory, number, percent)
    found.filters.update(
        {
            one.__name__: one
            for one in (*filters, p_value, sentence, state_kind, time_cell, verdict_kind, words)
        }
    )
    found.globals["inlined"] = _inlined
    found.globals["hash_of"] = _hash_of
    return found


def _one_line(value: object) -> object:
    """What is written for ``{{ value }}``: markup unchanged, any other value as one line of text."""
    if isinstance(value, Markup):
        return value
    return "" if value is None else one_line(value, LONGEST_TEXT)


def _inlined(name: str) -> Markup:
    """The style or the script, unchanged: both are our own files."""
    return Markup((TEMPLATES / name).read_text(encoding="utf-8"))  # noqa: S704 - contains no data


def _hash_of(name: str) -> str:
    """The hash of a script for the policy of the page: a browser runs no other, whatever a name or a log contains."""
    digest = hashlib.sha256(_inlined(name).encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


def cut(text: str | None, limit: int) -> str:
    """``text`` as one line of at most ``limit`` characters; empty for ``None``."""
    return "" if text is None else one_line(text, limit)


def clause(text: str) -> str:
    """``text`` as a part of a sentence: without a full stop at its end."""
    return one_line(text, LONGEST_TEXT).rstrip(".")


def breakable(name: str) -> Markup:
    """A name of at most 300 characters that may be wrapped after its underscores only."""
    return escape(one_line(name, 300)).replace("_", Markup("_<wbr>"))


def lines(texts: Sequence[str]) -> Markup:
    """Several lines of preformatted text."""
    return Markup("\n").join(one_line(text, LONGEST_TEXT) for text in texts)


def words(key: str) -> str:
    """The name of a metric or hyperparameter for people."""
    return one_line(WORDS.get(key) or key.replace("_", " "), 200)


def number(value: float | None, pattern: str = "{:.4f}") -> str:
    """A number in ``pattern``, in scientific notation if that is too wide; a dash if it is missing or not finite."""
    if value is None or not math.isfinite(value):
        return NONE
    text = pattern.format(value)
    return text if len(text) <= 11 else f"{value:.3e}"


def level_text(level: float | str) -> str:
    """A level of a hyperparameter: a number in at most six digits, or a text."""
    return level if isinstance(level, str) else f"{level:.6g}"


def sentence(text: str) -> str:
    """``text`` with a capital first letter; the others stay as they are."""
    return text[:1].upper() + text[1:]


def p_value(value: float | None) -> str:
    """A p value with three decimals, or ``< 0.001``."""
    return "< 0.001" if value is not None and 0 <= value < 0.001 else number(value, "{:.3f}")


def interval(limits: tuple[float, float] | None, pattern: str = "{:.3f}") -> str:
    """``LOWER to UPPER``, or a dash."""
    if limits is None or not all(map(math.isfinite, limits)):
        return NONE
    return f"{number(limits[0], pattern)} to {number(limits[1], pattern)}"


def duration(seconds: float | None) -> str:
    """Seconds as a duration, such as ``3 h 05 min``; a dash if they are missing or negative."""
    known = seconds is not None and math.isfinite(seconds) and seconds >= 0
    return whole_duration(seconds, unknown=NONE) if known else NONE


def memory(megabytes: float | None) -> str:
    """Megabytes as ``1.5 GB``."""
    return gigabytes(megabytes, unknown=NONE)


def percent(share: float | None) -> str:
    """A share as the width of a bar in percent, from 0 to 100; an unbiased share can be negative."""
    return f"{100 * min(1.0, max(0.0, share or 0.0)):.1f}"


def state_kind(state: str) -> str:
    """The kind of badge for the class of a point: ``good``, ``plain``, ``warn`` or ``bad``."""
    return _STATE_KINDS.get(state, "bad") if state in STATES else "plain"


def verdict_kind(verdict: str) -> str:
    """The kind of badge of a verdict."""
    return _VERDICT_KINDS.get(verdict, "warn")


def cell(value: float | None, pattern: str) -> Markup:
    """A table cell with a number; also with its exact value to sort by, if the text has fewer digits."""
    text = number(value, pattern)
    if value is None or text == NONE or float(text) == value:
        return Markup("<td>{}</td>").format(text)
    return Markup('<td data-v="{}">{}</td>').format(f"{value:.6g}", text)


def time_cell(seconds: float | None) -> Markup:
    """A table cell with a duration, and its seconds to sort by."""
    text = duration(seconds)
    if seconds is None or text == NONE:
        return Markup("<td>{}</td>").format(NONE)
    return Markup('<td data-v="{}">{}</td>').format(f"{seconds:.6g}", text)
