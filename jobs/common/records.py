"""Files that other processes read: replaced whole or not at all, and JSON that proves it is whole.

A record is a JSON object with two keys of its own: ``schema`` and ``checksum`` (SHA-256 over the other
keys, canonically written). A half-written or hand-edited record is told apart from a good one.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import json
import math
import os
import re
import secrets
import shutil
import socket
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from jobs.common.schema import Record
from jobs.common.units import size

SCHEMA = 1


class DamagedRecord(Exception):
    """A record that is truncated, edited, or not of this schema.

    ``content``: it was read, and what it holds is wrong. False where it could not be read or belongs to
    another version of the program: such a file may be good, and stays where it is.
    """

    def __init__(self, message: str, *, content: bool = True) -> None:
        super().__init__(message)
        self.content = content


class DiskFull(OSError):
    """No space, or no quota, is left. The message names the path and what is missing."""


_PAGE = 2**15
_FULL = {errno.ENOSPC: "No space left on device", errno.EDQUOT: "Disk quota exceeded"}
# What a file system answers that has no hard links.
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


def is_full(error: BaseException) -> bool:
    """Whether ``error`` says that space or quota is used up; HDF5 hides the number in its text."""
    if isinstance(error, OSError) and error.errno in _FULL:
        return True
    return isinstance(error, OSError) and any(words in str(error) for words in _FULL.values())


def disk_full(error: OSError, path: Path, needed: int | None) -> DiskFull:
    """``error`` as one that helps: ``needed`` bytes for ``path``, how much is free, what to do."""
    number = error.errno if error.errno in _FULL else errno.ENOSPC
    need = size(needed) if needed is not None else "more space than there is"
    if number == errno.EDQUOT:
        state = "your quota there is used up (quota -s shows it)"
    else:
        try:
            free = shutil.disk_usage(path.parent).free
        except OSError:
            state = "its file system is full"
        else:
            state = f"{size(free)} are free in its file system"
            if needed is not None and needed > free:
                state += f", {size(needed - free)} are missing"
    return DiskFull(
        number,
        f"{_FULL[number]}: {path} was not written and what stood there still stands. It needs {need}; {state}. "
        "Free some space, then run the point again: it goes on where it was",
    )


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


def is_abandoned(temporary: Path) -> bool:
    """Whether ``temporary``, of :func:`temporary_beside`, belongs to a process of this host that is gone."""
    match = re.fullmatch(r"\..*\.(\d+)\.[0-9a-f]{8}\.tmp(\..*)?", temporary.name)
    if match is None or f".{socket.gethostname()}.{match[1]}." not in temporary.name:
        return False
    try:
        os.kill(int(match[1]), 0)
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:
        return False
    return False


def remove(path: Path) -> None:
    """Unlink ``path`` if it is there."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


@contextlib.contextmanager
def _removed_on_failure(temporary: Path, path: Path, size: int | None) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        with contextlib.suppress(OSError):
            remove(temporary)
        if is_full(error):
            raise disk_full(error, path, size) from error
        raise


def _sync(temporary: Path) -> None:
    descriptor = os.open(temporary, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)  # NFS reports a full disk or quota here


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def publish(temporary: Path, path: Path) -> None:
    """Make a finished temporary file durable and put it in ``path``'s place in one step.

    On any failure the temporary file is removed and what stood at ``path`` still stands. Raises
    :class:`DiskFull` or another ``OSError``.
    """
    with _removed_on_failure(temporary, path, _size(temporary)):
        _sync(temporary)
        os.replace(temporary, path)
    _sync_directory(path.parent)


