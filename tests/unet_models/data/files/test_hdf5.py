"""Arrays of HDF5 files are found by name and read as they are stored, or refused."""

from __future__ import annotations

import json

import numpy as np
import pytest

from unet_models.data.errors import DataError
from unet_models.data.files.opening import open_image

h5py = pytest.importorskip("h5py", reason="h5py, an optional package, is not installed")


def values(shape=(6, 7, 8), dtype="uint8"):
    return np.random.default_rng(0).integers(0, 100, shape).astype(dtype)


def write(path, **arrays):
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array
    return path


def read(location):
    with open_image(str(location)) as file:
        return file.description, np.stack([file.read(index) for index in range(file.description.slices)])


@pytest.mark.parametrize(
    "dtype", ["int8", "uint8", ">u2", "int16", "uint32", "int64", "float16", "float32", "f8", "bool"]
)
@pytest.mark.parametrize("options", [{}, {"chunks": (4, 3, 3), "compression": "gzip"}, {"chunks": (1, 7, 8)}])
def test_every_type_is_read_as_it_is_stored(tmp_path, dtype, options):
    array = values(dtype=dtype)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("group/raw", data=array, **options)
    for location in ("a.h5", "a.h5:/group/raw"):
        about, found = read(tmp_path / location)
        assert (found == array).all() and found.dtype == about.dtype
        assert found.dtype == ("uint8" if dtype == "bool" else array.dtype.newbyteorder("="))
    assert about.compression == options.get("compression", "none")


def test_slices_can_be_read_in_any_order(tmp_path):
    array = values((9, 5, 6))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("raw", data=array, chunks=(4, 5, 6))
    with open_image(str(tmp_path / "a.h5")) as file:
        for index in (8, 0, 3, 4, 7, 1):
            assert (file.read(index) == array[index]).all()


def test_of_several_arrays_one_must_be_named(tmp_path):
    write(tmp_path / "a.h5", raw=values(), labels=values(dtype="uint16"), table=np.zeros(3))
    with pytest.raises(
        DataError, match=r"has 2 arrays \(/labels, /raw\); expected the name of one after the path"
    ):
        read(tmp_path / "a.h5")
    with pytest.raises(DataError, match="there is no array /mask; expected one of /labels, /raw"):
        read(tmp_path / "a.h5:/mask")
    assert read(tmp_path / "a.h5:/labels")[0].dtype == "uint16"


def test_what_is_no_array_of_slices_is_passed_over_or_named(tmp_path):
    """An empty array next to the slices ended in a TypeError."""
    write(tmp_path / "a.h5", raw=values(), none=h5py.Empty("f4"), text="x")
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file["soft"], file["away"] = h5py.SoftLink("/lost"), h5py.ExternalLink("b.h5", "/raw")
    assert np.array_equal(read(tmp_path / "a.h5")[1], values())
    for name, words in {
        "none": "/none is no array of slices",
        "text": "/text is no array of slices",
        "soft": "no array /soft, only a link to /lost, which is not there; expected one of /raw",
        "away": "no array /away, only a link to b.h5, which",
    }.items():
        with pytest.raises(DataError, match=words):
            read(tmp_path / f"a.h5:/{name}")
    write(tmp_path / "b.h5", raw=values())
    assert np.array_equal(read(tmp_path / "a.h5:/away")[1], values())
    write(tmp_path / "c.h5", table=np.zeros(3))
    with pytest.raises(DataError, match="has no array of slices of its own"):
        read(tmp_path / "c.h5")


def test_attributes_that_change_how_values_are_meant_are_said(tmp_path):
    write(tmp_path / "a.h5", raw=values())
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file["raw"].attrs.update({"IMAGE_WHITE_IS_ZERO": 1, "scale_factor": 0.5, "_FillValue": np.uint8(0)})
    about, found = read(tmp_path / "a.h5")
    assert about.white_is_zero and np.array_equal(found, values())
    assert about.notes == (
        "attributes (scale_factor 0.5, _FillValue 0) are ignored: the values are used as they are stored",
    )


@pytest.mark.parametrize(
    ("keys", "order"),
    [("zyx", (0, 1, 2)), ("xyz", (2, 1, 0)), ("zyxc", (0, 1, 2)), ("tzyxc", (1, 2, 3)), ("yxz", (2, 0, 1))],
)
def test_the_axes_of_ilastik_are_respected(tmp_path, keys, order):
    shape = [dict(zip("zyxct", (4, 5, 6, 1, 1), strict=True))[key] for key in keys]
    array = values(shape)
    write(tmp_path / "a.h5", raw=array)
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file["raw"].attrs["axistags"] = json.dumps({"axes": [{"key": key} for key in keys]})
    about, found = read(tmp_path / "a.h5")
    expected = array.transpose(
        [keys.index(key) for key in "zyx"] + [keys.index(key) for key in keys if key not in "zyx"]
    )
    assert (about.slices, about.height, about.width) == (4, 5, 6)
    assert (found == expected.reshape(4, 5, 6)).all()


