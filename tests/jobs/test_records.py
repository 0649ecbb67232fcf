"""Records are whole or refused; what stood before stands when writing fails."""

from __future__ import annotations

import json
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobs.records import DamagedRecord, read_record, temporary_beside, write_record, write_text_atomically


def test_a_record_comes_back_as_it_was_written(tmp_path):
    path = tmp_path / "r.json"
    write_record(path, {"a": [1, 2.5, None, "é"], "b": {"c": True}})
    assert read_record(path) == {"a": [1, 2.5, None, "é"], "b": {"c": True}}


def test_nan_is_written_as_null(tmp_path):
    path = tmp_path / "r.json"
    write_record(path, {"a": float("nan"), "b": [float("inf")]})
    assert "NaN" not in path.read_text() and "Infinity" not in path.read_text()
    assert read_record(path) == {"a": None, "b": [None]}


def test_an_edited_record_is_refused(tmp_path):
    path = tmp_path / "r.json"
    write_record(path, {"best": 0.5})
    path.write_text(path.read_text().replace("0.5", "0.9"))
    with pytest.raises(DamagedRecord, match="does not match its checksum"):
        read_record(path)


@given(cut=st.integers(0, 10_000), flip=st.integers(1, 255))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_truncated_or_mutated_records_are_refused(tmp_path, cut, flip):
    path = tmp_path / "r.json"
    write_record(path, {"name": "exp_01", "values": [0.1, 0.2]})
    whole = path.read_bytes()
    before = read_record(path)
    path.write_bytes(whole[: cut % len(whole.rstrip())])
    with pytest.raises(DamagedRecord):
        read_record(path)
    place = cut % len(whole)
    path.write_bytes(whole[:place] + bytes([whole[place] ^ flip]) + whole[place + 1 :])
    try:
        # Only white space between tokens may change without anybody noticing.
        assert read_record(path) == before
        assert bytes([whole[place]]).isspace()
    except DamagedRecord:
        pass


@pytest.mark.parametrize(
    "text", ["", "[]", "3", '{"schema": 1}', '{"schema": 99, "checksum": ""}', "\xff", "[" * 10000]
)
def test_other_json_is_refused(tmp_path, text):
    path = tmp_path / "r.json"
    path.write_text(text)
    with pytest.raises(DamagedRecord):
        read_record(path)


def test_a_failed_write_leaves_the_old_file_and_no_temporary(tmp_path, monkeypatch):
    path = tmp_path / "f.txt"
    write_text_atomically(path, "old")

    def full(*arguments):
        raise OSError(28, "No space left on device")

    for owner, function in ((os, "fsync"), (os, "replace")):
        with monkeypatch.context() as patch:
            patch.setattr(owner, function, full)
            with pytest.raises(OSError, match="No space left"):
                write_text_atomically(path, "new")
        assert path.read_text() == "old"
        assert [file.name for file in tmp_path.iterdir()] == ["f.txt"]


def test_a_temporary_name_is_unique_hidden_and_keeps_the_suffix(tmp_path):
    first, second = (temporary_beside(tmp_path / "model.hdf5") for _ in range(2))
    assert first != second
    assert first.parent == tmp_path and first.suffix == ".hdf5" and first.name.startswith(".")


def test_the_checksum_is_in_the_file(tmp_path):
    path = tmp_path / "r.json"
    write_record(path, {"a": 1})
    assert set(json.loads(path.read_text())) == {"a", "checksum", "schema"}


def test_a_record_that_cannot_be_read_is_told_apart_from_one_that_is_not_there(tmp_path):
    (tmp_path / "folder").write_text("a file where a folder belongs")
    with pytest.raises(DamagedRecord, match="cannot be read"):
        read_record(tmp_path / "folder" / "status.json")
    with pytest.raises(FileNotFoundError):
        read_record(tmp_path / "none" / "status.json")
