"""A file of a run is read if it is a plain file of a plausible size; anything else ends at once, with a sentence."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from jobs.common.reading import UnsafeFile, open_regular, read_bytes, read_text, tail
from jobs.common.records import DamagedRecord, read
from jobs.common.schema import PointRecord


def test_a_file_is_read_whole_whatever_its_size(tmp_path):
    for size in (0, 1, 2**15 - 1, 2**15, 2**15 + 1, 2**18 + 7):
        content = os.urandom(size)
        (tmp_path / "f").write_bytes(content)
        assert read_bytes(tmp_path / "f") == content
        assert tail(tmp_path / "f", 100) == content[-100:]


def test_a_network_file_system_may_return_less_at_a_time(tmp_path, monkeypatch):
    content = os.urandom(100_000)
    (tmp_path / "f").write_bytes(content)
    real = os.read
    monkeypatch.setattr(os, "read", lambda descriptor, size: real(descriptor, min(size, 999)))
    assert read_bytes(tmp_path / "f") == content


def test_text_that_is_no_utf_8_is_shown_as_such(tmp_path):
    (tmp_path / "f").write_bytes(b"a\xffb")
    assert read_text(tmp_path / "f") == "a\N{REPLACEMENT CHARACTER}b"


def make(kind, path):
    if kind == "a link":
        (path.parent / "target").write_text("private")
        path.symlink_to(path.parent / "target")
    elif kind == "a named pipe":
        os.mkfifo(path)
    elif kind == "a socket or a device":
        one = socket.socket(socket.AF_UNIX)
        before = Path.cwd()
        os.chdir(path.parent)  # the path of a socket is short
        one.bind(path.name)
        os.chdir(before)
        one.close()
    elif kind == "a device":
        try:
            os.mknod(path, 0o666 | 0o020000, os.makedev(1, 5))
        except PermissionError:
            pytest.skip("only root makes devices")
    else:
        with path.open("wb") as file:
            file.truncate(8 * 10**9)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("a link", "is a link, expected the file itself"),
        ("a named pipe", "is a named pipe, expected a file"),
        ("a socket or a device", "is a socket or a device, expected a file"),
        ("a device", "is a device, expected a file"),
        ("a file of 8 GB", r"has 8.0 GB, expected at most"),
    ],
)
def test_what_is_no_plain_file_of_a_plausible_size_is_refused_at_once(tmp_path, kind, words):
    path = tmp_path / "file"
    make(kind, path)
    with pytest.raises(UnsafeFile, match=words) as caught:
        read_bytes(path)
    assert str(caught.value).startswith(str(path))
    # It may hide a good file, so that nothing replaces it.
    with pytest.raises(DamagedRecord, match=words) as record:
        read(path, PointRecord)
    assert record.value.content is False


def test_a_link_that_the_user_gave_is_followed(tmp_path):
    make("a link", tmp_path / "file")
    assert read_bytes(tmp_path / "file", links=True) == b"private"


def test_a_folder_and_a_missing_file_are_what_they_are(tmp_path):
    with pytest.raises(IsADirectoryError):
        read_bytes(tmp_path)
    with pytest.raises(FileNotFoundError):
        read_bytes(tmp_path / "none")


def test_a_name_is_looked_for_in_the_given_folder(tmp_path):
    (tmp_path / "f").write_text("x")
    folder = os.open(tmp_path, os.O_RDONLY)
    descriptor = open_regular("f", folder=folder)
    assert os.read(descriptor, 10) == b"x"
    os.close(descriptor)
    os.close(folder)