def test_channels_and_time_points_are_no_slices(tmp_path):
    for keys, shape in (("czyx", (2, 4, 5, 6)), ("tyx", (4, 5, 6)), ("zyxc", (4, 5, 6, 2))):
        write(tmp_path / "a.h5", raw=values(shape))
        with h5py.File(tmp_path / "a.h5", "r+") as file:
            file["raw"].attrs["axistags"] = json.dumps({"axes": [{"key": key} for key in keys]})
        with pytest.raises(DataError, match="must have the length 1"):
            read(tmp_path / "a.h5")
    write(tmp_path / "b.h5", raw=values((2, 4, 5, 6)))
    with pytest.raises(DataError, match=r"shape \(2, 4, 5, 6\)"):
        read(tmp_path / "b.h5")
    write(tmp_path / "c.h5", raw=values((1, 4, 5, 6)))
    about, found = read(tmp_path / "c.h5")
    assert found.shape == (4, 5, 6) and about.notes == ("axes of length 1 are left out",)


@pytest.mark.parametrize("shape", [(5, 6, 1), (1, 5, 6, 1), (4, 5, 6, 1), (1, 4, 5, 6, 1)])
def test_a_last_axis_of_one_channel_is_left_out(tmp_path, shape):
    """It was taken for the width."""
    array = values(shape)
    write(tmp_path / "a.h5", raw=array)
    assert np.array_equal(read(tmp_path / "a.h5")[1], array.reshape(-1, 5, 6))


def test_what_was_never_written_is_not_read_as_black(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        half = file.create_dataset("half", (8, 5, 5), "u1", chunks=(2, 5, 5))
        half[:4] = 5
        file.create_dataset("none", (8, 5, 5), "u1")
    with pytest.raises(DataError, match="half: 2 of its 4 chunks were never written"):
        read(tmp_path / "a.h5:/half")
    with pytest.raises(DataError, match="none was never written"):
        read(tmp_path / "a.h5:/none")


def test_a_virtual_array_needs_its_files(tmp_path):
    write(tmp_path / "part.h5", raw=values((4, 5, 6)))
    layout = h5py.VirtualLayout((4, 5, 6), "u1")
    layout[:] = h5py.VirtualSource("part.h5", "raw", (4, 5, 6))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_virtual_dataset("raw", layout)
    assert (read(tmp_path / "a.h5")[1] == values((4, 5, 6))).all()
    (tmp_path / "part.h5").unlink()
    with pytest.raises(DataError, match="refers to the file part.h5, which is not there"):
        read(tmp_path / "a.h5")


def test_what_the_sources_of_a_virtual_array_lack_is_not_read_as_black(tmp_path):
    write(tmp_path / "part.h5", raw=values((4, 5, 6)))
    with h5py.File(tmp_path / "part.h5", "r+") as file:
        file.create_dataset("none", (4, 5, 6), "u1")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name, source, slices in (("half", "raw", 2), ("other", "others", 4), ("unwritten", "none", 4)):
            layout = h5py.VirtualLayout((4, 5, 6), "u1")
            layout[:slices] = h5py.VirtualSource("part.h5", source, (4, 5, 6))[:slices]
            file.create_virtual_dataset(name, layout)
        file["own"] = values((4, 5, 6))
        layout = h5py.VirtualLayout((4, 5, 6), "u1")
        layout[:] = h5py.VirtualSource(".", "own", (4, 5, 6))
        file.create_virtual_dataset("same", layout)
    for name, words in (
        ("half", "60 of its 120 values come from no file"),
        ("other", "refers to the array others of part.h5, which is not there"),
        ("unwritten", "part.h5:/none was never written"),
    ):
        with pytest.raises(DataError, match=words):
            read(tmp_path / f"a.h5:/{name}")
    assert (read(tmp_path / "a.h5:/same")[1] == values((4, 5, 6))).all()


def test_values_in_raw_files_are_refused(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        raw = str(tmp_path / "raw.bin")
        file.create_dataset("raw", (4, 5, 6), "u1", external=[(raw, 8, 120)])[:] = values((4, 5, 6))
    with pytest.raises(
        DataError, match=r"keeps its values in other files .*raw.bin.*; expected an array of its own"
    ):
        read(tmp_path / "a.h5")


def test_an_array_of_another_size_than_its_shape_is_refused(tmp_path):
    path = write(tmp_path / "a.h5", raw=values((6, 16, 16)))
    content = path.read_bytes()
    shape, damaged = (np.array(lengths, "<u8").tobytes() for lengths in ((6, 16, 16), (6, 16, 1)))
    path.write_bytes(content.replace(shape, damaged))
    with pytest.raises(DataError, match="1,536 bytes, and its shape .6, 16, 1. needs 96"):
        read(path)


@pytest.mark.parametrize(
    "array", [np.zeros((3, 4), complex), np.zeros((3, 4), [("a", "i4")]), np.array([[b"a"]])]
)
def test_other_types_are_refused(tmp_path, array):
    write(tmp_path / "a.h5", raw=array)
    with pytest.raises(DataError, match="expected whole or floating-point numbers"):
        read(tmp_path / "a.h5")


def test_a_cut_off_file_is_refused(tmp_path):
    path = write(tmp_path / "a.h5", raw=values((20, 30, 30)))
    whole = path.read_bytes()
    for length in (0, 8, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match="a.h5"):
            read(path)


def test_a_damaged_chunk_is_named(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        array = file.create_dataset(
            "raw", data=values((4, 64, 64)), chunks=(2, 64, 64), compression="gzip", fletcher32=True
        )
        offset = array.id.get_chunk_info(1).byte_offset
    content = bytearray((tmp_path / "a.h5").read_bytes())
    content[offset + 50 : offset + 60] = bytes(10)
    (tmp_path / "a.h5").write_bytes(bytes(content))
    with pytest.raises(DataError, match="a.h5:/raw cannot be read"):
        read(tmp_path / "a.h5")
