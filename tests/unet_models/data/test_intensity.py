"""The range of the values is right for the whole data set, or refused with the line to write."""

from __future__ import annotations

import numpy as np
import pytest

from tests.unet_models.data.builders import block
from unet_models.data.content import Content
from unet_models.data.errors import DataError
from unet_models.data.files.description import Description
from unet_models.data.intensity import Range, Scaler, check_types, decide, needs_content


def described(array, **changes):
    bits = 1 if array.dtype == bool else 8 * array.dtype.itemsize
    return Description(**{
        "name": "z1.tif", "format": "TIFF", "slices": 1, "height": array.shape[0], "width": array.shape[1],
        "dtype": array.dtype.name, "bits": bits, **changes,
    })  # fmt: skip


def content_of(*arrays):
    content = Content(len(arrays))
    for number, array in enumerate(arrays):
        content.add(f"z{number}.tif", np.atleast_2d(array))
    return content


def decided(array, *, bits=None, depth=None, **settings):
    array = np.atleast_2d(array)
    content = content_of(array)
    about = described(array, **({} if bits is None else {"bits": bits}))
    return decide(about, block(**settings), content, content, depth=depth)


def scaled(array, used, *, white_is_zero=False):
    return Scaler(used)(np.atleast_2d(array), white_is_zero=white_is_zero).ravel().tolist()


def spread(top, dtype, low=0):
    """Values from ``low`` to ``top``, all about equally often."""
    return np.linspace(low, top, 5000).reshape(50, 100).astype(dtype)


@pytest.mark.parametrize(
    ("array", "high", "levels"),
    [
        (spread(65535, np.uint16), 65535, 65535),
        (spread(255, np.uint16) * 257, 65535, 255),  # 8-bit values in 16 bits: nothing is lost
        (spread(32767, np.int16), 32767, 65535),
        (spread(127, np.int8), 127, 255),
        (spread(40000, np.uint16), 65535, 65535),
    ],
)
def test_the_range_of_the_type_is_used_where_the_values_fill_it(array, high, levels):
    assert decided(array) == Range(0.0, high, levels)


@pytest.mark.parametrize("padded", [False, True])
def test_values_in_a_small_part_of_the_type_far_from_0_are_refused(padded):
    """As ImageJ keeps signed values of 8 bits in 16; black borders do not hide it."""
    array = spread(33021, np.uint16, low=32768)
    if padded:
        array[:5] = 0
    with pytest.raises(
        DataError, match=r"lie from 327\d\d to 330\d\d, .* intensity_min: 327\d\d and intensity_max: 330"
    ):
        decided(array)
    assert decided(array, intensity_min=32768.0, intensity_max=33023.0).levels == 255
    assert decided(array, intensity_max=65535.0).high == 65535


@pytest.mark.parametrize(
    ("array", "line"),
    [
        (spread(4095, np.uint16), "intensity_max: 4095"),  # a camera of 12 bits
        (spread(4000, np.int16), "intensity_max: 4095"),
        (spread(1023, np.uint16), "intensity_max: 1023"),
        (spread(16383, np.uint16), "intensity_max: 16383"),
        (spread(255, np.uint16), "intensity_max: 255"),  # 8-bit values, saved as 16
        (spread(255, np.int32), "intensity_max: 255"),
        (spread(200, np.int64), "intensity_max: 255"),
        (spread(4095, np.uint32), "intensity_max: 4095"),
        (spread(1.0, np.float32), "intensity_max: 1"),
        (spread(255, np.float64), "intensity_max: 255"),
        (spread(3000.5, np.float32), "intensity_max: 3000.5"),
        (spread(100, np.int8, low=-128), "intensity_min: -128 and intensity_max: 127"),
        (spread(3000, np.int16, low=-900), "intensity_min: -1024 and intensity_max: 4095"),
        (spread(1.5, np.float32, low=-2.25), "intensity_min: -2.25 and intensity_max: 1.5"),
    ],
)
def test_other_values_are_refused_with_the_line_to_write(array, line):
    with pytest.raises(DataError, match=f"z1.tif.*{array.dtype}.*Write in the block data: {line} .*or auto"):
        decided(array)


