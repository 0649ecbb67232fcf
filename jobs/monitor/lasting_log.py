"""The log of a process that goes on for days: what lasts is said once."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from jobs.common.errors import one_line
from jobs.common.files import open_to_append
from jobs.common.reading import tail

_READ = 4 * 2**20  # bytes of the log in which a line is looked for


@dataclass
class Log:
    """``RUN/supervise.log``: lines with the time, also on standard output.

    ``show_all``: what the log has already and is not written again goes to standard output nevertheless. From cron, each
    line there becomes a mail.
    """

    path: Path
    show_all: bool = False
    _known: set[str] = field(default_factory=set)
    _last: str = ""

    def __post_init__(self) -> None:
        try:
            lines = tail(self.path, _READ).decode("utf-8", errors="replace").splitlines()
        except OSError:
            return
        texts = [line.partition(" ")[2] for line in lines]
        self._known = set(texts)
        self._last = texts[-1] if texts else ""

    def say(self, text: str) -> None:
        """Write ``text`` as one line."""
        line = f"{datetime.now().astimezone():%Y-%m-%dT%H:%M:%S%z} {one_line(text, 2000)}"
        print(line, flush=True)
        self._last = line.partition(" ")[2]
        self._known.add(self._last)
        try:
            descriptor = open_to_append(self.path)
            try:
                os.write(descriptor, f"{line}\n".encode(errors="replace"))
            finally:
                os.close(descriptor)
        except OSError as error:  # a full disk must not end the supervision
            print(f"{self.path} cannot be written ({error.strerror})", file=sys.stderr)

    def once(self, text: str) -> None:
        """:meth:`say`, unless the log has this line already."""
        if one_line(text, 2000) not in self._known:
            self.say(text)

    def news(self, text: str) -> None:
        """:meth:`say`, unless it is what the log said last: a state that lasts is one line."""
        if one_line(text, 2000) != self._last:
            self.say(text)
        elif self.show_all:
            print(text, flush=True)
