"""Each threat to who works with a run that came from somebody else, against every command: ``python -m tests.security.threats FOLDER SHARE``.

Prints a JSON object: by threat and command, what went wrong, empty if nothing. :data:`THREATS` is the table of SECURITY.md.
"""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from jobs.common.records import read_record, write_record
from tests.security import trials
from tests.security.trials import Place, Replace, changed

POINT = "exp_02_UNet_lr0.002_bs8"
READERS = (
    "status",
    "status --json",
    "status --live",
    "status --live --json",
    "collect",
    "analyze",
)  # look at a run; everything else acts on it
NOBODY = 65534
ONLY_ROOT = "file of another user"  # only root gives a file away
# Where a command of the run could write, or would read.
PLACES = (
    POINT,
    f"{POINT}/state",
    f"{POINT}/state/claims",
    f"{POINT}/training_log.txt",
    f"{POINT}/state/status.json",
    f"{POINT}/state/claim.lock",
    "exp_01_UNet_lr0.001_bs8/UNet_lr0.001_bs8_results.json",
    "logs",
    "analysis",
    "data",
    "submissions.json",
    ".submit.lock",
    "hyperparameter_summary.csv",
    "grid.yaml",
)


@dataclass(frozen=True)
class Threat:
    """``words``: what somebody could do. ``prepare`` does it to a run and returns the ``Check`` of what came of it."""

    words: str
    prepare: Callable[[Place, Path], Check]


# Given a command, the outcome (empty if it ended well) and what it printed: what went wrong.
Check = Callable[[str, str, str], str]


def _unchanged(place: Place) -> Check:
    before = place.outside.content()
    return lambda command, wrong, said: wrong or changed(before, place.outside.content())


def _replaced(name: str, kind: Replace) -> Callable[[Place, Path], Check]:
    def prepare(place: Place, run: Path) -> Check:
        kind(run / name, place.outside)
        return _unchanged(place)

    return prepare


def _code_in_site_file(place: Place, run: Path) -> Check:
    marker = place.outside.folder / "executed"
    for name in ("site.conf", "site.sh"):
        (run / name).write_text(
            f"SITE_MODULES=$(touch '{marker}')\nmodules=$(touch '{marker}')\ntouch '{marker}'\n"
        )
    return _unchanged(place)


def _program_in_options(place: Place, run: Path) -> Check:
    program = place.outside.folder / "program"
    program.write_text(f"#!/bin/sh\ntouch {place.outside.folder}/executed\n")
    program.chmod(0o755)
    grid = run / "grid.yaml"
    grid.write_text(grid.read_text() + f"site: {{ extra_options: '-S {program}' }}\n")
    before, calls = place.outside.content(), len(place.pbs.calls("qsub"))

    def check(command: str, wrong: str, said: str) -> str:
        submitted = place.pbs.calls("qsub")[calls:]
        if any("-S" in call for call in submitted):
            return "qsub got the option"
        return wrong or changed(before, place.outside.content())

    return check


def _job_of_others(place: Place, run: Path) -> Check:
    state = place.pbs.load()
    job = json.loads(json.dumps(state["jobs"]["1"]))
    job.update(id="77[].pbshost", name="simulation", job_state="Q")
    job["attributes"] |= {"Job_Name": "simulation", "Variable_List": {"PBS_O_WORKDIR": "/home/user"}}
    state["jobs"]["77"] = job
    place.pbs.save(state)
    record = read_record(run / "submissions.json")
    record["submissions"][0]["jobs"][0]["id"] = "77[].pbshost"
    record["submissions"][0]["collect"]["id"] = "77[].pbshost"
    record["probes"] = [{"id": "77[].pbshost"}]
    write_record(run / "submissions.json", record)
    (run / "submissions.json").chmod(0o644)
    calls = {name: len(place.pbs.calls(name)) for name in ("qdel", "qalter")}

    def check(command: str, wrong: str, said: str) -> str:
        for name, before in calls.items():
            if any(word.startswith("77[") for call in place.pbs.calls(name)[before:] for word in call):
                return f"{name} was called for a job that is not the run's"
        return wrong

    return check


