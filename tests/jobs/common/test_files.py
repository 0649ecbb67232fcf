"""A failed write leaves the old file, and every write is durable when it returns."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.common import files
from jobs.common.files import (
    DiskFull,
    disk_full,
    is_abandoned,
    is_full,
    publish,
    publish_once,
    quarantine,
    temporary_beside,
    write_text_atomically,
)
from jobs.common.records import read_record, write_record_once


def test_a_failed_write_leaves_the_old_file_and_no_temporary(tmp_path, monkeypatch):
    path = tmp_path / "f.txt"
    write_text_atomically(path, "old")

    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    for owner, function in ((os, "fsync"), (os, "replace")):
        with monkeypatch.context() as patch:
            patch.setattr(owner, function, full)
            with pytest.raises(OSError, match="No space left"):
                write_text_atomically(path, "new")
        assert path.read_text() == "old"
        assert [file.name for file in tmp_path.iterdir()] == ["f.txt"]


@pytest.fixture
def calls(tmp_path, monkeypatch):
    """The system calls of the test in their order, each with the file or folder that it acts on.

    How often a folder is opened does not matter.
    """
    made, names = [], {}

    def called(path):
        name = os.path.relpath(tmp_path / path, tmp_path)
        return "temporary" if ".tmp" in name else name

    def record(call, of):
        original = getattr(os, call)

        def replacement(*arguments, **options):
            line = f"{call} {of(arguments)}"
            answer = original(*arguments, **options)
            if call == "open":
                names[answer] = called(arguments[0])
            if line not in ("open .", "close ."):
                made.append(line)
            return answer

        monkeypatch.setattr(os, call, replacement)

    for call in ("write", "fsync"):
        record(call, lambda arguments: names[arguments[0]])
    record("close", lambda arguments: names.get(arguments[0], "?"))
    for call in ("open", "unlink"):
        record(call, lambda arguments: called(arguments[0]))
    for call in ("replace", "link"):
        record(call, lambda arguments: f"{called(arguments[0])} -> {called(arguments[1])}")
    return made


WRITTEN = ["open temporary", "write temporary", "close temporary"]


SYNCED = ["open temporary", "fsync temporary", "close temporary"]


FOLDER_SYNCED = ["fsync ."]


def test_a_file_is_durable_before_it_gets_its_name_and_the_name_before_the_call_returns(tmp_path, calls):
    write_text_atomically(tmp_path / "f.txt", "new")
    assert calls == [*WRITTEN, *SYNCED, "replace temporary -> f.txt", *FOLDER_SYNCED]
    assert (tmp_path / "f.txt").read_text() == "new"


def test_a_file_of_another_writer_is_made_durable_when_it_is_published(tmp_path, calls):
    temporary = temporary_beside(tmp_path / "model.hdf5")
    temporary.write_bytes(b"weights")
    publish(temporary, tmp_path / "model.hdf5")
    assert calls == [*SYNCED, "replace temporary -> model.hdf5", *FOLDER_SYNCED]


def test_a_record_that_is_published_once_is_durable_before_and_after_it_gets_its_name(tmp_path, calls):
    assert write_record_once(tmp_path / "r.json", {"by": 1}) is True
    assert calls == [*WRITTEN, *SYNCED, "link temporary -> r.json", "unlink temporary", *FOLDER_SYNCED]


def test_without_hard_links_a_record_is_as_durable(tmp_path, calls, monkeypatch):
    def refuse(source, target, **options):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    assert write_record_once(tmp_path / "r.json", {"by": 1}) is True
    assert calls == [*WRITTEN, *SYNCED, "replace temporary -> r.json", *FOLDER_SYNCED]


def test_a_link_whose_answer_was_lost_is_made_durable_too(tmp_path, calls, monkeypatch):
    link = os.link

    def lost(source, target, **options):
        link(source, target, **options)
        raise FileExistsError

    monkeypatch.setattr(os, "link", lost)
    assert write_record_once(tmp_path / "r.json", {"by": 1}) is True
    assert calls[-3:] == ["link temporary -> r.json", "unlink temporary", *FOLDER_SYNCED]


def test_a_record_that_another_has_published_changes_nothing(tmp_path, calls):
    (tmp_path / "r.json").write_text("first")
    temporary = temporary_beside(tmp_path / "r.json")
    temporary.write_text("second")
    assert publish_once(temporary, tmp_path / "r.json") is False
    assert calls == [*SYNCED, "unlink temporary"]
    assert (tmp_path / "r.json").read_text() == "first" and not temporary.exists()


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EBADF, errno.ENOTSUP, errno.EIO])
def test_only_a_file_system_that_cannot_sync_a_folder_is_forgiven(tmp_path, monkeypatch, number):
    sync = os.fsync

    def refuse(descriptor):
        if Path(f"/proc/self/fd/{descriptor}").is_dir():
            raise OSError(number, os.strerror(number))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", refuse)
    if number == errno.EIO:
        with pytest.raises(OSError, match="Input/output error"):
            write_text_atomically(tmp_path / "f.txt", "new")
    else:
        write_text_atomically(tmp_path / "f.txt", "new")
    assert (tmp_path / "f.txt").read_text() == "new"


def test_a_write_that_the_kernel_splits_is_completed(tmp_path, monkeypatch):
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:3]))
    write_text_atomically(tmp_path / "f.txt", "ten letters")
    assert (tmp_path / "f.txt").read_text() == "ten letters"


def test_a_temporary_file_is_abandoned_only_if_its_process_ran_on_this_host_and_has_ended(tmp_path):
    ended = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True
    )
    gone, here, own = int(ended.stdout), socket.gethostname(), os.getpid()

    def abandoned(host, process, ending=".json"):
        return is_abandoned(tmp_path / f".r.{host}.{process}.0123abcd.tmp{ending}")

    assert abandoned(here, gone) is True
    assert abandoned(here, gone, ending="") is True
    assert abandoned(here, own) is False
    assert abandoned("another-node", gone) is False  # its number says nothing about processes here
    assert abandoned(f"{here}2", gone) is False
    assert abandoned(f"x{here}", gone) is False
    assert abandoned(here, "1" * 30) is True  # no kernel has such a process
    assert is_abandoned(tmp_path / "r.json") is False


def test_a_temporary_file_of_this_process_is_not_abandoned(tmp_path):
    assert is_abandoned(temporary_beside(tmp_path / "r.json")) is False


def test_a_temporary_file_of_another_users_process_is_not_abandoned(tmp_path, monkeypatch):
    def forbidden(process, number):
        raise PermissionError

    monkeypatch.setattr(files.os, "kill", forbidden)
    assert is_abandoned(temporary_beside(tmp_path / "r.json")) is False


def test_a_temporary_name_is_unique_hidden_and_keeps_the_suffix(tmp_path):
    first, second = (temporary_beside(tmp_path / "model.hdf5") for _ in range(2))
    assert first != second
    assert first.parent == tmp_path and first.suffix == ".hdf5" and first.name.startswith(".")


def test_of_several_writers_exactly_one_publishes_and_the_others_change_nothing(tmp_path):
    path = tmp_path / "r.json"
    assert write_record_once(path, {"by": 1}) is True
    assert write_record_once(path, {"by": 2}) is False
    assert read_record(path) == {"by": 1} and [file.name for file in tmp_path.iterdir()] == ["r.json"]


def test_a_link_that_was_made_though_its_answer_was_lost_counts(tmp_path, monkeypatch):
    link = os.link

    def lost(source, target, **options):
        link(source, target, **options)
        raise FileExistsError

    monkeypatch.setattr(os, "link", lost)
    assert write_record_once(tmp_path / "r.json", {"by": 1}) is True


def test_without_hard_links_a_record_is_still_published_once(tmp_path, monkeypatch):
    def refuse(source, target, **options):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    path = tmp_path / "r.json"
    assert write_record_once(path, {"by": 1}) is True
    assert write_record_once(path, {"by": 2}) is False
    assert read_record(path) == {"by": 1} and [file.name for file in tmp_path.iterdir()] == ["r.json"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_or_quota_names_the_path_and_what_is_missing(tmp_path, monkeypatch, number):
    path = tmp_path / "f.txt"
    write_text_atomically(path, "old")

    def full(*arguments):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "write", full)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(10**6, 10**6, 2000))
    with pytest.raises(
        DiskFull, match="f.txt was not written, and the old file, if any, is unchanged"
    ) as caught:
        write_text_atomically(path, "x" * 5000)
    assert ("3.0 kB are missing" if number == errno.ENOSPC else "quota -s shows it") in str(caught.value)
    assert path.read_text() == "old" and [file.name for file in tmp_path.iterdir()] == ["f.txt"]


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (OSError(errno.ENOSPC, "x"), True),
        (OSError(errno.EDQUOT, "x"), True),
        (OSError("HDF5: errno = 28, No space left on device"), True),
        (OSError("HDF5: Disk quota exceeded"), True),
        (OSError(errno.EACCES, "Permission denied"), False),
        (ValueError("No space left on device"), False),
    ],
)
def test_a_full_disk_is_recognised_by_its_number_or_by_its_text(error, full):
    assert is_full(error) is full


@pytest.mark.parametrize(("free", "missing"), [(4000, "1.0 kB are missing"), (5000, None), (5001, None)])
def test_what_is_missing_is_named_only_if_it_is_more_than_what_is_free(tmp_path, monkeypatch, free, missing):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(10**6, 10**6, free))
    error = disk_full(OSError("HDF5: No space left on device"), tmp_path / "f", 5000)
    assert error.errno == errno.ENOSPC and "It needs 5.0 kB" in error.strerror
    assert (missing in str(error)) if missing else ("are missing" not in str(error))


def test_a_quota_keeps_its_number(tmp_path):
    error = disk_full(OSError(errno.EDQUOT, "x"), tmp_path / "f", None)
    assert error.errno == errno.EDQUOT and "It needs more space than is free" in str(error)


def test_a_second_name_of_the_temporary_file_elsewhere_is_not_a_publication(tmp_path):
    temporary, path = tmp_path / ".r.tmp.json", tmp_path / "r.json"
    temporary.write_text("mine")
    path.write_text("theirs")
    os.link(temporary, tmp_path / "copy")
    assert publish_once(temporary, path) is False
    assert path.read_text() == "theirs"


def test_a_damaged_file_is_kept_under_a_name_of_its_own(tmp_path):
    kept = set()
    for content in ("one", "two"):
        (tmp_path / "r.json").write_text(content)
        kept.add(quarantine(tmp_path / "r.json", tmp_path / "aside"))
    assert sorted(path.read_text() for path in kept) == ["one", "two"]
    assert quarantine(tmp_path / "r.json", tmp_path / "aside") is None
