"""Pieces of HTML. Every value goes through :func:`esc` or :func:`number`, so that nothing in a file becomes markup."""

from __future__ import annotations

import html
import math
import numbers
from collections.abc import Iterable, Sequence
from typing import Any

from jobs.common.errors import one_line
from jobs.common.states import STATES

NONE = "\N{EN DASH}"  # stands where there is no value
LONGEST_TEXT = 4000  # characters of one text: an explanation is shorter, a file pasted into a cell is not
MOST_ROWS = 200  # of a statistics table
_STATE_KINDS = {
    "done": "good",
    "waiting": "plain",
    "running": "plain",
    "cancelled": "warn",
    "diverged": "warn",
}
_LABELS = {
    "best_val_jaccard": "best validation Jaccard index",
    "val_loss_stability": "stability (SD of validation loss)",
    "log_stability": "log stability",
    "test_jaccard": "test Jaccard index",
    "overfitting_gap": "overfitting gap",
    "training_time_seconds": "training time",
    "p_adjusted": "p (adjusted)",
    "p": "p",
    "n": "n",
}


def esc(value: Any, limit: int = LONGEST_TEXT) -> str:
    """``value`` as text that is safe between tags and inside quoted attributes; nothing for ``None``."""
    return "" if value is None else html.escape(one_line(value, limit))


def words(key: Any) -> str:
    """A key of the findings in human words; a text, not HTML."""
    return _LABELS.get(str(key)) or str(key).replace("_", " ")


def label(key: Any) -> str:
    """:func:`words`, escaped."""
    return esc(words(key), 200)


def finite(value: Any) -> float | None:
    """``value`` as a float if it is a finite number; truth values and texts are none."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) else None


def number(value: Any, pattern: str = "{:.4f}") -> str:
    """A finite number in ``pattern``, or :data:`NONE`; what would not fit a column is in scientific notation."""
    found = finite(value)
    if found is None:
        return NONE
    text = pattern.format(found)
    return text if len(text) <= 11 else f"{found:.3e}"


def p_value(value: Any) -> str:
    """``< 0.001`` or three decimals."""
    found = finite(value)
    return "&lt; 0.001" if found is not None and 0 <= found < 0.001 else number(value, "{:.3f}")


def interval(value: Any, pattern: str = "{:.3f}") -> str:
    """``[lo, hi]`` as ``lo to hi``, or :data:`NONE`."""
    ends = as_list(value)
    if len(ends) != 2 or None in (finite(ends[0]), finite(ends[1])):
        return NONE
    return f"{number(ends[0], pattern)} to {number(ends[1], pattern)}"


def duration(value: Any) -> str:
    """Seconds as ``3 h 05 min``, ``12 min``, ``40 s``."""
    seconds = finite(value)
    if seconds is None or seconds < 0:
        return NONE
    if seconds < 90:
        return number(seconds, "{:.0f} s")
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min"


def badge(text: Any, kind: str = "plain") -> str:
    """A coloured word; ``kind`` is ``good``, ``warn``, ``bad`` or ``plain``. The word alone says it all."""
    return f'<span class="badge {kind}">{esc(text, 100)}</span>'


def state_badge(state: Any, count: int | None = None) -> str:
    """The class of a point, coloured; with the number of points that are in it, if wanted."""
    known = isinstance(state, str) and state in STATES
    text = state if count is None else f"{state} {count:,}"
    return badge(text, _STATE_KINDS.get(state, "bad") if known else "plain")


def code(name: Any) -> str:
    """The name of a point or file."""
    return f"<code>{breakable(name)}</code>"


def breakable(name: Any) -> str:
    """A name that may be broken after its underscores, rather than anywhere."""
    return esc(name, 300).replace("_", "_<wbr>")


def paragraph(content: str, kind: str = "") -> str:
    """``content`` (HTML) as a paragraph."""
    return f'<p class="{kind}">{content}</p>' if kind else f"<p>{content}</p>"


def bullets(items: Iterable[str], kind: str = "") -> str:
    """A list of items (HTML)."""
    return (
        (f'<ul class="{kind}">' if kind else "<ul>") + "".join(f"<li>{item}</li>" for item in items) + "</ul>"
    )


def pairs(entries: Iterable[tuple[str, str]], kind: str = "pairs") -> str:
    """A list of terms and values (both HTML)."""
    return (
        f'<dl class="{kind}">' + "".join(f"<div><dt>{a}</dt><dd>{b}</dd></div>" for a, b in entries) + "</dl>"
    )


def scrolling(content: str, name: str, kind: str = "") -> str:
    """A box in which something wide scrolls, by the keyboard too, so that the page never does."""
    return f'<div class="{f"scroll {kind}".strip()}" tabindex="0" role="region" aria-label="{esc(name)}">{content}</div>'


def table(
    caption: str, header: Sequence[str], rows: Iterable[Sequence[str]], text: Sequence[int] = ()
) -> str:
    """A table in a box of its own. ``header`` and cells are HTML; the columns ``text`` are aligned to the left.

    At most :data:`MOST_ROWS` rows are shown, and the caption says so.
    """
    rows = list(rows)
    if len(rows) > MOST_ROWS:
        caption += f" (the first {MOST_ROWS} of {len(rows)} rows; analysis_summary.json has all)"
    left = {0, *text}
    kinds = [' class="t"' if column in left else "" for column in range(len(header))]
    head = "".join(f'<th scope="col"{kind}>{word}</th>' for kind, word in zip(kinds, header, strict=True))
    body = "\n".join(
        f'<tr><th scope="row">{row[0]}</th>'
        + "".join(f"<td{kind}>{cell}</td>" for kind, cell in zip(kinds[1:], row[1:], strict=True))
        + "</tr>"
        for row in rows[:MOST_ROWS]
    )
    return scrolling(
        f"<table><caption><span>{esc(caption)}</span></caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table>",
        caption,
    )


def folded(title: str, content: str, *, is_open: bool = True) -> str:
    """``content`` (HTML) under a title (HTML) that folds it away."""
    return f"<details{' open' if is_open else ''}><summary>{title}</summary>{content}</details>"


def section(identity: str, title: str, content: str) -> str:
    """A part of the page that the contents link to."""
    return f'<section id="{identity}"><h2>{esc(title)}</h2>\n{content}\n</section>'


def as_dict(value: Any) -> dict[Any, Any]:
    """``value`` if it is a dictionary, else an empty one: findings may lack anything."""
    return value if isinstance(value, dict) else {}


def as_list(value: Any) -> list[Any]:
    """``value`` if it is a list or tuple, else an empty list."""
    return list(value) if isinstance(value, (list, tuple)) else []


def dicts(value: Any) -> list[dict[Any, Any]]:
    """The dictionaries in a list."""
    return [entry for entry in as_list(value) if isinstance(entry, dict)]
