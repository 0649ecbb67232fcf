"""Whether this user may act on a run: who made it, who may change it, and what of it would be executed.

Looking at a run (``status``, ``collect``, ``analyze``) executes nothing of it. Submitting or training it does: its site
block names an environment, a container and modules. What a user has made needs no word. A run that another user made
or could have changed asks for ``--trust`` once, and this user's own list keeps the answer: ``unet_grid/trusted.txt``
beside the list of :mod:`jobs.run.known`, with the run's origin and the checksum of what it executes.

A project folder that a group shares (``chmod g+ws``) is the group's word: its members go on with each other's runs.
There, only a run whose executed parts have changed since this user worked with it, or that were exchanged by a third
member, asks again.
"""

from __future__ import annotations

import contextlib
import grp
import hashlib
import os
import pwd
import stat
from argparse import ArgumentParser
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from jobs.common.errors import UserError, one_line, shown
from jobs.common.permissions import owner_name
from jobs.common.reading import RECORD, read_text
from jobs.common.records import canonical_json
from jobs.common.schema import ProvenanceRecord
from jobs.common.shell_words import pasted
from jobs.grid.received import code_of
from jobs.grid.sites import SITES
from jobs.run.index import Run, read_provenance
from jobs.run.known import append_line, known_roots, state_file
from jobs.run.paths import RunPaths
from jobs.run.provenance import user_name

OPTION = "--trust"
_VARIABLE = "TRUST"  # =yes: jobs.submit has asked, and this is its job


def add_trust_argument(parser: ArgumentParser) -> None:
    """Give a command that acts on a run the option ``--trust``."""
    parser.add_argument(
        OPTION,
        action="store_true",
        help="act on a run that another user made or could have changed; asked once for a run (SECURITY.md)",
    )


def check_trust(run: Run, *, trust: bool) -> None:
    """Raise :class:`UserError` where this user should look at ``run`` before anything of it is executed.

    ``trust``: the user says that it may be executed; the answer is kept. In a job of ``jobs.submit``, which has asked,
    nothing is asked again.
    """
    if os.environ.get(_VARIABLE) == "yes":
        return
    mine = _Mine.of(run)
    reason = _changeable(run.paths) or mine.doubt()
    if reason and not trust:
        rows = code_of(run.site)
        executed = "; it would use " + ", ".join(f"{row.key}: {shown(row.value)}" for row in rows)
        raise UserError(
            f"{run.paths.root}: {reason}{executed if rows else ''}. Expected a run of yours: look at "
            f"{pasted(run.paths.grid)}, then repeat the command with {OPTION} if you trust it; it is asked once. "
            "SECURITY.md says what a run can do"
        )
    mine.remember()


def remember_made(run: Run) -> None:
    """Note that this user has made or extended ``run``, with what it executes now."""
    _Mine.of(run).remember()


