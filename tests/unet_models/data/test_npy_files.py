"""Arrays in files come back as they were written, in bounded memory, and damage is found and named."""

from __future__ import annotations

import threading
import zlib

import numpy as np
import pytest

from unet_models.data import npy_files
from unet_models.data.errors import DataError
from unet_models.data.npy_files import BackgroundCheck, NpyWriter, StoredArray


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch):
    monkeypatch.setattr(npy_files, "CHUNK", 1000)
    monkeypatch.setattr(npy_files, "_PIECE", 300)


def write(path, array, pieces=3):
    writer = NpyWriter(path, array.dtype, array.shape[1:])
    for piece in np.array_split(array, pieces):
        writer.add(piece)
    writer.close()
    return writer


def stored(path, array):
    writer = write(path, array)
    return StoredArray(path, writer.size, writer.checksums)


def flip(path, offset):
    content = bytearray(path.read_bytes())
    content[offset] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("shape", [(7, 16, 16), (7, 3), (1000,), (0, 5, 5), (1, 1000)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.int64, np.int16])
def test_an_array_comes_back_as_it_was_written(tmp_path, shape, dtype):
    array = np.random.default_rng(1).integers(0, 100, shape).astype(dtype)
    found = stored(tmp_path / "a.npy", array)
    assert (found.shape, found.dtype, len(found), found.size) == (shape, array.dtype, shape[0], array.size)
    for result in (found[:], np.load(tmp_path / "a.npy")):
        assert result.dtype == array.dtype and result.shape == shape and (result == array).all()
    assert found[:].flags.writeable


@pytest.mark.parametrize("size", [1000 - 128, 2000 - 128, 2001 - 128, 5])
def test_every_chunk_has_its_checksum(tmp_path, size):
    writer = write(tmp_path / "a.npy", np.arange(size).astype(np.uint8), pieces=7)
    content = (tmp_path / "a.npy").read_bytes()
    assert writer.size == len(content)
    assert list(writer.checksums) == [
        zlib.crc32(content[start : start + 1000]) for start in range(0, len(content), 1000)
    ]


@pytest.mark.parametrize(
    "rows",
    [[3], [5, 0, 2], [2, 3, 4], [6, 5, 4], [1, 1, 2, 2], [0, 1, 5, 6, 3], [], np.array([4, 2], np.int32)],
)
def test_rows_are_copied_in_any_order(tmp_path, rows):
    array = np.arange(7 * 50, dtype=np.uint16).reshape(7, 5, 10)
    found = stored(tmp_path / "a.npy", array)[np.asarray(rows, np.int64)]
    assert found.shape == (len(rows), 5, 10) and (found == array[np.asarray(rows, int)]).all()


@pytest.mark.parametrize(
    "part", [slice(2, 5), slice(None), slice(5, 100), slice(6, 6), slice(4, 2), slice(-2, None)]
)
def test_slices_of_rows_are_those_of_numpy(tmp_path, part):
    array = np.arange(7 * 50).reshape(7, 50)
    assert np.array_equal(stored(tmp_path / "a.npy", array)[part], array[part])


def test_the_head_of_an_array_outlives_it(tmp_path):
    array = np.arange(70).reshape(7, 10)
    head = stored(tmp_path / "a.npy", array).head(3)
    assert head.shape == (3, 10) and head.size == 30 and (head[:] == array[:3]).all()
    assert len(stored(tmp_path / "b.npy", array).head(30)) == 7


def test_rows_of_another_shape_are_refused(tmp_path):
    writer = NpyWriter(tmp_path / "a.npy", np.uint8, (4, 4))
    with pytest.raises(ValueError, match=r"received rows of the shape \(4, 5\), expected \(4, 4\)"):
        writer.add(np.zeros((1, 4, 5), np.uint8))
    writer.abandon()


def test_a_file_of_another_size_is_refused_at_once(tmp_path):
    writer = write(tmp_path / "a.npy", np.zeros((20, 100)))
    for change in (lambda content: content[:-1], lambda content: content + b"x", lambda content: b""):
        (tmp_path / "b.npy").write_bytes(change((tmp_path / "a.npy").read_bytes()))
        with pytest.raises(DataError, match=r"b.npy has .* bytes, expected 16,128: .* make_grid.py"):
            StoredArray(tmp_path / "b.npy", writer.size, writer.checksums)
    with pytest.raises(DataError, match=r"none.npy cannot be read .* make_grid.py"):
        StoredArray(tmp_path / "none.npy", writer.size, writer.checksums)