def test_one_bright_pixel_does_not_make_12_bits_16():
    array = spread(4095, np.uint16)
    array[3, 3] = 65535
    with pytest.raises(DataError, match="nearly all end at 409.*intensity_max: 4095"):
        decided(array)


def test_the_black_around_an_aligned_section_does_not_count():
    array = np.zeros((300, 300), np.uint16)
    array[:10, :10] = 60000
    assert decided(array).high == 65535


def test_the_whole_range_of_the_type_can_be_asked_for():
    assert decided(spread(4095, np.uint16), intensity_max=65535.0).high == 65535


@pytest.mark.parametrize(("bits", "high"), [(12, 4095), (10, 1023), (4, 15), (1, 1)])
def test_the_bits_of_the_file_decide_on_the_range(bits, high):
    dtype = np.uint16 if bits > 8 else np.uint8
    assert decided(spread(high, dtype), bits=bits).high == high


def test_negative_values_need_a_lower_limit():
    array = spread(127, np.int16, low=-128)
    with pytest.raises(
        DataError, match="some are negative, and data.intensity_min is not set.*intensity_min: -128"
    ):
        decided(array, intensity_max=300.0)
    assert decided(array, intensity_min=-128.0, intensity_max=127.0) == Range(-128, 127, 255)
    assert decided(array, intensity_min=0.0, intensity_max=127.0) == Range(0, 127, 255)


def test_auto_uses_quantiles_of_the_training_part_only():
    training, other = (
        content_of(np.arange(10_000, dtype=np.uint16) + 100),
        content_of(np.full(9, 60_000, np.uint16)),
    )
    about = described(np.zeros((1, 1), np.uint16))
    used = decide(about, block(intensity_min="auto", intensity_max="auto"), other, training)
    assert (used.low, used.high) == (109, 10_089)
    used = decide(about, block(intensity_min=50.0, intensity_max="auto"), other, training)
    assert (used.low, used.high) == (50, 10_089)


def test_auto_works_for_fractions():
    values = np.random.default_rng(0).normal(2.0, 0.5, (200, 200)).astype(np.float32)
    used = decided(values, intensity_min="auto", intensity_max="auto")
    assert used.low == pytest.approx(np.quantile(values, 0.001), abs=0.02)
    assert used.high == pytest.approx(np.quantile(values, 0.999), abs=0.02)


def test_auto_of_one_grey_is_refused():
    with pytest.raises(DataError, match="is not below .*all or nearly all training pixels"):
        decided(np.full((5, 5), 7, np.uint8), intensity_min="auto", intensity_max="auto")


@pytest.mark.parametrize(
    ("array", "settings", "levels"),
    [
        (spread(255, np.float32) // 1, {"intensity_max": 255.0}, 255),
        ((spread(255, np.uint8) / 255).astype(np.float32), {"intensity_max": 1.0}, 255),
        (spread(1.0, np.float32), {"intensity_max": 1.0}, 65535),
        (spread(200, np.uint16), {"intensity_max": 200.0}, 255),
        (spread(300, np.uint16), {"intensity_max": 300.0}, 65535),
        (spread(4095, np.uint16), {"intensity_max": 4095.0}, 65535),
        (spread(255, np.uint8), {"intensity_max": 180.0}, 255),
    ],
)
def test_8_bits_are_kept_where_they_are_enough(array, settings, levels):
    assert decided(array, **settings).levels == levels
    assert decided(array, **settings, depth=8).levels == 255


@pytest.mark.parametrize(
    ("value", "white", "expected"),
    [
        (128, 65535, 0),  # 0.498
        (129, 65535, 1),  # 0.502: rounded, not cut off
        (32767, 65535, 127),  # 127.498
        (32768, 65535, 128),  # 127.502
        (65406, 65535, 254),  # 254.498
        (65407, 65535, 255),  # 254.502
        (999, 1000.0, 255),  # 254.745
        (997, 1000.0, 254),  # 254.235
        (1, 2.0, 128),  # 127.5: half to even
        (3, 6.0, 128),
        (2000, 1000.0, 255),  # clipped
    ],
)
def test_grey_values_are_rounded_to_the_nearest(value, white, expected):
    for dtype in (np.uint16, np.int32, np.float64):
        assert scaled(np.array([value], dtype), Range(0, white, 255)) == [expected]


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int16, np.int32, np.float32])
def test_every_type_is_scaled_by_the_same_line(dtype):
    values = np.array([-100, -50, 0, 27, 100]) if np.dtype(dtype).kind != "u" else np.array([0, 27, 100])
    used = Range(-50.0, 100.0, 65535)
    expected = np.rint(np.clip((values + 50) / 150, 0, 1) * 65535)
    assert scaled(values.astype(dtype), used) == expected.tolist()
    assert scaled(values.astype(dtype), used, white_is_zero=True) == (65535 - expected).tolist()


