"""Puts escape sequences and line breaks into each text of a run, and runs a command: ``python -m tests.security.texts FOLDER SHARE``.

Each text of each record is changed in turn, and each line of the files that are no records. With every text, each
``SHARE``-th command is run, in turn. Prints a JSON object: how many were tried, and what went wrong.
"""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jobs.common.records import read_record, write_record
from jobs.common.visible import visible
from tests.security.trials import Place

LINE = "mallory: a line of its own"
EVIL = f"\x1b[2J\x1b]0;title\x07\x9b31m\u202etxt\u2066\r\n{LINE}\n"
SCHEDULER = "the scheduler"
TEXTS = (".csv", ".yaml", ".conf", ".txt", ".log")


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where the texts in ``value`` are, as keys and positions."""
    if isinstance(value, str):
        yield path
    elif isinstance(value, dict | list):
        for key, one in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(one, (*path, key))


def places(folder: Path, jobs: Any) -> list[tuple[str, tuple[Any, ...]]]:
    """Every text of the run in ``folder``: the name of the file, and the place in the record or the number of the line.

    Also the texts in ``jobs``, what the scheduler knows, as those of :data:`SCHEDULER`.
    """
    found = [(SCHEDULER, where) for where in leaves(jobs)]
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if not path.is_file() or path.is_symlink() or name.startswith("analysis/"):
            continue
        if path.suffix == ".json":
            if record := _record(path):
                found += [(name, where) for where in leaves(record)]
        elif path.suffix in TEXTS:
            found += [(name, (line,)) for line in range(len(path.read_text().splitlines()))]
    return found


def _record(path: Path) -> Any:
    try:
        return read_record(path)
    except Exception:  # noqa: BLE001 - it is no record, which the replaced files try
        return None


def change(place: Place, run: Path, name: str, where: tuple[Any, ...]) -> None:
    """Append what controls a terminal to one text."""
    if name == SCHEDULER:
        jobs = place.pbs.load()
        _append(jobs, where)
        place.pbs.save(jobs)
        return
    path = run / name
    if path.suffix != ".json":
        lines = path.read_text().splitlines()
        lines[where[0]] += EVIL
        path.write_text("\n".join(lines) + "\n")
        return
    record = read_record(path)
    _append(record, where)
    mode = path.stat().st_mode
    write_record(path, record)
    path.chmod(mode)


def _append(value: Any, where: tuple[Any, ...]) -> None:
    for key in where[:-1]:
        value = value[key]
    value[where[-1]] += EVIL


def controls(text: str) -> set[str]:
    """The characters in ``text`` that control something, besides line breaks and tabs."""
    return {
        one
        for one in text
        if one not in "\n\t" and unicodedata.category(one) in ("Cc", "Cf", "Cs", "Zl", "Zp")
    }


def wrong_in(text: str) -> str:
    """What is wrong in a text that a command has written; empty if nothing."""
    if found := controls(text):
        return f"control characters {sorted(found)!r} in {visible(text)[:300]!r}"
    if any(line.startswith(LINE) for line in text.splitlines()):
        return f"a line of its own in {text[:300]!r}"
    return ""


def written(before: dict[str, str], run: Path) -> Iterator[tuple[str, str]]:
    """The texts that a command has written into ``run``: what is new in each file."""
    for name, text in contents(run).items():
        old = before.get(name, "")
        if text != old:
            yield name, text.removeprefix(old)


def contents(run: Path) -> dict[str, str]:
    """The files of the run that people look at."""
    return {
        str(path.relative_to(run)): path.read_bytes().decode(errors="replace")
        for path in run.rglob("*")
        if path.suffix in TEXTS and path.is_file()
    }


def main() -> None:
    """Try, and print what went wrong."""
    place = Place(Path(sys.argv[1]))
    share = int(sys.argv[2])
    count, found = 0, []
    for number, (name, where) in enumerate(places(place.folder / "kept", place.jobs)):
        for turn, command in enumerate(place.commands):
            if (number + turn) % share:
                continue
            run = place.fresh()
            change(place, run, name, where)
            before = contents(run)
            wrong, said = place.run(command)
            count += 1
            wrong = wrong or wrong_in(said)
            for file, text in written(before, run):
                wrong = wrong or (wrong_in(text) and f"{file}: {wrong_in(text)}")
            if wrong:
                found.append(f"{name} {where}, then {command}: {wrong}")
                print(found[-1][:1500], file=sys.stderr, flush=True)
    json.dump({"tried": count, "wrong": found}, sys.stdout)


if __name__ == "__main__":
    main()
