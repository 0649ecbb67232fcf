"""Safe YAML with YAML 1.2 scalars, no duplicate keys, and the line of every key.

PyYAML follows YAML 1.1: it reads ``1e-4`` as text, ``04:00:00`` as 14400 and ``no`` as false, and of two equal keys
it silently keeps the last. Each of these can ruin a grid without an error.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from jobs.common.errors import UserError, one_line, shown
from jobs.common.reading import UnsafeFile, read_bytes

LARGEST_BYTES = 1_000_000  # of a file; the default grid.yaml has 4000
MOST_NODES = 100_000  # blocks, lists and values, with aliases expanded
LONGEST_KEY = 100
DEEPEST = 10


class _Loader(yaml.SafeLoader):
    """``SafeLoader`` with the scalar types of YAML 1.2's core schema."""


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+", list("-+0123456789")),
    (
        "float",
        r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"(?:{_pattern})$"), _first)


def _construct_int(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    return int(loader.construct_scalar(node))  # YAML 1.1 would read 010 as 8


# Only the tags of the core schema: any other tag in the file (!!timestamp, !!set, !mine) is refused.
_CORE = ("null", "bool", "int", "float", "str", "seq", "map")
_Loader.yaml_constructors = {
    tag: constructor
    for tag, constructor in yaml.SafeLoader.yaml_constructors.items()
    if tag is None or tag.rpartition(":")[2] in _CORE
}
_Loader.add_constructor("tag:yaml.org,2002:int", _construct_int)


def _refusal(path: Path, node: yaml.Node, message: str) -> UserError:
    return UserError(f"{path} line {node.start_mark.line + 1}: {message}")


def _count(node: yaml.Node, path: Path, counted: dict[int, int], above: tuple[int, ...] = ()) -> int:
    """The number of nodes in ``node`` with every alias expanded; each node is visited once.

    Raises :class:`UserError` for more than :data:`MOST_NODES`, a node that contains itself, deep nesting, and
    keys that are not short text.
    """
    here = id(node)
    if here in above:
        raise _refusal(path, node, "this anchor contains itself through an alias; remove the alias")
    if len(above) >= DEEPEST:
        raise _refusal(
            path,
            node,
            f"received more than {DEEPEST} levels of nesting; expected 'section:' with 'key: value' lines",
        )
    if here not in counted:
        total = 1
        for item in node.value if isinstance(node, yaml.CollectionNode) else ():
            key, value = item if isinstance(node, yaml.MappingNode) else (None, item)
            if key is not None and (not isinstance(key, yaml.ScalarNode) or len(key.value) > LONGEST_KEY):
                raise _refusal(
                    path,
                    key,
                    f"received a key that is a block or longer than {LONGEST_KEY} characters; expected a name",
                )
            total += _count(value, path, counted, (*above, here))
        if total > MOST_NODES:
            raise _refusal(
                path,
                node,
                f"received {total:,} values with aliases expanded; expected at most {MOST_NODES:,}: shorten the lists or remove aliases",
            )
        counted[here] = total
    return counted[here]


def _lines(node: yaml.Node, where: str, lines: dict[str, int], path: Path) -> None:
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            name = key.value
            if name in seen:
                raise _refusal(path, key, f"the key {shown(name)} occurs twice; remove one of them")
            seen.add(name)
            inner = f"{where}.{name}" if where else name
            lines[inner] = key.start_mark.line + 1
            _lines(value, inner, lines, path)
    elif isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            lines[f"{where}[{number}]"] = item.start_mark.line + 1
            _lines(item, f"{where}[{number}]", lines, path)


def load_yaml(path: Path) -> tuple[dict[str, Any], dict[str, int]]:
    """The mapping in ``path`` and the line (from 1) of every key, by dotted name.

    Raises :class:`UserError` with file and line for anything that is not a plain mapping, and for a file
    that is larger than any grid, also with its aliases expanded (:data:`LARGEST_BYTES`, :data:`MOST_NODES`).
    """
    try:
        text = read_bytes(path, LARGEST_BYTES, links=True).decode("utf-8")
    except FileNotFoundError:
        raise UserError(
            f"{path} does not exist; give the path of a grid.yaml, or run this command in the repository"
        ) from None
    except UnsafeFile as error:
        raise UserError(f"{error}; a grid.yaml is a file of a few thousand bytes") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as UTF-8 text ({error})") from error
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            lines: dict[str, int] = {}
            if node is not None:
                _count(node, path, {})
                _lines(node, "", lines, path)
            found = loader.construct_document(node) if node is not None else None
        finally:
            loader.dispose()
    # PyYAML does not catch the errors of int(), float() and chr(), nor its own KeyError for an unknown boolean.
    except (yaml.YAMLError, ValueError, LookupError, OverflowError, RecursionError) as error:
        raise UserError(f"{path} is not valid YAML: {one_line(error)}") from error
    if not isinstance(found, dict):
        raise UserError(f"{path} contains {shown(found)}, expected keys such as 'hyperparameters:'")
    return found, lines
