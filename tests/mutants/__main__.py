"""Make small changes to the code (mutants) and count how many of them the tests notice.

``make mutants`` runs this with `mutmut <https://mutmut.readthedocs.io>`_, which rewrites the functions of a copy of
the repository, finds by a first run which tests enter which function, and runs those tests once per change. Trying
every change of a room takes hours, so this program draws a sample with a fixed seed. It leaves out changes to the
wording of messages (a string that contains a space), because the words are free. mutmut changes function bodies
only: module constants, fields of classes, and functions with a decorator other than ``staticmethod`` and
``classmethod`` are not tried.

A mutant that makes the tests run over their time limit counts as killed; one in a function that no test enters counts
as survived. Tests that start a process of their own count for a function only if they also enter it in their own process.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import yaml

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent

# Runs inside the copy: writes the mutants, then prints one JSON object, the difference by name of mutant.
GENERATE = """
import json
import mutmut.__main__ as mutmut
from mutmut.mutation.diff_apply import get_diff_for_mutant

mutmut.set_mutant_under_test("mutant_generation")
mutmut.makedirs("mutants", exist_ok=True)
with mutmut.CatchOutput():
    mutmut.copy_src_dir()
    mutmut.copy_also_copy_files()
    mutmut.setup_source_paths()
    mutmut.create_mutants(1)
mutants, _ = mutmut.collect_source_file_mutation_data(mutant_names=())
print(json.dumps({name: [str(file.path), get_diff_for_mutant(name, path=file.path)] for file, name, _ in mutants}))
"""

# Runs inside the copy: prints the exit status of each mutant that was tried.
OUTCOMES = """
import json
import mutmut.__main__ as mutmut