def _claim_of_a_huge_number(place: Place, run: Path) -> Check:
    (run / POINT / "state" / "claims" / "999999999.json").write_text("{}")
    return _unchanged(place)


def _lines_in_texts(place: Place, run: Path) -> Check:
    record = read_record(run / "provenance.json")
    record["data"]["source"] = "here\nssh-rsa AAAA mallory\n"
    write_record(run / "provenance.json", record)
    (run / "provenance.json").chmod(0o644)

    def check(command: str, wrong: str, said: str) -> str:
        logs = [path.read_text(errors="replace") for path in run.rglob("*.txt")]
        if any(line.startswith("ssh-rsa") for text in (*logs, said) for line in text.splitlines()):
            return "a line of the text became a line of its own"
        return wrong

    return check


def _belongs_to_another(place: Place, run: Path) -> Check:
    os.chown(run / "grid.yaml", NOBODY, NOBODY)
    return _asks("belongs to")


def _everyone_may_write(place: Place, run: Path) -> Check:
    (run / "grid.yaml").chmod((run / "grid.yaml").stat().st_mode | stat.S_IWOTH)
    return _asks("everyone may write grid.yaml")


def _made_by_another(place: Place, run: Path) -> Check:
    record = read_record(run / "provenance.json")
    for one in record["made"]:
        one["user"] = "mallory"
    write_record(run / "provenance.json", record)
    (run / "provenance.json").chmod(0o644)
    return _asks("it was made by mallory")


# These look at a run; verify executes what verify_setup.sh, which asks, has started.
_NEVER_ASK = (*READERS, "verify", "make_grid --explain")


def _asks(words: str) -> Check:
    def check(command: str, wrong: str, said: str) -> str:
        if command in _NEVER_ASK:
            return wrong
        return wrong or (
            "" if words in said and "--trust" in said else f"it did not ask for --trust: {said[-300:]}"
        )

    return check


def _threats() -> dict[str, Threat]:
    found = {
        "code in the site file": Threat(
            "commands in site.conf, or in site.sh of older runs", _code_in_site_file
        ),
        "program in options": Threat("`-S PROGRAM` in the options of the site block", _program_in_options),
        "jobs of others": Threat("ids of other jobs of the user in submissions.json", _job_of_others),
        "huge claim": Threat("a claim with the number 999,999,999", _claim_of_a_huge_number),
        "lines in texts": Threat("line breaks in a text that goes into logs", _lines_in_texts),
        ONLY_ROOT: Threat("grid.yaml exchanged by another user", _belongs_to_another),
        "file for everyone": Threat("grid.yaml that everyone may write", _everyone_may_write),
        "run of another user": Threat("a run that another user has made", _made_by_another),
    }
    for kind in trials.KINDS:
        words = " ".join((kind.__doc__ or "").split()).rstrip(".")
        words = words[0].lower() + words[1:]
        for name in PLACES:
            if kind is trials.hard_link and name in (
                POINT,
                f"{POINT}/state",
                f"{POINT}/state/claims",
                "logs",
                "analysis",
                "data",
            ):
                continue
            found[f"{kind.__name__.replace('_', ' ')}: {name}"] = Threat(words, _replaced(name, kind))
    return found


THREATS = _threats()


def chosen(names: list[str], share: int) -> list[tuple[str, str]]:
    """The threats and commands that are tried: of the many replacements, each with every ``share``-th command in turn.

    run_point, which writes most, is tried with all of them.
    """
    return [
        (threat, name)
        for number, threat in enumerate(THREATS)
        for place, name in enumerate(names)
        if (threat != ONLY_ROOT or os.geteuid() == 0)
        and (":" not in threat or (share < 21 and name == "run_point") or (place + number) % share == 0)
    ]


def main() -> None:
    """Try, and print the table."""
    place = Place(Path(sys.argv[1]))
    share = int(sys.argv[2])
    found: dict[str, dict[str, str]] = {}
    for threat, command in chosen(place.commands, share):
        run = place.fresh()
        check = THREATS[threat].prepare(place, run)
        wrong, said = place.run(command)
        found.setdefault(threat, {})[command] = check(command, wrong, said)
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
