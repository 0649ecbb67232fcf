"""One way to show and keep what was measured."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

WIDTH = 110


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return "" if value is None else f"{value:,}" if type(value) is int else str(value)


def show(title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Print ``rows``, all with the keys of the first, as a table."""
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for name in rows[0]:
        table.add_column(name, justify="right" if isinstance(rows[0][name], int | float) else "left")
    for row in rows:
        table.add_row(*map(_cell, row.values()))
    console = Console()
    (console if console.is_terminal else Console(width=WIDTH)).print(table, "", highlight=False)


def keep(folder: Path | None, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write ``rows`` to ``folder/name.json``, for medians over several runs; nothing without a folder."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.json").write_text(json.dumps(list(rows), indent=1) + "\n")
