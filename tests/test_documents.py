"""The documents name files, modules, commands and exit codes that exist."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from jobs.common import errors
from jobs.common.states import STATES
from tests.conftest import REPOSITORY

DOCUMENTS = [
    REPOSITORY / "README.md",
    REPOSITORY / "CONTRIBUTING.md",
    *sorted((REPOSITORY / "docs").glob("*.md")),
]
ROOMS = "jobs|unet_models|analysis|docs|tests|benchmarks"
each_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)


def code(document: Path) -> str:
    """What the document sets in code: between backticks, and in its blocks."""
    text = document.read_text(encoding="utf-8")
    blocks = re.findall(r"```\n(.*?)```", text, re.DOTALL)
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    return "\n".join([*blocks, *spans])


def module_exists(name: str) -> bool:
    """Whether ``name`` is a module, or an attribute whose name occurs in the module before the last dot."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        base = REPOSITORY.joinpath(*parts[:length])
        file = base.with_suffix(".py") if base.with_suffix(".py").is_file() else base / "__init__.py"
        if file.is_file():
            return all(re.search(rf"\b{part}\b", file.read_text(encoding="utf-8")) for part in parts[length:])
    return False


@each_document
def test_paths_exist(document):
    paths = re.findall(rf"(?<![\w/.])(?:{ROOMS})/[\w./-]*\w", code(document))
    paths += re.findall(r"(?<![\w/.])[a-z]\w*\.py\b", code(document))
    assert [path for path in paths if not (REPOSITORY / path).exists()] == []


@each_document
def test_modules_exist(document):
    modules = re.findall(
        r"(?<![\w/.])(?:jobs|unet_models|analysis|benchmarks|tests)(?:\.[A-Za-z_]\w*)+", code(document)
    )
    names = [name for name in modules if not name.endswith((".py", ".pbs", ".sh", ".md"))]
    assert [name for name in names if not module_exists(name)] == []


@each_document
def test_links_lead_to_files(document):
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text(encoding="utf-8"))
    assert [link for link in links if not (document.parent / link).exists()] == []


@each_document
def test_make_targets_exist(document):
    targets = set(
        re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    )
    named = set(re.findall(r"\bmake ([a-z][a-z-]*)", code(document)))
    assert named - targets == set()


@each_document
def test_options_exist_in_the_command_they_are_given_to(document):
    missing = []
    for line in code(document).splitlines():
        command = re.search(r"python (?:-m ([\w.]+)|(\w+\.py))(.*?)(?:#|$)", line)
        if command and importlib.util.find_spec(command[1] or "sys"):
            name = command[1] or command[2].removesuffix(".py")
            if name.split(".")[0] in {"venv", "pip", "pytest"}:
                continue
            file = REPOSITORY.joinpath(*name.split(".")).with_suffix(".py")
            source = file.read_text(encoding="utf-8")
            missing += [
                (name, option) for option in re.findall(r"--[a-z][a-z-]*", command[3]) if option not in source
            ]
    assert missing == []


def test_every_exit_code_is_documented():
    text = (REPOSITORY / "docs" / "exit_codes.md").read_text(encoding="utf-8")
    documented = {int(number) for number in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)}
    commands = {value for name, value in vars(errors).items() if name.isupper() and isinstance(value, int)}
    assert documented == commands | {state.exit_code for state in STATES.values()} | {1}


def test_the_table_of_outcomes_is_the_table_in_the_code():
    text = (REPOSITORY / "docs" / "interruptions.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (yes|no) \| (yes|no) \| (yes|no) \| (\d+) \|$", text, re.MULTILINE)
    yes_no = {True: "yes", False: "no"}
    assert rows == [
        (
            state.name,
            yes_no[state.successful],
            yes_no[state.rerun],
            yes_no[state.resumed],
            str(state.exit_code),
        )
        for state in STATES.values()
    ]
