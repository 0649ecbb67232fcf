"""NPY stacks give their stored values slice by slice, or are refused."""

from __future__ import annotations

import numpy as np
import pytest

from unet_models.data.errors import DataError
from unet_models.data.files.opening import open_image


def values(shape, dtype):
    return np.random.default_rng(0).integers(0, 2 if dtype == "bool" else 120, shape).astype(dtype)


def read(location):
    with open_image(str(location)) as file:
        return file.description, np.stack([file.read(index) for index in range(file.description.slices)])


@pytest.mark.parametrize(
    "dtype", ["bool", "int8", "uint8", ">i2", "<u2", ">u4", "int64", "uint64", "float16", ">f4", "float64"]
)
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", [(5, 6, 7), (6, 7), (6, 7, 1), (5, 6, 7, 1), (1, 5, 6, 7)])
def test_every_type_is_read_as_it_is_stored(tmp_path, dtype, order, shape):
    array = np.asarray(values(shape, dtype), dtype, order=order)
    np.save(tmp_path / "a.npy", array)
    about, found = read(tmp_path / "a.npy")
    expected = array.reshape(-1, 6, 7).astype("uint8" if dtype == "bool" else array.dtype.newbyteorder("="))
    assert found.dtype == expected.dtype == about.dtype and (found == expected).all()
    assert (about.slices, about.height, about.width) == expected.shape and about.format == "NPY"


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((2, 3, 4, 5)), r"shape \(2, 3, 4, 5\)"),
        (np.zeros((64, 64, 3), np.uint8), "looks like 3 channels"),
        (np.zeros((4, 64, 3), np.uint8), "looks like 3 channels"),
        (np.zeros(7), "expected .slices, height, width."),
        (np.zeros((4, 5), complex), "complex128"),
        (np.array([["a", "b"]]), "expected whole or floating-point"),
        (np.array([[None, 1]], object), "expected whole or floating-point"),
    ],
)
def test_other_arrays_are_refused(tmp_path, array, words):
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    with pytest.raises(DataError, match=f"a.npy.*{words}"):
        read(tmp_path / "a.npy")


def test_arrays_saved_one_after_the_other_are_refused(tmp_path):
    with (tmp_path / "a.npy").open("wb") as stream:
        for _ in range(3):
            np.save(stream, values((4, 5), "uint16"))
    with pytest.raises(
        DataError, match="a.npy has 336 bytes after its array of the shape .4, 5., as when several"
    ):
        read(tmp_path / "a.npy")


def test_a_cut_off_file_is_refused_at_every_length(tmp_path):
    np.save(tmp_path / "a.npy", values((3, 4, 5), "uint16"))
    whole = (tmp_path / "a.npy").read_bytes()
    for length in range(len(whole)):
        (tmp_path / "b.npy").write_bytes(whole[:length])
        with pytest.raises(DataError, match="b.npy"):
            read(tmp_path / "b.npy")
