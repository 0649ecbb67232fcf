"""Arrays of Zarr and OME-Zarr folders are found and read at full resolution, or refused."""

from __future__ import annotations

import numpy as np
import pytest

from unet_models.data.errors import DataError
from unet_models.data.files.opening import open_image

zarr = pytest.importorskip("zarr", reason="zarr, an optional package, is not installed")


def values(shape=(6, 7, 8), dtype="uint8"):
    return np.random.default_rng(0).integers(1, 100, shape).astype(dtype)


def create(group, name, array, chunks):
    made = group.create_array if hasattr(group, "create_array") else group.create_dataset
    result = made(name, shape=array.shape, dtype=array.dtype, chunks=chunks)
    result[:] = array
    return result


def read(location):
    with open_image(str(location)) as file:
        return file.description, np.stack([file.read(index) for index in range(file.description.slices)])


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int32", "uint64", "float32", "bool"])
def test_every_type_is_read_as_it_is_stored(tmp_path, version, dtype):
    options = {"zarr_format": version} if zarr.__version__[0] != "2" else {}
    array = values(dtype=dtype)
    root = zarr.open_group(str(tmp_path / "a.zarr"), mode="w", **options)
    create(root, "raw", array, (4, 5, 5))
    for location in ("a.zarr", "a.zarr:/raw"):
        about, found = read(tmp_path / location)
        assert (found == array).all() and found.dtype == ("uint8" if dtype == "bool" else dtype)
        assert about.notes == () and about.format == "Zarr"


def test_of_a_pyramid_the_full_resolution_is_read(tmp_path):
    array = values((4, 8, 8))
    root = zarr.open_group(str(tmp_path / "a.zarr"), mode="w")
    create(root, "s0", array[None, None], (1, 1, 2, 8, 8))
    create(root, "s1", array[None, None, :, ::2, ::2].copy(), (1, 1, 4, 4, 4))
    axes = [{"name": name, "type": "space", "unit": "nanometer"} for name in "tczyx"]
    levels = [
        {
            "path": f"s{level}",
            "coordinateTransformations": [{"type": "scale", "scale": [1, 1, 20, 4 << level, 4 << level]}],
        }
        for level in (0, 1)
    ]
    root.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": levels}]
    about, found = read(tmp_path / "a.zarr")
    assert (found == array).all() and about.pixel_size == (20.0, 4.0, 4.0)


def pyramid(group, array, names=("s0", "s1")):
    for name, step in zip(names, (1, 2), strict=True):
        create(group, name, array[:, ::step, ::step], (2, 4, 4))
    levels = [{"path": name} for name in sorted(names)]
    group.attrs["multiscales"] = [{"axes": [{"name": name} for name in "zyx"], "datasets": levels}]


def test_the_full_resolution_need_not_be_the_first_of_a_pyramid(tmp_path):
    pyramid(zarr.open_group(str(tmp_path / "a.zarr"), mode="w"), values((4, 8, 8)), names=("s1", "s0"))
    assert np.array_equal(read(tmp_path / "a.zarr")[1], values((4, 8, 8)))


def test_a_pyramid_within_a_group_is_one_array(tmp_path):
    """As bioformats2raw writes it. The levels were offered one by one."""
    root = zarr.open_group(str(tmp_path / "a.zarr"), mode="w")
    pyramid(root.create_group("0"), values((4, 8, 8)))
    assert np.array_equal(read(tmp_path / "a.zarr")[1], values((4, 8, 8)))
    pyramid(root.create_group("1"), values((4, 8, 8)))
    with pytest.raises(DataError, match=r"has 2 arrays of slices \(/0, /1\); .*, such as .*a.zarr:/0$"):
        read(tmp_path / "a.zarr")
    pyramid(root["1"].create_group("labels/a"), values((4, 8, 8)))
    pyramid(root["1"].create_group("labels/b"), values((4, 8, 8)))
    with pytest.raises(DataError, match=r"\(/a, /b\); .*, such as .*a.zarr:/1/labels/a$"):
        read(tmp_path / "a.zarr:/1/labels")


def test_channels_are_no_slices(tmp_path):
    root = zarr.open_group(str(tmp_path / "a.zarr"), mode="w")
    create(root, "0", values((2, 4, 8, 8)), (1, 4, 8, 8))
    root.attrs["multiscales"] = [{"axes": [{"name": name} for name in "czyx"], "datasets": [{"path": "0"}]}]
    with pytest.raises(DataError, match=r"c \(2\) must have the length 1"):
        read(tmp_path / "a.zarr")


def test_of_several_arrays_one_must_be_named(tmp_path):
    root = zarr.open_group(str(tmp_path / "a.zarr"), mode="w")
    create(root, "raw", values(), (6, 7, 8))
    create(root.create_group("labels"), "mito", values(dtype="uint32"), (6, 7, 8))
    with pytest.raises(
        DataError, match="has 2 arrays of slices .*/raw.*expected the name of one after the path"
    ):
        read(tmp_path / "a.zarr")
    with pytest.raises(DataError, match="there is no array /x"):
        read(tmp_path / "a.zarr:/x")
    assert read(tmp_path / "a.zarr:/labels/mito")[0].dtype == "uint32"
    assert read(tmp_path / "a.zarr:/labels")[0].dtype == "uint32"


def test_missing_chunks_are_told(tmp_path):
    """Zarr leaves out chunks of zeros: they may be black or lost."""
    root = zarr.open_group(str(tmp_path / "a.zarr"), mode="w")
    array = create(root, "raw", values((4, 8, 8)), (2, 8, 8))
    array[2:] = 0
    files = [
        path
        for path in (tmp_path / "a.zarr").rglob("*")
        if path.is_file() and path.name in ("1", "0", "1.0.0")
    ]
    for path in files:
        if "1/0/0" in str(path) or path.name == "1.0.0":
            path.unlink()
    assert read(tmp_path / "a.zarr")[0].notes == ("1 of its 2 chunks are not there and are read as 0",)


@pytest.mark.parametrize("stop", [2, 4])
def test_missing_shards_are_counted_and_read_as_the_fill_value(tmp_path, stop):
    if zarr.__version__[0] == "2":
        pytest.skip("shards came with Zarr 3")
    array = zarr.create_array(
        str(tmp_path / "a.zarr"),
        shape=(4, 8, 8),
        dtype="u1",
        chunks=(1, 4, 4),
        shards=(2, 8, 8),
        fill_value=7,
    )
    array[:stop] = values((stop, 8, 8))
    about, found = read(tmp_path / "a.zarr")
    assert (found[stop:] == 7).all() and np.array_equal(found[:stop], values((stop, 8, 8)))
    assert about.notes == (("1 of its 2 chunks are not there and are read as 7",) if stop == 2 else ())


def test_a_folder_that_is_no_zarr_is_refused(tmp_path):
    (tmp_path / "a.zarr").mkdir()
    with pytest.raises(DataError, match="a.zarr"):
        read(tmp_path / "a.zarr")
    (tmp_path / "b.zarr").write_text("x")
    with pytest.raises(DataError, match="b.zarr"):
        read(tmp_path / "b.zarr")