@dataclass(frozen=True)
class _Mine:
    """What this user knows of a run: ``origin`` identifies it wherever it is moved, ``code`` what it executes.

    ``owners``: the numbers of the other users whose its configuration is. ``known``: the answers on this user's list.
    """

    run: Run
    made: ProvenanceRecord
    origin: str
    code: str
    owners: str
    known: tuple[tuple[str, str, str], ...]

    @classmethod
    def of(cls, run: Run) -> _Mine:
        made = read_provenance(run.paths)
        first = made.made[0].fields() if made.made else {}
        rows = [[row.key, str(row.value)] for row in code_of(run.site)]
        owners = {path.lstat().st_uid for path in configuration(run.paths)} - {os.geteuid(), 0}
        return cls(
            run,
            made,
            _digest({**first, "data": run.fingerprint}),
            _digest(rows),
            ",".join(map(str, sorted(owners))) or "own",
            tuple(_answers()),
        )

    def remember(self) -> None:
        """Keep the answer; nothing where the user's folder cannot be written: then it is asked again."""
        path = state_file("trusted.txt")
        answer = (self.origin, self.code, self.owners)
        if path is not None and answer not in self.known:
            append_line(path, " ".join(answer).encode())

    def doubt(self) -> str:
        """Why this user should look first; empty where no doubt is left."""
        root = self.run.paths.root
        group = shared_by(root)
        answers = [(code, owners) for origin, code, owners in self.known if origin == self.origin]
        accepted = {code for code, owners in answers if group is not None or owners == self.owners}
        if self.code in accepted:
            return ""
        worked = bool(answers)
        for path in configuration(self.run.paths):
            state = path.lstat()
            trusted = {os.geteuid(), 0}
            if group is not None:
                trusted.add(root.stat().st_uid)
            if state.st_uid not in trusted:
                return f"{path.name} belongs to {owner_name(state.st_uid)}"
            if (
                worked
                and group is not None
                and (state.st_uid != os.geteuid() or state.st_mode & stat.S_IWGRP)
            ):
                return "what it executes has been changed since you worked with it, and others may change it"
        if group is not None:
            return ""
        makers = {one.user for one in self.made.made if one.user}
        others = sorted(makers - {user_name()})
        if others:
            return f"it was made by {one_line(others[0], 60)}"
        if _names_code(self.run) and root.absolute() not in known_roots():
            return "it was not made by you here"
        return ""


def configuration(paths: RunPaths) -> Iterator[Path]:
    """The files of a run that decide what is done, and its folder."""
    for path in (paths.root.resolve(), paths.grid, paths.index, paths.provenance, paths.submissions):
        if os.path.lexists(path):
            yield path


def shared_by(root: Path) -> int | None:
    """The group that shares the run at ``root`` in a project folder, if this user is in it; else ``None``."""
    state = root.stat()
    wanted = stat.S_ISGID | stat.S_IWGRP
    if state.st_mode & wanted == wanted and state.st_gid in (os.getegid(), *os.getgroups()):
        return state.st_gid
    return None


def _changeable(paths: RunPaths) -> str:
    """A sentence on the first file of the configuration that others may write; empty where there is none."""
    group = shared_by(paths.root)
    for path in configuration(paths):
        state = path.lstat()
        if state.st_mode & stat.S_IWOTH:
            return f"everyone may write {path.name} (to change that: chmod o-w {pasted(path)})"
        # Who may write into a folder can only exchange a file in it, and then the file is not the user's.
        if (
            stat.S_ISREG(state.st_mode)
            and state.st_mode & stat.S_IWGRP
            and state.st_gid != group
            and not _is_private(state.st_gid, state.st_uid)
        ):
            return f"its group may write {path.name} (to change that: chmod g-w {pasted(path)})"
    return ""


def _names_code(run: Run) -> bool:
    """Whether the run names something to execute that is not in the presets of this repository."""
    presets = {(key, str(value)) for site in SITES.values() for key, value in site.values.items()}
    return any((row.key, row.value) not in presets for row in code_of(run.site))


def _is_private(group: int, owner: int) -> bool:
    """Whether ``group`` has no other member than ``owner``: many systems give each user such a group."""
    if group == 0:
        return True
    try:
        found, user = grp.getgrgid(group), pwd.getpwuid(owner)
    except KeyError:  # a container may know neither
        return group == owner
    return user.pw_gid == group and found.gr_name == user.pw_name and set(found.gr_mem) <= {user.pw_name}


def _digest(value: object) -> str:
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def _answers() -> Iterator[tuple[str, str, str]]:
    """The answers on this user's list; none where somebody else could have written it."""
    path = state_file("trusted.txt")
    if path is None:
        return
    with contextlib.suppress(OSError):
        state = path.stat()
        if state.st_uid != os.geteuid() or state.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            return
        for line in read_text(path, RECORD, links=True).splitlines():
            parts = line.split()
            if len(parts) == 3:
                yield parts[0], parts[1], parts[2]
