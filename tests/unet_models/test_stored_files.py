"""An archive is read only if its arrays are as large as they say, and fit into the memory."""

from __future__ import annotations

import io
import os
import zipfile

import numpy as np
import pytest

from unet_models import stored_files
from unet_models.stored_files import check_archive, open_regular


def archive(compressed=False, **arrays):
    stream = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(stream, **arrays)
    stream.seek(0)
    return stream


def test_an_archive_that_numpy_wrote_is_accepted_and_at_its_start_again():
    stream = archive(a=np.arange(10), b=np.zeros((2, 3), np.float32), c=np.float64(1.5))
    check_archive(stream)
    assert np.load(stream)["a"].sum() == 45


def test_members_are_compressed_only_where_that_is_expected():
    stream = archive(compressed=True, a=np.zeros(1000))
    with pytest.raises(ValueError, match="is compressed"):
        check_archive(stream)
    check_archive(stream, compressed=True)


def forged(shape, content=b"", dtype="<f8"):
    """An archive with one array whose header promises ``shape``."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": dtype, "fortran_order": False, "shape": shape})
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        file.writestr("00000.npy", header.getvalue() + content)
    stream.seek(0)
    return stream


@pytest.mark.parametrize("shape", [(10**12,), (10**6, 10**6, 10**6), (3,)])
def test_an_array_that_promises_more_than_it_has_is_refused_before_memory_is_taken(shape):
    with pytest.raises(ValueError, match="promises"):
        check_archive(forged(shape, b"12345678"))


def test_an_archive_of_more_than_half_the_memory_is_refused(monkeypatch):
    monkeypatch.setattr(stored_files, "memory_limit", lambda: 1000)
    with pytest.raises(ValueError, match="expected at most 1,000, half of the memory"):
        check_archive(archive(a=np.zeros(1000)))


def test_python_objects_and_other_content_are_refused():
    with pytest.raises(ValueError, match="array of Python objects"):
        check_archive(forged((1,), b"12345678", dtype="|O"))
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        file.writestr("a.npy", b"not an array")
    stream.seek(0)
    with pytest.raises(ValueError, match="magic"):
        check_archive(stream)
    with pytest.raises(zipfile.BadZipFile):
        check_archive(io.BytesIO(b"\0" * 1000))


def test_pipes_links_and_large_files_are_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").write_bytes(b"12345")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    for name, limit in (("pipe", None), ("link", None), ("file", 4)):
        with pytest.raises(OSError, match=r"no file|symbolic links"):
            open_regular(tmp_path / name, limit)
    with open_regular(tmp_path / "file", 5) as stream:
        assert stream.read() == b"12345"