@pytest.mark.parametrize(
    "content",
    [b"PK\x03\x04" + bytes(300), b"\x93NUMPY\x01\x00\x76\x00" + b"{" * 118 + bytes(176), bytes(304)],
)
def test_a_file_of_another_kind_is_refused_at_once(tmp_path, content):
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(DataError, match=r"a.npy cannot be read"):
        StoredArray(tmp_path / "a.npy", len(content), (0,))


def test_a_header_that_promises_another_shape_is_refused(tmp_path):
    writer = write(tmp_path / "a.npy", np.zeros((5, 100), np.uint8))
    content = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "a.npy").write_bytes(content.replace(b"(5, 100)", b"(6, 100)"))
    with pytest.raises(DataError, match=r"a.npy cannot be read \(its header promises the shape \(6, 100\)"):
        StoredArray(tmp_path / "a.npy", writer.size, writer.checksums)


def test_a_file_that_is_cut_off_while_it_is_open_is_an_error_and_no_crash(tmp_path):
    array = stored(tmp_path / "a.npy", np.arange(4000).reshape(40, 100))
    with (tmp_path / "a.npy").open("r+b") as stream:
        stream.truncate(20_000)
    assert (array[:10] == np.arange(1000).reshape(10, 100)).all()
    assert array.problem is None
    with pytest.raises(DataError, match=r"a.npy ends before byte 31,328: it was cut off meanwhile") as caught:
        array[np.array([3, 39])]
    assert array.problem is caught.value


@pytest.mark.parametrize(("offset", "chunk"), [(0, 0), (130, 0), (999, 0), (1000, 1), (32_127, 32)])
def test_a_changed_byte_is_found_in_its_chunk(tmp_path, offset, chunk):
    array = stored(tmp_path / "a.npy", np.arange(4000).reshape(40, 100))
    array.verify()
    flip(tmp_path / "a.npy", offset)
    with pytest.raises(
        DataError, match=rf"a.npy is damaged in chunk {chunk} of 33 \(bytes {1000 * chunk:,} to"
    ):
        array.verify()


def test_the_background_check_reads_every_chunk_once(tmp_path, monkeypatch):
    files = [stored(tmp_path / name, np.arange(500)) for name in ("a.npy", "b.npy")]
    seen, check = [], StoredArray.check

    def noted(self, number):
        seen.append((self.path.name, number))
        check(self, number)

    monkeypatch.setattr(StoredArray, "check", noted)
    background = BackgroundCheck(files)
    background.finish(lambda: None)
    background.stop()
    assert seen == [(name, number) for name in ("a.npy", "b.npy") for number in range(5)]


def test_damage_is_reported_once_it_was_found_and_at_the_end_at_the_latest(tmp_path, monkeypatch):
    array = stored(tmp_path / "a.npy", np.arange(500))
    flip(tmp_path / "a.npy", 3500)
    before, check = threading.Event(), StoredArray.check

    def late(self, number):
        before.wait(10)
        check(self, number)

    monkeypatch.setattr(StoredArray, "check", late)
    background = BackgroundCheck([array])
    background.look()
    calls = []
    before.set()
    with pytest.raises(DataError, match="a.npy is damaged in chunk 3 of 5"):
        background.finish(lambda: calls.append(1))
    with pytest.raises(DataError, match="a.npy is damaged in chunk 3 of 5"):
        background.look()


def test_the_end_of_a_check_answers_while_it_waits(tmp_path):
    """A signal must be answered although there is still much to verify."""

    def stop():
        raise KeyboardInterrupt

    background = BackgroundCheck([])
    background.stop()
    background = BackgroundCheck([stored(tmp_path / "a.npy", np.arange(500))])
    background.stop()
    background._chunks = iter([(stored(tmp_path / "b.npy", np.arange(500)), 0)])
    with pytest.raises(KeyboardInterrupt):
        background.finish(stop)
