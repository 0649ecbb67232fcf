"""Tables and bars of ``rich`` in which the text of names and files cannot control the terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import IO, Any, cast

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from jobs.common.startup import SafeText
from jobs.common.visible import visible


class SafeConsole(Console):
    """A console that writes its own escape sequences, and shows those in a text as text."""

    def __init__(self, *, file: IO[str] | None = None, **options: Any) -> None:
        """``file`` and ``options`` are those of :class:`rich.console.Console`; by default it writes to standard output."""
        stream = sys.stdout
        if file is None and isinstance(stream, SafeText):
            file = cast("IO[str]", stream.unchecked())
        super().__init__(file=file, **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """The segments of ``renderable``; those that are text have nothing that controls a terminal."""
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable():
                yield segment
            else:
                yield Segment(visible(segment.text), segment.style)
