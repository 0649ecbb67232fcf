"""Records: JSON files that prove that they are whole, read as the types of :mod:`jobs.common.schema`.

Besides its fields, a record has ``schema``, the version of its format, and ``checksum``, the SHA-256 of all other keys
written canonically. A file that was cut off or edited does not match it.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from jobs.common.files import publish_once, write_text_atomically, written_beside
from jobs.common.reading import UnsafeFile, read_bytes
from jobs.common.schema import Record

SCHEMA = 1
# _text indents the keys of the outermost object by one space, and no text in JSON contains a line break: a file with
# this line need not be parsed a second time for its version.
_VERSION_LINE = f'\n "schema": {SCHEMA},\n'.encode()

R = TypeVar("R", bound=Record)


class DamagedRecord(Exception):
    """A record that is cut off, edited, or of another format.

    ``content``: the file was read and its content is wrong. ``False`` where it could not be read or was written by
    a newer version of the program: such a file may be good, and is left where it is.
    """

    def __init__(self, message: str, *, content: bool = True) -> None:
        super().__init__(message)
        self.content = content


class _Version(Record, frozen=True):
    schema: Any = None


def read(path: Path | str, kind: type[R], *, verify: bool = True) -> R:
    """The record of ``kind`` published at ``path``.

    ``verify=False`` does not compare the checksum, which takes most of the time, and parses only the fields
    of ``kind``.

    Raises ``FileNotFoundError`` where there is no file, and :class:`DamagedRecord`, which names the file and what is
    wrong with it, where it is not a whole record of this version and kind.
    """
    data = _read(path)
    if verify:
        _verified(path, data)
    elif _VERSION_LINE not in data:
        _check_version(path, _decoded(path, data, _Version).schema)
    return _decoded(path, data, kind)


def write(path: Path, record: Record, mode: int = 0o666) -> None:
    """Publish ``record`` at ``path`` with its version and checksum; NaN becomes null.

    ``mode``: the permissions of the file, less what the umask takes.
    """
    write_record(path, record.fields(), mode)


def encoded(record: Record) -> bytes:
    """``record`` as :func:`write` publishes it."""
    return _text(record.fields()).encode("utf-8", errors="replace")


def write_once(path: Path, record: Record) -> bool:
    """:func:`write` where there is no file at ``path``; ``False``, and no change, where there is one."""
    return write_record_once(path, record.fields())


def typed(values: dict[str, Any], kind: type[R]) -> R:
    """``values`` as a record of ``kind``: NaN becomes ``None``, and a NumPy float becomes a float.

    Raises ``msgspec.ValidationError`` where the shape is wrong.
    """
    record: R = _decoder(kind).decode(canonical_json(values))
    return record


def read_record(path: Path) -> dict[str, Any]:
    """The fields published at ``path``, verified, whatever their shape; raises what :func:`read` raises."""
    payload = _verified(path, _read(path))
    del payload["schema"]
    return payload


def write_record(path: Path, fields: dict[str, Any], mode: int = 0o666) -> None:
    """:func:`write` for fields of JSON types."""
    write_text_atomically(path, _text(fields), mode)


def write_record_once(path: Path, fields: dict[str, Any]) -> bool:
    """:func:`write_once` for fields of JSON types."""
    return publish_once(written_beside(path, _text(fields).encode()), path)


def canonical_json(value: Any) -> str:
    """The same text for equal values: sorted keys, no spaces, no NaN."""
    try:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except ValueError:  # a NaN: rare, and to make the copy without it takes longer than everything else
        return json.dumps(without_nan(value), sort_keys=True, separators=(",", ":"), allow_nan=False)


def without_nan(value: Any) -> Any:
    """``value`` with every NaN and infinity replaced by ``None``: JSON has no literal for them.

    Bytes of a path that are no text, which Python reads as halves of surrogate pairs, become ``?``: JSON cannot have them.
    """
    if isinstance(value, str) and not value.isascii():
        return value.encode(errors="replace").decode()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(item) for item in value]
    return value


def _checksum(payload: dict[str, Any]) -> str:
    return hashlib.sha256(canonical_json(payload).encode()).hexdigest()


def _text(fields: dict[str, Any]) -> str:
    payload = {**without_nan(fields), "schema": SCHEMA}
    payload["checksum"] = _checksum(payload)
    return json.dumps(payload, indent=1, sort_keys=True, allow_nan=False) + "\n"


def _read(path: Path | str) -> bytes:
    try:
        return read_bytes(path)
    except FileNotFoundError:
        raise
    except UnsafeFile as error:
        raise DamagedRecord(str(error), content=False) from error
    except OSError as error:  # no permission, a folder with this name, a stale network handle
        raise DamagedRecord(f"{path} cannot be read ({error.strerror or error})", content=False) from error


def _verified(path: Path | str, data: bytes) -> dict[str, Any]:
    """The fields in ``data`` and ``schema``; :class:`DamagedRecord` unless version and checksum are right."""
    try:
        payload = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise DamagedRecord(f"{path} is not whole JSON ({error})") from error
    if not isinstance(payload, dict):
        raise DamagedRecord(f"{path} contains a {type(payload).__name__}, expected a JSON object")
    checksum = payload.pop("checksum", None)
    _check_version(path, payload.get("schema"))
    try:
        expected = _checksum(payload)
    except (ValueError, RecursionError, TypeError) as error:
        raise DamagedRecord(f"{path} cannot be checked ({error})") from error
    if checksum != expected:
        raise DamagedRecord(f"{path} does not match its checksum: it was edited or damaged")
    return payload


def _check_version(path: Path | str, schema: object) -> None:
    if type(schema) is not int or schema != SCHEMA:
        newer = type(schema) is int and schema > SCHEMA
        raise DamagedRecord(
            f"{path} has schema {str(schema)[:40]}, expected {SCHEMA}"
            + (": it was written by a newer version of this program; use that one" if newer else ""),
            content=not newer,
        )


def _decoded(path: Path | str, data: bytes, kind: type[R]) -> R:
    """``data`` as a record of ``kind``; :class:`DamagedRecord` where its shape is wrong."""
    try:
        record: R = _decoder(kind).decode(data)
    except msgspec.ValidationError as error:
        raise DamagedRecord(f"{path} is not a valid {kind.__name__} record ({error})") from error
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise DamagedRecord(f"{path} is not whole JSON ({error})") from error
    return record


@functools.cache
def _decoder(kind: type[R]) -> msgspec.json.Decoder[R]:
    return msgspec.json.Decoder(kind)
