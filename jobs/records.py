"""Files that other processes read: replaced whole or not at all, and JSON that proves it is whole.

A record is a JSON object with two keys of its own: ``schema`` and ``checksum`` (SHA-256 over the other
keys, canonically written). A half-written or hand-edited record is told apart from a good one.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import secrets
import socket
from pathlib import Path
from typing import Any

SCHEMA = 1


class DamagedRecord(Exception):
    """A record that is truncated, edited, or not of this schema."""


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems have no fsync for directories; the rename itself has been made.
        if error.errno not in (errno.EINVAL, errno.EBADF, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def temporary_beside(path: Path) -> Path:
    """A name in the same directory that no other process uses, ending in ``path``'s own suffix.

    The suffix is kept because Keras chooses a file's format by it.
    """
    token = f"{socket.gethostname()}.{os.getpid()}.{secrets.token_hex(4)}"
    return path.with_name(f".{path.stem}.{token}.tmp{path.suffix}")


def publish(temporary: Path, path: Path) -> None:
    """Make a finished temporary file durable and put it in ``path``'s place in one step.

    On any failure the temporary file is removed and what stood at ``path`` still stands.
    """
    try:
        descriptor = os.open(temporary, os.O_RDWR)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)  # NFS reports a full disk or quota here
        temporary.replace(path)
    except OSError:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        raise
    _sync_directory(path.parent)


def write_bytes_atomically(path: Path, data: bytes) -> None:
    """Replace ``path`` by ``data``, whole and durably; readers see the old bytes or the new, nothing between.

    Raises ``OSError`` (the old file stands) when the disk is full or the directory cannot be written.
    """
    temporary = temporary_beside(path)
    try:
        with temporary.open("xb") as stream:
            stream.write(data)
    except OSError:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        raise
    publish(temporary, path)


def write_text_atomically(path: Path, text: str) -> None:
    """:func:`write_bytes_atomically` for UTF-8 text."""
    write_bytes_atomically(path, text.encode("utf-8"))


def without_nan(value: Any) -> Any:
    """``value`` with every NaN and infinity replaced by ``None``: JSON has no literal for them."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(item) for item in value]
    return value


def canonical_json(value: Any) -> str:
    """One text for equal values: sorted keys, no spaces, no NaN."""
    return json.dumps(without_nan(value), sort_keys=True, separators=(",", ":"), allow_nan=False)


def _checksum(payload: dict[str, Any]) -> str:
    return hashlib.sha256(canonical_json(payload).encode()).hexdigest()


def write_record(path: Path, payload: dict[str, Any]) -> None:
    """Publish ``payload`` (JSON types; NaN becomes null) at ``path`` with its schema version and checksum."""
    payload = {**without_nan(payload), "schema": SCHEMA}
    payload["checksum"] = _checksum(payload)
    write_text_atomically(path, json.dumps(payload, indent=1, sort_keys=True, allow_nan=False) + "\n")


def read_record(path: Path, *, verify: bool = True) -> dict[str, Any]:
    """The payload published at ``path``; ``verify=False`` leaves the checksum out, which is most of the time.

    Raises ``FileNotFoundError`` where there is none, and :class:`DamagedRecord` naming the file and
    what is wrong with it where it is not a whole record of this schema.
    """
    try:
        payload = json.loads(path.read_bytes().decode("utf-8"))
    except FileNotFoundError:
        raise
    except OSError as error:  # no permission, a folder in its place, a stale network handle
        raise DamagedRecord(f"{path} cannot be read ({error.strerror or error})") from error
    except (ValueError, RecursionError) as error:
        raise DamagedRecord(f"{path} is not whole JSON ({error})") from error
    if not isinstance(payload, dict):
        raise DamagedRecord(f"{path} holds a {type(payload).__name__}, expected a JSON object")
    checksum = payload.pop("checksum", None)
    if payload.get("schema") != SCHEMA:
        raise DamagedRecord(f"{path} has schema {payload.get('schema')!r}, expected {SCHEMA}")
    if not verify:
        del payload["schema"]
        return payload
    try:
        expected = _checksum(payload)
    except (ValueError, RecursionError, TypeError) as error:
        raise DamagedRecord(f"{path} cannot be checked ({error})") from error
    if checksum != expected:
        raise DamagedRecord(f"{path} does not match its checksum: it was edited or damaged")
    del payload["schema"]
    return payload
