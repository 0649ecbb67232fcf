"""Safe YAML with YAML 1.2 scalars, no duplicate keys, and the line of every key.

PyYAML follows YAML 1.1: it reads ``1e-4`` as text, ``04:00:00`` as 14400, ``no`` as false, and keeps the
last of two equal keys without a word. Each of these has cost somebody a grid.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from jobs.errors import UserError


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


_Loader.add_constructor("tag:yaml.org,2002:int", _construct_int)


def _lines(node: yaml.Node, where: str, lines: dict[str, int], path: Path) -> None:
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            name = str(key.value)
            if name in seen:
                raise UserError(
                    f"{path} line {key.start_mark.line + 1}: the key '{name}' stands there twice; keep one of them"
                )
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

    Raises :class:`UserError` naming file and line for anything that is not a plain mapping.
    """
    try:
        text = path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        raise UserError(
            f"{path} does not exist; give the path of a grid.yaml, or run this in the repository"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as UTF-8 text ({error})") from error
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            lines: dict[str, int] = {}
            if node is not None:
                _lines(node, "", lines, path)
            content = loader.construct_document(node) if node is not None else None
        finally:
            loader.dispose()
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} holds {content!r:.60}, expected keys such as 'hyperparameters:'")
    return content, lines