def publish_once(temporary: Path, path: Path) -> bool:
    """:func:`publish`, but what stands at ``path`` is never replaced: ``False`` if there is something.

    Of several processes, on any host, exactly one gets ``True``: a hard link is made or refused in one step.
    """
    try:
        with _removed_on_failure(temporary, path, _size(temporary)):
            _sync(temporary)
            try:
                os.link(temporary, path)
            except FileExistsError:
                # NFS may have made the link and lost its answer: then this very file stands there.
                if os.stat(temporary).st_nlink != 2 or not os.path.samefile(temporary, path):
                    return False
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                if path.exists():
                    return False
                os.replace(temporary, path)  # all that is left to do; the claim keeps others away
    finally:
        remove(temporary)
    _sync_directory(path.parent)
    return True


def _written_beside(path: Path, data: bytes) -> Path:
    """A temporary file beside ``path`` that holds ``data``."""
    temporary = temporary_beside(path)
    with _removed_on_failure(temporary, path, len(data)):
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
        finally:
            os.close(descriptor)
    return temporary


def write_bytes_atomically(path: Path, data: bytes) -> None:
    """Replace ``path`` by ``data``, whole and durably; readers see the old bytes or the new, nothing between.

    Raises :class:`DiskFull` or another ``OSError`` (the old file stands) when it cannot be written.
    """
    publish(_written_beside(path, data), path)


def quarantine(path: Path, folder: Path) -> Path | None:
    """Move a damaged file into ``folder`` under a name of its own; ``None`` where that is not possible.

    Nothing is lost: what a person may still want to read is kept, and no reader takes it for good again.
    """
    kept = folder / f"{path.name}.{datetime.now(timezone.utc):%Y%m%dT%H%M%S%f}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        os.rename(path, kept)
    except OSError:  # somebody else's run, a full disk, or another reader was faster: the caller says so
        return None
    return kept


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
    try:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except ValueError:  # a NaN: rare, and the copy without it takes longer than all else, times ten thousand
        return json.dumps(without_nan(value), sort_keys=True, separators=(",", ":"), allow_nan=False)


def _checksum(payload: dict[str, Any]) -> str:
    return hashlib.sha256(canonical_json(payload).encode()).hexdigest()


def _text(payload: dict[str, Any]) -> str:
    payload = {**without_nan(payload), "schema": SCHEMA}
    payload["checksum"] = _checksum(payload)
    return json.dumps(payload, indent=1, sort_keys=True, allow_nan=False) + "\n"


def write_record(path: Path, payload: dict[str, Any]) -> None:
    """Publish ``payload`` (JSON types; NaN becomes null) at ``path`` with its schema version and checksum."""
    write_text_atomically(path, _text(payload))


def write_record_once(path: Path, payload: dict[str, Any]) -> bool:
    """:func:`write_record` where nothing stands at ``path``; ``False`` if something does: it is left alone."""
    return publish_once(_written_beside(path, _text(payload).encode()), path)


R = TypeVar("R", bound=Record)


# One space of indentation is that of the outermost object, as _text writes it, and no text holds a line break: where
# this line is found, the file need not be parsed twice.
_VERSION_LINE = f'\n "schema": {SCHEMA},\n'.encode()


class _Version(Record, frozen=True):
    schema: Any = None


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


def _check_version(path: Path | str, schema: object) -> None:
    if type(schema) is not int or schema != SCHEMA:
        newer = type(schema) is int and schema > SCHEMA
        raise DamagedRecord(
            f"{path} has schema {str(schema)[:40]}, expected {SCHEMA}"
            + (": it was written by a newer version of this program; use that one" if newer else ""),
            content=not newer,
        )


def typed(values: dict[str, Any], kind: type[R]) -> R:
    """``values`` as a record of ``kind``: NaN becomes ``None``, and a NumPy float becomes a float.

    Raises ``msgspec.ValidationError`` where the shape is wrong.
    """
    record: R = _decoder(kind).decode(canonical_json(values))
    return record


