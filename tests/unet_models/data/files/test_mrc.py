"""MRC volumes give their stored values, with the sign that the file says, or are refused."""

from __future__ import annotations

import struct

import mrcfile
import numpy as np
import pytest

from unet_models.data.errors import DataError
from unet_models.data.files.opening import open_image


def write(path, array, *, size=None):
    with mrcfile.new(path, overwrite=True) as file:
        file.set_data(array)
        if size is not None:
            file.voxel_size = size
    return path


def patch(path, offset, layout, *fields):
    content = bytearray(path.read_bytes())
    struct.pack_into(layout, content, offset, *fields)
    path.write_bytes(bytes(content))


def read(location):
    with open_image(str(location)) as file:
        return file.description, np.stack([file.read(index) for index in range(file.description.slices)])


def values(dtype, shape=(4, 5, 6)):
    return np.random.default_rng(0).integers(0, 100, shape).astype(dtype)


@pytest.mark.parametrize("dtype", ["int8", "int16", "uint16", "float32", "float16"])
@pytest.mark.parametrize("name", ["a.mrc", "a.rec", "a.st", "a.map"])
def test_every_mode_is_read_as_it_is_stored(tmp_path, dtype, name):
    array = values(dtype) - (50 if dtype[0] == "i" else 0)
    about, found = read(write(tmp_path / name, array.astype(dtype), size=(50, 40, 80)))
    assert found.dtype == dtype == about.dtype and (found == array).all()
    assert about.pixel_size == (8.0, 4.0, 5.0) and about.format == "MRC"


def test_a_single_image_is_one_slice(tmp_path):
    about, found = read(write(tmp_path / "a.mrc", values("int16", (5, 6))))
    assert about.slices == 1 and found.shape == (1, 5, 6)


def test_the_other_byte_order_is_read(tmp_path):
    array = values("int16")
    path = write(tmp_path / "a.mrc", array)
    content = path.read_bytes()
    words = np.frombuffer(content[:208], "<i4").astype(">i4").tobytes()
    stamp = b"MAP " + bytes((0x11, 0x11, 0, 0))
    tail = np.frombuffer(content[216:224], "<i4").astype(">i4").tobytes() + content[224:1024]
    path.write_bytes(words + stamp + tail + array.astype(">i2").tobytes())
    about, found = read(path)
    assert about.dtype == "int16" and (found == array).all()


@pytest.mark.parametrize(("flags", "dtype"), [(1, "int8"), (0, "uint8"), (4, "uint8"), (5, "int8")])
def test_imod_says_whether_bytes_have_a_sign(tmp_path, flags, dtype):
    array = np.arange(-60, 60).reshape(4, 5, 6).astype(np.int8)
    path = write(tmp_path / "a.mrc", array)
    patch(path, 152, "<ii", 1146047817, flags)
    about, found = read(path)
    assert about.dtype == dtype and (found == array.view(dtype)).all()


def test_bytes_of_which_nobody_says_whether_they_have_a_sign_are_refused(tmp_path):
    path = write(tmp_path / "a.mrc", values("int8"))
    patch(path, 108, "<i", 0)
    with pytest.raises(DataError, match="does not say whether they have a sign.*newstack"):
        read(path)


@pytest.mark.parametrize(
    ("offset", "fields", "words"),
    [
        (12, (4,), "mode 4 .complex"),
        (12, (101,), "mode 101 .4-bit"),
        (12, (99,), "no MRC file: its header has the mode 99"),
        (64, (2, 1, 3), "axes in the order .2, 1, 3."),
        (88, (401,), "stack of volumes"),
        (8, (40,), "expected a complete file"),
        (8, (1,), "has 1 sections and .* bytes after them, which hold 3 more"),
        (8, (-1,), "sections; expected at least one"),
        (92, (10**6,), "expected a complete file"),
        (92, (2**31 - 1,), "expected a complete file"),
    ],
)
def test_what_cannot_be_read_exactly_is_refused(tmp_path, offset, fields, words):
    path = write(tmp_path / "a.mrc", values("int16"))
    patch(path, offset, f"<{len(fields)}i", *fields)
    with pytest.raises(DataError, match=f"a.mrc.*{words}"):
        read(path)


def test_an_extended_header_is_passed_over(tmp_path):
    array = values("int16")
    path = write(tmp_path / "a.mrc", array)
    with mrcfile.open(path, "r+") as file:
        file.set_extended_header(np.zeros(5, "V16"))
    assert (read(path)[1] == array).all()


def test_a_cut_off_file_is_refused(tmp_path):
    path = write(tmp_path / "a.mrc", values("int16"))
    whole = path.read_bytes()
    for length in (0, 100, 1023, 1024, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match="a.mrc"):
            read(path)