def test_8_bit_images_are_passed_on_as_they_are():
    page = spread(255, np.uint8)
    assert Scaler(Range(0, 255, 255))(page, white_is_zero=False) is page
    assert scaled([0, 1, 255], Range(0, 255, 255), white_is_zero=True) == [255, 254, 0]


def test_clipped_pixels_are_counted_at_both_ends():
    scaler = Scaler(Range(10, 100, 255))
    for values in ([0, 9, 10, 50], [100, 101, 255, 7]):
        scaler(np.array([values], np.uint8), white_is_zero=False)
    assert (scaler.clipped_low, scaler.clipped_high, scaler.pixels) == (3, 2, 8)
    assert scaler.note() == (
        "intensity: of 8 pixels, 3 (38 %) below 10 became black and 2 (25 %) above 100 became white"
    )
    assert Scaler(Range(0, 255, 255)).note() is None


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_counted_and_refused(bad):
    array = np.ones((3, 4), np.float32)
    array[1] = bad
    with pytest.raises(DataError, match="z0.tif: 4 of 12 values are not finite"):
        content_of(array)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int64, np.float32])
def test_quantiles_are_those_of_all_values(dtype):
    values = (
        np.random.default_rng(1)
        .integers(0 if np.dtype(dtype).kind == "u" else -90, 100, (30, 40))
        .astype(dtype)
    )
    content = content_of(values[:10], values[10:])
    for share in (0.001, 0.3, 0.5, 0.999):
        assert content.quantile(share) == np.quantile(values, share, method="inverted_cdf")
    assert (content.lowest, content.highest, content.pixels) == (values.min(), values.max(), 1200)
    assert content.values().tolist() == np.unique(values).tolist()


def test_only_8_bit_files_need_not_be_read_before():
    eight, deep = described(np.zeros((1, 1), np.uint8)), described(np.zeros((1, 1), np.uint16))
    assert not needs_content(eight, block()) and needs_content(deep, block())
    assert needs_content(eight, block(intensity_max="auto"))


def test_images_of_different_types_are_refused_unless_the_range_is_stated():
    files = [described(np.zeros((1, 1), np.uint8))] * 3 + [
        described(np.zeros((1, 1), np.uint16), name="z9.tif")
    ]
    with pytest.raises(
        DataError, match="3 files are uint8 with 8 bits .*; 1 file is uint16 with 16 bits .such as z9.tif"
    ):
        check_types(files, block())
    check_types(files, block(intensity_min=0.0, intensity_max=255.0))


def test_auto_has_no_meaning_where_0_is_white_in_some_files_only():
    files = [described(np.zeros((1, 1), np.uint8), white_is_zero=white) for white in (True, False)]
    check_types(files, block())
    with pytest.raises(DataError, match="MINISWHITE.*auto has no meaning"):
        check_types(files, block(intensity_max="auto"))