def _read_bytes(path: Path | str) -> bytes:
    """The content of a file, in two thirds of the time of ``Path.read_bytes``: a look at a run reads ten thousand."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = os.read(descriptor, _PAGE)
        while more := os.read(
            descriptor, _PAGE
        ):  # until the end: a network file system may return less at a time
            data += more
    finally:
        os.close(descriptor)
    return data


def read(path: Path | str, kind: type[R], *, verify: bool = True) -> R:
    """The record of ``kind`` published at ``path``.

    ``verify=False`` does not compare the checksum, which takes most of the time, and parses only the fields
    of ``kind``.

    Raises ``FileNotFoundError`` where there is no file, and :class:`DamagedRecord`, which names the file and what is
    wrong with it, where it is not a whole record of this schema and kind.
    """
    try:
        data = _read_bytes(path)
    except FileNotFoundError:
        raise
    except OSError as error:  # no permission, a folder in its place, a stale network handle
        raise DamagedRecord(f"{path} cannot be read ({error.strerror or error})", content=False) from error
    if verify:
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
    elif _VERSION_LINE not in data:
        _check_version(path, _decoded(path, data, _Version).schema)
    return _decoded(path, data, kind)


def write(path: Path, record: Record) -> None:
    """Publish ``record`` at ``path`` with its schema version and checksum; NaN becomes null."""
    write_record(path, record.fields())


def write_once(path: Path, record: Record) -> bool:
    """:func:`write` where there is no file at ``path``; ``False``, and no change, where there is one."""
    return write_record_once(path, record.fields())


def _without_list(data: bytes, key: str) -> bytes:
    """``data`` without the list ``key`` of its outermost object; all of it where it is not laid out by :func:`_text`.

    The layout alone tells where the list ends: one space is the outermost object's, and no text holds a line break.
    """
    begin = data.find(f'\n "{key}": [\n'.encode())
    end = data.find(b"\n ],\n", begin) if begin >= 0 else -1
    return data if end < 0 else data[:begin] + data[end + len(b"\n ],") :]


def _parsed(data: bytes, without: str | None) -> Any:
    if without is not None:
        with contextlib.suppress(
            ValueError
        ):  # of another layout after all: then the whole says what is wrong
            return json.loads(_without_list(data, without).decode("utf-8"))
    return json.loads(data.decode("utf-8"))


def read_record(path: Path, *, verify: bool = True, without: str | None = None) -> dict[str, Any]:
    """The payload published at ``path``; ``verify=False`` leaves the checksum out, which is most of the time.

    ``without`` names a list that is not wanted, and which, where nothing is verified, is not even parsed.

    Raises ``FileNotFoundError`` where there is none, and :class:`DamagedRecord` naming the file and
    what is wrong with it where it is not a whole record of this schema.
    """
    try:
        payload = _parsed(path.read_bytes(), None if verify else without)
    except FileNotFoundError:
        raise
    except OSError as error:  # no permission, a folder in its place, a stale network handle
        raise DamagedRecord(f"{path} cannot be read ({error.strerror or error})", content=False) from error
    except (ValueError, RecursionError) as error:
        raise DamagedRecord(f"{path} is not whole JSON ({error})") from error
    if not isinstance(payload, dict):
        raise DamagedRecord(f"{path} holds a {type(payload).__name__}, expected a JSON object")
    checksum = payload.pop("checksum", None)
    schema = payload.get("schema")
    if type(schema) is not int or schema != SCHEMA:
        newer = type(schema) is int and schema > SCHEMA
        raise DamagedRecord(
            f"{path} has schema {str(schema)[:40]}, expected {SCHEMA}"
            + (": it was written by a newer version of this program; use that one" if newer else ""),
            content=not newer,
        )
    if not verify:
        del payload["schema"]
        payload.pop(without, None)
        return payload
    try:
        expected = _checksum(payload)
    except (ValueError, RecursionError, TypeError) as error:
        raise DamagedRecord(f"{path} cannot be checked ({error})") from error
    if checksum != expected:
        raise DamagedRecord(f"{path} does not match its checksum: it was edited or damaged")
    del payload["schema"]
    payload.pop(without, None)
    return payload
