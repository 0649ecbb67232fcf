"""A record is whole, of its type and of this version, or it is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobs.common.records import (
    DamagedRecord,
    canonical_json,
    read,
    read_record,
    typed,
    write_once,
    write_record,
)
from jobs.common.schema import CostSettings, Epoch, Measurement, Result, ResultHead


def test_a_record_comes_back_as_it_was_written(tmp_path):
    path = tmp_path / "r.json"
    write_record(path, {"a": [1, 2.5, None, "é"], "b": {"c": True}})
    assert read_record(path) == {"a": [1, 2.5, None, "é"], "b": {"c": True}}


def test_equal_fields_are_the_same_bytes_in_any_order_and_on_any_machine(tmp_path):
    write_record(tmp_path / "r.json", {"b": [1, 2.5], "a": {"y": None, "x": "é"}})
    assert (tmp_path / "r.json").read_bytes() == (
        b'{\n "a": {\n  "x": "\\u00e9",\n  "y": null\n },\n "b": [\n  1,\n  2.5\n ],\n'
        b' "checksum": "a11e7086f7e89ba03624b0b56179ba48a40d830e92f43b7c75a3a78c5f753895",\n "schema": 1\n}\n'
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"b": [1, 2], "a": "x"}, '{"a":"x","b":[1,2]}'),
        ({"b": [1, float("nan")], "a": float("-inf")}, '{"a":null,"b":[1,null]}'),
    ],
)
def test_a_checksum_is_taken_of_sorted_keys_without_spaces(value, text):
    assert canonical_json(value) == text


def test_a_typed_record_is_published_once(tmp_path):
    assert write_once(tmp_path / "r.json", Epoch(epoch=1)) is True
    assert write_once(tmp_path / "r.json", Epoch(epoch=2)) is False
    assert read(tmp_path / "r.json", Epoch) == Epoch(epoch=1)


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


def test_a_schema_is_a_number_and_a_newer_one_is_told_apart(tmp_path):
    path = tmp_path / "r.json"
    for text, content in (('{"schema": true}', True), ('{"schema": 2}', False)):
        path.write_text(text)
        with pytest.raises(DamagedRecord) as caught:
            read_record(path)
        assert caught.value.content is content


def head_of(rows):
    """A result with ``rows`` in its history, which a look does not need."""
    return {
        "key": "k",
        "status": "done",
        "attempts": 2,
        "metrics": {"best_epoch": 3},
        "history": rows,
        "index": 1,
    }


@given(before=st.text(), rows=st.lists(st.dictionaries(st.text(), st.floats() | st.text())))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_a_head_is_the_whole_record_less_what_it_leaves_out(tmp_path, before, rows):
    path = tmp_path / "r.json"
    write_record(
        path, {**head_of([]), "reason": f'{before}\n "schema": 2,\n', "packages": {"x": before}, "odd": rows}
    )
    whole, head = read(path, Result), read(path, ResultHead, verify=False)
    assert head == ResultHead(**{name: getattr(whole, name) for name in ResultHead.__struct_fields__})
    assert head.metrics.best_epoch == 3 and head.reason == whole.reason


@pytest.mark.parametrize("indent", [None, 0, 1, 4])
@pytest.mark.parametrize("schema", [1, 2, "1", None])
def test_the_version_is_checked_in_any_layout(tmp_path, indent, schema):
    path = tmp_path / "r.json"
    path.write_text(json.dumps({**head_of([]), "schema": schema, "status": "done"}, indent=indent))
    if schema == 1:
        assert read(path, ResultHead, verify=False).attempts == 2
    else:
        with pytest.raises(DamagedRecord, match="expected 1") as caught:
            read(path, ResultHead, verify=False)
        assert caught.value.content is (schema != 2)


@given(cut=st.integers(0, 10_000))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_a_truncated_record_is_refused_by_a_look_too(tmp_path, cut):
    path = tmp_path / "r.json"
    write_record(path, head_of([{"epoch": 1}] * 3))
    whole = path.read_bytes()
    path.write_bytes(whole[: cut % len(whole.rstrip())])
    with pytest.raises(DamagedRecord):
        read(path, ResultHead, verify=False)


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"attempts": "2"}, r"\$\.attempts"),
        ({"attempts": -1}, r"\$\.attempts"),
        ({"metrics": {"best_epoch": 1.5}}, r"\$\.metrics\.best_epoch"),
        ({"history": [{"loss": 1.0}]}, r"\$\.history\[0\]"),
        ({"key": None}, r"\$\.key"),
    ],
)
def test_a_wrong_shape_is_one_error_that_names_the_file_and_the_place(tmp_path, change, place):
    path = tmp_path / "r.json"
    write_record(path, {**head_of([]), **change})
    with pytest.raises(DamagedRecord, match=f"{path} is not a valid Result record .*{place}"):
        read(path, Result)


def test_keys_of_a_newer_program_are_ignored_and_those_of_an_older_one_have_defaults(tmp_path):
    path = tmp_path / "r.json"
    write_record(path, {"key": "k", "status": "done", "new": {"a": [1]}})
    assert read(path, Result) == Result(key="k", status="done")


def test_what_is_not_finite_is_none_in_a_typed_record():
    row = typed(
        {"epoch": 1, "loss": float("nan"), "val_loss": np.float64(0.1), "seconds": float("inf")}, Epoch
    )
    assert row == Epoch(epoch=1, val_loss=0.1)


@pytest.mark.parametrize(
    ("status", "step", "validation", "accepted"),
    [
        ("measured", 0.1, 0.2, True),
        ("measured", 0.1, None, False),
        ("measured", None, 0.2, False),
        ("measured", 0.0, 0.2, False),
        ("oom", None, None, True),
    ],
)
def test_a_measured_combination_has_both_times(status, step, validation, accepted):
    settings = CostSettings(
        architecture="UNet",
        batch_size=8,
        base_filters=2,
        levels=2,
        dropout=False,
        optimizer="adam",
        loss="binary_crossentropy",
        augment=False,
        validation_batch_size=8,
        precision="float32",
        tensor_float_32=True,
        jit_compile="off",
        deterministic=False,
    )
    fields = {"settings": settings, "status": status, "step_seconds": step, "validation_seconds": validation}
    if accepted:
        assert Measurement(**fields).step_seconds == step
    else:
        with pytest.raises(ValueError, match="must be above 0"):
            Measurement(**fields)
