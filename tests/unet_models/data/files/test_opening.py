"""The content of a file decides on its format."""

from __future__ import annotations

import os

import mrcfile
import numpy as np
import pytest

from unet_models.data.errors import DataError
from unet_models.data.files.opening import open_image


def test_an_mrc_file_whose_width_begins_as_bmp_does_is_an_mrc_file(tmp_path):
    """19,778 is BM as two bytes."""
    array = np.arange(2 * 19778, dtype=np.int16).reshape(1, 2, 19778)
    with mrcfile.new(tmp_path / "a.mrc") as file:
        file.set_data(array)
    assert (tmp_path / "a.mrc").read_bytes().startswith(b"BM")
    with open_image(str(tmp_path / "a.mrc")) as file:
        assert file.description.format == "MRC" and np.array_equal(file.read(0), array[0])


@pytest.mark.parametrize("name", ["a.tif", "a.png", "a.mrc"])
@pytest.mark.parametrize(
    ("start", "words"),
    [
        (b"\x1f\x8b\x08\0", "compressed by gzip; unpack it first"),
        (b"PK\x03\x04", "a ZIP archive"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS"),
        (b"<!DOCTYPE html>", "a web page"),
    ],
)
def test_what_is_no_image_is_called_by_its_name(tmp_path, name, start, words):
    (tmp_path / name).write_bytes(start.ljust(2000, b"x"))
    with pytest.raises(DataError, match=f"{name} cannot be read as an image: it is {words}"):
        open_image(str(tmp_path / name))


def test_a_pipe_is_refused_at_once(tmp_path):
    """Opening it would wait for ever."""
    os.mkfifo(tmp_path / "a.tif")
    with pytest.raises(DataError, match="a.tif is a pipe, a socket or a device"):
        open_image(str(tmp_path / "a.tif"))
