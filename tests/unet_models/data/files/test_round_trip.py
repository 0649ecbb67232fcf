"""What tifffile wrote comes back as it was written: every type, byte order, layout, compression and polarity."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from tifffile import imwrite

from unet_models.data.errors import DataError
from unet_models.data.files.opening import open_image

TYPES = (
    "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float16", "float32", "float64",
)  # fmt: skip
COMPRESSIONS = (None, "lzw", "deflate", "zstd", "packbits", "lzma")
LAYOUTS = {
    "strips": {"rowsperstrip": 7},
    "one strip": {},
    "tiles": {"tile": (16, 16)},
}


def values(dtype, shape):
    """Values over the whole range of ``dtype``, with its limits."""
    generator = np.random.default_rng(1)
    if np.dtype(dtype).kind == "f":
        return (generator.standard_normal(shape) * 100).astype(dtype)
    limits = np.iinfo(dtype)
    array = generator.integers(limits.min, limits.max, shape, dtype=dtype, endpoint=True)
    array.flat[0], array.flat[-1] = limits.min, limits.max
    return array


def read(path):
    with open_image(str(path)) as file:
        about = file.description
        slices = [file.read(index) for index in range(about.slices)]
    for one in slices:
        assert one.shape == (about.height, about.width) and one.dtype.name == about.dtype
        assert one.dtype.isnative
    return about, np.stack(slices)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_grey_files_come_back_exactly(tmp_path, dtype, compression):
    path = tmp_path / "a.tif"
    for order, layout, photometric, pages in itertools.product(
        "<>", LAYOUTS, ("minisblack", "miniswhite"), (1, 3)
    ):
        array = values(dtype, (pages, 35, 50))
        imwrite(
            path,
            array if pages > 1 else array[0],
            byteorder=order,
            compression=compression,
            photometric=photometric,
            **LAYOUTS[layout],
        )
        about, found = read(path)
        case = (order, layout, photometric, pages)
        assert np.array_equal(found, array), case
        assert about.dtype == dtype and about.bits == 8 * array.itemsize, case
        assert about.white_is_zero is (photometric == "miniswhite"), case
        assert (about.format, about.slices) == ("TIFF", pages), case


@pytest.mark.parametrize("planes", ["contig", "separate"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "float32"])
def test_grey_as_rgb_comes_back_exactly_and_at_full_depth(tmp_path, dtype, planes):
    path = tmp_path / "a.tif"
    for order, layout, compression in itertools.product("<>", LAYOUTS, (None, "lzw", "deflate")):
        array = values(dtype, (35, 50))
        imwrite(
            path,
            np.stack([array] * 3, axis=0 if planes == "separate" else -1),
            photometric="rgb",
            planarconfig=planes,
            byteorder=order,
            compression=compression,
            **LAYOUTS[layout],
        )
        about, found = read(path)
        assert np.array_equal(found, array[None]) and about.dtype == dtype, (order, layout, compression)


@pytest.mark.parametrize(
    ("dtype", "predictor"),
    [("uint8", True), ("uint16", True), ("int32", True), ("float32", True), ("float32", 3)],
)
def test_predictors_are_undone(tmp_path, dtype, predictor):
    array = values(dtype, (2, 35, 50))
    for order in "<>":
        imwrite(tmp_path / "a.tif", array, byteorder=order, compression="deflate", predictor=predictor)
        assert np.array_equal(read(tmp_path / "a.tif")[1], array)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("big", [True, False])
def test_big_files_and_both_byte_orders(tmp_path, order, big):
    array = values("uint16", (4, 20, 30))
    imwrite(tmp_path / "a.tif", array, bigtiff=big, byteorder=order, photometric="minisblack")
    assert np.array_equal(read(tmp_path / "a.tif")[1], array)


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (50, 1), (17, 16), (16, 17)])
def test_odd_shapes_come_back(tmp_path, shape):
    for name, options in LAYOUTS.items():
        array = values("uint16", shape)
        imwrite(tmp_path / "a.tif", array, photometric="minisblack", **options)
        assert np.array_equal(read(tmp_path / "a.tif")[1], array[None]), name


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15, 17, 20, 31])
def test_packed_bits_keep_their_values(tmp_path, bits):
    dtype = "uint8" if bits <= 8 else "uint16" if bits <= 16 else "uint32"
    array = np.random.default_rng(2).integers(0, 2**bits, (24, 41)).astype(dtype)  # rows end within a byte
    array[0, 0], array[-1, -1] = 0, 2**bits - 1
    rows = packed_rows(array, bits)
    backwards = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
    for content in (
        bare_tiff(rows, 41, 24, bits),
        bare_tiff(rows.translate(backwards), 41, 24, bits, fill_order=2),
    ):
        (tmp_path / "a.tif").write_bytes(content)
        about, found = read(tmp_path / "a.tif")
        assert np.array_equal(found[0], array)
        assert (about.dtype, about.bits) == (dtype, bits)


def test_24_bits_are_refused(tmp_path):
    """Libraries do not agree on the order of their bytes."""
    (tmp_path / "a.tif").write_bytes(bare_tiff(bytes(3 * 24 * 40), 40, 24, 24))
    with pytest.raises(DataError, match="a.tif has samples of the type uint32 with 24 bits"):
        read(tmp_path / "a.tif")


def packed_rows(array, bits):
    """Rows of big-endian fields of ``bits`` bits, each row filled up to whole bytes."""
    fields = (array[..., None].astype(np.uint32) >> np.arange(bits - 1, -1, -1)) & 1
    return np.packbits(fields.reshape(len(array), -1).astype(np.uint8), axis=1).tobytes()


def bare_tiff(strip, width, height, bits, fill_order=1):
    """A little-endian TIFF file of one strip."""
    tags = [
        (256, 4, width), (257, 4, height), (258, 3, bits), (259, 3, 1), (262, 3, 1), (266, 3, fill_order),
        (273, 4, 8 + 2 + 10 * 12 + 4), (277, 3, 1), (278, 4, height), (279, 4, len(strip)),
    ]  # fmt: skip
    content = b"II*\0" + (8).to_bytes(4, "little") + len(tags).to_bytes(2, "little")
    for tag, kind, value in tags:
        content += tag.to_bytes(2, "little") + kind.to_bytes(2, "little") + (1).to_bytes(4, "little")
        content += value.to_bytes(4, "little")
    return content + bytes(4) + strip