mutants, _ = mutmut.collect_source_file_mutation_data(mutant_names=())
print(json.dumps({name: mutmut.status_by_exit_code[code] for _, name, code in mutants if code is not None}))
"""


@dataclass(frozen=True)
class Mutant:
    """One change: its name in mutmut, the file, and the unified difference of the function."""

    name: str
    path: str
    difference: str

    def changed(self, sign: str) -> list[str]:
        """The lines of the difference that begin with ``sign``, without it."""
        lines = self.difference.splitlines()
        return [line[1:] for line in lines if line.startswith(sign) and not line.startswith(sign * 3)]

    @property
    def only_words(self) -> bool:
        """Whether the change is to the text of one string that contains a space: a message."""
        before, after = "\n".join(self.changed("-")), "\n".join(self.changed("+"))
        if before == after.replace("XX", "", 2):
            return " " in after.partition("XX")[2].partition("XX")[0]
        if before != after and before.lower() == after.lower():
            first = next(
                place for place, pair in enumerate(zip(before, after, strict=True)) if len(set(pair)) > 1
            )
            quote = max(before.rfind('"', 0, first), before.rfind("'", 0, first))
            return quote >= 0 and " " in before[quote + 1 :].partition(before[quote])[0]
        return False

    def line(self, tree: Path) -> int:
        """The number of the first changed line in the file, or 0 if it cannot be found."""
        text = (tree / self.path).read_text(encoding="utf-8")
        lines, removed = text.splitlines(), self.changed("-")
        hunk = re.search(r"^@@ -(\d+).*?\n((?: .*\n|\n)*)", self.difference, re.MULTILINE)
        _, _, name = re.split("__mutmut_", self.name)[0].rpartition(".")
        *_, owner, function = ["", *name.removeprefix("x_").removeprefix("xǁ").split("ǁ")]
        for node in ast.walk(ast.parse(text)):
            members = node.body if isinstance(node, ast.ClassDef | ast.Module) else []
            if getattr(node, "name", "") == owner and removed and hunk:
                for member in members:
                    if isinstance(member, ast.FunctionDef | ast.AsyncFunctionDef) and member.name == function:
                        guess = member.lineno + int(hunk[1]) + hunk[2].count("\n") - 1
                        span = range(member.lineno, (member.end_lineno or member.lineno) + 1)
                        same = [number for number in span if lines[number - 1].strip() == removed[0].strip()]
                        return min(same, key=lambda number: abs(number - guess), default=0)
        return 0


@dataclass(frozen=True)
class Outcome:
    """What happened in one room: how many mutants there are, and the status of each that was tried."""

    room: str
    population: int
    tried: dict[Mutant, str]
    seconds: float

    def count(self, *statuses: str) -> int:
        return sum(status in statuses for status in self.tried.values())

    @property
    def killed(self) -> int:
        return self.count("killed", "timeout", "segfault")


def copy_tree(tree: Path, target: Path) -> None:
    """Copy what git tracks, and new files that it does not ignore, so that a run leaves no trace in the tree."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=tree,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    for name in filter(None, listing.split("\0")):
        if (tree / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(tree / name, target / name)


def configure(copy: Path, room: dict[str, list[str]]) -> None:
    """Write mutmut's settings for one room into the copy."""
    packages = sorted({source.split("/")[0] for source in room["source"]})
    patterns = [source if source.endswith(".py") else f"{source}/*" for source in room["source"]]
    others = sorted(
        entry.name for entry in copy.iterdir() if entry.name not in {*packages, "mutants", "tests"}
    )
    settings = {
        "source_paths": packages,
        "only_mutate": patterns,
        "also_copy": others,
        "pytest_add_cli_args_test_selection": [test for test in room["tests"] if (copy / test).exists()],
        "pytest_add_cli_args": ["-m", "not faults and not pbs", "-p", "no:cacheprovider", "-p", "no:cov"],
    }
    text = ["[mutmut]"]
    for key, values in settings.items():
        text += [f"{key} =", *(f"    {value}" for value in values)]
    # A server that has collected the tests, but run none, forks the process of each mutant: TensorFlow cannot be
    # forked once it has computed something.
    text += ["process_isolation = forkserver", "timeout_multiplier = 4", "timeout_constant = 5"]
    (copy / "setup.cfg").write_text("\n".join(text) + "\n", encoding="utf-8")


def run_python(copy: Path, *arguments: str) -> str:
    """The output of Python in the copy; its last lines become the error if it fails."""
    environment = {**os.environ, "PYTHONWARNINGS": "ignore", "PYTHONDONTWRITEBYTECODE": "1"}
    answer = subprocess.run(
        [sys.executable, *arguments], cwd=copy, env=environment, check=False, capture_output=True, text=True
    )
    if answer.returncode:
        raise RuntimeError(f"{' '.join(arguments)[:200]}\n{answer.stdout[-3000:]}\n{answer.stderr[-3000:]}")
    return answer.stdout


def try_room(
    name: str, room: dict[str, list[str]], tree: Path, sample: int, seed: int, processes: int
) -> Outcome:
    """Draw ``sample`` mutants of one room and run the tests on each."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix=f"mutants-{name}-") as folder:
        copy = Path(folder)
        copy_tree(tree, copy)
        configure(copy, room)
        found = json.loads(run_python(copy, "-c", GENERATE).splitlines()[-1])
        mutants = [Mutant(key, path, difference) for key, (path, difference) in sorted(found.items())]
        mutants = [mutant for mutant in mutants if not mutant.only_words]
        random.Random(f"{seed} {name}").shuffle(mutants)
        drawn = mutants[:sample]
        run_python(
            copy, "-m", "mutmut", "run", "--max-children", str(processes), *(mutant.name for mutant in drawn)
        )
        statuses = json.loads(run_python(copy, "-c", OUTCOMES).splitlines()[-1])
    tried = {mutant: statuses.get(mutant.name, "not run") for mutant in drawn}
    return Outcome(name, len(mutants), tried, time.monotonic() - started)


def table(outcomes: list[Outcome]) -> str:
    """The counts of each room, as a table in Markdown."""
    lines = [
        "| room | mutants | tried | killed | timeout | survived | no test | share killed | minutes |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for outcome in outcomes:
        tried = len(outcome.tried)
        lines.append(
            f"| {outcome.room} | {outcome.population} | {tried} | {outcome.count('killed', 'segfault')} "
            f"| {outcome.count('timeout')} | {tried - outcome.killed - outcome.count('no tests')} "
            f"| {outcome.count('no tests')} | {outcome.killed / max(tried, 1):.0%} | {outcome.seconds / 60:.1f} |"
        )
    tried = sum(len(outcome.tried) for outcome in outcomes)
    killed = sum(outcome.killed for outcome in outcomes)
    lines.append(
        f"| **all** | {sum(o.population for o in outcomes)} | {tried} "
        f"| {sum(o.count('killed', 'segfault') for o in outcomes)} | {sum(o.count('timeout') for o in outcomes)} "
        f"| {tried - killed - sum(o.count('no tests') for o in outcomes)} "
        f"| {sum(o.count('no tests') for o in outcomes)} | **{killed / max(tried, 1):.0%}** "
        f"| {sum(o.seconds for o in outcomes) / 60:.1f} |"
    )
    return "\n".join(lines)


def survivors(outcome: Outcome, tree: Path) -> str:
    """Each mutant that no test noticed: file, line and the lines that differ."""
    parts = []
    for mutant, status in sorted(outcome.tried.items(), key=lambda pair: pair[0].name):
        if status not in {"killed", "timeout", "segfault"}:
            lines = [f"  - {text.strip()}" for text in mutant.changed("-")]
            lines += [f"  + {text.strip()}" for text in mutant.changed("+")]
            parts.append("\n".join([f"{mutant.path}:{mutant.line(tree)} ({status})", *lines]))
    return "\n".join(parts)


def main(arguments: list[str] | None = None) -> int:
    """Try the rooms one after another; print the survivors of each, and the table at the end."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__.split("\n\n")[0])
    parser.add_argument("room", nargs="*", help="rooms to try (default: all)")
    parser.add_argument("--sample", type=int, default=60, help="mutants per room (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the sample (default: %(default)s)")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="default: %(default)s")
    parser.add_argument("--tree", type=Path, default=REPOSITORY, help="repository (default: this one)")
    parser.add_argument(
        "--rooms", type=Path, default=HERE / "rooms.yaml", help="files and tests of each room"
    )
    options = parser.parse_args(arguments)
    rooms = yaml.safe_load(options.rooms.read_text(encoding="utf-8"))
    if unknown := [name for name in options.room if name not in rooms]:
        parser.error(f"no room {', '.join(unknown)}; choose from {', '.join(rooms)}")
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # in a shell's background job; some tests send it
        signal.signal(signal.SIGINT, signal.default_int_handler)
    outcomes, failed = [], False
    for name in options.room or rooms:
        try:
            outcome = try_room(
                name, rooms[name], options.tree, options.sample, options.seed, options.processes
            )
        except RuntimeError as error:  # the tests of the room fail without a mutant
            failed = True
            print(f"\n{name}: {error}", file=sys.stderr, flush=True)
            continue
        outcomes.append(outcome)
        print(f"\n{name}: {outcome.killed} of {len(outcome.tried)} killed; not noticed:")
        print(survivors(outcome, options.tree), flush=True)
    print(f"\nseed {options.seed}, {options.sample} mutants per room\n\n{table(outcomes)}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
